from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_agent.core.errors import SessionNotFoundError, SessionTitleError, StoreError
from hermes_agent.core.messages import AssistantMessage, TextPart, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import Usage
from hermes_agent.core.session import SessionStore
from hermes_agent.store import SqliteStore, open_store


async def test_the_store_fits_the_port(store: SqliteStore) -> None:
    port: SessionStore = store
    assert await port.list() == []
    assert await port.latest() is None


async def test_a_new_session_has_what_it_was_given(store: SqliteStore) -> None:
    record = await store.create(
        source="cli", model="gpt", cwd="/srv", user_id="u", title=" My  plan\n", model_config={"a": [1, "ü"]}
    )
    assert re.fullmatch(r"\d{8}_\d{6}_[0-9a-f]{6}", record.id)
    assert (record.source, record.model, record.cwd, record.user_id) == ("cli", "gpt", "/srv", "u")
    assert record.title == "My plan"
    assert record.model_config == {"a": [1, "ü"]}
    assert record.last_active_at == record.started_at > 1_700_000_000
    assert await store.get(record.id) == record


async def test_gateway_sessions_have_eight_hex_digits(store: SqliteStore) -> None:
    record = await store.create(source="telegram")
    assert re.fullmatch(r"\d{8}_\d{6}_[0-9a-f]{8}", record.id)


async def test_an_id_is_used_once(store: SqliteStore) -> None:
    await store.create(source="cli", session_id="one")
    with pytest.raises(StoreError, match="exists already"):
        await store.create(source="cli", session_id="one")


async def test_the_database_is_private(store: SqliteStore) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


