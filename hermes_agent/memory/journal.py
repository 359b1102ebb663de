"""The journal beside the memory files: who changed what and when. It makes undo possible.

One JSON object a line, the newest last. The files are the truth; a journal that is missing, broken or
behind (an edit by hand, a crash between two writes) costs provenance, never an entry.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hermes_agent.config.files import replace_atomically
from hermes_agent.core.memory import MemoryEntry, MemoryTarget

MAX_RECORDS = 500
_MAX_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Record:
    """One change.

    Attributes:
        id: Counts from 1 within a journal.
        action: `add`, `replace`, `remove`, `evict` (made room) or `undo`.
        removed: Entries that went, with where they stood.
        added: Entries that came, with where they stand.
        undoes: Id of the change that this one took back.
    """

    id: int
    time: float
    target: MemoryTarget
    action: str
    origin: str
    session_id: str = ""
    removed: tuple[tuple[int, str], ...] = field(default=())
    added: tuple[tuple[int, str], ...] = field(default=())
    undoes: int | None = None


class Journal:
    """The journal of one scope."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Record]:
        """All records that can be understood, oldest first."""
        try:
            if self.path.stat().st_size > _MAX_BYTES:
                return []
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [record for line in text.splitlines() if (record := _record(line)) is not None]

    def append(self, record: Record) -> None:
        """Add a record, forgetting the oldest ones beyond `MAX_RECORDS`.

        Raises:
            StoreUnwritableError: It cannot be written.
        """
        records = [*self.read(), record][-MAX_RECORDS:]
        lines = (json.dumps(asdict(each), ensure_ascii=False) for each in records)
        replace_atomically(self.path, ("\n".join(lines) + "\n").encode("utf-8", "replace"), mode=0o600)


def next_id(records: Sequence[Record]) -> int:
    """The id of the next record."""
    return max((record.id for record in records), default=0) + 1


def undone(records: Sequence[Record]) -> frozenset[int]:
    """Ids of changes that were taken back."""
    return frozenset(record.undoes for record in records if record.undoes is not None)


def describe(
    texts: Sequence[str], target: MemoryTarget, records: Sequence[Record], file_time: float
) -> tuple[MemoryEntry, ...]:
    """Entries with their provenance; what the journal does not know was written by hand."""
    known: dict[str, MemoryEntry] = {}
    for record in records:
        if record.target != target:
            continue
        for _, text in record.added:
            # An undo brings back what somebody else had written: it keeps its author and time.
            if record.undoes is None or text not in known:
                known[text] = MemoryEntry(text, record.time, record.origin, record.session_id)
    return tuple(known.get(text, MemoryEntry(text, file_time)) for text in texts)


def _record(line: str) -> Record | None:
    try:
        data = json.loads(line)
        return Record(
            id=int(data["id"]),
            time=float(data["time"]),
            target="user" if data["target"] == "user" else "memory",
            action=str(data["action"]),
            origin=str(data["origin"]),
            session_id=str(data.get("session_id", "")),
            removed=tuple((int(at), str(text)) for at, text in data.get("removed", ())),
            added=tuple((int(at), str(text)) for at, text in data.get("added", ())),
            undoes=None if data.get("undoes") is None else int(data["undoes"]),
        )
    except (ValueError, TypeError, KeyError):
        return None
