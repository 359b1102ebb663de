"""Proposals that wait for the person, and versions that were applied: JSON files, one each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hermes_agent.config.files import ensure_directory, replace_atomically
from hermes_agent.core.errors import StoreError
from hermes_agent.skills.edits import FileEdit


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """A change to one skill, proposed or applied.

    Attributes:
        id: Of a proposal a random word, of a version its number.
        action: `create`, `edit` or `delete`.
        time: Unix time.
    """

    id: str
    name: str
    action: str
    time: float
    origin: str = "agent"
    session_id: str = ""
    edits: Mapping[str, FileEdit] = field(default_factory=dict)


class Records:
    """The records in one folder. Blocking; writers hold the skills' lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self) -> list[ChangeRecord]:
        """All that can be read, oldest first."""
        found = [item for path in self._folder.glob("*.json") if (item := _read(path)) is not None]
        return sorted(found, key=lambda item: (item.time, item.id))

    def find(self, identifier: str) -> ChangeRecord | None:
        """The one with this id."""
        return next((item for item in self.list() if item.id == identifier), None)

    def write(self, record: ChangeRecord) -> None:
        """Keep it. Raises `StoreError`."""
        if not re.fullmatch(r"[A-Za-z0-9]+", record.id):
            raise StoreError(f"{record.id!r} is no id")
        ensure_directory(self._folder)
        data = {
            "id": record.id,
            "name": record.name,
            "action": record.action,
            "time": record.time,
            "origin": record.origin,
            "session_id": record.session_id,
            "files": {
                path: {"before": edit.before, "after": edit.after} for path, edit in record.edits.items()
            },
        }
        text = json.dumps(data, ensure_ascii=False, indent=1)
        replace_atomically(self._folder / f"{record.id}.json", text.encode("utf-8", "replace"), mode=0o600)

    def drop(self, identifier: str) -> None:
        """Forget one."""
        if re.fullmatch(r"[A-Za-z0-9]+", identifier):
            (self._folder / f"{identifier}.json").unlink(missing_ok=True)


def _read(path: Path) -> ChangeRecord | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record = ChangeRecord(
            id=str(data["id"]),
            name=str(data["name"]),
            action=str(data["action"]),
            time=float(data["time"]),
            origin=str(data.get("origin", "")),
            session_id=str(data.get("session_id", "")),
            edits={
                str(name): FileEdit(_text(edit["before"]), _text(edit["after"]))
                for name, edit in data["files"].items()
            },
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if record.id == path.stem else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
