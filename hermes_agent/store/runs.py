"""The `runs` and `run_events` tables of the API server: functions of a connection."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from hermes_agent.core.runs import LoggedEvent, StoredRun


def save(connection: sqlite3.Connection, run: StoredRun, events: Sequence[LoggedEvent]) -> None:
    """Add or replace a run and append events; events with a known number are left as they are."""
    facts = json.dumps(run.facts, ensure_ascii=False, separators=(",", ":"))
    connection.execute(
        "INSERT INTO runs (run_id, owner, status, created_at, facts) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id) DO UPDATE SET status = excluded.status, facts = excluded.facts",
        (run.id, run.owner, run.status, run.created_at, _clean(facts)),
    )
    connection.executemany(
        "INSERT OR IGNORE INTO run_events (run_id, number, name, data) VALUES (?, ?, ?, ?)",
        [(run.id, event.number, event.name, _clean(event.data)) for event in events],
    )


def get(connection: sqlite3.Connection, run_id: str) -> StoredRun | None:
    """One run."""
    row = connection.execute(
        "SELECT run_id, owner, status, created_at, facts FROM runs WHERE run_id = ?", (run_id,)
    ).fetchone()
    if row is None:
        return None
    try:
        facts = json.loads(row[4])
    except ValueError:
        facts = {}
    return StoredRun(row[0], row[1], row[2], row[3], facts if isinstance(facts, dict) else {})


def events(connection: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[LoggedEvent]:
    """Events after a number."""
    rows = connection.execute(
        "SELECT number, name, data FROM run_events WHERE run_id = ? AND number > ? ORDER BY number LIMIT ?",
        (run_id, after, limit),
    )
    return [LoggedEvent(*row) for row in rows]


def delete(connection: sqlite3.Connection, run_id: str) -> bool:
    """Forget a run and its events."""
    connection.execute("DELETE FROM run_events WHERE run_id = ?", (run_id,))
    return connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,)).rowcount > 0


def purge(connection: sqlite3.Connection, before: float) -> int:
    """Forget runs created before a time."""
    connection.execute(
        "DELETE FROM run_events WHERE run_id IN (SELECT run_id FROM runs WHERE created_at < ?)", (before,)
    )
    return connection.execute("DELETE FROM runs WHERE created_at < ?", (before,)).rowcount


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
