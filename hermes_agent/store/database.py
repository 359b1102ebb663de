"""Connections to the database file: opening, pragmas, and the transaction that waits its turn.

While a process has the file open through SQLite it must not open it in any other way: closing any
descriptor of a file drops all POSIX locks the process holds on it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from hermes_agent.core.errors import StoreUnwritableError
from hermes_agent.store.failures import busy, is_busy
from hermes_agent.store.file_failures import translate_os

BUSY_TIMEOUT_MS = 1_000
BUSY_TRIES = 15
BUSY_JITTER_SECONDS = (0.020, 0.150)

_CACHE_KIB = 8_192
_WAL_LIMIT_BYTES = 64 * 1024 * 1024


def prepare_file(path: Path) -> None:
    """Make the directory and an empty file with mode 0600; an existing file is not touched.

    Raises:
        StoreUnwritableError: A directory stands there, or the place cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_dir():
            raise StoreUnwritableError(
                f"{path} is a directory, but the database should be there",
                remedy="Move the directory away and try again.",
            )
        # O_EXCL: a file that exists, and may be locked by this process, is never opened here.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise translate_os(error, path) from error


def connect(path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> sqlite3.Connection:
    """A connection that may write. Nothing is written yet; transactions are explicit."""
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=busy_timeout_ms / 1000
    )
    connection.text_factory = _lenient_text
    connection.execute("PRAGMA wal_autocheckpoint = 0")  # the writer does it, see guard.py
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def connect_readonly(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_MS / 1000,
    )
    connection.text_factory = _lenient_text
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def enable_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead log: readers and the writer do not wait for each other."""
    for attempt in range(1, BUSY_TRIES + 1):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if not is_busy(error) or attempt == BUSY_TRIES:
                raise
            _wait()
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")


def begin_immediate(connection: sqlite3.Connection, path: Path, *, tries: int = BUSY_TRIES) -> None:
    """Start a write transaction, waiting for other processes to finish theirs.

    Raises:
        StoreBusyError: The lock was not to be had in about 17 seconds.
    """
    for attempt in range(1, tries + 1):
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            if attempt < tries:
                _wait()
        else:
            return
    raise busy(path)


def commit(connection: sqlite3.Connection, path: Path) -> None:
    """Commit, with the same patience.

    Raises:
        StoreBusyError: The lock was not to be had.
    """
    for attempt in range(1, BUSY_TRIES + 1):
        try:
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            if attempt < BUSY_TRIES:
                _wait()
        else:
            return
    raise busy(path)


def rollback(connection: sqlite3.Connection) -> None:
    """Undo the open transaction; SQLite may have done so already."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _lenient_text(value: bytes) -> str:
    """Text of other programs may be broken; that must not keep the rest from being read."""
    return value.decode("utf-8", "replace")


def _wait() -> None:
    low, high = BUSY_JITTER_SECONDS
    # Not the random module: importing it costs more than the rest of this package.
    time.sleep(low + (high - low) * os.urandom(1)[0] / 255)
