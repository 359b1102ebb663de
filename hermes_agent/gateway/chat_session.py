"""The stored session behind a conversation: opened when needed, begun afresh by policy."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields

from hermes_agent.agent.service import SessionOptions
from hermes_agent.agent.session import Session
from hermes_agent.core.errors import SessionNotFoundError
from hermes_agent.core.inbox import Chat
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import InboundMessage
from hermes_agent.core.session import SessionRecord
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.keys import account_of, is_passing, policy_for, principal_of
from hermes_agent.gateway.platforms.table import has_chats
from hermes_agent.gateway.surface_prompt import surface_prompt, surface_rules

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Choices:
    """What people chose for a chat; empty means the setting. Kept across restarts.

    Attributes:
        busy: What a message does during a run (`/busy`).
        progress: How much of the tools' work is shown (`/verbose`).
        reasoning: `show` or `hide` what the model thinks (`/reasoning`).
    """

    busy: str = ""
    progress: str = ""
    reasoning: str = ""


class ChatSession:
    """The session of one conversation.

    Attributes:
        on_news: Shows the chat a line that the agent does not read (a review has saved something).
        on_notify: The agent was told something that it had asked to be told (a process has ended).
    """

    def __init__(self, key: str, context: GatewayContext) -> None:
        self.key = key
        self.session: Session | None = None
        self.choices = Choices()
        self.on_news: Callable[[str], None] | None = None
        self.on_notify: Callable[[], None] | None = None
        self.last_message: InboundMessage | None = None
        self._context = context
        self._is_background = is_passing(key)
        self._has_choices = False
        self._closing: tuple[str, asyncio.Future[None]] | None = None

    @property
    def has_processes(self) -> bool:
        """Background processes of the session run; closing it would end them."""
        return self.session is not None and bool(self.session.scope.running)

    def facts(self, message: InboundMessage) -> dict[str, str]:
        """Where something happens, for hooks."""
        return {
            "platform": message.platform,
            "chat_id": message.chat_id,
            "chat_type": message.chat_type,
            "thread_id": message.thread_id,
            "user_id": message.sender.id,
            "user_name": message.sender.name,
            "session_key": self.key,
            "session_id": self.session.id if self.session else "",
        }

    async def open(self, message: InboundMessage) -> Session:
        """The session for a message that came now: the conversation's, or a new one.

        Raises:
            SessionBusyError: Another process runs it.
            ProviderSetupError: No usable model.
        """
        ports = self._context.ports
        if self.session is None:
            await self.close()  # somebody may just be closing it
        await self.load_choices(message)
        self.last_message = message
        chat = None if self._is_background else await ports.chats.chat(self.key)
        if chat is not None and (reason := self._reset_reason(message, chat)):
            await self.forget("reset", message)
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
            self._adopt(await service.create(self._options(message)), message)
            await self.remember(message)
            ports.hooks.emit("session:start", self.facts(message))
        assert self.session is not None
        return self.session

    async def take(self, record: SessionRecord, message: InboundMessage) -> Session:
        """Go on with a stored session. Raises `SessionBusyError`."""
        if self.session is None or self.session.id != record.id:
            if self.session is None:
                await self.close()
            await self._context.release(record.id)
            service = await self._context.ports.service()
            session = await service.resume(record, self._options(message))
            await self.close()
            self._adopt(session, message)
            await self._tell_place(session, message)
        await self.remember(message)
        assert self.session is not None
        return self.session

    async def reopen(self, session_id: str | None, message: InboundMessage) -> Session | None:
        """The session that a killed run worked in; None if it is gone."""
        await self.load_choices(message)
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

    async def forget(self, reason: str, message: InboundMessage) -> None:
        """End the session; the next message begins a new one."""
        ports = self._context.ports
        chat = await ports.chats.chat(self.key)
        await self.close()
        await ports.chats.drop_chat(self.key)
        if chat is not None:
            await ports.sessions.end(chat.session_id, reason)
            facts = {**self.facts(message), "session_id": chat.session_id, "reason": reason}
            ports.hooks.emit("session:end", facts)
            ports.hooks.emit("session:reset", facts)

    async def choose(self, message: InboundMessage, **chosen: str) -> None:
        """Change what is chosen for this chat (fields of `Choices`)."""
        await self.load_choices(message)
        for name, value in chosen.items():
            setattr(self.choices, name, value)
            await self._context.ports.chats.put_fact(message.platform, f"{name}:{self.key}", value)

    async def close(self) -> None:
        """Give the memory back; the session is opened again when it is needed."""
        session, self.session = self.session, None
        if session is not None:
            self._closing = (session.id, asyncio.ensure_future(session.aclose()))
        if self._closing is not None:
            closing = self._closing
            await asyncio.shield(closing[1])
            if self._closing is closing:
                self._closing = None

    def holds(self, session_id: str) -> bool:
        """Whether a session is open here, or still being closed."""
        return bool(
            (self.session is not None and self.session.id == session_id)
            or (self._closing is not None and self._closing[0] == session_id)
        )

    def _adopt(self, session: Session, message: InboundMessage) -> None:
        self.session = session
        self.last_message = message
        if not has_chats(message.platform):
            return  # nobody is there to be told
        session.on_news = self.on_news
        session.on_notify = self.on_notify
        session.scope.on_process = self._context.processes.follower(message.address)

    async def _tell_place(self, session: Session, message: InboundMessage) -> None:
        """Tell the agent once that a conversation from elsewhere goes on in a chat: its prompt is frozen."""
        platform, record = message.platform, session.record
        known = record.model_config.get("surface", record.source)
        if known != platform and has_chats(platform):
            session.add_note(f"The conversation goes on in a chat. {surface_rules(platform)}")
            await session.keep_config(surface=platform)

    async def load_choices(self, message: InboundMessage) -> None:
        """Read what people chose for the chat, once. Raises `StoreError`."""
        if self._has_choices or self._is_background:
            return
        chats = self._context.ports.chats
        for each in fields(Choices):
            setattr(
                self.choices, each.name, await chats.get_fact(message.platform, f"{each.name}:{self.key}")
            )
        self._has_choices = True

    def _options(self, message: InboundMessage) -> SessionOptions:
        return SessionOptions(
            source=message.platform,
            user_id=account_of(message, self.key),
            principal=principal_of(message, self.key),
            surface=surface_prompt(message, self.key),
        )

    def _reset_reason(self, message: InboundMessage, chat: Chat) -> str:
        if self.has_processes:
            return ""  # what it has started goes on
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
