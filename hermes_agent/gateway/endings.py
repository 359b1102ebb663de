"""How work on messages ends: the reply enters the outbox in the transaction that marks them done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from hermes_agent.core.errors import HermesError, SessionBusyError, StoreError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.outbox import Kind, Outgoing
from hermes_agent.gateway.chat_session import ChatSession
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.keys import background_task, is_own
from hermes_agent.gateway.media import take_media
from hermes_agent.gateway.replies import Reply

_LOG = logging.getLogger(__name__)


class Endings:
    """Ends the work of one conversation."""

    def __init__(self, chat: ChatSession, context: GatewayContext) -> None:
        self._chat = chat
        self._context = context

    @property
    def _kind(self) -> Kind:
        return "background" if background_task(self._chat.key) else "answer"

    async def fail(self, batch: Sequence[InboxEntry], problem: str) -> None:
        """It could not be done; never raises."""
        head = "❌ Background task failed\n" if background_task(self._chat.key) else "❌ "
        try:
            await self.finish(batch, "failed", Reply(f"{head}{problem}", kind=self._kind))
        except StoreError:
            _LOG.exception("conversation %s: the failure could not be stored", self._chat.key)

    async def finish(self, batch: Sequence[InboxEntry], outcome: str, reply: Reply | None) -> None:
        """Done; the reply enters the outbox in the same transaction."""
        first = batch[0]
        replies: list[Outgoing] = []
        left = None
        if reply is None or first.state == "running":  # stopped, or gone on with after a kill
            left = await self._context.ports.outbox.live_of(f"live:{first.id}:")
        if reply is not None and (reply.text.strip() or reply.files):
            if left is not None and not reply.live_entry:  # a killed run had begun to show it
                reply = replace(reply, live_entry=left.id)
            replies.append(await self._outgoing(first, reply))
        elif left is not None:
            await self._context.ports.outbox.settle(left.id, "cancelled", outcome)
        await self._context.ports.inbox.finish([entry.id for entry in batch], outcome, replies)
        if replies:
            entry = await self._context.ports.outbox.by_key(replies[0].key)
            if entry is not None:
                await self._context.delivery.look(entry.id)

    async def _outgoing(self, first: InboxEntry, reply: Reply) -> Outgoing:
        text, files = reply.text, reply.files
        own = self._context.ports.settings().platforms.get(first.message.platform)
        mode = own.reply_to_mode if own is not None else "first"
        quotes = mode != "off" and reply.kind == "answer" and not is_own(first.message)
        if not reply.is_plain:
            session = self._chat.session
            environment = session.scope.environment if session is not None else None
            text, files = await take_media(text, self._context.ports.files, environment)
        return Outgoing(
            key=f"answer:{first.id}",
            address=first.message.address,
            text=text,
            files=files,
            kind=reply.kind,
            reply_to_id=first.message.message_id if quotes else "",
            live_entry=reply.live_entry,
            quotes_all=mode == "all",
        )

    async def tell_busy(self, entry: InboxEntry, error: SessionBusyError) -> None:
        """Another process has the session open; said once for each message."""
        with suppress(HermesError):
            await self._context.delivery.put(
                Outgoing(
                    key=f"busy:{entry.id}",
                    address=entry.message.address,
                    text=f"⏳ {error.message}. I answer as soon as it is free; /new begins another one.",
                )
            )
