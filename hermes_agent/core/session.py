"""The `SessionStore` port and its values: conversations that outlive a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from hermes_agent.core.messages import Message
from hermes_agent.core.model import Usage

DraftKind: TypeAlias = Literal["text", "reasoning"]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One conversation.

    Attributes:
        id: `YYYYMMDD_HHMMSS_` and 6 hex digits (CLI) or 8 (gateway).
        source: The surface that opened it: `cli`, `telegram`, `api_server`, `cron` …
        system_prompt: Frozen at the first run; reused byte for byte on resume.
        model_config: Free-form JSON: provider, toolsets, reasoning effort.
        started_at: Unix time, seconds.
        last_active_at: Unix time of the newest message, or `started_at`.
    """

    id: str
    source: str
    started_at: float
    model: str | None = None
    title: str | None = None
    user_id: str | None = None
    cwd: str | None = None
    system_prompt: str | None = None
    parent_session_id: str | None = None
    ended_at: float | None = None
    end_reason: str | None = None
    message_count: int = 0
    tool_call_count: int = 0
    usage: Usage = field(default_factory=Usage)
    model_config: dict[str, Any] = field(default_factory=dict, hash=False)
    last_active_at: float = 0.0
    preview: str = ""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message with its row id and Unix time."""

    id: int
    session_id: str
    timestamp: float
    message: Message


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A message that matches a query. `snippet` marks matches with `>>>` and `<<<`."""

    message_id: int
    session_id: str
    session_title: str | None
    source: str
    role: str
    timestamp: float
    snippet: str


class SessionStore(Protocol):
    """Persists conversations.

    Every method is safe to call from the event loop (I/O happens on the writer thread or a reader
    thread) and may raise `StoreError`. Writes are committed when the call returns.
    """

    async def create(
        self,
        *,
        source: str,
        model: str | None = None,
        cwd: str | None = None,
        user_id: str | None = None,
        title: str | None = None,
        parent_session_id: str | None = None,
        model_config: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> SessionRecord:
        """Open a new session."""
        ...

    async def get(self, session_id: str) -> SessionRecord:
        """Load by exact id. Raises `SessionNotFoundError`."""
        ...

    async def resolve(self, reference: str) -> SessionRecord:
        """Find by id, unique id prefix, or title (newest of `title`, `title #2` …).

        Raises:
            SessionNotFoundError: Nothing, or more than one, matches; the remedy lists candidates.
        """
        ...

    async def latest(self, *, source: str | None = None, title: str | None = None) -> SessionRecord | None:
        """The session that was active last."""
        ...

    async def list(
        self, *, limit: int = 20, offset: int = 0, source: str | None = None
    ) -> Sequence[SessionRecord]:
        """Sessions, most recently active first."""
        ...

    async def messages(self, session_id: str) -> Sequence[StoredMessage]:
        """The active messages of a session, oldest first.

        A draft left by a killed process is included as a final `interrupted` assistant message.
        """
        ...

    async def append(
        self, session_id: str, messages: Sequence[Message], *, usage: Usage | None = None
    ) -> Sequence[int]:
        """Append messages, add usage to the session's totals and drop its draft, in one transaction."""
        ...

    async def append_draft(self, session_id: str, kind: DraftKind, text: str) -> None:
        """Keep a piece of an unfinished answer, so that a killed process loses nothing it showed."""
        ...

    async def discard_draft(self, session_id: str) -> None:
        """Forget the unfinished answer (the request is made again)."""
        ...

    async def rewind(self, session_id: str, message_id: int) -> int:
        """Deactivate the message and all after it (`/undo`, `/retry`); returns how many."""
        ...

    async def update(
        self,
        session_id: str,
        *,
        title: str | None = None,
        system_prompt: str | None = None,
        model: str | None = None,
        model_config: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> SessionRecord:
        """Change what is given; None leaves a field alone. Raises `SessionTitleError`."""
        ...

    async def next_title(self, title: str) -> str:
        """The first free title of the row `title`, `title #2`, `title #3` …"""
        ...

    async def end(self, session_id: str, reason: str) -> None:
        """Mark as ended."""
        ...

    async def reopen(self, session_id: str) -> None:
        """Undo `end` (resume)."""
        ...

    async def delete(self, session_id: str) -> None:
        """Remove a session and its messages for good."""
        ...

    async def search(
        self, query: str, *, limit: int = 20, session_id: str | None = None, source: str | None = None
    ) -> Sequence[SearchHit]:
        """Full-text search over messages; any text is a valid query."""
        ...

    async def around(self, message_id: int, *, window: int = 5) -> Sequence[StoredMessage]:
        """A message and up to `window` of its session's before and after it; nothing if there is none."""
        ...

    async def aclose(self) -> None:
        """Finish pending writes and close. Safe to call twice."""
        ...
