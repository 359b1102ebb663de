"""The memory ports: what is remembered from one conversation to the next, and its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

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


class MemoryProvider(Protocol):
    """An external memory service, beside the files. A plug-in implements it; none is shipped."""

    async def recall(self, query: str, *, principal: str) -> str:
        """What the service knows that helps with this input; empty if nothing."""
        ...

    async def observe(self, session_id: str, *, principal: str, said: str, answered: str) -> None:
        """Learn from a finished exchange. Must not raise."""
        ...

    async def aclose(self) -> None:
        """Finish pending work. Safe to call twice."""
        ...
