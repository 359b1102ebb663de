"""The one thread of a process that writes to the database.

Commands queue up; whatever is waiting when the thread becomes free is committed as one transaction.
A command is a function of the connection. If one of a batch fails, the batch is undone and its commands
are run one by one, so commands must not have effects outside the database.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from hermes_agent.core.errors import HermesError, StoreBusyError, StoreError
from hermes_agent.store.database import begin_immediate, commit, rollback
from hermes_agent.store.failures import translate
from hermes_agent.store.guard import CheckpointGuard

ResultT = TypeVar("ResultT")

_LOG = logging.getLogger(__name__)

_MAX_BATCH = 256
_CHECKPOINT_EVERY = 50
_CHECKPOINT_BYTES = 4 * 1024 * 1024
_IDLE_SECONDS = 1.0


@dataclass(slots=True)
class _Job(Generic[ResultT]):
    work: Callable[[sqlite3.Connection], ResultT]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[ResultT]
    in_transaction: bool = True


class Writer:
    """Runs commands in order on its own thread.

    Args:
        open_connection: Called on the thread, once; what it raises is what `start` raises.
        path: For messages.
        before_commit: Runs inside every write transaction, last (keeps the search index up to date);
            returns whether work is left for idle moments.
        when_idle: One short piece of background work in its own transaction; returns whether more is
            left.
    """

    def __init__(
        self,
        open_connection: Callable[[CheckpointGuard], sqlite3.Connection],
        path: Path,
        *,
        before_commit: Callable[[sqlite3.Connection], bool],
        when_idle: Callable[[sqlite3.Connection], bool],
    ) -> None:
        self._open_connection = open_connection
        self._path = path
        self._before_commit = before_commit
        self._when_idle = when_idle
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._guard = CheckpointGuard(path)
        self._wal = path.with_name(f"{path.name}-wal")
        self._has_idle_work = False
        self._is_closed = False
        self._commits = 0
        self._known_log_size = 0
        self._thread = threading.Thread(target=self._serve, name="store-writer", daemon=True)

    async def start(self, *, has_idle_work: Callable[[sqlite3.Connection], bool]) -> None:
        """Start the thread and open the connection.

        Raises:
            StoreError: The database cannot be opened.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def look(connection: sqlite3.Connection) -> None:
            self._has_idle_work = has_idle_work(connection)

        self._queue.put(_Job(look, loop, opened, in_transaction=False))
        self._thread.start()
        await opened

    async def run(
        self, work: Callable[[sqlite3.Connection], ResultT], *, in_transaction: bool = True
    ) -> ResultT:
        """Run a command and wait until it is committed.

        Cancelling the wait does not undo the command. `in_transaction=False` is for statements that
        SQLite allows only outside of one (VACUUM, checkpoints).

        Raises:
            StoreError: It failed; nothing of it is stored.
        """
        if self._is_closed:
            raise StoreError("The store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self._queue.put(_Job(work, loop, future, in_transaction))
        return await future

    async def aclose(self) -> None:
        """Finish what is queued, close the connection, end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._queue.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _serve(self) -> None:
        first = self._queue.get()
        assert first is not None
        try:
            connection = self._open_connection(self._guard)
            with self._guard.writing():
                first.work(connection)
        except Exception as error:  # noqa: BLE001 - the caller of start() gets it
            _fail([first], self._mapped(error))
            self._is_closed = True
            self._guard.close()
            return
        _deliver([(first, None)])
        try:
            while (jobs := self._collect(connection)) is not None:
                self._execute(connection, jobs)
        finally:
            connection.close()  # the last one to close also folds the log into the file
            self._guard.close()
            self._refuse_rest()

    def _collect(self, connection: sqlite3.Connection) -> list[_Job[Any]] | None:
        """The next batch; None when closing. Does idle work while nothing is waiting."""
        while True:
            try:
                job = self._queue.get(timeout=_IDLE_SECONDS if self._has_idle_work else None)
                break
            except queue.Empty:
                self._work_idly(connection)
        if job is None:
            return None
        jobs = [job]
        while job.in_transaction and len(jobs) < _MAX_BATCH and not self._queue.empty():
            job = self._queue.get()
            if job is None:
                self._queue.put(None)
                break
            jobs.append(job)
        return jobs

    def _work_idly(self, connection: sqlite3.Connection) -> None:
        """Background work until a command arrives."""
        while self._has_idle_work and self._queue.empty():
            try:
                with self._guard.writing():
                    begin_immediate(connection, self._path, tries=1)
                    self._has_idle_work = self._when_idle(connection)
                    commit(connection, self._path)
            except (sqlite3.Error, StoreError):
                rollback(connection)
                return  # somebody else is writing, or it is broken: the next second will tell
            except Exception:  # noqa: BLE001 - the thread must live on; what is not indexed can still be read
                rollback(connection)
                self._has_idle_work = False
                _LOG.exception("background indexing failed")
                return
            self._checkpoint_if_due(connection)

    def _execute(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        # Only the last job of a batch can be one that wants no transaction.
        if not jobs[-1].in_transaction:
            last = jobs.pop()
            if jobs:
                self._transact(connection, jobs)
            try:
                with self._guard.writing():
                    result = last.work(connection)
                self._checkpoint(connection, "TRUNCATE")
                _deliver([(last, result)])
            except Exception as error:  # noqa: BLE001 - the caller gets it
                _fail([last], self._mapped(error))
            return
        self._transact(connection, jobs)

    def _transact(self, connection: sqlite3.Connection, jobs: list[_Job[Any]]) -> None:
        try:
            with self._guard.writing():
                results = self._commit_all(connection, jobs)
        except Exception as error:  # noqa: BLE001 - the callers get it; the thread must live on
            # One that failed has undone the others; a lock that was not to be had concerns them all alike.
            if len(jobs) == 1 or isinstance(error, StoreBusyError):
                _fail(jobs, self._mapped(error))
                return
            for job in jobs:
                self._transact(connection, [job])
            return
        _deliver(results)
        self._checkpoint_if_due(connection)

    def _commit_all(
        self, connection: sqlite3.Connection, jobs: list[_Job[Any]]
    ) -> list[tuple[_Job[Any], Any]]:
        try:
            begin_immediate(connection, self._path)
            results = [(job, job.work(connection)) for job in jobs]
            if self._before_commit(connection):
                self._has_idle_work = True
            commit(connection, self._path)
        except BaseException:
            rollback(connection)
            raise
        return results

    def _checkpoint_if_due(self, connection: sqlite3.Connection) -> None:
        self._commits += 1
        # The log is used again from its beginning after a checkpoint, and keeps its size meanwhile.
        growth = self._log_size() - self._known_log_size
        if self._commits < _CHECKPOINT_EVERY and growth < _CHECKPOINT_BYTES:
            return
        self._checkpoint(connection, "PASSIVE")
        self._known_log_size = self._log_size()

    def _log_size(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        """Copy the log into the file, unless another process is writing just now."""
        with self._guard.checkpointing() as is_free:
            if is_free:
                self._commits = 0
                with suppress(sqlite3.Error):
                    connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()

    def _refuse_rest(self) -> None:
        """Answer commands that slipped in behind the end."""
        while not self._queue.empty():
            job = self._queue.get()
            if job is not None:
                _fail([job], StoreError("The store is closed"))

    def _mapped(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error) and not isinstance(error, HermesError):
            mapped = translate(error, self._path)
            mapped.__cause__ = error
            return mapped
        return error


def _deliver(results: list[tuple[_Job[Any], Any]]) -> None:
    def settle() -> None:
        for job, result in results:
            if not job.future.done():
                job.future.set_result(result)

    _on_loop(results[0][0].loop, settle)


def _fail(jobs: list[_Job[Any]], error: Exception) -> None:
    def settle() -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)

    _on_loop(jobs[0].loop, settle)


def _on_loop(loop: asyncio.AbstractEventLoop, settle: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is gone: nobody waits any more
        loop.call_soon_threadsafe(settle)
