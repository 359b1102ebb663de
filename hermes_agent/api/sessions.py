"""Which conversation a request belongs to, and the sessions that are open.

Requests that bring their whole conversation get a session in memory that is forgotten soon. Stored
sessions stay open for a while after a request, so that going on costs nothing; while one is open, no
other process can use it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hermes_agent.agent.service import AgentService, SessionOptions
from hermes_agent.agent.session import Session
from hermes_agent.agent.tokens import estimate_text
from hermes_agent.api.ask import Ask
from hermes_agent.api.errors import ApiError, not_found
from hermes_agent.api.ports import ApiPorts
from hermes_agent.api.wire import digest, new_id
from hermes_agent.core.errors import SessionNotFoundError
from hermes_agent.core.messages import AssistantMessage, Message, UserMessage
from hermes_agent.core.session import SessionRecord

SOURCE: Final = "api_server"
IDLE_SECONDS: Final = 30.0
"""How long a stored session stays open without a request."""

MOST_IDLE: Final = 64
PROMPT_SECONDS: Final = 5.0
"""How long a built prompt is used for new sessions, before SOUL.md and project rules are read again."""

_RECENT: Final = 256
_RECENT_CHARS: Final = 8_000_000
_MOST_ALIASES: Final = 1_000
_SIDE_PROMPT: Final = "Do exactly what is asked, briefly, and add nothing."


@dataclass(slots=True)
class _Open:
    session: Session
    owner: str
    is_busy: bool = True
    idle_since: float = 0.0


@dataclass(frozen=True, slots=True)
class _Recent:
    owner: str
    prompt: str
    messages: tuple[Message, ...]
    chars: int


class Sessions:
    """Opens sessions for requests and takes them back."""

    def __init__(self, ports: ApiPorts) -> None:
        self._ports = ports
        self._open: dict[str, _Open] = {}
        self._recent: OrderedDict[str, _Recent] = OrderedDict()
        self._recent_chars = 0
        self._successors: OrderedDict[str, str] = OrderedDict()
        self._opening = asyncio.Lock()
        self._naming = asyncio.Lock()
        self._prompt: tuple[float, AgentService, str] | None = None
        self._building = asyncio.Lock()
        self._reaper: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """Stored sessions that are open."""
        return len(self._open)

    async def take(self, ask: Ask, owner: str) -> Session:
        """The session for a request; give it back with `give_back`.

        Raises:
            ApiError: 404 for a session that is not there or not this key's, 409 for a busy one.
            HermesError: It cannot be opened.
        """
        if ask.is_plain:
            return await self._take_plain(ask)
        if ask.session_id is not None:
            return await self._resume(ask.session_id, ask, owner)
        if ask.session_key is not None:
            return await self._take_named(ask.session_key, ask, owner)
        if ask.is_stored:
            return await self._create(ask, owner, ask.history)
        service = await self._ports.service()
        prompt = await self._layered(service, ask.instructions)
        session = await service.create(
            SessionOptions(
                source=SOURCE,
                is_stored=False,
                session_id=new_id("api-", 16),
                history=ask.history,
                system_prompt=prompt,
                cache_key=_cache_key(ask, owner),
                user_id=owner,
                reasoning_effort=ask.reasoning_effort,
            )
        )
        if ask.history_tokens:
            session.count_context(ask.history_tokens + estimate_text(prompt) + session.fixed_tokens)
        return session

    async def _take_plain(self, ask: Ask) -> Session:
        service = await self._ports.service()
        return await service.create(
            SessionOptions(
                source=SOURCE,
                is_stored=False,
                session_id=new_id("api-", 16),
                history=ask.history,
                system_prompt=ask.instructions or _SIDE_PROMPT,
                toolsets=(),
                max_turns=1,
            )
        )

    async def _create(
        self, ask: Ask, owner: str, history: Sequence[Message], session_id: str | None = None
    ) -> Session:
        service = await self._ports.service()
        session = await service.create(
            SessionOptions(
                source=SOURCE,
                session_id=session_id or new_id("api-", 16),
                history=history,
                system_prompt=await self._layered(service, ask.instructions),
                user_id=owner,
                reasoning_effort=ask.reasoning_effort,
            )
        )
        self._open[session.id] = _Open(session, owner)
        return session

    async def branch(self, session_id: str, position: int, ask: Ask, owner: str) -> Session:
        """A new stored session that begins like another one up to a message.

        Raises:
            ApiError: 404, it is not there (any more).
        """
        messages = await self.history(session_id, position)
        return await self._create(ask, owner, messages)

    async def history(self, session_id: str, position: int) -> Sequence[Message]:
        """The first messages of a stored session; empty if it is gone."""
        known = self._open.get(session_id)
        if known is not None:
            return list(known.session.messages[:position])
        store = await self._ports.sessions()
        return [each.message for each in (await store.messages(session_id))[:position]]

    async def continue_from(self, session_id: str, position: int, ask: Ask, owner: str) -> Session:
        """The session itself, if nothing was said since that message; otherwise a branch of it."""
        try:
            session = await self._resume(session_id, ask, owner)
        except ApiError as error:
            if error.status != 409:
                raise
            return await self.branch(session_id, position, ask, owner)
        if len(session.messages) == position:
            return session
        await self.give_back(session)
        return await self.branch(session_id, position, ask, owner)

    async def _resume(self, session_id: str, ask: Ask, owner: str) -> Session:
        session_id = self._current(session_id)
        async with self._opening:
            known = self._open.get(session_id)
            if known is not None and known.owner == owner:
                if known.is_busy:
                    raise _busy(session_id)
                known.is_busy = True
                self._instruct(known.session, ask)
                return known.session
            recent = self._recent.get(session_id)
            if recent is not None and recent.owner == owner:
                return await self._keep(session_id, recent, ask)
            session = await self._load(session_id, ask, owner)
            self._instruct(session, ask)
            return session

    async def _load(self, session_id: str, ask: Ask, owner: str) -> Session:
        store = await self._ports.sessions()
        try:
            record = await self._owned(await store.get(session_id), owner)
        except SessionNotFoundError:
            raise _unknown(session_id) from None
        service = await self._ports.service()
        session = await service.resume(
            record, SessionOptions(source=SOURCE, user_id=owner, reasoning_effort=ask.reasoning_effort)
        )
        self._open[session.id] = _Open(session, owner)
        return session

    async def _owned(self, record: SessionRecord, owner: str) -> SessionRecord:
        """The record, or the one that goes on from it after a compaction, if the key may use it."""
        if record.source != SOURCE or record.user_id != owner:
            raise _unknown(record.id)
        if record.end_reason == "compressed":
            successor = await self._ports.store.session_named(f"after:{record.id}")
            if successor is not None:
                return await self._owned(await (await self._ports.sessions()).get(successor), owner)
        return record

    async def _keep(self, session_id: str, recent: _Recent, ask: Ask) -> Session:
        """Store a conversation that lived in memory so far: its client has come back with its id."""
        self._forget(session_id)
        service = await self._ports.service()
        session = await service.create(
            SessionOptions(
                source=SOURCE,
                session_id=session_id,
                history=recent.messages,
                system_prompt=recent.prompt,
                user_id=recent.owner,
                reasoning_effort=ask.reasoning_effort,
            )
        )
        self._open[session_id] = _Open(session, recent.owner)
        self._instruct(session, ask)
        return session

    async def _take_named(self, key: str, ask: Ask, owner: str) -> Session:
        name = f"{owner}:{key}"
        async with self._naming:
            known = await self._ports.store.session_named(name)
            if known is not None:
                try:
                    return await self._resume(known, ask, owner)
                except ApiError as error:
                    if error.status != 404:
                        raise
            session = await self._create(ask, owner, ask.history)
            await self._ports.store.name_session(name, session.id)
            return session

    def _instruct(self, session: Session, ask: Ask) -> None:
        """Tell an old session what the client's system message says, if its prompt does not yet.

        The prompt itself stays as it is, so that providers find the prefix in their caches.
        """
        if ask.instructions and ask.instructions not in session.system_prompt:
            session.add_note(f"Instructions of the client from here on:\n{ask.instructions}")

    async def _layered(self, service: AgentService, instructions: str) -> str:
        prompt = await self._base_prompt(service)
        return f"{prompt}\n# Instructions of the client\n{instructions}\n" if instructions else prompt

    async def _base_prompt(self, service: AgentService) -> str:
        """The agent's own prompt; equal for all sessions that start together."""
        known = self._prompt
        if known is not None and known[1] is service and time.monotonic() < known[0] + PROMPT_SECONDS:
            return known[2]
        async with self._building:
            known = self._prompt
            if known is None or known[1] is not service or time.monotonic() >= known[0] + PROMPT_SECONDS:
                prompt = await service.system_prompt(SessionOptions(source=SOURCE))
                self._prompt = known = (time.monotonic(), service, prompt)
            return known[2]

    async def give_back(self, session: Session, *, ask: Ask | None = None, owner: str = "") -> None:
        """Take a session back after its run."""
        for session_id, known in self._open.items():
            if known.session is session:
                if session_id != session.id:
                    await self._moved(session_id, session)
                known.is_busy = False
                known.idle_since = time.monotonic()
                self._reap()
                return
        if ask is not None and not ask.is_plain and not session.is_stored:
            self._remember(session, owner)
        await session.aclose()

    async def _moved(self, old_id: str, session: Session) -> None:
        """A compaction has opened another session that goes on from the old one."""
        self._open[session.id] = self._open.pop(old_id)
        self._successors[old_id] = session.id
        if len(self._successors) > _MOST_ALIASES:
            self._successors.popitem(last=False)
        await self._ports.store.name_session(f"after:{old_id}", session.id)

    async def release(self, session_id: str) -> None:
        """Close a stored session if it is open. Raises `ApiError` 409 while it works."""
        async with self._opening:
            known = self._open.get(session_id)
            if known is None:
                return
            if known.is_busy:
                raise _busy(session_id)
            del self._open[session_id]
            await known.session.aclose()

    def _current(self, session_id: str) -> str:
        seen = {session_id}
        while (successor := self._successors.get(session_id)) is not None and successor not in seen:
            session_id = successor
            seen.add(session_id)
        return session_id

    def _remember(self, session: Session, owner: str) -> None:
        # Counting characters would cost more than it is worth; the provider has counted tokens.
        chars = 4 * session.context_tokens + 1_000
        if chars > _RECENT_CHARS // 8:
            return
        recent = _Recent(owner, session.system_prompt, tuple(session.messages), chars)
        self._recent[session.id] = recent
        self._recent_chars += chars
        while len(self._recent) > _RECENT or self._recent_chars > _RECENT_CHARS:
            self._forget(next(iter(self._recent)))

    def _forget(self, session_id: str) -> None:
        recent = self._recent.pop(session_id, None)
        if recent is not None:
            self._recent_chars -= recent.chars

    def _reap(self) -> None:
        """Close what has been idle for long, or is too much; look again when the next one is due."""
        now = time.monotonic()
        idle = sorted(
            (item for item in self._open.items() if not item[1].is_busy), key=lambda item: item[1].idle_since
        )
        surplus = len(idle) - MOST_IDLE
        for index, (session_id, known) in enumerate(idle):
            if index < surplus or now - known.idle_since >= IDLE_SECONDS:
                del self._open[session_id]
                task = asyncio.create_task(known.session.aclose())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        if any(not known.is_busy for known in self._open.values()):
            self._reaper = asyncio.get_running_loop().call_later(IDLE_SECONDS + 0.1, self._reap)

    async def aclose(self) -> None:
        """Close all sessions."""
        if self._reaper is not None:
            self._reaper.cancel()
        for known in list(self._open.values()):
            await known.session.aclose()
        self._open.clear()
        self._recent.clear()
        if self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)


def _cache_key(ask: Ask, owner: str) -> str:
    """The same for all requests of one conversation that the client keeps, so that caches are found."""
    first = ask.history[0] if ask.history else ask.message
    text = first.text if isinstance(first, UserMessage | AssistantMessage) else ""
    return f"api-{digest(owner, ask.instructions, text)}"


def _busy(session_id: str) -> ApiError:
    return ApiError(
        409,
        f"Session {session_id} is still working on the previous request",
        code="session_busy",
        headers={"Retry-After": "1"},
    )


def _unknown(session_id: str) -> ApiError:
    error = not_found("session", session_id, param="X-Hermes-Session-Id")
    error.message += ". To name a conversation yourself, send X-Hermes-Session-Key instead."
    return error
