"""What this Python's SQLite can do, and the version of a database file. For `hermes doctor`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.store.database import connect_readonly
from hermes_agent.store.failures import translated
from hermes_agent.store.migrate import current_version


@dataclass(frozen=True, slots=True)
class SqliteFeatures:
    """Version as `3.45.1`, and whether full-text search (FTS5) is compiled in."""

    version: str
    has_fts5: bool


def sqlite_features() -> SqliteFeatures:
    """Ask the library; opens nothing on disk."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
        except sqlite3.OperationalError:
            return SqliteFeatures(sqlite3.sqlite_version, has_fts5=False)
    return SqliteFeatures(sqlite3.sqlite_version, has_fts5=True)


def stored_version(path: Path) -> int:
    """Number of the last applied migration of an existing database; changes nothing.

    Raises:
        StoreError: It cannot be opened, is damaged, or belongs to a newer or another program.
    """
    with translated(path), closing(connect_readonly(path)) as connection:
        return current_version(connection, path)
