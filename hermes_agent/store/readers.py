"""Reading, beside the writer: a few threads, each with its own read-only connection."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hermes_agent.core.errors import StoreError
from hermes_agent.store.database import connect_readonly
from hermes_agent.store.failures import translated

ResultT = TypeVar("ResultT")

_THREADS = 3


class Readers:
    """Runs queries, each in one read transaction, so that it sees one moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-reader")
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False

    async def run(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Run a query on a reader thread; cancelling stops it.

        Raises:
            StoreError: It failed.
        """
        if self._is_closed:
            raise StoreError("The store is closed")
        used: list[sqlite3.Connection] = []
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, query, used)
        except asyncio.CancelledError:
            with self._lock:  # a connection in `used` serves this query and no other
                for connection in used:
                    connection.interrupt()
            raise

    async def aclose(self) -> None:
        """Wait for running queries and close the connections."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.to_thread(self._executor.shutdown)
        while self._idle:
            self._idle.pop().close()

    def _read(
        self, query: Callable[[sqlite3.Connection], ResultT], used: list[sqlite3.Connection]
    ) -> ResultT:
        with translated(self._path):
            connection = self._take(used)
            try:
                connection.execute("BEGIN")
                result = query(connection)
                connection.execute("COMMIT")
            except BaseException:
                self._give_back(used, is_usable=False)
                raise
            self._give_back(used, is_usable=True)
            return result

    def _take(self, used: list[sqlite3.Connection]) -> sqlite3.Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = connect_readonly(self._path)
        with self._lock:
            used.append(connection)
        return connection

    def _give_back(self, used: list[sqlite3.Connection], *, is_usable: bool) -> None:
        with self._lock:
            connection = used.pop()
            if is_usable:
                self._idle.append(connection)
        if not is_usable:
            connection.close()
