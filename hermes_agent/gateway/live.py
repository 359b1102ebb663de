"""A message that grows while it is written: sent once, then edited, and in the end made final.

The entry is in the outbox before the first piece is sent. What is shown meanwhile may lag behind or be
skipped when the chat's pace is used up; only the final text is delivered with certainty.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from hermes_agent.core.errors import DeliveryError, HermesError
from hermes_agent.core.outbox import OutboxEntry, OutboxStore, Outgoing
from hermes_agent.core.platform import OutgoingPart, Platform
from hermes_agent.gateway.delivery import Delivery, Pace, finish_quietly
from hermes_agent.gateway.splitting import split_text

_LOG = logging.getLogger(__name__)


class LiveMessage:
    """One streamed message.

    Args:
        message: Its key must be new; its text does not matter.
        entry: Left by a killed process: it is gone on with.
        interval_seconds: Between two edits.
        least_growth: Characters that make an edit worth while.
        cursor: Shown at the end.
    """

    def __init__(
        self,
        message: Outgoing,
        store: OutboxStore,
        delivery: Delivery,
        platform: Platform,
        *,
        entry: OutboxEntry | None = None,
        interval_seconds: float = 0.8,
        least_growth: int = 24,
        cursor: str = "",
    ) -> None:
        self._message = message
        self._store = store
        self._delivery = delivery
        self._platform = platform
        self._entry = entry
        self._interval = interval_seconds
        self._least_growth = least_growth
        self._cursor = cursor
        self._text = ""
        self._shown = [""] * len(entry.message_ids) if entry else []
        self._ids = list(entry.message_ids) if entry else []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: asyncio.Future[None] | None = None
        self._is_given_up = False

    @property
    def entry_id(self) -> int:
        """The outbox entry; 0 while nothing was sent."""
        return self._entry.id if self._entry else 0

    def update(self, text: str) -> None:
        """The text is this now."""
        self._text = text
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._show(), name="live message")

    async def close(self) -> None:
        """Send no more pieces; a request that is on its way is waited for."""
        if self._sending is not None:
            await asyncio.wait([self._sending])
        await finish_quietly(self._task)
        self._task = None

    async def discard(self) -> None:
        """Close it as it stands (progress lines)."""
        await self.close()
        if self._entry is not None:
            await self._store.settle(self._entry.id, "sent")

    async def flush(self) -> None:
        """Show the text as it is now, whatever the interval (never raises)."""
        await self.close()
        await self._show_once(with_cursor=False)

    async def _show(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if len(self._text) - sum(map(len, self._shown)) >= self._least_growth or self._ids:
                self._sending = asyncio.ensure_future(self._show_once(with_cursor=True))
                await asyncio.shield(self._sending)
                await asyncio.sleep(self._interval)

    async def _show_once(self, *, with_cursor: bool) -> None:
        if self._is_given_up:
            return
        is_answer = self._message.kind == "answer"
        if is_answer and not any(self._ids) and self._delivery.has_waiting(self._message.address):
            return  # what was said before is still to be sent: the final text follows it in order
        limit = self._platform.capabilities.max_text - len(self._cursor) - 2
        parts = split_text(self._text, limit, self._platform.measure)
        pace = self._delivery.pace(self._message.address, self._platform)
        # What goes beyond comes as a file in the end.
        for index, text in enumerate(parts[: self._delivery.max_parts]):
            if index < len(self._shown) and self._shown[index] == text:
                continue
            if not pace.try_take():
                return
            cursor = self._cursor if with_cursor and index == len(parts) - 1 else ""
            try:
                await self._put(index, f"{text}{cursor}")
            except HermesError as error:
                _LOG.info("a piece of a live message was not shown: %s", error)
                if isinstance(error, DeliveryError):
                    self._consider(error, pace, is_new=index >= len(self._ids))
                return
            self._shown[index : index + 1] = [text]

    def _consider(self, error: DeliveryError, pace: Pace, *, is_new: bool) -> None:
        """Keep still as long as the platform asks; do not send again what may have arrived."""
        if error.retry_after_seconds:
            pace.hold(error.retry_after_seconds)
        if error.is_unknown and is_new and not self._platform.capabilities.recognises_resends:
            self._is_given_up = True

    async def _put(self, index: int, text: str) -> None:
        if self._entry is None:
            self._entry = await self._store.put_live(self._message)
        part = OutgoingPart(
            self._message.address,
            text=text,
            reply_to_id=self._message.reply_to_id if index == 0 else "",
            key=f"{self._entry.id}-{index}",
            is_silent=self._message.is_silent,
        )
        if index < len(self._ids) and self._ids[index]:
            await self._platform.edit(part.address, self._ids[index], replace(part, reply_to_id=""))
            return
        message_id = await self._platform.send(part)
        self._ids[index : index + 1] = [message_id]
        await self._store.part_sent(self._entry.id, index, message_id, is_final=False)
