"""The memory files of one principal: read, changed under a lock, replaced atomically."""

from __future__ import annotations

import hashlib
import re
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.config.files import ensure_directory, exclusive, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError, StoreBusyError, StoreError
from hermes_agent.core.memory import OWNER, MemoryEntry, MemoryTarget
from hermes_agent.memory.format import parse, render
from hermes_agent.memory.journal import Journal, Record, describe, next_id, undone

FILE_NAMES: dict[MemoryTarget, str] = {"memory": "MEMORY.md", "user": "USER.md"}
MAX_BYTES = 1_000_000
LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Content:
    """One file as it is. `problem` says why it must not be written (its text may be shown, nevertheless)."""

    texts: tuple[str, ...] = ()
    changed_at: float = 0.0
    problem: str = ""


def scope_folder(home: Home, principal: str) -> Path:
    """Where the files of a principal are: `memories/`, or a folder of its own below."""
    if principal in ("", OWNER):
        return home.memories
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", principal).strip("-")[:40]
    digest = hashlib.sha256(principal.encode("utf-8", "replace")).hexdigest()[:12]
    return home.memories / "people" / f"{readable or 'x'}-{digest}"


class MemoryFiles:
    """MEMORY.md, USER.md and their journal in one folder. Every method blocks."""

    def __init__(self, home: Home, principal: str = OWNER) -> None:
        self.folder = scope_folder(home, principal)
        self.journal = Journal(self.folder / ".journal.jsonl")
        self._lock = home.run / "memory.lock"

    def path(self, target: MemoryTarget) -> Path:
        """The file."""
        return self.folder / FILE_NAMES[target]

    def read(self, target: MemoryTarget) -> Content:
        """The entries; a file that is not there has none.

        Raises:
            StoreError: It is a directory or a device, or cannot be read.
        """
        path = self.path(target)
        try:
            known = path.stat()
            if not stat.S_ISREG(known.st_mode):
                raise StoreError(f"{path} is not an ordinary file", remedy=f"Look at it: ls -ld '{path}'")
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return Content()
        except OSError as error:
            raise StoreError(
                f"Cannot read {path}", why=error.strerror, remedy=f"Check the permissions: ls -l '{path}'"
            ) from error
        if len(data) > MAX_BYTES:
            text = data[:MAX_BYTES].decode("utf-8", "replace")
            return Content(parse(text), known.st_mtime, f"{path} is larger than {MAX_BYTES // 1_000_000} MB")
        try:
            return Content(parse(data.decode("utf-8")), known.st_mtime)
        except UnicodeDecodeError:
            text = data.decode("utf-8", "replace")
            return Content(parse(text), known.st_mtime, f"{path} is not UTF-8 text")

    def entries(self, target: MemoryTarget) -> tuple[MemoryEntry, ...]:
        """The entries with their provenance. Raises `StoreError`."""
        content = self.read(target)
        return describe(content.texts, target, self.journal.read(), content.changed_at)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers away, also those of other processes.

        Raises:
            StoreBusyError: Somebody else writes for too long.
        """
        try:
            with exclusive(self._lock, timeout_seconds=LOCK_SECONDS):
                yield
        except ConfigError as error:
            raise StoreBusyError(
                "Another hermes process is changing the memory files",
                why=f"It has held {self._lock} for {LOCK_SECONDS:g} seconds.",
                remedy="Try again in a moment.",
            ) from error

    def store(self, texts: Sequence[str], record: Record) -> None:
        """Replace a file, then write down what was done. Call within `writing`.

        Raises:
            StoreUnwritableError: Nothing was changed.
        """
        ensure_directory(self.folder)
        replace_atomically(self.path(record.target), render(texts).encode(), mode=0o600)
        self.journal.append(record)

    def undo(self, record_id: int | None, *, origin: str = "person") -> Record:
        """Take back a change: the newest one that was not taken back, or the one named.

        Raises:
            StoreError: There is none, or what it added has been changed since.
        """
        with self.writing():
            records = self.journal.read()
            gone = undone(records)
            candidates = [
                record
                for record in records
                if record.undoes is None
                and record.id not in gone
                and (record_id is None or record.id == record_id)
            ]
            if not candidates:
                raise StoreError(
                    "There is no change to undo" if record_id is None else f"There is no change {record_id}",
                    remedy="hermes memory history lists what can be undone.",
                )
            change = candidates[-1]
            content = self.read(change.target)
            require_writable(content)
            texts = _reverted(list(content.texts), change)
            undo = Record(
                id=next_id(records),
                time=time.time(),
                target=change.target,
                action="undo",
                origin=origin,
                removed=change.added,
                added=change.removed,
                undoes=change.id,
            )
            self.store(texts, undo)
            return change


def require_writable(content: Content) -> None:
    """Raises `StoreError` if writing the file would lose something."""
    if content.problem:
        raise StoreError(
            content.problem,
            why="hermes does not write a memory file that it cannot read whole.",
            remedy="Mend or move it; nothing was changed.",
        )


def _reverted(texts: list[str], change: Record) -> list[str]:
    for _, text in change.added:
        if text not in texts:
            raise StoreError(
                f"Change {change.id} cannot be undone: what it wrote has been changed since",
                remedy="hermes memory history shows what happened; edit the file for the rest.",
            )
        texts.remove(text)
    for at, text in sorted(change.removed):
        if text not in texts:
            texts.insert(min(at, len(texts)), text)
    return texts
