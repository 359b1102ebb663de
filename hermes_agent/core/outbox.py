"""The `Outbox` port: everything that is sent to people goes through it, recorded before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from hermes_agent.core.platform import Button, ChatAddress, OutgoingFile

OutboxState: TypeAlias = Literal[
    "live", "waiting", "sending", "sent", "failed", "unknown", "expired", "cancelled"
]
"""`live` is still being written (streamed); `unknown` may or may not have arrived and is not sent again."""

Kind: TypeAlias = Literal[
    "answer", "progress", "notice", "approval", "background", "cron", "pairing", "send", "command"
]

LIFETIME_SECONDS: dict[Kind, float] = {
    "answer": 86_400,
    "progress": 120,
    "notice": 3_600,
    "approval": 600,
    "background": 86_400,
    "cron": 86_400,
    "pairing": 3_600,
    "send": 86_400,
    "command": 3_600,
}
"""After this long something is not worth sending any more."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One logical message; it may take several parts.

    Attributes:
        key: The same message queued twice under one key is sent once. Name what it answers:
            `answer:17`, `cron:JOB:TIME`.
        text: Markdown.
        reply_to_id: The platform message it answers, or empty.
        buttons: Under the last part, where the platform has buttons.
        live_entry: The live message that this is the final text of; 0 if it was not streamed.
        quotes_all: Every part quotes `reply_to_id`, not the first only.
    """

    key: str
    address: ChatAddress
    text: str
    kind: Kind = "notice"
    files: tuple[OutgoingFile, ...] = ()
    buttons: tuple[Button, ...] = ()
    reply_to_id: str = ""
    is_silent: bool = False
    live_entry: int = 0
    quotes_all: bool = False


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A message and how far it got.

    Attributes:
        parts_sent: Parts that are done.
        message_ids: Platform ids of parts that were shown; empty for a part of unknown outcome.
        part_limit: The size its text is split by.
        not_before: Unix time of the next try.
    """

    id: int
    message: Outgoing
    state: OutboxState
    created_at: float
    not_before: float
    expires_at: float
    attempts: int = 0
    parts_sent: int = 0
    message_ids: tuple[str, ...] = ()
    part_limit: int | None = None
    error: str = ""


class Outbox(Protocol):
    """For everybody who sends: the scheduler, background tasks, `hermes send`."""

    async def put(self, message: Outgoing) -> int:
        """Queue a message; committed when it returns, sent soon after. Returns the entry's id.

        A key that is known already is not queued again.
        """
        ...

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        """How far it got."""
        ...


class OutboxStore(Outbox, Protocol):
    """For the delivery: every change of state is committed before the next I/O."""

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when somebody else in this process queues something."""
        ...

    def unsubscribe(self) -> None:
        """Call it no longer."""
        ...

    async def pending(self, platform: str | None = None) -> Sequence[OutboxEntry]:
        """Entries not settled, oldest first."""
        ...

    async def put_live(self, message: Outgoing) -> OutboxEntry:
        """Begin a message that is still being written."""
        ...

    async def live_of(self, prefix: str) -> OutboxEntry | None:
        """The newest live message whose key starts so, left by a killed process; older ones are closed."""
        ...

    async def by_key(self, key: str) -> OutboxEntry | None:
        """The entry with this key."""
        ...

    async def sending(self, entry_id: int, *, part_limit: int) -> None:
        """The next part is about to leave."""
        ...

    async def part_sent(self, entry_id: int, index: int, message_id: str, *, is_final: bool = True) -> None:
        """Part `index` was sent (an empty id: nobody knows). A part of a live message is not final."""
        ...

    async def retry(self, entry_id: int, not_before: float, error: str) -> None:
        """It was not sent; wait."""
        ...

    async def settle(self, entry_id: int, state: OutboxState, error: str = "") -> None:
        """The end of it."""
        ...

    async def counts(self) -> dict[str, int]:
        """Entries by state, of the last day."""
        ...
