"""For `hermes doctor`: is the database sound, and saving what can be read of one that is not.

Nothing here deletes a damaged file, and nothing runs unless a person asks for it. The store must be
closed in this process meanwhile (see database.py on locks).
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hermes_agent.core.errors import StoreBusyError, StoreError
from hermes_agent.store import search_index
from hermes_agent.store.database import (
    begin_immediate,
    commit,
    connect,
    connect_readonly,
    enable_wal,
    prepare_file,
)
from hermes_agent.store.failures import is_busy, primary_code, translate, translated
from hermes_agent.store.file_failures import translate_os
from hermes_agent.store.migrate import current_version, migrate

SIDE_FILES: Final = ("-wal", "-shm", "-journal")

_BATCH: Final = 200
_LARGEST_ROWID: Final = 2**62
_OWN_BOOKKEEPING: Final = frozenset({"store_migrations", "store_meta", "search_range", "schema_version"})
_VIRTUAL_NAME: Final = re.compile(r"^\s*CREATE\s+VIRTUAL\s+TABLE", re.IGNORECASE)


@dataclass(slots=True)
class Salvaged:
    """What was saved.

    Attributes:
        rows: Rows per table.
        gaps: Places where rows could not be read.
        unreadable: Tables of which nothing could be read.
        restored_sessions: Sessions that were lost and were made anew for their messages.
    """

    rows: dict[str, int] = field(default_factory=dict)
    gaps: int = 0
    unreadable: list[str] = field(default_factory=list)
    restored_sessions: int = 0


@dataclass(frozen=True, slots=True)
class Repaired:
    """The new database is in place; the old files are at `set_aside`."""

    salvaged: Salvaged
    set_aside: tuple[Path, ...]


def check(path: Path, *, most: int = 20) -> list[str]:
    """Problems of the file, in SQLite's words; empty if it is sound or does not exist.

    Reads the whole file: seconds per gigabyte.

    Raises:
        StoreVersionError: It was written by a newer program.
        StoreUnwritableError: It cannot be opened.
    """
    if not path.exists():
        return []
    try:
        with closing(connect_readonly(path)) as connection:
            current_version(connection, path)
            rows = connection.execute(f"PRAGMA quick_check({most})").fetchall()
    except sqlite3.Error as error:
        if primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
            return [str(error)]
        raise translate(error, path) from error
    return [str(problem) for (problem,) in rows if problem != "ok"]


def is_in_use(path: Path) -> bool:
    """Whether any process (or this one) has the database open."""
    if not path.exists():
        return False
    with translated(path), closing(connect(path, busy_timeout_ms=200)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
        try:
            # In WAL mode the first access takes the exclusive lock, which nobody gets beside others.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if is_busy(error):
                return True
            raise
    return False


def set_aside(path: Path, directory: Path) -> tuple[Path, ...]:
    """Move a database and the files beside it to a new folder below `directory` (`Home.backups`).

    Raises:
        StoreUnwritableError: It cannot be moved.
    """
    folder = directory / f"{path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    moved = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for suffix in ("", *SIDE_FILES):
            source = path.with_name(path.name + suffix)
            if source.exists():
                target = _free_name(folder / source.name)
                source.rename(target)
                moved.append(target)
    except OSError as error:
        raise translate_os(error, folder) from error
    return tuple(moved)


def repair(path: Path, directory: Path) -> Repaired:
    """Build a sound database from what can be read, and put it in the place of the damaged one.

    Args:
        path: The damaged database.
        directory: Where the damaged files go (`Home.backups`).

    Raises:
        StoreBusyError: A process has it open.
        StoreError: The new one cannot be written; the old one stays.
    """
    try:
        if is_in_use(path):
            raise StoreBusyError(
                f"The database {path} is in use",
                why="It can only be mended while no hermes runs",
                remedy="Stop the gateway and close all chats, then try again.",
            )
    except StoreError as error:
        if isinstance(error, StoreBusyError):
            raise
        # Too damaged to be locked, so nobody can be using it.
    fresh = path.with_name(f"{path.name}.salvaged")
    for suffix in ("", *SIDE_FILES):
        fresh.with_name(fresh.name + suffix).unlink(missing_ok=True)
    salvaged = salvage(path, fresh)
    moved = set_aside(path, directory)
    try:
        fresh.rename(path)
    except OSError as error:
        raise translate_os(error, path) from error
    return Repaired(salvaged, moved)


def salvage(source: Path, target: Path) -> Salvaged:
    """Copy every row that can be read into a new database at `target`.

    Raises:
        StoreError: `target` cannot be written.
    """
    report = Salvaged()
    prepare_file(target)
    with translated(target), closing(connect(target)) as new:
        enable_wal(new)
        migrate(new, target)
        with closing(connect_readonly(source)) as old:
            for table, sql in _tables(old, report):
                _copy_table(old, new, target, table, sql, report)
        begin_immediate(new, target)
        report.restored_sessions = _restore_sessions(new)
        search_index.reset(new)
        commit(new, target)
    return report


def _tables(old: sqlite3.Connection, report: Salvaged) -> list[tuple[str, str]]:
    """Ordinary tables with their SQL; not those of full-text indexes, which are built anew."""
    try:
        found = old.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.DatabaseError:
        report.unreadable.append("sqlite_master")
        return []
    virtual = [name for name, sql in found if _VIRTUAL_NAME.match(sql or "")]
    return [
        (name, sql)
        for name, sql in found
        if sql
        and name not in virtual
        and name not in _OWN_BOOKKEEPING
        and not name.startswith("sqlite_")
        and not any(name.startswith(f"{index}_") for index in virtual)
    ]


def _copy_table(
    old: sqlite3.Connection, new: sqlite3.Connection, target: Path, table: str, sql: str, report: Salvaged
) -> None:
    begin_immediate(new, target)
    quoted = _quoted(table)
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({quoted})")]
    if not columns:
        new.execute(sql)
        columns = [row[1] for row in new.execute(f"PRAGMA table_info({quoted})")]
    try:
        existing = {row[1] for row in old.execute(f"PRAGMA table_info({quoted})")}
        shared = [column for column in columns if column in existing]
        names = ", ".join(_quoted(column) for column in shared)
        insert = f"INSERT OR IGNORE INTO {quoted} ({names}) VALUES ({', '.join('?' * len(shared))})"  # noqa: S608
        count = 0
        for row in _walk(old, f"SELECT rowid, {names} FROM {quoted}", report):  # noqa: S608
            count += new.execute(insert, row[1:]).rowcount
    except sqlite3.DatabaseError as error:
        if primary_code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
            raise
        report.unreadable.append(table)
        new.execute("ROLLBACK")
        return
    commit(new, target)
    report.rows[table] = count


def _walk(old: sqlite3.Connection, select: str, report: Salvaged) -> Iterator[tuple[Any, ...]]:
    """All rows that can be reached, upwards; after a gap with growing steps, then from the other end."""
    last, step, size = -_LARGEST_ROWID, 1, _BATCH
    while last < _LARGEST_ROWID:
        try:
            rows = old.execute(f"{select} WHERE rowid > ? ORDER BY rowid LIMIT ?", (last, size)).fetchall()
        except sqlite3.DatabaseError:
            if size > 1:
                size = 1
                continue
            report.gaps += 1
            last = max(last, 0) + step
            step *= 2
            continue
        if not rows:
            break
        if size == 1:
            size, step = (_BATCH, 1) if step > 1 else (1, 1)
        yield from rows
        last = rows[-1][0]
    if report.gaps:
        yield from _walk_down(old, select)


def _walk_down(old: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    last = _LARGEST_ROWID
    while True:
        try:
            row = old.execute(f"{select} WHERE rowid < ? ORDER BY rowid DESC LIMIT 1", (last,)).fetchone()
        except sqlite3.DatabaseError:
            return
        if row is None:
            return
        yield row
        last = row[0]


def _restore_sessions(new: sqlite3.Connection) -> int:
    """Make sessions for messages that have none."""
    return new.execute(
        "INSERT INTO sessions (id, source, started_at, message_count)"
        " SELECT session_id, 'recovered', min(timestamp), count(*) FROM messages"
        " WHERE session_id NOT IN (SELECT id FROM sessions) GROUP BY session_id"
    ).rowcount


def _free_name(path: Path) -> Path:
    number = 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
