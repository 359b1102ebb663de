"""The `sessions` table: functions of a connection, run by the writer or a reader."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hermes_agent.core.errors import SessionNotFoundError, StoreError
from hermes_agent.core.model import Usage
from hermes_agent.core.session import SessionRecord
from hermes_agent.store import search_index
from hermes_agent.store.identifiers import (
    check_title_is_free,
    clean_title,
    new_session_id,
    split_title,
    titles_like,
)
from hermes_agent.store.rows import clean, content_text, load_json

PREVIEW_LENGTH: Final = 80

_COLUMNS: Final = (
    "id, source, started_at, model, title, user_id, cwd, system_prompt, parent_session_id, ended_at,"
    " end_reason, message_count, tool_call_count, input_tokens, output_tokens, cache_read_tokens,"
    " cache_write_tokens, reasoning_tokens, api_call_count,"
    " coalesce(actual_cost_usd, estimated_cost_usd), model_config"
)
_LAST_ACTIVE: Final = (
    "max(coalesce((SELECT max(m.timestamp) FROM messages m WHERE m.session_id = s.id), 0),"
    " coalesce(s.started_at, 0))"
)
_FIRST_WORDS: Final = (
    "(SELECT substr(m.content, 1, 2000) FROM messages m WHERE m.session_id = s.id AND m.role = 'user'"
    # What stands for the older part of a conversation says nothing in a list.
    " AND m.active IS NOT 0 AND m.content NOT LIKE '[CONTEXT COMPACTION%'"
    " ORDER BY m.timestamp, m.id LIMIT 1)"
)
_SELECT: Final = f"SELECT {_COLUMNS}, {_LAST_ACTIVE}, {_FIRST_WORDS} FROM sessions s"  # noqa: S608


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a session starts with; see `core.session.SessionStore.create`."""

    source: str
    model: str | None = None
    cwd: str | None = None
    user_id: str | None = None
    title: str | None = None
    parent_session_id: str | None = None
    model_config: dict[str, Any] | None = None
    session_id: str | None = None


def create(connection: sqlite3.Connection, new: NewSession) -> SessionRecord:
    """Insert a session.

    Raises:
        SessionTitleError: The title is too long or taken.
        StoreError: The id is taken.
    """
    now = time.time()
    identifier = new.session_id or _free_id(connection, new.source, now)
    title = clean_title(new.title) if new.title else None
    if title:
        check_title_is_free(connection, title, None)
    if _exists(connection, identifier):
        raise StoreError(f"A session with the id {identifier!r} exists already")
    connection.execute(
        "INSERT INTO sessions (id, source, user_id, model, model_config, parent_session_id, started_at, cwd,"
        " title) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            identifier,
            new.source,
            new.user_id,
            new.model,
            _dump(new.model_config) if new.model_config else None,
            new.parent_session_id,
            now,
            clean(new.cwd) if new.cwd else None,
            title,
        ),
    )
    return get(connection, identifier)


def get(connection: sqlite3.Connection, session_id: str) -> SessionRecord:
    """One session. Raises `SessionNotFoundError`."""
    row = connection.execute(f"{_SELECT} WHERE s.id = ?", (session_id,)).fetchone()
    if row is None:
        raise _not_found(connection, session_id)
    return _record(row)


def resolve(connection: sqlite3.Connection, reference: str, *, exact_title: bool = False) -> SessionRecord:
    """By id, title (newest of its numbered forms) or unique beginning of an id.

    Args:
        connection: Where to look.
        reference: What the person typed.
        exact_title: Take the session of exactly this title, if there is one, not the newest of
            `title`, `title #2` …

    Raises:
        SessionNotFoundError: None or several match.
    """
    reference = clean(reference).strip()
    if _exists(connection, reference):
        return get(connection, reference)
    if exact_title and (named := _named(connection, reference)) is not None:
        return get(connection, named)
    titled = _resolve_title(connection, reference)
    if titled is not None:
        return get(connection, titled)
    found = [
        row[0]
        for row in connection.execute(
            "SELECT id FROM sessions WHERE substr(id, 1, ?) = ? ORDER BY started_at DESC LIMIT 6",
            (len(reference), reference),
        )
    ]
    if len(found) == 1:
        return get(connection, found[0])
    if found and reference:
        shown = ", ".join(found[:5]) + (" …" if len(found) > 5 else "")
        raise SessionNotFoundError(
            f"More than one session id begins with {reference!r}", remedy=f"Write more of it: {shown}"
        )
    raise _not_found(connection, reference)


