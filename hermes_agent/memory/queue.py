"""Changes that wait for the person's approval (`memory.write_approval`): one file each in `pending/`."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hermes_agent.config.files import ensure_directory, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import StoreError
from hermes_agent.core.memory import MemoryChange

MAX_WAITING = 100


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued change. `asked_at` is Unix time."""

    id: str
    asked_at: float
    change: MemoryChange


class Queue:
    """The queue of all principals. Every method blocks."""

    def __init__(self, home: Home) -> None:
        self._folder = home.pending / "memory"

    def put(self, change: MemoryChange) -> Waiting:
        """Queue a change; one that waits already is not queued twice.

        Raises:
            StoreError: Too many wait, or it cannot be written.
        """
        waiting = self.list()
        for each in waiting:
            if (each.change.action, each.change.target, each.change.content, each.change.old_text) == (
                change.action,
                change.target,
                change.content,
                change.old_text,
            ) and each.change.principal == change.principal:
                return each
        if len(waiting) >= MAX_WAITING:
            raise StoreError(
                f"{len(waiting)} changes to memory wait for approval already",
                remedy="The person decides with: hermes memory pending",
            )
        item = Waiting(secrets.token_hex(3), time.time(), change)
        ensure_directory(self._folder)
        data = {"id": item.id, "asked_at": item.asked_at, "change": asdict(change)}
        replace_atomically(
            self._path(item.id),
            json.dumps(data, ensure_ascii=False, indent=1).encode("utf-8", "replace"),
            mode=0o600,
        )
        return item

    def list(self) -> list[Waiting]:
        """What waits, the oldest first. Files that are not ours are skipped."""
        found = [item for path in sorted(self._folder.glob("*.json")) if (item := _read(path)) is not None]
        return sorted(found, key=lambda item: item.asked_at)

    def get(self, identifier: str) -> Waiting:
        """One of them. Raises `StoreError` if there is none."""
        for item in self.list():
            if item.id == identifier:
                return item
        raise StoreError(
            f"No change {identifier!r} waits for approval", remedy="hermes memory pending lists them."
        )

    def drop(self, identifier: str) -> None:
        """Forget one that was decided."""
        if re.fullmatch(r"[0-9a-f]+", identifier):
            self._path(identifier).unlink(missing_ok=True)

    def _path(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.json"


def _read(path: Path) -> Waiting | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        item = Waiting(str(data["id"]), float(data["asked_at"]), MemoryChange(**data["change"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return item if item.id == path.stem else None
