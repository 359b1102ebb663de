"""Databases of the older agent: opened in place, nothing lost, nothing changed for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import Usage
from hermes_agent.store import open_store

FIRST = "20250101_100000_aaaaaa"
SECOND = "20250202_100000_bbbbbbbb"


def dump(path: Path, *queries: str) -> list[list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    found = [connection.execute(query).fetchall() for query in queries]
    connection.close()
    return found


OLD_ROWS = (
    "SELECT id, source, user_id, model, model_config, system_prompt, parent_session_id, started_at, title,"
    " message_count, input_tokens, actual_cost_usd, cwd, archived FROM sessions ORDER BY id",
    "SELECT id, session_id, role, content, tool_call_id, tool_calls, tool_name, timestamp, active"
    " FROM messages ORDER BY id",
    "SELECT * FROM state_meta",
    "SELECT * FROM schema_version",
    "SELECT rowid, content FROM messages_fts ORDER BY rowid",
    "SELECT rowid, content FROM messages_fts_trigram ORDER BY rowid",
)


async def test_nothing_is_lost_or_changed_by_opening(older_database: Path) -> None:
    before = dump(older_database, *OLD_ROWS)
    store = await open_store(older_database)
    await store.list()
    await store.aclose()
    assert dump(older_database, *OLD_ROWS) == before


async def test_sessions_are_listed_shown_and_resumed(older_database: Path) -> None:
    store = await open_store(older_database)
    assert [record.id for record in await store.list()] == [SECOND, FIRST]
    record = await store.resolve("unicorns #2")
    assert (record.id, record.source, record.user_id) == (SECOND, "telegram", "42")
    record = await store.resolve("20250101")
    assert record.system_prompt == "You are kind."
    assert record.model_config == {"max_turns": 9}
    assert record.usage == Usage(input_tokens=70, requests=2, cost_usd=0.25)
    assert record.preview == "find the blue unicorn"
    assert [item.message for item in await store.messages(FIRST)] == [
        UserMessage.of("find the blue unicorn"),
        AssistantMessage(
            "", (ToolCall("call_7", "terminal", '{"command": "ls"}'),), finish_reason="tool_calls"
        ),
        ToolMessage("call_7", "terminal", "meadow.txt"),
        AssistantMessage("It is in the meadow 草地上的独角兽。"),
    ]
    assert [record.id for record in await store.lineage(SECOND)] == [FIRST, SECOND]
    await store.append_draft(FIRST, "text", "I")
    await store.append(FIRST, [AssistantMessage("I can go on")], usage=Usage(5, 5, requests=1))
    assert (await store.get(FIRST)).usage.input_tokens == 75
    assert len(await store.messages(FIRST)) == 5
    await store.aclose()


async def test_old_messages_become_searchable(older_database: Path) -> None:
    store = await open_store(older_database)
    assert (await store.statistics()).waiting_for_index == 6
    while (await store.index_step()).waiting:
        pass
    assert [hit.session_id for hit in await store.search("blue unicorn")] == [FIRST]
    assert [hit.session_id for hit in await store.search("独角")] == [FIRST]
    assert len(await store.search("hello")) == 2
    assert (await store.statistics()).waiting_for_index == 0
    await store.aclose()


async def test_old_messages_are_indexed_while_nothing_else_happens(older_database: Path) -> None:
    store = await open_store(older_database)
    async with asyncio.timeout(60):
        while (await store.statistics()).waiting_for_index:
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])
    assert len(await store.search("telegram")) == 1
    await store.aclose()


async def test_the_older_agent_finds_what_is_written_now(older_database: Path) -> None:
    store = await open_store(older_database)
    await store.append(FIRST, [UserMessage.of("brand new sentence")])
    await store.aclose()
    query = "SELECT rowid FROM messages_fts WHERE messages_fts MATCH 'sentence'"
    assert dump(older_database, query) == [[(7,)]]
    connection = sqlite3.connect(older_database)  # and goes on writing itself
    connection.execute("INSERT INTO sessions (id, source, started_at) VALUES ('x', 'cli', 9)")
    connection.execute(
        "INSERT INTO messages (session_id, role, content, timestamp) VALUES ('x', 'user', 'y', 9)"
    )
    connection.commit()
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_sessions_of_an_older_database_can_be_deleted(older_database: Path) -> None:
    store = await open_store(older_database)
    await store.delete(FIRST)
    assert [record.id for record in await store.list()] == [SECOND]
    assert (await store.get(SECOND)).parent_session_id is None
    await store.aclose()
    assert dump(older_database, "SELECT count(*) FROM messages_fts") == [[(2,)]]


async def test_the_old_index_goes_when_asked(older_database: Path) -> None:
    store = await open_store(older_database)
    assert (await store.statistics()).old_index_tables == ("messages_fts", "messages_fts_trigram")
    await store.compact(drop_old_index=True)
    assert (await store.statistics()).old_index_tables == ()
    await store.append(FIRST, [UserMessage.of("still stored")])
    assert len(await store.messages(FIRST)) == 5
    await store.aclose()


@pytest.mark.parametrize("version", [1, 9, 16])
async def test_missing_columns_and_tables_are_added(
    tmp_path: Path, older_database_writer: Callable[..., None], version: int
) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE schema_version (version INTEGER NOT NULL);"
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, source TEXT NOT NULL, started_at REAL NOT NULL);"
        "CREATE TABLE messages (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL,"
        " role TEXT NOT NULL, content TEXT, timestamp REAL NOT NULL);"
        "INSERT INTO sessions VALUES ('s', 'cli', 1);"
        "INSERT INTO messages (session_id, role, content, timestamp)"
        " VALUES ('s', 'user', 'ancient words', 2);"
    )
    connection.execute("INSERT INTO schema_version VALUES (?)", (version,))
    connection.commit()
    connection.close()
    store = await open_store(path)
    await store.append("s", [AssistantMessage("modern words")], usage=Usage(1, 1, requests=1))
    await store.index_step()
    assert len(await store.search("words")) == 2
    assert (await store.update("s", title="kept")).title == "kept"
    assert await store.rewind("s", 2) == 1
    await store.aclose()
    assert dump(path, "SELECT version FROM schema_version") == [[(version,)]]


async def test_a_large_database_gets_no_second_index_of_its_messages(older_database: Path) -> None:
    await (await open_store(older_database)).aclose()
    query = "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'messages'"
    assert dump(older_database, query) == [[("idx_messages_session",)]]


async def test_titles_that_were_used_twice_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, source TEXT, started_at REAL, title TEXT);"
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id TEXT, role TEXT, content TEXT,"
        " timestamp REAL);"
        "INSERT INTO sessions VALUES ('a', 'cli', 1, 'same'), ('b', 'cli', 2, 'same');"
    )
    connection.close()
    store = await open_store(path)
    assert {record.title for record in await store.list()} == {"same"}
    assert (await store.resolve("same")).id in ("a", "b")
    await store.aclose()


async def test_archived_sessions_are_kept_but_not_listed(older_database: Path) -> None:
    connection = sqlite3.connect(older_database)
    connection.execute("UPDATE sessions SET archived = 1 WHERE id = ?", (FIRST,))
    connection.commit()
    connection.close()
    store = await open_store(older_database)
    assert [record.id for record in await store.list()] == [SECOND]
    assert (await store.get(FIRST)).id == FIRST
    assert await store.identifiers() == [FIRST, SECOND]
    await store.aclose()
