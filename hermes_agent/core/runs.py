"""Ports for what the API server keeps beside conversations: responses and runs with their events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

RunStatus: TypeAlias = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One answer of the Responses API.

    Attributes:
        id: `resp_…`.
        owner: Fingerprint of the key that asked; nobody else may see it.
        body: The response object as clients get it.
        items: The input items it answered.
        session_id: The conversation it belongs to.
        position: How many messages that conversation had after it; a later answer from here on goes on
            in the same conversation if nothing was said since, and branches off otherwise.
    """

    id: str
    owner: str
    body: dict[str, Any] = field(hash=False)
    items: list[Any] = field(default_factory=list, hash=False)
    session_id: str = ""
    position: int = 0


class ResponseStore(Protocol):
    """Keeps the responses that were used last. Every method may raise `StoreError`."""

    async def save(self, response: StoredResponse, *, conversation: str | None = None) -> None:
        """Add or replace; with a name, the response becomes the newest of that conversation."""
        ...

    async def get(self, response_id: str) -> StoredResponse | None:
        """The response, or None if it is unknown, deleted or was pushed out."""
        ...

    async def delete(self, response_id: str) -> bool:
        """Forget it and the names that point to it; False if there was none."""
        ...

    async def newest_of(self, conversation: str) -> str | None:
        """Id of the newest response of a named conversation."""
        ...

    async def name_session(self, name: str, session_id: str) -> None:
        """Let a client's own name stand for a session."""
        ...

    async def session_named(self, name: str) -> str | None:
        """Id of the session that a client's own name stands for."""
        ...


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event of a run as clients get it: its number (from 1), its name and its JSON text."""

    number: int
    name: str
    data: str


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run that outlives the connection of whoever started it.

    Attributes:
        id: `run_…`.
        owner: Fingerprint of the key that asked.
        created_at: Unix time, seconds.
        facts: Further JSON-compatible values: session, result, usage.
    """

    id: str
    owner: str
    status: RunStatus
    created_at: float
    facts: dict[str, Any] = field(default_factory=dict, hash=False)


class RunStore(Protocol):
    """Keeps runs and their events for a while. Every method may raise `StoreError`."""

    async def save_run(self, run: StoredRun, events: Sequence[LoggedEvent] = ()) -> None:
        """Add or replace a run and append events to its log, in one transaction."""
        ...

    async def get_run(self, run_id: str) -> StoredRun | None:
        """The run, or None if it is unknown or was removed."""
        ...

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[LoggedEvent]:
        """Events with a higher number than `after`, in order."""
        ...

    async def delete_run(self, run_id: str) -> bool:
        """Forget a run and its events."""
        ...

    async def purge(self, before: float) -> int:
        """Forget runs created before a Unix time; returns how many."""
        ...


class ApiStore(ResponseStore, RunStore, Protocol):
    """Both, in one file."""

    async def aclose(self) -> None:
        """Finish pending writes and close. Safe to call twice."""
        ...
