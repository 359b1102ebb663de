from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hermes_agent.store import SqliteStore, open_store

OLDER_LAYOUT = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, user_id TEXT, model TEXT, model_config TEXT,
    system_prompt TEXT, parent_session_id TEXT, started_at REAL NOT NULL, ended_at REAL, end_reason TEXT,
    message_count INTEGER DEFAULT 0, tool_call_count INTEGER DEFAULT 0, input_tokens INTEGER DEFAULT 0,
    output_tokens INTEGER DEFAULT 0, cache_read_tokens INTEGER DEFAULT 0,
    cache_write_tokens INTEGER DEFAULT 0, reasoning_tokens INTEGER DEFAULT 0, cwd TEXT,
    billing_provider TEXT, billing_base_url TEXT, billing_mode TEXT, estimated_cost_usd REAL,
    actual_cost_usd REAL, cost_status TEXT, cost_source TEXT, pricing_version TEXT, title TEXT,
    api_call_count INTEGER DEFAULT 0, handoff_state TEXT, handoff_platform TEXT, handoff_error TEXT,
    rewind_count INTEGER NOT NULL DEFAULT 0, archived INTEGER NOT NULL DEFAULT 0,
    FOREIGN KEY (parent_session_id) REFERENCES sessions (id)
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL REFERENCES sessions (id),
    role TEXT NOT NULL, content TEXT, tool_call_id TEXT, tool_calls TEXT, tool_name TEXT,
    timestamp REAL NOT NULL, token_count INTEGER, finish_reason TEXT, reasoning TEXT,
    reasoning_content TEXT, reasoning_details TEXT, codex_reasoning_items TEXT, codex_message_items TEXT,
    platform_message_id TEXT, observed INTEGER DEFAULT 0, active INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE state_meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE compression_locks (
    session_id TEXT PRIMARY KEY, holder TEXT NOT NULL, acquired_at REAL NOT NULL, expires_at REAL NOT NULL
);
CREATE INDEX idx_messages_session ON messages (session_id, timestamp);
CREATE UNIQUE INDEX idx_sessions_title_unique ON sessions (title) WHERE title IS NOT NULL;
CREATE VIRTUAL TABLE messages_fts USING fts5 (content);
CREATE VIRTUAL TABLE messages_fts_trigram USING fts5 (content, tokenize = 'trigram');
"""
TRIGGERS = """
CREATE TRIGGER {table}_insert AFTER INSERT ON messages BEGIN
    INSERT INTO {table} (rowid, content) VALUES (new.id,
        coalesce(new.content, '') || ' ' || coalesce(new.tool_name, '')
        || ' ' || coalesce(new.tool_calls, ''));
END;
CREATE TRIGGER {table}_delete AFTER DELETE ON messages BEGIN
    DELETE FROM {table} WHERE rowid = old.id;
END;
CREATE TRIGGER {table}_update AFTER UPDATE ON messages BEGIN
    DELETE FROM {table} WHERE rowid = old.id;
    INSERT INTO {table} (rowid, content) VALUES (new.id,
        coalesce(new.content, '') || ' ' || coalesce(new.tool_name, '')
        || ' ' || coalesce(new.tool_calls, ''));
END;
"""
TOOL_CALLS = json.dumps(
    [{"id": "call_7", "type": "function", "function": {"name": "terminal", "arguments": '{"command": "ls"}'}}]
)
OLDER_MESSAGES = [
    ("20250101_100000_aaaaaa", "user", "find the blue unicorn", None, None, None, 1.0),
    ("20250101_100000_aaaaaa", "assistant", "", None, TOOL_CALLS, None, 2.0),
    ("20250101_100000_aaaaaa", "tool", "meadow.txt", "call_7", None, "terminal", 3.0),
    ("20250101_100000_aaaaaa", "assistant", "It is in the meadow 草地上的独角兽。", None, None, None, 4.0),
    ("20250202_100000_bbbbbbbb", "user", "hello from telegram", None, None, None, 5.0),
    ("20250202_100000_bbbbbbbb", "assistant", "hello back", None, None, None, 6.0),
]


def write_older_database(path: Path, *, version: int = 16) -> None:
    """A database as the older agent of version 0.16 leaves it."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(OLDER_LAYOUT)
    for table in ("messages_fts", "messages_fts_trigram"):
        connection.executescript(TRIGGERS.format(table=table))
    connection.execute("INSERT INTO schema_version VALUES (?)", (version,))
    connection.execute("INSERT INTO state_meta VALUES ('last_vacuum', '123')")
    connection.execute(
        "INSERT INTO sessions (id, source, model, model_config, system_prompt, started_at, title,"
        " message_count, input_tokens, api_call_count, actual_cost_usd, cwd)"
        " VALUES ('20250101_100000_aaaaaa', 'cli', 'gpt',"
        " '{\"max_turns\": 9}', 'You are kind.', 0.5, 'unicorns', 4, 70, 2, 0.25, '/srv')"
    )
    connection.execute(
        "INSERT INTO sessions (id, source, user_id, started_at, parent_session_id, title) VALUES"
        " ('20250202_100000_bbbbbbbb', 'telegram', '42', 4.5, '20250101_100000_aaaaaa', 'unicorns #2')"
    )
    connection.executemany(
        "INSERT INTO messages (session_id, role, content, tool_call_id, tool_calls, tool_name, timestamp)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        OLDER_MESSAGES,
    )
    connection.commit()
    connection.close()


@pytest.fixture
def older_database(tmp_path: Path) -> Path:
    path = tmp_path / "state.db"
    write_older_database(path)
    return path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(tmp_path / "state.db")
    yield opened
    await opened.aclose()


@pytest.fixture
def older_database_writer() -> Callable[..., None]:
    return write_older_database
