"""The `outbox` table: `core.outbox.OutboxStore`."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from hermes_agent.core.outbox import LIFETIME_SECONDS, OutboxEntry, OutboxState, Outgoing
from hermes_agent.core.platform import Button, ChatAddress, OutgoingFile
from hermes_agent.store.store import SqliteStore

KEPT_SECONDS: Final = 7 * 86_400
_DAY: Final = 86_400
_COLUMNS: Final = (
    "id, key, platform, chat_id, thread_id, kind, payload, state, created_at, not_before, expires_at,"
    " attempts, parts_sent, message_ids, part_limit, error"
)


class SqliteOutbox:
    """See `core.outbox.OutboxStore`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._own_listener: Callable[[], None] | None = None

    async def put(self, message: Outgoing) -> int:
        """Queue a message once."""
        entry_id = await self._store.write(partial(put, message=message))
        for listener in self._store.outgoing_listeners:
            if listener is not self._own_listener:
                listener()
        return entry_id

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when somebody else queues something in this process."""
        self._own_listener = listener
        self._store.outgoing_listeners.append(listener)

    def unsubscribe(self) -> None:
        """Call it no longer."""
        if self._own_listener is not None:
            self._store.outgoing_listeners.remove(self._own_listener)
            self._own_listener = None

    async def put_live(self, message: Outgoing) -> OutboxEntry:
        """Begin a message that is still being written, or go on with it."""
        return await self._store.write(partial(_put_live, message=message))

    async def live_of(self, prefix: str) -> OutboxEntry | None:
        """The newest live message whose key starts so."""
        return await self._store.write(partial(_live_of, prefix=prefix))

    async def by_key(self, key: str) -> OutboxEntry | None:
        """The entry with this key."""
        return await self._store.read(partial(_by_key, key=key))

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        """How far it got."""
        return await self._store.read(partial(_get, entry_id=entry_id))

    async def pending(self, platform: str | None = None) -> Sequence[OutboxEntry]:
        """Entries not settled, oldest first."""
        return await self._store.read(partial(_pending, platform=platform))

    async def sending(self, entry_id: int, *, part_limit: int) -> None:
        """The next part is about to leave."""
        await self._store.write(partial(_sending, entry_id=entry_id, part_limit=part_limit))

    async def part_sent(self, entry_id: int, index: int, message_id: str, *, is_final: bool = True) -> None:
        """Part `index` was sent."""
        await self._store.write(
            partial(_part_sent, entry_id=entry_id, index=index, message_id=message_id, is_final=is_final)
        )

    async def retry(self, entry_id: int, not_before: float, error: str) -> None:
        """It was not sent; wait."""
        await self._store.write(partial(_retry, entry_id=entry_id, not_before=not_before, error=error))

    async def settle(self, entry_id: int, state: OutboxState, error: str = "") -> None:
        """The end of it."""
        await self._store.write(partial(_settle, entry_id=entry_id, state=state, error=error))

    async def counts(self) -> dict[str, int]:
        """Entries by state, of the last day."""
        return await self._store.read(_counts)

    async def prune(self, before: float | None = None) -> int:
        """Forget what was settled long ago; returns how many."""
        limit = time.time() - KEPT_SECONDS if before is None else before
        return await self._store.write(partial(_prune, before=limit))


def put(connection: sqlite3.Connection, message: Outgoing) -> int:
    """Queue a message unless its key is known; the live message it completes becomes it."""
    known = connection.execute("SELECT id FROM outbox WHERE key = ?", (message.key,)).fetchone()
    if known is not None:
        return int(known[0])
    now = time.time()
    if message.live_entry:
        changed = connection.execute(
            "UPDATE outbox SET key = ?, kind = ?, payload = ?, state = 'waiting', parts_sent = 0,"
            " not_before = ?, updated_at = ?, expires_at = ?, error = NULL WHERE id = ? AND state = 'live'",
            (
                message.key,
                message.kind,
                _dump(message),
                now,
                now,
                now + LIFETIME_SECONDS[message.kind],
                message.live_entry,
            ),
        )
        if changed.rowcount:
            return message.live_entry
    return _insert(connection, message, "waiting", now)


def _put_live(connection: sqlite3.Connection, message: Outgoing) -> OutboxEntry:
    found = _get(connection, _insert(connection, message, "live", time.time()))
    assert found is not None
    return found


def _live_of(connection: sqlite3.Connection, prefix: str) -> OutboxEntry | None:
    rows = connection.execute(
        "SELECT id FROM outbox WHERE state = 'live' AND substr(key, 1, ?) = ? ORDER BY id",
        (len(prefix), prefix),
    ).fetchall()
    for (entry_id,) in rows[:-1]:
        _settle(connection, entry_id, "cancelled", "cut off")
    return _get(connection, rows[-1][0]) if rows else None


def _by_key(connection: sqlite3.Connection, key: str) -> OutboxEntry | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM outbox WHERE key = ?", (key,)).fetchone()  # noqa: S608
    return _entry(row) if row else None


def _insert(connection: sqlite3.Connection, message: Outgoing, state: OutboxState, now: float) -> int:
    address = message.address
    cursor = connection.execute(
        "INSERT INTO outbox (key, platform, chat_id, thread_id, kind, payload, state, created_at,"
        " not_before, expires_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message.key,
            address.platform,
            address.chat_id,
            address.thread_id,
            message.kind,
            _dump(message),
            state,
            now,
            now,
            now + LIFETIME_SECONDS[message.kind],
            now,
        ),
    )
    return int(cursor.lastrowid or 0)


def _get(connection: sqlite3.Connection, entry_id: int) -> OutboxEntry | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM outbox WHERE id = ?", (entry_id,)).fetchone()  # noqa: S608
    return _entry(row) if row else None


def _pending(connection: sqlite3.Connection, platform: str | None) -> list[OutboxEntry]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM outbox WHERE state IN ('waiting', 'sending')"  # noqa: S608
        " AND (? IS NULL OR platform = ?) ORDER BY id",
        (platform, platform),
    )
    return [_entry(row) for row in rows]


def _sending(connection: sqlite3.Connection, entry_id: int, part_limit: int) -> None:
    connection.execute(
        "UPDATE outbox SET state = 'sending', attempts = attempts + 1, updated_at = ?,"
        " part_limit = coalesce(part_limit, ?) WHERE id = ? AND state IN ('waiting', 'sending')",
        (time.time(), part_limit, entry_id),
    )


def _part_sent(
    connection: sqlite3.Connection, entry_id: int, index: int, message_id: str, is_final: bool
) -> None:
    row = connection.execute("SELECT message_ids FROM outbox WHERE id = ?", (entry_id,)).fetchone()
    if row is None:
        return
    known = json.loads(row[0])
    known += [""] * (index + 1 - len(known))
    known[index] = message_id
    connection.execute(
        "UPDATE outbox SET message_ids = ?, parts_sent = ?, updated_at = ?,"
        " state = CASE WHEN state = 'sending' THEN 'waiting' ELSE state END WHERE id = ?",
        (json.dumps(known), index + 1 if is_final else 0, time.time(), entry_id),
    )


def _retry(connection: sqlite3.Connection, entry_id: int, not_before: float, error: str) -> None:
    connection.execute(
        "UPDATE outbox SET state = 'waiting', not_before = ?, error = ?, updated_at = ?"
        " WHERE id = ? AND state IN ('waiting', 'sending')",
        (not_before, error, time.time(), entry_id),
    )


def _settle(connection: sqlite3.Connection, entry_id: int, state: OutboxState, error: str) -> None:
    connection.execute(
        "UPDATE outbox SET state = ?, error = coalesce(nullif(?, ''), error), updated_at = ? WHERE id = ?",
        (state, error, time.time(), entry_id),
    )


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    rows = connection.execute(
        "SELECT state, count(*) FROM outbox WHERE updated_at > ? GROUP BY state", (time.time() - _DAY,)
    )
    return {str(state): int(count) for state, count in rows}


def _prune(connection: sqlite3.Connection, before: float) -> int:
    return connection.execute(
        "DELETE FROM outbox WHERE state NOT IN ('waiting', 'sending') AND updated_at < ?", (before,)
    ).rowcount


def _entry(row: Sequence[Any]) -> OutboxEntry:
    data = json.loads(row[6])
    message = Outgoing(
        key=row[1],
        address=ChatAddress(row[2], row[3], row[4]),
        text=data.get("text", ""),
        kind=row[5],
        files=tuple(OutgoingFile(**each) for each in data.get("files", ())),
        buttons=tuple(Button(**each) for each in data.get("buttons", ())),
        reply_to_id=data.get("reply_to_id", ""),
        is_silent=bool(data.get("is_silent")),
        live_entry=row[0] if data.get("was_live") else 0,
        quotes_all=bool(data.get("quotes_all")),
    )
    return OutboxEntry(
        id=row[0],
        message=message,
        state=row[7],
        created_at=row[8],
        not_before=row[9],
        expires_at=row[10] if row[10] is not None else float("inf"),
        attempts=row[11],
        parts_sent=row[12],
        message_ids=tuple(json.loads(row[13])),
        part_limit=row[14],
        error=row[15] or "",
    )


def _dump(message: Outgoing) -> str:
    files = [
        {"path": each.path, "kind": each.kind, "name": each.name, "caption": each.caption}
        for each in message.files
    ]
    buttons = [{"label": each.label, "value": each.value, "style": each.style} for each in message.buttons]
    data = {
        "text": message.text,
        "files": files,
        "buttons": buttons,
        "reply_to_id": message.reply_to_id,
        "is_silent": message.is_silent,
        "was_live": bool(message.live_entry),
        "quotes_all": message.quotes_all,
    }
    return json.dumps({key: value for key, value in data.items() if value}, separators=(",", ":"))
