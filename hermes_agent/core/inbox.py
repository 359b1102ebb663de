"""The `Inbox` port: messages of people, on disk before the platform is told that they arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import InboundMessage

InboxState: TypeAlias = Literal["waiting", "running", "done"]
Arrival: TypeAlias = Literal["new", "duplicate", "edited", "edited_late"]
"""What `Inbox.add` found: `edited` changed a message that waits, `edited_late` came too late for that."""


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A message and what became of it.

    Attributes:
        id: Counts up in order of arrival.
        session_key: The conversation it belongs to; entries of one key are worked off in order.
        session_id: While running: the stored session.
        position: While running: how many messages that session had before this one.
        attempts: How often work on it was begun.
    """

    id: int
    session_key: str
    message: InboundMessage
    state: InboxState
    received_at: float
    session_id: str | None = None
    position: int | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Chat:
    """Which session a conversation of the gateway is in.

    Attributes:
        origin: JSON-compatible: where it takes place (chat, person, names).
    """

    session_key: str
    platform: str
    session_id: str
    created_at: float
    updated_at: float
    origin: dict[str, str]


class Inbox(Protocol):
    """Stored inbound messages. Every method is committed when it returns and may raise `StoreError`."""

    async def add(self, message: InboundMessage, session_key: str) -> tuple[Arrival, InboxEntry | None]:
        """Store a message once, whatever is redelivered; the entry if it is new or was changed."""
        ...

    async def unfinished(self) -> Sequence[InboxEntry]:
        """Everything not done, oldest first."""
        ...

    async def begin(self, ids: Sequence[int], session_id: str, position: int) -> None:
        """Work on these begins, all in one run."""
        ...

    async def move(self, ids: Sequence[int], session_id: str, position: int) -> None:
        """The run goes on in another session (compaction)."""
        ...

    async def finish(self, ids: Sequence[int], outcome: str, replies: Sequence[Outgoing] = ()) -> None:
        """Done; the replies enter the outbox in the same transaction."""
        ...

    async def release(self, ids: Sequence[int]) -> None:
        """Work on these has not begun after all; they wait again."""
        ...


class ChatDirectory(Protocol):
    """Where conversations are, and small facts about platforms."""

    async def chat(self, session_key: str) -> Chat | None:
        """The conversation's session; None if it has none yet."""
        ...

    async def put_chat(
        self, session_key: str, platform: str, session_id: str, origin: dict[str, str]
    ) -> None:
        """The conversation is in this session from now on."""
        ...

    async def touch_chat(self, session_key: str) -> None:
        """Somebody spoke there."""
        ...

    async def drop_chat(self, session_key: str) -> None:
        """Its next message opens a new session."""
        ...

    async def chats(self) -> Sequence[Chat]:
        """All, most recently used first."""
        ...

    async def get_fact(self, platform: str, name: str) -> str:
        """A fact such as a cursor; empty if unset."""
        ...

    async def put_fact(self, platform: str, name: str, value: str) -> None:
        """Remember it; an empty value forgets."""
        ...


class ChatApprovals(Protocol):
    """Questions put to people in chats; they survive a restart."""

    async def open_approval(
        self, approval_id: str, session_key: str, approver_id: str, action: str, expires_at: float
    ) -> None:
        """A question was asked."""
        ...

    async def decide_approval(
        self, approval_id: str, approver_id: str, decision: str, *, action: str | None = None
    ) -> str | None:
        """Record a decision; None if the question is not open, or not this person's to answer.

        Args:
            approval_id: Of the question.
            approver_id: Who answers; must be whom the question was put to.
            decision: `once`, `session`, `always` or `deny`.
            action: If given, must be the very action that was asked about.

        Returns:
            The action that was decided.
        """
        ...

    async def approval_of(self, approval_id: str) -> str:
        """The session key of the conversation that asked; empty if nobody did."""
        ...

    async def use_approval(self, approval_id: str) -> None:
        """A run has acted on the decision: it counts no more."""
        ...

    async def decided(self, session_key: str, action: str, *, since: float) -> str | None:
        """A decision on exactly this action of this conversation that no run has used yet; it is used up.

        A person may have answered while the gateway was restarting.
        """
        ...
