"""What passes between the adapter and its connection: errors, and the news of a sync."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hermes_agent.core.errors import PlatformError
from hermes_agent.gateway.platforms.matrix.events import Json

_SIGNED_OUT = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"})


class MatrixUnreachableError(PlatformError):
    """The home server does not answer."""


class MatrixRefusedError(PlatformError):
    """The home server refuses a request.

    Args:
        message: What was refused.
        code: `M_FORBIDDEN` …; empty if it gave none.
        status: HTTP status; 0 if unknown.
        retry_after_seconds: When it asked for patience.
        is_soft: Signed out, but the device and its keys are kept.
        why: What it said.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        retry_after_seconds: float | None = None,
        is_soft: bool = False,
        why: str | None = None,
    ) -> None:
        super().__init__(message, why=why)
        self.code = code
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.is_soft = is_soft

    @property
    def is_final(self) -> bool:
        """Asking again would not help: there is no such thing, or it is not for us."""
        return self.code in ("M_FORBIDDEN", "M_NOT_FOUND") or self.status in (400, 403, 404, 405, 413)

    @property
    def is_signed_out(self) -> bool:
        """The token does not count any more."""
        return self.code in _SIGNED_OUT


@dataclass(frozen=True, slots=True)
class RoomNews:
    """What happened in a room, the oldest first. `gap_from` is where missing events begin, backwards."""

    room_id: str
    events: tuple[Json, ...]
    gap_from: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """One sync. `invitations` are room ids with who invites."""

    next_batch: str
    rooms: tuple[RoomNews, ...] = ()
    invitations: Mapping[str, str] = field(default_factory=dict)
