"""The stored session behind a conversation: opened when needed, begun afresh by policy."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from hermes_agent.agent.service import SessionOptions
from hermes_agent.agent.session import Session
from hermes_agent.core.errors import SessionNotFoundError
from hermes_agent.core.inbox import Chat
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import InboundMessage
from hermes_agent.core.session import SessionRecord
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.keys import background_task, policy_for

_LOG = logging.getLogger(__name__)


class ChatSession:
    """The session of one conversation."""

    def __init__(self, key: str, context: GatewayContext) -> None:
        self.key = key
        self.session: Session | None = None
        self._context = context
        self._is_background = bool(background_task(key))

    async def open(self, message: InboundMessage) -> Session:
        """The session for a message that came now: the conversation's, or a new one.

        Raises:
            SessionBusyError: Another process runs it.
            ProviderSetupError: No usable model.
        """
        ports = self._context.ports
        chat = None if self._is_background else await ports.chats.chat(self.key)
        if chat is not None and (reason := self._reset_reason(message, chat)):
            await self.forget("reset")
            chat = None
            await self._tell_reset(message, reason)
        if self.session is not None and (chat is None or chat.session_id == self.session.id):
            if chat is not None:
                await ports.chats.touch_chat(self.key)
            return self.session
        await self.close()
        if chat is not None:
            with suppress(SessionNotFoundError):  # deleted from the terminal meanwhile
                await self.take(await ports.sessions.get(chat.session_id), message)
        if self.session is None:
            service = await ports.service()
            self.session = await service.create(self._options(message))
            await self.remember(message)
        return self.session

    async def take(self, record: SessionRecord, message: InboundMessage) -> Session:
        """Go on with a stored session. Raises `SessionBusyError`."""
        if self.session is None or self.session.id != record.id:
            service = await self._context.ports.service()
            session = await service.resume(record, self._options(message))
            await self.close()
            self.session = session
        await self.remember(message)
        return self.session

    async def reopen(self, session_id: str | None, message: InboundMessage) -> Session | None:
        """The session that a killed run worked in; None if it is gone."""
        try:
            record = await self._context.ports.sessions.get(session_id or "")
        except SessionNotFoundError:
            return None
        return await self.take(record, message)

    async def remember(self, message: InboundMessage) -> None:
        """Note which session the conversation is in."""
        if self.session is None or self._is_background:
            return
        origin = {
            "platform": message.platform,
            "chat_id": message.chat_id,
            "chat_name": message.chat_name,
            "chat_type": message.chat_type,
            "user_id": message.sender.id,
            "user_name": message.sender.name,
            "thread_id": message.thread_id,
        }
        await self._context.ports.chats.put_chat(self.key, message.platform, self.session.id, origin)

    async def forget(self, reason: str) -> None:
        """End the session; the next message begins a new one."""
        chat = await self._context.ports.chats.chat(self.key)
        await self.close()
        await self._context.ports.chats.drop_chat(self.key)
        if chat is not None:
            await self._context.ports.sessions.end(chat.session_id, reason)

    async def close(self) -> None:
        """Give the memory back; the session is opened again when it is needed."""
        session, self.session = self.session, None
        if session is not None:
            await session.aclose()

    def _options(self, message: InboundMessage) -> SessionOptions:
        return SessionOptions(
            source=message.platform,
            user_id=message.sender.id,
            principal=f"{message.platform}:{message.sender.id}",
        )

    def _reset_reason(self, message: InboundMessage, chat: Chat) -> str:
        kind = "thread" if message.thread_id else message.chat_type
        policy = policy_for(self._context.ports.settings().session_reset, message.platform, kind)
        return policy.reason(chat.updated_at, time.time())

    async def _tell_reset(self, message: InboundMessage, reason: str) -> None:
        kind = "thread" if message.thread_id else message.chat_type
        if not policy_for(self._context.ports.settings().session_reset, message.platform, kind).notify:
            return
        await self._context.delivery.put(
            Outgoing(
                key=f"reset:{message.platform}:{message.chat_id}:{message.message_id}",
                address=message.address,
                text=f"🔄 We start afresh after {reason}. /resume brings an earlier conversation back.",
            )
        )
