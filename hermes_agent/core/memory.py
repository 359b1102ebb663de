"""The memory ports: what is remembered from one conversation to the next, and its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

MemoryTarget: TypeAlias = Literal["memory", "user"]
"""`memory`: facts about the work and the place. `user`: what is known of the person."""

MemoryAction: TypeAlias = Literal["add", "replace", "remove"]

OWNER = "owner"
"""The principal whose memory the files in `memories/` are; everybody else has a folder of their own."""


@dataclass(slots=True)
class Author:
    """Who makes changes in a session: the agent in conversation, or its review afterwards. Session state."""

    name: str = "agent"


@dataclass(frozen=True, slots=True)
class MemoryEntry:
    """One thing remembered.

    Attributes:
        origin: Who wrote it: `agent`, `review`, `person` (the command line), `file` (edited by hand).
        added_at: Unix time; for entries written by hand the time the file was last changed.
    """

    text: str
    added_at: float = 0.0
    origin: str = "file"
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class MemoryView:
    """What one file holds. `warnings` are for the person."""

    target: MemoryTarget
    entries: tuple[MemoryEntry, ...]
    used_chars: int
    limit_chars: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """A wish to change memory.

    Attributes:
        content: New text, for `add` and `replace`.
        old_text: A part of the entry meant that no other entry contains, for `replace` and `remove`.
    """

    action: MemoryAction
    target: MemoryTarget
    content: str = ""
    old_text: str = ""
    principal: str = OWNER
    origin: str = "agent"
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class MemoryOutcome:
    """What became of a change.

    Attributes:
        text: What the model reads.
        summary: One line for people: `+ likes short answers`.
        is_pending: It waits for the person's approval.
    """

    text: str
    summary: str
    is_pending: bool = False


class Memory(Protocol):
    """Keeps entries. Blocking work happens in threads; safe to call from the event loop."""

    async def change(self, change: MemoryChange) -> MemoryOutcome:
        """Do it, or queue it for approval.

        Raises:
            ToolError: It cannot be done: no such entry, no room, an order in disguise, a secret.
            StoreError: The files cannot be read or written.
        """
        ...

    async def view(self, target: MemoryTarget, principal: str = OWNER) -> MemoryView:
        """The entries of one file. Raises `StoreError`."""
        ...

    async def snapshot(self, principal: str = OWNER) -> tuple[str, Sequence[str]]:
        """The block for the system prompt (empty if nothing is known), and warnings. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a person said and what the agent answered, for an external memory service.

    Attributes:
        id: Names the exchange for good.
        at: Unix time.
        is_retry: An earlier try may have succeeded without our knowing.
    """

    id: str
    session_id: str
    principal: str
    said: str
    answered: str
    at: float
    is_retry: bool = False


class MemoryProvider(Protocol):
    """An external memory service, beside the files. It runs on an event loop of its own.

    Raises `MemoryServiceError` for whatever goes wrong. Callers limit the time of every call.
    """

    async def profile(self, principal: str) -> str:
        """What the service knows of a person, for the prompt of new sessions; empty if nothing."""
        ...

    async def recall(self, query: str, *, principal: str) -> str:
        """An answer to a question about the person; empty if the service knows none."""
        ...

    async def observe(self, exchange: Exchange) -> None:
        """Learn from a finished exchange. Returns when the service has it for good."""
        ...

    async def aclose(self) -> None:
        """Let go of connections. Safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderSetup:
    """What a provider is made from.

    Attributes:
        options: `memory.provider_options`.
        variable: Looks up an environment variable (also from `.env`).
        folder: A place for files of its own; not made yet.
    """

    options: Mapping[str, Any]
    variable: Callable[[str], str | None]
    folder: Path


ProviderFactory: TypeAlias = Callable[[ProviderSetup], MemoryProvider]
"""Makes a provider without connecting; raises `ConfigError` if it is not set up."""


class UserModel(Protocol):
    """What tools may ask of an external memory service."""

    async def recall(self, query: str, principal: str) -> str:
        """An answer to a question about a person. Raises `MemoryServiceError`, in good time."""
        ...
