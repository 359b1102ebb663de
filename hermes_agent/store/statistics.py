"""Counts and sizes of the database, and making it smaller."""

from __future__ import annotations

import dataclasses
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from hermes_agent.core.model import Usage
from hermes_agent.store import search_index

OLD_INDEX_TABLES: Final = ("messages_fts", "messages_fts_trigram")
"""Full-text tables of the older agent."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the database holds.

    Attributes:
        sources: Sessions per source, most first.
        database_bytes: The file without its log.
        waiting_for_index: About how many messages search does not find yet.
        old_index_tables: Search tables of the older agent that are still kept up to date.
    """

    sessions: int
    messages: int
    sources: dict[str, int]
    usage: Usage
    database_bytes: int
    free_bytes: int
    oldest: float | None
    newest: float | None
    waiting_for_index: int
    old_index_tables: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON-compatible values."""
        return dataclasses.asdict(self)


def collect(connection: sqlite3.Connection) -> Statistics:
    """Count."""
    (count, oldest, inputs, outputs, reads, writes, reasoning, requests, cost) = connection.execute(
        "SELECT count(*), min(started_at), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),"
        " coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_tokens), 0),"
        " coalesce(sum(reasoning_tokens), 0), coalesce(sum(api_call_count), 0),"
        " sum(coalesce(actual_cost_usd, estimated_cost_usd)) FROM sessions"
    ).fetchone()
    (messages,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    (newest,) = connection.execute("SELECT timestamp FROM messages ORDER BY id DESC LIMIT 1").fetchone() or (
        None,
    )
    sources = dict(
        connection.execute(
            "SELECT coalesce(source, ''), count(*) FROM sessions GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
    )
    page_size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    return Statistics(
        count,
        messages,
        sources,
        Usage(inputs, outputs, reads, writes, reasoning, requests, cost),
        page_size * pages,
        page_size * free,
        oldest,
        newest,
        search_index.waiting(connection),
        _old_index_tables(connection),
    )


def prepare_compaction(connection: sqlite3.Connection, *, drop_old_index: bool) -> None:
    """Merge the index; remove the older agent's, if asked."""
    if drop_old_index:
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'messages'"
            " AND instr(sql, 'messages_fts')"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {_quoted(name)}")
        for table in _old_index_tables(connection):
            connection.execute(f"DROP TABLE {_quoted(table)}")
    search_index.optimize(connection)


def vacuum(connection: sqlite3.Connection) -> None:
    """Write the file anew without free pages."""
    connection.execute("VACUUM")


def _old_index_tables(connection: sqlite3.Connection) -> tuple[str, ...]:
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return tuple(name for name in OLD_INDEX_TABLES if name in found)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
