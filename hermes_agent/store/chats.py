"""The `chats`, `platform_state` and `chat_approvals` tables: what the gateway remembers of conversations."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from hermes_agent.core.inbox import Chat
from hermes_agent.store.store import SqliteStore

_CHAT: Final = "session_key, platform, session_id, created_at, updated_at, payload"


class SqliteChats:
    """See `core.inbox.ChatDirectory` and `core.inbox.ChatApprovals`."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def chat(self, session_key: str) -> Chat | None:
        """The conversation's session."""
        return await self._store.read(partial(_chat, session_key=session_key))

    async def put_chat(
        self, session_key: str, platform: str, session_id: str, origin: dict[str, str]
    ) -> None:
        """The conversation is in this session from now on."""
        now = time.time()
        await self._execute(
            "INSERT INTO chats (session_key, platform, session_id, payload, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (session_key) DO UPDATE SET session_id ="
            " excluded.session_id, payload = excluded.payload, updated_at = excluded.updated_at",
            (session_key, platform, session_id, json.dumps(origin), now, now),
        )

    async def touch_chat(self, session_key: str) -> None:
        """Somebody spoke there."""
        await self._execute(
            "UPDATE chats SET updated_at = ? WHERE session_key = ?", (time.time(), session_key)
        )

    async def drop_chat(self, session_key: str) -> None:
        """Its next message opens a new session."""
        await self._execute("DELETE FROM chats WHERE session_key = ?", (session_key,))

    async def chats(self) -> Sequence[Chat]:
        """All, most recently used first."""
        return await self._store.read(_chats)

    async def chat_of(self, session_id: str) -> dict[str, str] | None:
        """Where a session's conversation takes place; None if in no chat."""
        return await self._store.read(partial(_chat_of, session_id=session_id))

    async def index(self) -> dict[str, dict[str, Any]]:
        """Every chat as `sessions/sessions.json` has it: session key to facts."""
        return await self._store.read(_index)

    async def adopt(self, index: Mapping[str, Any]) -> int:
        """Take over chats of an older agent's index, unless there are chats already; returns how many."""
        return await self._store.write(partial(_adopt, index=index))

    async def get_fact(self, platform: str, name: str) -> str:
        """A fact; empty if unset."""
        return await self._store.read(partial(_fact, platform=platform, name=name))

    async def put_fact(self, platform: str, name: str, value: str) -> None:
        """Remember it."""
        await self._execute(
            "INSERT INTO platform_state (platform, name, value) VALUES (?, ?, ?)"
            " ON CONFLICT (platform, name) DO UPDATE SET value = excluded.value",
            (platform, name, value),
        )

    async def open_approval(
        self, approval_id: str, session_key: str, approver_id: str, action: str, expires_at: float
    ) -> None:
        """A question was asked."""
        await self._execute(
            "INSERT INTO chat_approvals (id, session_key, approver_id, action, action_hash, state,"
            " created_at, expires_at) VALUES (?, ?, ?, ?, ?, 'open', ?, ?)",
            (approval_id, session_key, approver_id, action, _hash(action), time.time(), expires_at),
        )

    async def decide_approval(
        self, approval_id: str, approver_id: str, decision: str, *, action: str | None = None
    ) -> str | None:
        """Record a decision of whom the question was put to."""
        return await self._store.write(
            partial(
                _decide, approval_id=approval_id, approver_id=approver_id, decision=decision, action=action
            )
        )

    async def approval_of(self, approval_id: str) -> str:
        """The session key of the conversation that asked."""

        def read(connection: sqlite3.Connection) -> str:
            row = connection.execute(
                "SELECT session_key FROM chat_approvals WHERE id = ?", (approval_id,)
            ).fetchone()
            return str(row[0]) if row else ""

        return await self._store.read(read)

    async def use_approval(self, approval_id: str) -> None:
        """A run has acted on the decision."""
        await self._execute("UPDATE chat_approvals SET state = 'used' WHERE id = ?", (approval_id,))

    async def decided(self, session_key: str, action: str, *, since: float) -> str | None:
        """A decision no run has used yet; it is used up."""
        return await self._store.write(partial(_use, session_key=session_key, action=action, since=since))

    async def _execute(self, statement: str, values: Sequence[Any]) -> None:
        def run(connection: sqlite3.Connection) -> None:
            connection.execute(statement, values)

        await self._store.write(run)


def _chat(connection: sqlite3.Connection, session_key: str) -> Chat | None:
    row = connection.execute(
        f"SELECT {_CHAT} FROM chats WHERE session_key = ?",  # noqa: S608 - constants
        (session_key,),
    ).fetchone()
    return _to_chat(row) if row else None


