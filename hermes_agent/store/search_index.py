"""Keeping the search index in step with `messages`.

`search_range` says which ids are indexed: low <= id <= high. Every write transaction ends by indexing
what is above `high` (its own rows, and those that another program has added without knowing of the
index). Messages below `low`, from before a database was first opened by this program, follow in idle
moments, newest first. The index is derived: if it is damaged it is emptied and built again, and storing
messages goes on.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from hermes_agent.store.database import begin_immediate, commit, rollback
from hermes_agent.store.failures import is_damaged_index
from hermes_agent.store.search_text import INDEX_FORMAT, MESSAGE_COLUMNS, searchable, set_apart

_CREATE: Final = (
    "CREATE VIRTUAL TABLE message_words USING fts5 ("
    " body, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2' )"
)
"""The same as in migration 0003."""

_SELECT: Final = f"SELECT id, {MESSAGE_COLUMNS} FROM messages"  # noqa: S608 - constants
_INSERT: Final = "INSERT INTO message_words (rowid, body) VALUES (?, ?)"
_DELETE: Final = "INSERT INTO message_words (message_words, rowid, body) VALUES ('delete', ?, ?)"
_CATCH_UP_ROWS: Final = 20_000
_IDLE_ROWS: Final = 250


def index_new(connection: sqlite3.Connection) -> bool:
    """Index what is above the range, at most 20,000 rows; returns whether anything is left to index."""
    try:
        connection.execute("SAVEPOINT indexing")
        is_behind = _index_above(connection, _CATCH_UP_ROWS)
        connection.execute("RELEASE indexing")
    except sqlite3.DatabaseError as error:
        if not is_damaged_index(error):
            raise
        connection.execute("ROLLBACK TO indexing")
        connection.execute("RELEASE indexing")
        reset(connection)
        return True
    return is_behind


def index_some(connection: sqlite3.Connection, rows: int = _IDLE_ROWS) -> bool:
    """Index a little of what is left, above the range first; returns whether more is left."""
    try:
        if _index_above(connection, rows):
            return True
        low, _ = _range(connection)
        found = connection.execute(f"{_SELECT} WHERE id < ? ORDER BY id DESC LIMIT ?", (low, rows)).fetchall()
        if not found:
            return False
        found.reverse()
        _insert(connection, found)
        connection.execute("UPDATE search_range SET low = ?", (found[0][0],))
    except sqlite3.DatabaseError as error:
        if not is_damaged_index(error):
            raise
        reset(connection)
    return True


def has_backlog(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether messages wait to be indexed; an index of an older format is emptied first."""
    if _is_outdated(connection):
        begin_immediate(connection, path)
        try:
            if _is_outdated(connection):  # still: another process may have been faster
                reset(connection)
            commit(connection, path)
        except BaseException:
            rollback(connection)
            raise
    return waiting(connection) > 0


def waiting(connection: sqlite3.Connection) -> int:
    """0 if everything is indexed, else about how many messages are not (ids, so gaps count)."""
    low, high = _range(connection)
    oldest, newest = connection.execute(
        "SELECT (SELECT min(id) FROM messages), (SELECT max(id) FROM messages)"
    ).fetchone()
    if newest is None:
        return 0
    return max(0, int(newest) - high) + max(0, low - int(oldest))


def unindex(connection: sqlite3.Connection, session_id: str) -> None:
    """Take a session's messages out of the index, before they are deleted."""
    low, high = _range(connection)
    rows = connection.execute(
        f"{_SELECT} WHERE session_id = ? AND id BETWEEN ? AND ?", (session_id, low, high)
    ).fetchall()
    try:
        connection.execute("SAVEPOINT unindexing")
        connection.executemany(_DELETE, ((row[0], set_apart(searchable(*row[1:]))) for row in rows))
        connection.execute("RELEASE unindexing")
    except sqlite3.DatabaseError as error:
        if not is_damaged_index(error):
            raise
        connection.execute("ROLLBACK TO unindexing")
        connection.execute("RELEASE unindexing")
        reset(connection)


def reset(connection: sqlite3.Connection) -> None:
    """Empty the index; everything is indexed anew in idle moments."""
    connection.execute("DROP TABLE IF EXISTS message_words")
    connection.execute(_CREATE)
    connection.execute("DELETE FROM search_range")
    connection.execute(
        "INSERT INTO search_range (id, format, low, high)"
        " SELECT 1, ?, coalesce(max(id), 0) + 1, coalesce(max(id), 0) FROM messages",
        (INDEX_FORMAT,),
    )


def optimize(connection: sqlite3.Connection) -> None:
    """Merge the index into one segment: smaller, a little faster."""
    connection.execute("INSERT INTO message_words (message_words) VALUES ('optimize')")


def _index_above(connection: sqlite3.Connection, limit: int) -> bool:
    _, high = _range(connection)
    found = connection.execute(f"{_SELECT} WHERE id > ? ORDER BY id LIMIT ?", (high, limit)).fetchall()
    if found:
        _insert(connection, found)
        connection.execute("UPDATE search_range SET high = ?", (found[-1][0],))
    return len(found) == limit


def _insert(connection: sqlite3.Connection, rows: list[tuple[int, str, str, str, str]]) -> None:
    connection.executemany(_INSERT, ((row[0], set_apart(searchable(*row[1:]))) for row in rows))


def _is_outdated(connection: sqlite3.Connection) -> bool:
    row = connection.execute("SELECT format FROM search_range").fetchone()
    if row is None or row[0] < INDEX_FORMAT:
        return True
    return not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_words'").fetchone()


def _range(connection: sqlite3.Connection) -> tuple[int, int]:
    low, high = connection.execute("SELECT low, high FROM search_range").fetchone()
    return int(low), int(high)
