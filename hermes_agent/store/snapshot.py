"""Copies of SQLite files that other processes may be writing to."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hermes_agent.core.errors import StoreCorruptError
from hermes_agent.store.database import connect, connect_readonly
from hermes_agent.store.failures import translated

_PAGES_PER_STEP = 2_048


def copy_database(source: Path, target: Path) -> None:
    """Copy a database through SQLite's backup call: a consistent moment, log included.

    Raises:
        StoreCorruptError: The source is damaged or no SQLite file.
        StoreError: It cannot be read or written.
    """
    # A read-only connection cannot fold the log into the file when it is the last to leave.
    can_write = os.access(source, os.W_OK) and os.access(source.parent, os.W_OK)
    with (
        translated(source),
        closing(connect(source) if can_write else connect_readonly(source)) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new, pages=_PAGES_PER_STEP, sleep=0.01)
        # The copy travels alone: no log beside it.
        new.execute("PRAGMA journal_mode = DELETE").fetchone()


def verify_database(path: Path) -> None:
    """Check a copy that nobody else uses.

    Raises:
        StoreCorruptError: It is damaged.
    """
    with translated(path), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as copy:
        (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StoreCorruptError(f"The copy {path.name} is damaged", why=str(verdict))