async def test_messages_come_back_as_they_were(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    said = [
        UserMessage.of("list the files"),
        AssistantMessage("", (ToolCall("c1", "terminal", '{"command":"ls"}'),), finish_reason="tool_calls"),
        ToolMessage("c1", "terminal", "a.txt", is_error=True),
        AssistantMessage("There is one.", reasoning="easy"),
    ]
    ids = await store.append(record.id, said, usage=Usage(10, 5, 3, 2, 1, 1, 0.5))
    stored = await store.messages(record.id)
    assert [item.message for item in stored] == said
    assert [item.id for item in stored] == list(ids)
    after = await store.get(record.id)
    assert (after.message_count, after.tool_call_count) == (4, 1)
    assert after.usage == Usage(10, 5, 3, 2, 1, 1, 0.5)
    assert after.preview == "list the files"
    assert after.last_active_at == stored[-1].timestamp


async def test_usage_adds_up_and_an_unknown_cost_stays_unknown(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [], usage=Usage(1, 1, requests=1))
    assert (await store.get(record.id)).usage.cost_usd is None
    await store.append(record.id, [], usage=Usage(1, 1, requests=1, cost_usd=0.25))
    await store.append(record.id, [], usage=Usage(1, 1, requests=1))
    assert (await store.get(record.id)).usage == Usage(3, 3, requests=3, cost_usd=0.25)


async def test_appending_to_a_deleted_session_is_an_error(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.delete(record.id)
    with pytest.raises(SessionNotFoundError):
        await store.append(record.id, [UserMessage.of("hello")])


async def test_a_draft_shows_as_an_interrupted_answer(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("tell me")])
    await store.append_draft(record.id, "reasoning", "hm ")
    await store.append_draft(record.id, "text", "Once upon ")
    await store.append_draft(record.id, "text", "a time")
    last = (await store.messages(record.id))[-1]
    assert last.id == 0
    assert last.message == AssistantMessage("Once upon a time", reasoning="hm ", finish_reason="interrupted")


async def test_the_finished_answer_replaces_the_draft(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append_draft(record.id, "text", "Once")
    await store.append(record.id, [AssistantMessage("Once upon a time")])
    assert [item.message for item in await store.messages(record.id)] == [
        AssistantMessage("Once upon a time")
    ]


async def test_what_a_killed_process_showed_stays_when_the_person_goes_on(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append_draft(record.id, "text", "Once")
    await store.append(record.id, [UserMessage.of("and then?")])
    assert [item.message for item in await store.messages(record.id)] == [
        AssistantMessage("Once", finish_reason="interrupted"),
        UserMessage.of("and then?"),
    ]


async def test_a_discarded_draft_is_gone(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append_draft(record.id, "text", "Once")
    await store.discard_draft(record.id)
    assert await store.messages(record.id) == []


async def test_rewind_takes_back_a_message_and_all_after_it(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    first = await store.append(record.id, [UserMessage.of("one"), AssistantMessage("1")])
    calls = (ToolCall("a", "x", "{}"), ToolCall("b", "x", "{}"))
    second = await store.append(record.id, [UserMessage.of("two"), AssistantMessage("", calls)])
    assert await store.rewind(record.id, second[0]) == 2
    assert [item.id for item in await store.messages(record.id)] == list(first)
    after = await store.get(record.id)
    assert (after.message_count, after.tool_call_count) == (2, 0)
    assert await store.search("two") == []
    assert await store.rewind(record.id, second[0]) == 0


async def test_rewinding_a_draft_forgets_only_the_draft(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("one")])
    await store.append_draft(record.id, "text", "On")
    assert await store.rewind(record.id, 0) == 1
    assert [item.message for item in await store.messages(record.id)] == [UserMessage.of("one")]


async def test_titles_are_unique_and_short(store: SqliteStore) -> None:
    first = await store.create(source="cli", title="plan")
    second = await store.create(source="cli")
    with pytest.raises(SessionTitleError, match="taken") as caught:
        await store.update(second.id, title="plan")
    assert "'plan #2'" in str(caught.value.remedy)
    assert (await store.update(first.id, title="plan")).title == "plan"
    with pytest.raises(SessionTitleError, match="101 characters"):
        await store.update(second.id, title="x" * 101)
    assert (await store.update(second.id, title="x" * 100)).title == "x" * 100
    assert (await store.update(second.id, title="")).title is None


async def test_numbered_titles_go_on_counting(store: SqliteStore) -> None:
    assert await store.next_title("plan") == "plan"
    await store.create(source="cli", title="plan")
    assert await store.next_title("plan") == "plan #2"
    await store.create(source="cli", title="plan #7")
    assert await store.next_title("plan #2") == "plan #8"
    await store.create(source="cli", title="y" * 100)
    assert await store.next_title("y" * 100) == "y" * 97 + " #2"


async def test_sessions_are_found_by_id_prefix_and_title(store: SqliteStore) -> None:
    first = await store.create(source="cli", session_id="20250101_aa", title="Plan")
    second = await store.create(source="cli", session_id="20250101_ab", title="Plan #2")
    assert (await store.resolve("20250101_aa")).id == first.id
    assert (await store.resolve(" 20250101_ab ")).id == second.id
    assert (await store.resolve("Plan")).id == second.id
    assert (await store.resolve("plan")).id == first.id
    assert (await store.resolve("Plan", exact_title=True)).id == first.id
    with pytest.raises(SessionNotFoundError, match="More than one") as caught:
        await store.resolve("20250101")
    assert "20250101_aa" in str(caught.value.remedy)
    with pytest.raises(SessionNotFoundError, match="no session 'lan'") as caught:
        await store.resolve("lan")
    assert "Plan #2" in str(caught.value.remedy)
    for hopeless in ("", "%", "_", "'", "\x00", "x" * 5000):
        with pytest.raises(SessionNotFoundError):
            await store.resolve(hopeless)


async def test_sessions_are_listed_by_last_use(store: SqliteStore) -> None:
    first = await store.create(source="cli")
    second = await store.create(source="telegram")
    third = await store.create(source="cli")
    await store.append(first.id, [UserMessage.of("again")])
    assert [record.id for record in await store.list()] == [first.id, third.id, second.id]
    assert [record.id for record in await store.list(limit=1, offset=1)] == [third.id]
    assert [record.id for record in await store.list(source="telegram")] == [second.id]
    latest = await store.latest()
    assert latest is not None
    assert latest.id == first.id
    latest = await store.latest(source="telegram")
    assert latest is not None
    assert latest.id == second.id
    assert await store.latest(title="nothing") is None


async def test_ending_and_reopening(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.end(record.id, "user_exit")
    await store.end(record.id, "later")
    ended = await store.get(record.id)
    assert ended.end_reason == "user_exit"
    assert ended.ended_at is not None
    await store.reopen(record.id)
    assert (await store.get(record.id)).ended_at is None


async def test_deleting_a_session_keeps_its_children_in_the_family(store: SqliteStore) -> None:
    first = await store.create(source="cli")
    second = await store.create(source="cli", parent_session_id=first.id)
    third = await store.create(source="cli", parent_session_id=second.id)
    await store.append(second.id, [UserMessage.of("unmistakable")])
    assert [record.id for record in await store.lineage(third.id)] == [first.id, second.id, third.id]
    await store.delete(second.id)
    assert [record.id for record in await store.lineage(third.id)] == [first.id, third.id]
    assert [record.id for record in await store.children(first.id)] == [third.id]
    assert await store.search("unmistakable") == []
    with pytest.raises(SessionNotFoundError):
        await store.delete(second.id)


async def test_update_leaves_alone_what_is_not_given(store: SqliteStore) -> None:
    record = await store.create(source="cli", model="a", cwd="/x")
    changed = await store.update(record.id, system_prompt="Be kind.\r\n", model_config={"k": None})
    assert (changed.model, changed.cwd, changed.system_prompt) == ("a", "/x", "Be kind.\r\n")
    assert changed.model_config == {"k": None}
    with pytest.raises(SessionNotFoundError):
        await store.update("nothing", model="b")


async def test_messages_around_a_hit(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    ids = await store.append(record.id, [UserMessage.of(str(number)) for number in range(10)])
    assert [item.id for item in await store.around(ids[4], window=2)] == list(ids[2:7])
    assert await store.around(10**9) == []


async def test_many_writers_of_one_process_share_transactions_without_mixing(store: SqliteStore) -> None:
    records = [await store.create(source="cli") for _ in range(5)]
    jobs = [store.append(records[number % 5].id, [UserMessage.of(str(number))]) for number in range(500)]
    bad = store.append("missing", [UserMessage.of("x")])
    results = await asyncio.gather(*jobs, bad, return_exceptions=True)
    assert isinstance(results[-1], SessionNotFoundError)
    for index, record in enumerate(records):
        texts = [item.message for item in await store.messages(record.id)]
        assert texts == [UserMessage.of(str(number)) for number in range(index, 500, 5)]


async def test_a_cancelled_caller_does_not_undo_its_write(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    task = asyncio.create_task(store.append(record.id, [UserMessage.of("kept")]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.append(record.id, [])  # queued behind it
    assert [item.message for item in await store.messages(record.id)] == [UserMessage((TextPart("kept"),))]


async def test_closing_twice_is_safe_and_using_it_afterwards_says_so(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "deep" / "state.db")
    await store.aclose()
    await store.aclose()
    for call in (store.list(), store.create(source="cli")):
        with pytest.raises(StoreError, match="closed"):
            await call
    assert {path.name for path in store.path.parent.iterdir()} == {"state.db", "state.db-guard"}


async def test_closing_waits_for_what_is_queued(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "state.db")
    record = await store.create(source="cli")
    tasks = [asyncio.create_task(store.append(record.id, [UserMessage.of("x")])) for _ in range(50)]
    await asyncio.sleep(0)
    await store.aclose()
    await asyncio.gather(*tasks)
    store = await open_store(tmp_path / "state.db")
    assert len(await store.messages(record.id)) == 50
    await store.aclose()


async def test_statistics_count(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.create(source="telegram")
    await store.append(record.id, [UserMessage.of("x")], usage=Usage(5, 6, requests=1))
    found = await store.statistics()
    assert (found.sessions, found.messages, found.sources) == (2, 1, {"cli": 1, "telegram": 1})
    assert found.usage == Usage(5, 6, requests=1)
    assert found.database_bytes > 0
    assert found.waiting_for_index == 0


async def test_compacting_gives_space_back(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of(f"some words {number} " * 50) for number in range(500)])
    await store.delete(record.id)
    before = (await store.statistics()).database_bytes
    await store.compact()
    assert (await store.statistics()).database_bytes < before / 2


def test_importing_the_store_is_light() -> None:
    code = (
        "import sys, hermes_agent.store.locks\n"
        "before = 'sqlite3' in sys.modules\n"
        "import hermes_agent.store.store\n"
        "heavy = ('pydantic', 'click', 'yaml', 'rich', 'httpx', 'random', 'hashlib', 'zipfile')\n"
        "print(before, [name for name in heavy if name in sys.modules])"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"


def test_sqlite_can_do_what_is_needed() -> None:
    assert sqlite3.sqlite_version_info >= (3, 38)
