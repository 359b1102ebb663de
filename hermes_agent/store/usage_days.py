"""What was used on which day, by which session, with which model."""

from __future__ import annotations

import sqlite3
import time
from typing import Final

from hermes_agent.core.model import Usage
from hermes_agent.core.usage import Insights, UsageRow

TOP_TOOLS: Final = 20
_SUMS: Final = (
    "coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cache_read_tokens), 0),"
    " coalesce(sum(cache_write_tokens), 0), coalesce(sum(reasoning_tokens), 0), coalesce(sum(requests), 0),"
    " sum(cost_usd), count(DISTINCT session_id)"
)


def add(connection: sqlite3.Connection, session_id: str, usage: Usage) -> None:
    """Add to today's row of the session and its model."""
    connection.execute(
        "INSERT INTO usage_days (day, session_id, source, model, requests, input_tokens, output_tokens,"
        " cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_usd)"
        " SELECT ?, id, source, coalesce(model, ''), ?, ?, ?, ?, ?, ?, ? FROM sessions WHERE id = ?"
        " ON CONFLICT (day, session_id, model) DO UPDATE SET requests = requests + excluded.requests,"
        " input_tokens = input_tokens + excluded.input_tokens,"
        " output_tokens = output_tokens + excluded.output_tokens,"
        " cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,"
        " cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,"
        " reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,"
        " cost_usd = CASE WHEN excluded.cost_usd IS NULL THEN cost_usd"
        " ELSE coalesce(cost_usd, 0) + excluded.cost_usd END",
        (
            time.strftime("%Y-%m-%d"),
            usage.requests,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
            usage.cost_usd,
            session_id,
        ),
    )


def on_day(connection: sqlite3.Connection, day: str) -> Usage:
    """Of all sessions."""
    query = f"SELECT {_SUMS} FROM usage_days WHERE day = ?"  # noqa: S608 - constants
    return Usage(*connection.execute(query, (day,)).fetchone()[:7])


def insights(connection: sqlite3.Connection, since: str) -> Insights:
    """Figures since a day."""
    query = f"SELECT {_SUMS} FROM usage_days WHERE day >= ?"  # noqa: S608 - constants
    total = connection.execute(query, (since,)).fetchone()
    start = time.mktime(time.strptime(since, "%Y-%m-%d"))
    tools = connection.execute(
        "SELECT tool_name, count(*) FROM messages WHERE role = 'tool' AND tool_name <> '' AND timestamp >= ?"
        " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?",
        (start, TOP_TOOLS),
    ).fetchall()
    return Insights(
        since,
        Usage(*total[:7]),
        total[7],
        _rows(connection, "model", since),
        _rows(connection, "source", since),
        tuple(sorted(_rows(connection, "day", since), key=lambda row: row.name)),
        tuple((str(name), int(count)) for name, count in tools),
    )


def _rows(connection: sqlite3.Connection, column: str, since: str) -> tuple[UsageRow, ...]:
    rows = connection.execute(
        f"SELECT {column}, {_SUMS} FROM usage_days WHERE day >= ? GROUP BY 1"  # noqa: S608 - constants
        " ORDER BY coalesce(sum(cost_usd), 0) DESC, sum(input_tokens + output_tokens) DESC, 1",
        (since,),
    ).fetchall()
    return tuple(UsageRow(str(row[0]), Usage(*row[1:8]), row[8]) for row in rows)
