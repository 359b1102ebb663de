"""Messages of all sessions by id. See `core.feed`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from hermes_agent.core.session import StoredMessage
from hermes_agent.store.rows import SELECT_COLUMNS, decode
from hermes_agent.store.store import SqliteStore


class SqliteFeed:
    """See `core.feed.MessageFeed`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def newest(self) -> int:
        """Id of the newest message; 0 if there is none."""
        return await self._store.read(_newest)

    async def after(
        self, message_id: int, *, session_id: str | None = None, limit: int = 20
    ) -> Sequence[StoredMessage]:
        """Messages with a higher id, oldest first."""
        return await self._store.read(
            partial(_after, message_id=message_id, session_id=session_id, limit=limit)
        )


def _newest(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT max(id) FROM messages").fetchone()
    return int(row[0] or 0)


def _after(
    connection: sqlite3.Connection, message_id: int, session_id: str | None, limit: int
) -> list[StoredMessage]:
    where = "AND session_id = ?" if session_id is not None else ""
    values = [message_id, *([session_id] if session_id is not None else []), limit]
    rows = connection.execute(
        f"SELECT id, session_id, timestamp, {SELECT_COLUMNS} FROM messages"  # noqa: S608 - constants
        f" WHERE id > ? AND active = 1 AND role IN ('user', 'assistant', 'tool') {where} ORDER BY id LIMIT ?",
        values,
    )
    found = []
    for each_id, session, timestamp, *columns in rows:
        message = decode(columns)
        if message is not None:
            moment = float(timestamp) if isinstance(timestamp, int | float) else 0.0
            found.append(StoredMessage(each_id, session, moment, message))
    return found