def latest(
    connection: sqlite3.Connection, *, source: str | None = None, title: str | None = None
) -> SessionRecord | None:
    """The session that was active last, of one source or title."""
    if title is not None:
        identifiers = [identifier for identifier, _, _ in titles_like(connection, title)]
        records = [get(connection, identifier) for identifier in identifiers]
        matching = [record for record in records if source is None or record.source == source]
        return max(matching, key=lambda record: record.last_active_at, default=None)
    found = list_sessions(connection, limit=1, source=source)
    return found[0] if found else None


def list_sessions(
    connection: sqlite3.Connection, *, limit: int, offset: int = 0, source: str | None = None
) -> list[SessionRecord]:
    """Most recently active first; archived ones are left out."""
    chosen = connection.execute(
        "SELECT s.id FROM sessions s WHERE s.archived IS NOT 1 AND s.id IS NOT NULL"  # noqa: S608
        " AND (?1 IS NULL OR s.source = ?1)"
        f" ORDER BY {_LAST_ACTIVE} DESC, s.rowid DESC LIMIT ?2 OFFSET ?3",
        (source, limit, offset),
    ).fetchall()
    return [get(connection, identifier) for (identifier,) in chosen]


def identifiers(connection: sqlite3.Connection, *, source: str | None = None) -> list[str]:
    """Ids of all sessions, archived ones too, oldest first."""
    rows = connection.execute(
        "SELECT id FROM sessions WHERE id IS NOT NULL AND (?1 IS NULL OR source = ?1)"
        " ORDER BY started_at, rowid",
        (source,),
    )
    return [identifier for (identifier,) in rows]


def update(
    connection: sqlite3.Connection,
    session_id: str,
    *,
    title: str | None = None,
    model_config: dict[str, Any] | None = None,
    **columns: str | None,
) -> SessionRecord:
    """Change what is not None; an empty title removes it.

    Raises:
        SessionNotFoundError: No such session.
        SessionTitleError: The title is too long or taken.
    """
    if not _exists(connection, session_id):
        raise _not_found(connection, session_id)
    values: dict[str, str | None] = {
        name: clean(value) for name, value in columns.items() if value is not None
    }
    if title is not None:
        values["title"] = clean_title(title)
        if values["title"]:
            check_title_is_free(connection, values["title"], session_id)
    if model_config is not None:
        values["model_config"] = _dump(model_config)
    if values:
        assignments = ", ".join(f"{name} = ?" for name in values)
        connection.execute(
            f"UPDATE sessions SET {assignments} WHERE id = ?",  # noqa: S608 - names are keywords of ours
            (*values.values(), session_id),
        )
    return get(connection, session_id)


def end(connection: sqlite3.Connection, session_id: str, reason: str) -> None:
    """Mark as ended; the first end counts."""
    connection.execute(
        "UPDATE sessions SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL",
        (time.time(), reason, session_id),
    )


def reopen(connection: sqlite3.Connection, session_id: str) -> None:
    """Undo `end`."""
    connection.execute("UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE id = ?", (session_id,))


def delete(connection: sqlite3.Connection, session_id: str) -> None:
    """Remove a session, its messages and its draft; its children belong to its parent then.

    Raises:
        SessionNotFoundError: No such session.
    """
    row = connection.execute("SELECT parent_session_id FROM sessions WHERE id = ?", (session_id,)).fetchone()
    if row is None:
        raise _not_found(connection, session_id)
    search_index.unindex(connection, session_id)
    connection.execute(
        "UPDATE sessions SET parent_session_id = ? WHERE parent_session_id = ?", (row[0], session_id)
    )
    connection.execute("DELETE FROM drafts WHERE session_id = ?", (session_id,))
    connection.execute("DELETE FROM messages WHERE session_id = ?", (session_id,))
    connection.execute("DELETE FROM sessions WHERE id = ?", (session_id,))


