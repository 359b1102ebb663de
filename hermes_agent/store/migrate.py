"""Bringing a database to this program's layout, in one transaction, adding and never rewriting.

Three kinds of file are accepted: an empty one, one of ours, and one of the older agent
(`schema_version` at most 16). Anything else is refused before a byte is written.

`store_migrations` lists the steps that were applied. `store_meta.compat_version` is the oldest
program version (number of its last migration) that can still use the file: a newer program that only
adds things leaves it alone, so both can work with one database.
"""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path
from typing import Final

from hermes_agent.core.errors import StoreCorruptError, StoreVersionError
from hermes_agent.store.database import begin_immediate, commit, rollback

STORE_VERSION: Final = 6
"""Number of the newest migration; a test compares it with the files."""

COMPAT_VERSION: Final = 1
"""Oldest program that can use a database written by this one."""

OLDER_AGENT_VERSION: Final = 16
"""The newest layout of the older agent that is understood."""

_DIRECTORY: Final = Path(__file__).parent / "migrations"
_FILE_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")
_SHARED_TABLES: Final = ("sessions", "messages", "compression_locks")


def migration_files() -> list[tuple[int, Path]]:
    """All steps, in order."""
    found = [
        (int(match[1]), path) for path in _DIRECTORY.iterdir() if (match := _FILE_NAME.fullmatch(path.name))
    ]
    return sorted(found)


def current_version(connection: sqlite3.Connection, path: Path) -> int:
    """Number of the last applied step; 0 for an empty file or one of the older agent.

    Raises:
        StoreVersionError: The file needs a newer program.
        StoreCorruptError: The file belongs to some other program.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_version" in tables:
        (theirs,) = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        if isinstance(theirs, int) and theirs > OLDER_AGENT_VERSION:
            raise _too_new(path, f"its schema version is {theirs}, this program knows {OLDER_AGENT_VERSION}")
    if "store_migrations" not in tables:
        if tables and not {"sessions", "messages"} <= tables:
            raise _not_ours(path)
        if "messages" in tables:
            _check_essentials(connection, path)
        return 0
    row = connection.execute("SELECT value FROM store_meta WHERE key = 'compat_version'").fetchone()
    needed = int(row[0]) if row else 0
    if needed > STORE_VERSION:
        raise _too_new(path, f"it needs store version {needed}, this program has {STORE_VERSION}")
    (version,) = connection.execute("SELECT coalesce(max(number), 0) FROM store_migrations").fetchone()
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Apply the steps the file lacks, all or none.

    Raises:
        StoreVersionError: The file needs a newer program.
        StoreCorruptError: The file belongs to some other program.
        StoreBusyError: Another process holds the lock for too long.
    """
    begin_immediate(connection, path)
    try:
        applied = current_version(connection, path)  # again: another process may have been faster
        if applied == 0:
            _create_bookkeeping(connection)
        for number, file in migration_files():
            if number <= applied:
                continue
            _apply(connection, number, file)
        commit(connection, path)
    except BaseException:
        rollback(connection)
        raise


def _apply(connection: sqlite3.Connection, number: int, file: Path) -> None:
    script = file.read_text(encoding="utf-8")
    if number == 1:
        _add_missing_columns(connection, script)
    for statement in statements(script):
        connection.execute(statement)
    if number == 1:
        _index_messages(connection)
        _make_titles_unique(connection)
    connection.execute(
        "INSERT INTO store_migrations (number, name, applied_at) VALUES (?, ?, ?)",
        (number, file.stem, time.time()),
    )


def _create_bookkeeping(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS store_migrations"
        " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at REAL NOT NULL)"
    )
    connection.execute("CREATE TABLE IF NOT EXISTS store_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.execute(
        "INSERT OR IGNORE INTO store_meta (key, value) VALUES ('compat_version', ?)", (str(COMPAT_VERSION),)
    )


def statements(script: str) -> list[str]:
    """Single statements of a script (`executescript` would commit the open transaction)."""
    found, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found


def _add_missing_columns(connection: sqlite3.Connection, script: str) -> None:
    """Give tables of the older agent the columns that this program uses."""
    wanted = sqlite3.connect(":memory:")
    try:
        wanted.executescript(script)
        for table in _SHARED_TABLES:
            existing = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            if not existing:
                continue
            for _, name, kind, _, default, _ in wanted.execute(f"PRAGMA table_info({table})"):
                if name not in existing:
                    suffix = "" if default is None else f" DEFAULT {default}"
                    connection.execute(f'ALTER TABLE {table} ADD COLUMN "{name}" {kind}{suffix}')
    finally:
        wanted.close()


def _index_messages(connection: sqlite3.Connection) -> None:
    """Messages are found by session and time. A large older database has such an index already."""
    for row in connection.execute("PRAGMA index_list(messages)").fetchall():
        name, is_partial = row[1], row[4]
        columns = [column[2] for column in connection.execute(f"PRAGMA index_info({_quoted(name)})")]
        if columns[:2] == ["session_id", "timestamp"] and not is_partial:
            return
    connection.execute("CREATE INDEX store_messages_session ON messages (session_id, timestamp)")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _make_titles_unique(connection: sqlite3.Connection) -> None:
    """The store keeps titles unique; the index makes other programs do so as well."""
    try:
        connection.execute(
            "CREATE UNIQUE INDEX IF NOT EXISTS store_sessions_title ON sessions (title)"
            " WHERE title IS NOT NULL"
        )
    except sqlite3.IntegrityError:
        # Duplicates from before: keep them as they are, find them quickly.
        connection.execute("CREATE INDEX IF NOT EXISTS store_sessions_title ON sessions (title)")


def _check_essentials(connection: sqlite3.Connection, path: Path) -> None:
    for table, essential in (("sessions", {"id"}), ("messages", {"id", "session_id", "role", "content"})):
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not essential <= columns:
            raise _not_ours(path)


def _too_new(path: Path, reason: str) -> StoreVersionError:
    return StoreVersionError(
        f"The database {path} was written by a newer program",
        why=reason[0].upper() + reason[1:],
        remedy="Update hermes-agent, or set HERMES_HOME to another directory; the file was not changed.",
    )


def _not_ours(path: Path) -> StoreCorruptError:
    return StoreCorruptError(
        f"{path} is not a hermes database",
        why="It is an SQLite file of another program",
        remedy="Move it away, or set HERMES_HOME to another directory; the file was not changed.",
    )
