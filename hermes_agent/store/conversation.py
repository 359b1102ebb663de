"""The `messages` and `drafts` tables: functions of a connection, run by the writer or a reader."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hermes_agent.core.errors import SessionNotFoundError
from hermes_agent.core.messages import AssistantMessage, Message, UserMessage
from hermes_agent.core.model import Usage
from hermes_agent.core.session import DraftKind, StoredMessage
from hermes_agent.store import usage_days
from hermes_agent.store.rows import COLUMNS, SELECT_COLUMNS, decode, encode

DRAFT_ID: Final = 0
"""Id of a draft shown as a message; real ids are positive."""

_INSERT: Final = (
    f"INSERT INTO messages (session_id, timestamp, {SELECT_COLUMNS})"  # noqa: S608 - constants
    f" VALUES ({', '.join('?' * (len(COLUMNS) + 2))})"
)
_SELECT: Final = f"SELECT id, timestamp, {SELECT_COLUMNS} FROM messages"  # noqa: S608 - constants


def append(
    connection: sqlite3.Connection, session_id: str, messages: Sequence[Message], usage: Usage | None
) -> list[int]:
    """Insert messages, add usage, settle the draft; the ids of the new rows.

    A draft is dropped, because the message it grew into is appended now; except when a person goes on
    instead (the process that wrote it was killed): then it becomes a message of its own first.

    Raises:
        SessionNotFoundError: No such session.
    """
    if connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session_id,)).fetchone() is None:
        raise SessionNotFoundError(
            f"There is no session {session_id!r}", remedy="It may have been deleted by another process."
        )
    identifiers: list[int] = []
    if messages:
        if isinstance(messages[0], UserMessage) and (left := _draft(connection, session_id)) is not None:
            _insert(connection, session_id, [left])
        discard_draft(connection, session_id)
        identifiers = _insert(connection, session_id, messages)
    if usage is not None:
        _add_usage(connection, session_id, usage)
    return identifiers


def messages(connection: sqlite3.Connection, session_id: str) -> list[StoredMessage]:
    """The active messages, oldest first, and the draft, if one is left, as the last."""
    found = _stored(
        session_id,
        connection.execute(f"{_SELECT} WHERE session_id = ? AND active IS NOT 0 ORDER BY id", (session_id,)),
    )
    left = _draft(connection, session_id)
    if left is not None:
        found.append(StoredMessage(DRAFT_ID, session_id, _draft_time(connection, session_id), left))
    return found


def around(connection: sqlite3.Connection, message_id: int, window: int) -> list[StoredMessage]:
    """A message and up to `window` active ones of its session before and after it."""
    row = connection.execute("SELECT session_id FROM messages WHERE id = ?", (message_id,)).fetchone()
    if row is None:
        return []
    condition = "WHERE session_id = ? AND active IS NOT 0 AND id"
    before = connection.execute(
        f"{_SELECT} {condition} < ? ORDER BY id DESC LIMIT ?", (row[0], message_id, window)
    ).fetchall()
    after = connection.execute(
        f"{_SELECT} {condition} >= ? ORDER BY id LIMIT ?", (row[0], message_id, window + 1)
    ).fetchall()
    return _stored(row[0], [*reversed(before), *after])


def append_draft(connection: sqlite3.Connection, session_id: str, kind: DraftKind, text: str) -> None:
    """Add a piece to the draft."""
    connection.execute(
        "INSERT INTO drafts (session_id, kind, text, timestamp) VALUES (?, ?, ?, ?)",
        (session_id, kind, text.encode("utf-8", "replace").decode(), time.time()),
    )


def discard_draft(connection: sqlite3.Connection, session_id: str) -> None:
    """Forget the draft."""
    connection.execute("DELETE FROM drafts WHERE session_id = ?", (session_id,))


def rewind(connection: sqlite3.Connection, session_id: str, message_id: int) -> int:
    """Deactivate a message and all after it, and the draft; returns how many messages."""
    has_draft = connection.execute("SELECT 1 FROM drafts WHERE session_id = ?", (session_id,)).fetchone()
    discard_draft(connection, session_id)
    if message_id <= DRAFT_ID:
        return 1 if has_draft else 0
    (calls,) = connection.execute(
        "SELECT coalesce(sum(CASE WHEN json_valid(tool_calls) THEN json_array_length(tool_calls) END), 0)"
        " FROM messages WHERE session_id = ? AND id >= ? AND active IS NOT 0",
        (session_id, message_id),
    ).fetchone()
    count = connection.execute(
        "UPDATE messages SET active = 0 WHERE session_id = ? AND id >= ? AND active IS NOT 0",
        (session_id, message_id),
    ).rowcount
    if count:
        connection.execute(
            "UPDATE sessions SET message_count = max(0, coalesce(message_count, 0) - ?),"
            " tool_call_count = max(0, coalesce(tool_call_count, 0) - ?),"
            " rewind_count = coalesce(rewind_count, 0) + 1 WHERE id = ?",
            (count, calls, session_id),
        )
    return count + (1 if has_draft else 0)


def _insert(connection: sqlite3.Connection, session_id: str, items: Sequence[Message]) -> list[int]:
    now = time.time()
    identifiers = []
    calls = 0
    for item in items:
        cursor = connection.execute(_INSERT, (session_id, now, *encode(item)))
        identifiers.append(cursor.lastrowid or 0)
        if isinstance(item, AssistantMessage):
            calls += len(item.tool_calls)
    connection.execute(
        "UPDATE sessions SET message_count = coalesce(message_count, 0) + ?,"
        " tool_call_count = coalesce(tool_call_count, 0) + ? WHERE id = ?",
        (len(items), calls, session_id),
    )
    return identifiers


def _add_usage(connection: sqlite3.Connection, session_id: str, usage: Usage) -> None:
    connection.execute(
        "UPDATE sessions SET input_tokens = coalesce(input_tokens, 0) + ?,"
        " output_tokens = coalesce(output_tokens, 0) + ?,"
        " cache_read_tokens = coalesce(cache_read_tokens, 0) + ?,"
        " cache_write_tokens = coalesce(cache_write_tokens, 0) + ?,"
        " reasoning_tokens = coalesce(reasoning_tokens, 0) + ?,"
        " api_call_count = coalesce(api_call_count, 0) + ?,"
        " estimated_cost_usd = CASE WHEN ?7 IS NULL THEN estimated_cost_usd"
        " ELSE coalesce(estimated_cost_usd, 0) + ?7 END WHERE id = ?8",
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
            usage.requests,
            usage.cost_usd,
            session_id,
        ),
    )
    usage_days.add(connection, session_id, usage)


def _draft(connection: sqlite3.Connection, session_id: str) -> AssistantMessage | None:
    pieces: dict[str, list[str]] = {}
    for kind, text in connection.execute(
        "SELECT kind, text FROM drafts WHERE session_id = ? ORDER BY id", (session_id,)
    ):
        pieces.setdefault(kind, []).append(text)
    if not pieces:
        return None
    reasoning = "".join(pieces.get("reasoning", ())) or None
    return AssistantMessage("".join(pieces.get("text", ())), (), reasoning, None, "interrupted")


def _draft_time(connection: sqlite3.Connection, session_id: str) -> float:
    (time_,) = connection.execute(
        "SELECT max(timestamp) FROM drafts WHERE session_id = ?", (session_id,)
    ).fetchone()
    return float(time_)


def _stored(session_id: str, rows: Iterable[tuple[Any, ...]]) -> list[StoredMessage]:
    found = []
    for identifier, timestamp, *columns in rows:
        message = decode(columns)
        if message is not None:
            moment = float(timestamp) if isinstance(timestamp, int | float) else 0.0
            found.append(StoredMessage(identifier, session_id, moment, message))
    return found