def _chat_of(connection: sqlite3.Connection, session_id: str) -> dict[str, str] | None:
    row = connection.execute(
        "SELECT platform, payload FROM chats WHERE session_id = ? ORDER BY updated_at DESC", (session_id,)
    ).fetchone()
    if row is None:
        return None
    origin = json.loads(row[1])
    names = ("chat_id", "thread_id", "chat_name")
    found = {name: str(origin[name]) for name in names if origin.get(name)}
    return {"platform": str(row[0]), **found} if "chat_id" in found else None


def _chats(connection: sqlite3.Connection) -> list[Chat]:
    rows = connection.execute(f"SELECT {_CHAT} FROM chats ORDER BY updated_at DESC")  # noqa: S608
    return [_to_chat(row) for row in rows]


def _to_chat(row: Sequence[Any]) -> Chat:
    origin = json.loads(row[5])
    return Chat(row[0], row[1], row[2], row[3], row[4], origin if isinstance(origin, dict) else {})


def _index(connection: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    rows = connection.execute(
        f"SELECT {', '.join(f'c.{name}' for name in _CHAT.split(', '))}, s.input_tokens, s.output_tokens,"  # noqa: S608
        " s.cache_read_tokens, s.cache_write_tokens, s.estimated_cost_usd, s.cost_status"
        " FROM chats c LEFT JOIN sessions s ON s.id = c.session_id ORDER BY c.updated_at"
    )
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        chat = _to_chat(row[:6])
        counts = [int(value or 0) for value in row[6:10]]
        found[chat.session_key] = {
            "session_key": chat.session_key,
            "session_id": chat.session_id,
            "created_at": _iso(chat.created_at),
            "updated_at": _iso(chat.updated_at),
            "display_name": chat.origin.get("chat_name") or chat.origin.get("user_name") or "",
            "platform": chat.platform,
            "chat_type": chat.origin.get("chat_type", "dm"),
            "input_tokens": counts[0],
            "output_tokens": counts[1],
            "cache_read_tokens": counts[2],
            "cache_write_tokens": counts[3],
            "total_tokens": counts[0] + counts[1],
            "estimated_cost_usd": float(row[10] or 0.0),
            "cost_status": row[11] or "unknown",
            "suspended": False,
            "resume_pending": False,
            "origin": chat.origin,
        }
    return found


def _adopt(connection: sqlite3.Connection, index: Mapping[str, Any]) -> int:
    if connection.execute("SELECT 1 FROM chats LIMIT 1").fetchone():
        return 0
    count = 0
    for key, entry in index.items():
        if not isinstance(entry, dict) or entry.get("suspended"):
            continue
        known = connection.execute(
            "SELECT 1 FROM sessions WHERE id = ?", (str(entry.get("session_id")),)
        ).fetchone()
        if known is None:
            continue
        origin = entry.get("origin")
        texts = {str(name): str(value or "") for name, value in (origin or {}).items()}
        created, updated = _moment(entry.get("created_at")), _moment(entry.get("updated_at"))
        platform = str(entry.get("platform") or texts.get("platform") or "")
        connection.execute(
            "INSERT OR IGNORE INTO chats (session_key, platform, session_id, payload, created_at, updated_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (key, platform, str(entry["session_id"]), json.dumps(texts), created, updated),
        )
        count += 1
    return count


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat()


def _moment(value: object) -> float:
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return 0.0


def _fact(connection: sqlite3.Connection, platform: str, name: str) -> str:
    row = connection.execute(
        "SELECT value FROM platform_state WHERE platform = ? AND name = ?", (platform, name)
    ).fetchone()
    return str(row[0]) if row else ""


def _decide(
    connection: sqlite3.Connection, approval_id: str, approver_id: str, decision: str, action: str | None
) -> str | None:
    changed = connection.execute(
        "UPDATE chat_approvals SET state = ?, decided_by = ? WHERE id = ? AND state = 'open'"
        " AND approver_id = ? AND expires_at > ? AND (? IS NULL OR action_hash = ?)",
        (
            decision,
            approver_id,
            approval_id,
            approver_id,
            time.time(),
            action,
            None if action is None else _hash(action),
        ),
    )
    if changed.rowcount != 1:
        return None
    row = connection.execute("SELECT action FROM chat_approvals WHERE id = ?", (approval_id,)).fetchone()
    return str(row[0])


def _use(connection: sqlite3.Connection, session_key: str, action: str, since: float) -> str | None:
    row = connection.execute(
        "SELECT id, state FROM chat_approvals WHERE session_key = ? AND action_hash = ?"
        " AND state IN ('once', 'session', 'always', 'deny') AND created_at > ? ORDER BY created_at DESC",
        (session_key, _hash(action), since),
    ).fetchone()
    if row is None:
        return None
    connection.execute("UPDATE chat_approvals SET state = 'used' WHERE id = ?", (row[0],))
    return str(row[1])


def _hash(action: str) -> str:
    return hashlib.sha256(action.encode("utf-8", "surrogatepass")).hexdigest()
