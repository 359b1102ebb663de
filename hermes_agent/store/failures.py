"""SQLite's errors as ours: what happened, why, what next."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hermes_agent.core.errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreUnwritableError,
)

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
_UNWRITABLE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_CORRUPT_VTAB = 267

_FULL_BYTES = 64 * 1024
"""Less free than this is a full disk: SQLite grows its shared-memory file by 32 KiB."""

_CORRUPT_REMEDY = (
    "Run `hermes doctor --fix` to rescue what can be read (the damaged file is kept), "
    "or restore a backup with `hermes import`."
)


def primary_code(error: sqlite3.Error) -> int:
    """The primary result code of an error, 0 if SQLite gave none."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return 0 if code is None else code & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Another connection holds the lock; trying again may help."""
    return primary_code(error) in _BUSY


def is_damaged_index(error: sqlite3.Error) -> bool:
    """The damage is in a full-text index (which can be rebuilt), not in the tables."""
    return getattr(error, "sqlite_errorcode", None) == _CORRUPT_VTAB


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """The `StoreError` that says the same."""
    code = primary_code(error)
    reason = str(error)
    if code in _BUSY:
        return busy(path)
    if code == sqlite3.SQLITE_NOTADB:
        return StoreCorruptError(
            f"{path} is not a hermes database", why="The file is not an SQLite file", remedy=_CORRUPT_REMEDY
        )
    if code in _CORRUPT:
        return StoreCorruptError(f"The database {path} is damaged", why=reason, remedy=_CORRUPT_REMEDY)
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_disk_full(path)):
        return StoreUnwritableError(
            f"No space left to store the conversation in {path}",
            why="The disk is full",
            remedy="Free some space and try again; nothing that was stored is lost.",
        )
    if code in _UNWRITABLE:
        return unwritable(path, reason)
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"Reading or writing {path} failed",
            why=reason,
            remedy="Check the disk (`dmesg`, `df`), then run `hermes doctor`.",
        )
    if "no such module: fts5" in reason:
        return StoreError(
            "This Python's SQLite has no full-text search (FTS5)",
            remedy="Use a Python whose sqlite3 module is built with FTS5 (uv's and most systems' are).",
        )
    return StoreError(f"The database {path} refused a statement", why=reason, remedy="Run `hermes doctor`.")


def _is_disk_full(path: Path) -> bool:
    """SQLite calls a shared-memory file that cannot grow an I/O error."""
    try:
        return shutil.disk_usage(path.parent).free < _FULL_BYTES
    except OSError:
        return False


def busy(path: Path) -> StoreBusyError:
    """The lock was not to be had in time."""
    return StoreBusyError(
        f"The database {path} is locked",
        why="Another program has been writing to it for too long",
        remedy="Close other programs that use it (`fuser` shows them) and try again.",
    )


def unwritable(path: Path, reason: str | None) -> StoreUnwritableError:
    """The file or its directory cannot be written."""
    return StoreUnwritableError(
        f"Cannot write the database {path}",
        why=reason,
        remedy="Check the permissions of the file and its directory, or set HERMES_HOME elsewhere.",
    )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise `StoreError` for whatever SQLite raises inside."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error
