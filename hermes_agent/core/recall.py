"""The recall port: one answer from what was said in many conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hermes_agent.core.model import ModelInfo, Spend, Usage
from hermes_agent.core.session import SessionRecord


@dataclass(frozen=True, slots=True)
class Recollection:
    """An answer and where it is from.

    Attributes:
        text: Names sessions as `[id]`; only ones that are among the sources.
        sources: Sessions that were read, the ones with most matches first.
        is_partial: More sessions matched than were read.
    """

    text: str
    sources: tuple[SessionRecord, ...]
    is_partial: bool = False

    @property
    def source_lines(self) -> tuple[str, ...]:
        """A line for each source, for people and models."""
        return tuple(
            f"[{record.id}] {record.title or ' '.join(record.preview.split())[:80] or '(no title)'}"
            for record in self.sources
        )


def nobody_pays(_usage: Usage, _info: ModelInfo) -> None:
    """Where there is no conversation: on the command line."""


class SessionSummaries(Protocol):
    """Reads stored conversations for somebody and says what they hold."""

    async def summarise(
        self, query: str, *, principal: str, session_id: str = "", spend: Spend = nobody_pays
    ) -> Recollection | None:
        """What conversations say about this; None if no message matches.

        Args:
            query: Words, as for a search.
            principal: Only sessions that this one may read.
            session_id: Only this session.
            spend: Who pays.

        Raises:
            ModelError: The model that summarises failed.
            StoreError: The sessions cannot be read.
        """
        ...


def may_read(record: SessionRecord, principal: str) -> bool:
    """Whether a principal may look into a session: the owner into all, others into their own."""
    return principal in ("owner", record.user_id, f"{record.source}:{record.user_id}")
