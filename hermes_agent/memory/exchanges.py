"""Exchanges on their way to an external memory service: one file each, until the service has it.

A file is named by its time, so that the oldest goes first. Before the first try it is renamed; a try whose
end nobody saw (the process was killed, the connection broke) is thereby told from none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from hermes_agent.config.files import ensure_directory, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.memory import Exchange

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000
"""Beyond it the oldest are dropped: a service that is gone for good must not fill the disk."""

_NEW, _TRIED = ".json", ".tried.json"


class Exchanges:
    """What waits for one service. Every method blocks.

    Args:
        home: The state directory.
        service: Name of the provider; each has a folder of its own, so that nothing goes to another.
    """

    def __init__(self, home: Home, service: str) -> None:
        self.folder = home.pending / "memory-service" / service
        self._lock = home.run / f"memory-service-{service}.lock"

    def put(self, exchange: Exchange) -> None:
        """Keep one until it is sent. Raises `StoreUnwritableError`."""
        ensure_directory(self.folder)
        waiting = self.waiting()
        for path in waiting[: max(0, len(waiting) + 1 - MAX_WAITING)]:
            logger.warning("an exchange for the memory service was dropped: %d wait already", len(waiting))
            path.unlink(missing_ok=True)
        data = json.dumps(asdict(exchange), ensure_ascii=False).encode("utf-8", "replace")
        name = f"{int(exchange.at * 1000):015d}-{exchange.id}{_NEW}"
        replace_atomically(self.folder / name, data, mode=0o600)

    def waiting(self) -> list[Path]:
        """Files that wait, the oldest first."""
        return sorted(self.folder.glob(f"*{_NEW}"))

    def begin(self, path: Path) -> tuple[Exchange, Path] | None:
        """Take one up, noting that it is being tried; None (and it is gone) if it cannot be read.

        Returns:
            The exchange and the file that holds it now.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            exchange = Exchange(**data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            logger.warning("%s is not an exchange and was removed", path)
            path.unlink(missing_ok=True)
            return None
        if path.name.endswith(_TRIED):
            return replace(exchange, is_retry=True), path
        tried = path.with_name(path.name.removesuffix(_NEW) + _TRIED)
        path.replace(tried)
        return exchange, tried

    def forget(self) -> int:
        """Drop everything that waits; says how much it was."""
        waiting = self.waiting()
        for path in waiting:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
        return len(waiting)

    @contextmanager
    def sending(self) -> Iterator[bool]:
        """Be the one process that sends; False if another one does."""
        ensure_directory(self._lock.parent)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)
