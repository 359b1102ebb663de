"""The `inbox` table: `core.inbox.Inbox`."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

from hermes_agent.core.inbox import Arrival, InboxEntry
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import Attachment, InboundMessage, Person
from hermes_agent.store import outbox
from hermes_agent.store.store import SqliteStore

KEPT_SECONDS: Final = 30 * 86_400
"""How long a redelivery is recognised."""

_COLUMNS: Final = "id, session_key, payload, state, received_at, session_id, position, attempts"


class SqliteInbox:
    """See `core.inbox.Inbox`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def add(self, message: InboundMessage, session_key: str) -> tuple[Arrival, InboxEntry | None]:
        """Store a message once."""
        self._store.arrivals.note()
        return await self._store.write(partial(_add, message=message, session_key=session_key))

    async def unfinished(self) -> Sequence[InboxEntry]:
        """Everything not done, oldest first."""
        return await self._store.read(_unfinished)

    async def begin(self, ids: Sequence[int], session_id: str, position: int) -> None:
        """Work on these begins."""
        await self._store.write(partial(_begin, ids=tuple(ids), session_id=session_id, position=position))

    async def move(self, ids: Sequence[int], session_id: str, position: int) -> None:
        """The run goes on in another session."""
        await self._store.write(
            partial(_begin, ids=tuple(ids), session_id=session_id, position=position, step=0)
        )

    async def finish(self, ids: Sequence[int], outcome: str, replies: Sequence[Outgoing] = ()) -> None:
        """Done, and answered, in one transaction."""
        await self._store.write(partial(_finish, ids=tuple(ids), outcome=outcome, replies=tuple(replies)))

    async def release(self, ids: Sequence[int]) -> None:
        """They wait again."""
        await self._store.write(partial(_release, ids=tuple(ids)))

    async def prune(self, before: float | None = None) -> int:
        """Forget what was finished long ago; returns how many."""
        limit = time.time() - KEPT_SECONDS if before is None else before
        return await self._store.write(partial(_prune, before=limit))


def _add(
    connection: sqlite3.Connection, message: InboundMessage, session_key: str
) -> tuple[Arrival, InboxEntry | None]:
    where = (message.platform, message.chat_id, message.message_id)
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM inbox WHERE platform = ? AND chat_id = ? AND message_id = ?",  # noqa: S608
        where,
    ).fetchone()
    if row is not None:
        known = _entry(row)
        if not message.is_edit or message.text == known.message.text:
            return "duplicate", None
        if known.state != "waiting":
            return "edited_late", known
        connection.execute("UPDATE inbox SET payload = ? WHERE id = ?", (_dump(message), known.id))
        return "edited", replace(known, message=message)
    now = time.time()
    cursor = connection.execute(
        "INSERT INTO inbox (platform, chat_id, message_id, session_key, state, payload, received_at)"
        " VALUES (?, ?, ?, ?, 'waiting', ?, ?)",
        (*where, session_key, _dump(message), now),
    )
    return "new", InboxEntry(int(cursor.lastrowid or 0), session_key, message, "waiting", now)


def _unfinished(connection: sqlite3.Connection) -> list[InboxEntry]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM inbox WHERE state IN ('waiting', 'running') ORDER BY id"  # noqa: S608
    )
    return [_entry(row) for row in rows]


def _begin(
    connection: sqlite3.Connection, ids: Sequence[int], session_id: str, position: int, step: int = 1
) -> None:
    connection.executemany(
        "UPDATE inbox SET state = 'running', session_id = ?, position = ?, attempts = attempts + ?"
        " WHERE id = ? AND state IN ('waiting', 'running')",
        [(session_id, position, step, each) for each in ids],
    )


def _finish(
    connection: sqlite3.Connection, ids: Sequence[int], outcome: str, replies: Sequence[Outgoing]
) -> None:
    connection.executemany(
        "UPDATE inbox SET state = 'done', outcome = ?, finished_at = ? WHERE id = ?",
        [(outcome, time.time(), each) for each in ids],
    )
    for reply in replies:
        outbox.put(connection, reply)


def _release(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
    connection.executemany(
        "UPDATE inbox SET state = 'waiting', session_id = NULL, position = NULL"
        " WHERE id = ? AND state = 'running'",
        [(each,) for each in ids],
    )


def _prune(connection: sqlite3.Connection, before: float) -> int:
    return connection.execute(
        "DELETE FROM inbox WHERE state = 'done' AND finished_at < ?", (before,)
    ).rowcount


def _entry(row: Sequence[Any]) -> InboxEntry:
    return InboxEntry(row[0], row[1], _load(row[2]), row[3], row[4], row[5], row[6], row[7])


def _dump(message: InboundMessage) -> str:
    return json.dumps(asdict(message), ensure_ascii=True, separators=(",", ":"))


def _load(text: str) -> InboundMessage:
    data = json.loads(text)
    data["sender"] = Person(**data["sender"])
    data["attachments"] = tuple(Attachment(**each) for each in data["attachments"])
    return InboundMessage(**data)
