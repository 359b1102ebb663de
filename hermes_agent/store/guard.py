"""Keeping checkpoints and writes of different processes apart.

SQLite before 3.51.3 (and 3.50.7, 3.44.6) can damage a database if one connection copies the log into the
file at the very moment another one starts the log anew: https://sqlite.org/wal.html#walresetbug. The
SQLite of a Python installation is what it is, so every write transaction holds a shared lock here, and a
checkpoint is made only under the exclusive one. The lock is a file of its own beside the database.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hermes_agent.store.failures import busy

SUFFIX: Final = "-guard"

_WAIT_SECONDS: Final = 17.0
_POLL_SECONDS: Final = 0.002


class CheckpointGuard:
    """The lock beside a database. Where the file system has no locks, it does nothing."""

    def __init__(self, path: Path) -> None:
        self._database = path
        self._path = path.with_name(path.name + SUFFIX)
        self._descriptor: int | None = None
        self._is_usable = True
        self._depth = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold off checkpoints; may be nested.

        Raises:
            StoreBusyError: A checkpoint of another process does not end.
        """
        if self._depth == 0:
            self._lock_shared()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0:
                self._unlock()

    @contextmanager
    def checkpointing(self) -> Iterator[bool]:
        """Hold off writers, if none is active now; gives whether that is so."""
        is_free = self._depth == 0 and self._try(fcntl.LOCK_EX)
        try:
            yield is_free
        finally:
            if is_free:
                self._unlock()

    def close(self) -> None:
        """Give up the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock_shared(self) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not self._try(fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise busy(self._database)
            time.sleep(_POLL_SECONDS)

    def _try(self, kind: int) -> bool:
        if not self._is_usable:
            return True
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            self._is_usable = False  # the database itself will say what is wrong with the place
        return True

    def _unlock(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
