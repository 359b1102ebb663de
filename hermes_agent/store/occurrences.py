"""The `cron_occurrences` table: `core.jobs.OccurrenceLedger`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from hermes_agent.core.jobs import Occurrence, OccurrenceState
from hermes_agent.store.store import SqliteStore

KEPT_PER_JOB: Final = 500
"""Older occurrences of a job are forgotten."""

_COLUMNS: Final = "job_id, scheduled_at, state, reason, started_at, finished_at, session_id, output_path"


class SqliteLedger:
    """See `core.jobs.OccurrenceLedger`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def claim(self, job_id: str, scheduled_at: float, *, owner: str, lease_seconds: float) -> bool:
        """Begin an occurrence once."""
        now = time.time()
        row = (job_id, scheduled_at, "running", "", now, owner, now + lease_seconds)
        return await self._store.write(partial(_insert, row=row))

    async def extend(self, job_id: str, scheduled_at: float, *, lease_seconds: float) -> None:
        """Move the end of the lease."""
        until = time.time() + lease_seconds
        await self._store.write(partial(_extend, key=(job_id, scheduled_at), until=until))

    async def finish(
        self,
        job_id: str,
        scheduled_at: float,
        state: OccurrenceState,
        *,
        reason: str = "",
        session_id: str = "",
        output_path: str = "",
    ) -> None:
        """Record how it ended."""
        values = (state, reason, time.time(), session_id, output_path, job_id, scheduled_at)
        await self._store.write(partial(_finish, values=values))

    async def record(self, job_id: str, scheduled_at: float, state: OccurrenceState, *, reason: str) -> bool:
        """Record one that is not run."""
        row = (job_id, scheduled_at, state, reason, None, "", None)
        return await self._store.write(partial(_insert, row=row))

    async def expire(self) -> Sequence[Occurrence]:
        """Mark running ones whose lease ended as lost."""
        return await self._store.write(partial(_expire, now=time.time()))

    async def history(self, job_id: str | None = None, *, limit: int = 20) -> Sequence[Occurrence]:
        """Newest first."""
        return await self._store.read(partial(_history, job_id=job_id, limit=limit))


def _insert(connection: sqlite3.Connection, row: tuple[object, ...]) -> bool:
    added = connection.execute(
        "INSERT OR IGNORE INTO cron_occurrences"
        " (job_id, scheduled_at, state, reason, started_at, owner, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?)",
        row,
    ).rowcount
    connection.execute(
        "DELETE FROM cron_occurrences WHERE job_id = ?1 AND state != 'running' AND scheduled_at <="
        " (SELECT scheduled_at FROM cron_occurrences WHERE job_id = ?1 ORDER BY scheduled_at DESC"
        " LIMIT 1 OFFSET ?2)",
        (row[0], KEPT_PER_JOB),
    )
    return added == 1


def _extend(connection: sqlite3.Connection, key: tuple[str, float], until: float) -> None:
    connection.execute(
        "UPDATE cron_occurrences SET lease_until = ?"
        " WHERE job_id = ? AND scheduled_at = ? AND state = 'running'",
        (until, *key),
    )


def _finish(connection: sqlite3.Connection, values: tuple[object, ...]) -> None:
    connection.execute(
        "UPDATE cron_occurrences SET state = ?, reason = ?, finished_at = ?, session_id = ?, output_path = ?,"
        " lease_until = NULL WHERE job_id = ? AND scheduled_at = ?",
        values,
    )


def _expire(connection: sqlite3.Connection, now: float) -> list[Occurrence]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM cron_occurrences WHERE state = 'running' AND lease_until < ?",  # noqa: S608
        (now,),
    ).fetchall()
    connection.execute(
        "UPDATE cron_occurrences SET state = 'lost', reason = 'the scheduler stopped while it ran',"
        " finished_at = ? WHERE state = 'running' AND lease_until < ?",
        (now, now),
    )
    return [Occurrence(*row) for row in rows]


def _history(connection: sqlite3.Connection, job_id: str | None, limit: int) -> list[Occurrence]:
    where = "WHERE job_id = ?" if job_id is not None else ""
    values: tuple[object, ...] = (job_id, limit) if job_id is not None else (limit,)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM cron_occurrences {where} ORDER BY scheduled_at DESC LIMIT ?",  # noqa: S608
        values,
    )
    return [Occurrence(*row) for row in rows]