def inactive_since(
    connection: sqlite3.Connection, before: float, *, source: str | None = None
) -> list[SessionRecord]:
    """Sessions whose last message (or start) is older than `before` (Unix time), oldest first."""
    chosen = connection.execute(
        "SELECT s.id FROM sessions s WHERE (?1 IS NULL OR s.source = ?1)"  # noqa: S608
        f" AND {_LAST_ACTIVE} < ?2"
        f" ORDER BY {_LAST_ACTIVE}, s.rowid",
        (source, before),
    ).fetchall()
    return [get(connection, identifier) for (identifier,) in chosen]


def lineage(connection: sqlite3.Connection, session_id: str) -> list[SessionRecord]:
    """The session and those it goes on from (compaction, branches), oldest first."""
    chain = [get(connection, session_id)]
    seen = {session_id}
    while (parent := chain[-1].parent_session_id) and parent not in seen and _exists(connection, parent):
        seen.add(parent)
        chain.append(get(connection, parent))
    return chain[::-1]


def children(connection: sqlite3.Connection, session_id: str) -> list[SessionRecord]:
    """Sessions that go on from this one, oldest first."""
    rows = connection.execute(
        "SELECT id FROM sessions WHERE parent_session_id = ? ORDER BY started_at, rowid", (session_id,)
    ).fetchall()
    return [get(connection, identifier) for (identifier,) in rows]


def _named(connection: sqlite3.Connection, title: str) -> str | None:
    row = connection.execute(
        "SELECT id FROM sessions WHERE title = ? ORDER BY started_at DESC", (title,)
    ).fetchone()
    return row[0] if row else None


def _resolve_title(connection: sqlite3.Connection, title: str) -> str | None:
    if not title:
        return None
    matches = titles_like(connection, title)
    if split_title(title)[1] > 1:
        matches = [match for match in matches if match[2] == title]
    if matches:
        return max(matches, key=lambda match: match[1])[0]
    rows = connection.execute(
        "SELECT id FROM sessions WHERE title = ? COLLATE NOCASE ORDER BY started_at DESC", (title,)
    ).fetchall()
    return rows[0][0] if rows else None


def _not_found(connection: sqlite3.Connection, reference: str) -> SessionNotFoundError:
    similar = [
        f"{identifier} ({title})" if title else identifier
        for identifier, title in connection.execute(
            "SELECT id, title FROM sessions WHERE ?1 <> ''"
            " AND (instr(id, ?1) OR instr(lower(title), lower(?1))) ORDER BY started_at DESC LIMIT 4",
            (reference,),
        )
    ]
    remedy = (
        f"Did you mean {', '.join(similar)}?" if similar else "`hermes sessions list` shows all sessions."
    )
    return SessionNotFoundError(f"There is no session {reference!r}", remedy=remedy)


def _exists(connection: sqlite3.Connection, session_id: str) -> bool:
    return connection.execute("SELECT 1 FROM sessions WHERE id = ?", (session_id,)).fetchone() is not None


def _free_id(connection: sqlite3.Connection, source: str, now: float) -> str:
    while _exists(connection, identifier := new_session_id(source, now)):
        pass
    return identifier


def _record(row: Sequence[Any]) -> SessionRecord:
    config = load_json(row[20])
    return SessionRecord(
        id=row[0],
        source=row[1] or "",
        started_at=_number(row[2]),
        model=row[3],
        title=row[4],
        user_id=row[5],
        cwd=row[6],
        system_prompt=row[7],
        parent_session_id=row[8],
        ended_at=None if row[9] is None else _number(row[9]),
        end_reason=row[10],
        message_count=_count(row[11]),
        tool_call_count=_count(row[12]),
        usage=_usage(row[13:20]),
        model_config=config if isinstance(config, dict) else {},
        last_active_at=_number(row[21]),
        preview=preview(row[22]),
    )


def _usage(values: Sequence[Any]) -> Usage:
    inputs, outputs, reads, writes, reasoning, requests = (_count(value) for value in values[:6])
    cost = float(values[6]) if isinstance(values[6], int | float) else None
    return Usage(inputs, outputs, reads, writes, reasoning, requests, cost)


def preview(content: object) -> str:
    """The beginning of a message on one line."""
    text = " ".join(content_text(content)[:1_000].split())
    return text if len(text) <= PREVIEW_LENGTH else f"{text[: PREVIEW_LENGTH - 1].rstrip()}…"


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
