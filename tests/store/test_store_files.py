from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_agent.core.errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreUnwritableError,
    StoreVersionError,
)
from hermes_agent.core.messages import AssistantMessage, UserMessage
from hermes_agent.store import SqliteStore, open_store
from hermes_agent.store.guard import CheckpointGuard
from hermes_agent.store.migrate import STORE_VERSION, migration_files

WRITER = """
import asyncio, sys
from pathlib import Path
from hermes_agent.core.messages import AssistantMessage
from hermes_agent.store import open_store

async def main(path, name, count, size):
    store = await open_store(Path(path))
    record = await store.create(source="cli", session_id=name)
    for number in range(count):
        await store.append_draft(name, "text", f"draft {number}")
        await store.append(name, [AssistantMessage(f"{name} {number} " + "x" * size)])
        print(number, flush=True)
    await store.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


def start_writer(path: Path, name: str, count: int, size: int = 100) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count), str(size)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sound(path: Path) -> bool:
    connection = sqlite3.connect(path)
    try:
        connection.execute("INSERT INTO message_words (message_words) VALUES ('integrity-check')")
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    finally:
        connection.close()


async def test_four_processes_write_at_once_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    writers = [start_writer(path, f"s{number}", 500) for number in range(4)]
    outputs = [await asyncio.to_thread(writer.communicate) for writer in writers]
    assert [(writer.returncode, errors) for writer, (_, errors) in zip(writers, outputs, strict=True)] == [
        (0, "")
    ] * 4
    store = await open_store(path)
    for number in range(4):
        texts = [item.message.text for item in await store.messages(f"s{number}")]  # type: ignore[union-attr]
        assert [text.split()[1] for text in texts] == [str(count) for count in range(500)]
    assert (await store.statistics()).waiting_for_index == 0
    assert len(await store.search("s2", limit=10_000)) == 500
    await store.aclose()
    assert sound(path)


async def test_a_killed_writer_loses_nothing_it_had_committed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    survivor = start_writer(path, "survivor", 300)
    victims = [start_writer(path, f"victim{number}", 100_000, size=20_000) for number in range(2)]
    reported = []
    for number, victim in enumerate(victims):
        assert victim.stdout is not None
        for line in victim.stdout:
            if int(line) >= 60 + 45 * number:
                break
        victim.kill()
        victim.communicate()
        reported.append(int(line))
    _, errors = survivor.communicate()
    assert (survivor.returncode, errors) == (0, "")
    store = await open_store(path)
    assert len(await store.messages("survivor")) == 300
    for number, last in enumerate(reported):
        rows = [item for item in await store.messages(f"victim{number}") if item.id > 0]
        found = [int(item.message.text.split()[1]) for item in rows]  # type: ignore[union-attr]
        assert len(found) > last
        assert found == list(range(len(found)))
    await store.aclose()
    assert sound(path)


async def test_opening_at_the_same_moment_creates_one_database(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    stores = await asyncio.gather(*(open_store(path) for _ in range(6)))
    for number, store in enumerate(stores):
        await store.create(source="cli", session_id=f"s{number}")
    assert len(await stores[0].list()) == 6
    for store in stores:
        await store.aclose()
    assert sound(path)


async def test_a_short_lock_of_another_process_is_waited_for(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(store.append(record.id, [UserMessage.of("patience")]))
    assert len(await store.list()) == 1  # readers do not wait
    done, _ = await asyncio.wait([task], timeout=1.3)
    assert not done
    other.execute("COMMIT")
    other.close()
    await task
    assert len(await store.messages(record.id)) == 1


async def test_a_lock_that_never_goes_away_is_an_error_not_a_hang(tmp_path: Path) -> None:
    from hermes_agent.store.database import begin_immediate, connect

    store = await open_store(tmp_path / "state.db")
    await store.aclose()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    connection = connect(store.path, busy_timeout_ms=50)
    with pytest.raises(StoreBusyError, match="locked") as caught:
        begin_immediate(connection, store.path, tries=3)
    assert caught.value.remedy
    connection.close()
    other.close()


@pytest.mark.parametrize(
    "content", [b"not a database, really\n" * 100, b"SQLite format 3\x00" + b"\xff" * 5000]
)
async def test_another_file_in_its_place_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StoreCorruptError) as caught:
        await open_store(path)
    assert "doctor" in str(caught.value.remedy)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["state.db"]  # noqa: PTH208


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    store = await open_store(path)
    await store.create(source="cli")
    await store.aclose()


async def test_a_directory_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StoreUnwritableError, match="is a directory"):
        await open_store(tmp_path / "state.db")


async def test_a_file_where_the_home_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(StoreUnwritableError):
        await open_store(tmp_path / "home" / "state.db")


async def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (id)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreCorruptError, match="not a hermes database"):
        await open_store(path)
    assert path.read_bytes() == before


def as_newer(path: Path, statement: str) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "state.db")
    await store.aclose()
    before = as_newer(store.path, "UPDATE store_meta SET value = '999' WHERE key = 'compat_version'")
    with pytest.raises(StoreVersionError, match="newer program") as caught:
        await open_store(store.path)
    assert "999" in str(caught.value.why)
    assert "Update" in str(caught.value.remedy)
    assert store.path.read_bytes() == before


async def test_a_newer_database_of_the_older_agent_is_refused_and_left_alone(
    tmp_path: Path, older_database_writer: Callable[..., None]
) -> None:
    path = tmp_path / "state.db"
    older_database_writer(path, version=17)
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match="newer program"):
        await open_store(path)
    assert path.read_bytes() == before


async def test_additions_of_a_newer_program_are_tolerated(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "state.db")
    await store.aclose()
    as_newer(store.path, "INSERT INTO store_migrations VALUES (900, '0900_future', 0)")
    as_newer(store.path, "ALTER TABLE messages ADD COLUMN future TEXT")
    store = await open_store(store.path)
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("still works")])
    await store.aclose()


def test_migrations_are_numbered_without_gaps() -> None:
    assert [number for number, _ in migration_files()] == list(range(1, STORE_VERSION + 1))


async def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(migration_files()[0][1].read_text(encoding="utf-8"))
    connection.executescript(
        "CREATE TABLE store_migrations (number INTEGER PRIMARY KEY, name TEXT, applied_at REAL);"
        "CREATE TABLE store_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);"
        "INSERT INTO store_migrations VALUES (1, '0001_conversations', 0);"
        "INSERT INTO store_meta VALUES ('compat_version', '1');"
        "INSERT INTO sessions (id, source, started_at) VALUES ('s', 'cli', 1);"
        "INSERT INTO messages (session_id, role, content, timestamp) VALUES ('s', 'user', 'early bird', 2);"
    )
    connection.close()
    store = await open_store(path)
    await store.index_step()
    assert [hit.session_id for hit in await store.search("early bird")] == ["s"]
    await store.append_draft("s", "text", "x")
    await store.aclose()


OPENER = """
import asyncio, sys
from pathlib import Path
from hermes_agent.core.errors import StoreError
from hermes_agent.core.messages import UserMessage
from hermes_agent.store import open_store

async def main():
    try:
        store = await open_store(Path(sys.argv[1]))
        await store.append("s", [UserMessage.of("more")])
    except StoreError as error:
        print(type(error).__name__, "|", error, "|", error.why, "|", error.remedy)

asyncio.run(main())
"""


def open_without_privileges(path: Path) -> str:
    """Open the database; as root, without root's power over permission bits."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root needs setpriv to give up its privileges")
        prefix = [setpriv, "--bounding-set=-dac_override,-dac_read_search,-fowner"]
    command = [*prefix, sys.executable, "-c", OPENER, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_read_only_home_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    said = open_without_privileges(home / "state.db")
    assert said.startswith("StoreUnwritableError | Cannot write")
    assert "Permission denied" in said
    assert "HERMES_HOME" in said


async def test_a_database_in_a_read_only_home_is_named_and_unharmed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = await open_store(home / "state.db")
    await store.create(source="cli", session_id="s")
    await store.aclose()
    before = store.path.read_bytes()
    store.path.chmod(0o444)
    home.chmod(0o555)
    said = open_without_privileges(store.path)
    home.chmod(0o755)
    assert said.startswith("StoreUnwritableError | Cannot write the database"), said
    assert store.path.read_bytes() == before


async def test_a_full_disk_is_named_and_what_was_stored_stays(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "state.db")
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("before")])
    pages = await store._writer.run(
        lambda connection: connection.execute("PRAGMA page_count").fetchone()[0], in_transaction=False
    )

    def limit(connection: sqlite3.Connection, most: int) -> None:
        connection.execute(f"PRAGMA max_page_count = {most}").fetchone()

    await store._writer.run(lambda connection: limit(connection, pages + 5), in_transaction=False)
    with pytest.raises(StoreUnwritableError, match="No space left") as caught:
        await store.append(record.id, [UserMessage.of("too much " * 20_000)])
    assert "Free some space" in str(caught.value.remedy)
    small = store.append(record.id, [UserMessage.of("small")])
    big = store.append(record.id, [UserMessage.of("too much " * 20_000)])
    results = await asyncio.gather(small, big, return_exceptions=True)
    assert isinstance(results[1], StoreUnwritableError)
    assert not isinstance(results[0], BaseException)
    await store._writer.run(lambda connection: limit(connection, 1_000_000), in_transaction=False)
    await store.append(record.id, [AssistantMessage("after")])
    texts = [item.message.text for item in await store.messages(record.id)]  # type: ignore[union-attr]
    assert texts == ["before", "small", "after"]
    await store.aclose()
    assert sound(store.path)


async def test_a_damaged_page_is_reported_as_damage(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "state.db")
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of(f"text {number} " * 100) for number in range(300)])
    await store.aclose()
    damage(store.path, "messages")
    store = await open_store(store.path)
    with pytest.raises(StoreCorruptError, match="damaged") as caught:
        await store.messages(record.id)
    assert "doctor --fix" in str(caught.value.remedy)
    await store.aclose()


def damage(path: Path, table: str) -> None:
    """Overwrite some pages of a table in the middle of it."""
    connection = sqlite3.connect(path)
    pages = [
        page
        for (page,) in connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno", (table,)
        )
    ]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        for page in pages[len(pages) // 3 : len(pages) // 3 + 2]:
            file.seek((page - 1) * 4096)
            file.write(b"\xa5" * 4096)


async def with_damaged_index(path: Path) -> SqliteStore:
    """200 messages whose index is garbage from the first page on."""
    store = await open_store(path)
    await store.create(source="cli", session_id="s")
    for number in range(200):
        await store.append("s", [UserMessage.of(f"apple text {number} {number * 7919} " * 30)])
    await store.aclose()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE message_words_data SET block = x'00ff00ff00ff00ff00ff00ff' WHERE id > 10")
    connection.commit()
    connection.close()
    return await open_store(path)


async def test_a_damaged_index_is_rebuilt_and_storing_goes_on(tmp_path: Path) -> None:
    store = await with_damaged_index(tmp_path / "state.db")
    for number in range(40):
        await store.append("s", [UserMessage.of(f"pear {number}")])
    assert len(await store.search("apple", limit=1000)) == 200
    assert len(await store.search("pear", limit=1000)) == 40
    assert len(await store.messages("s")) == 240
    await store.aclose()
    assert sound(store.path)


async def test_searching_a_damaged_index_rebuilds_it(tmp_path: Path) -> None:
    store = await with_damaged_index(tmp_path / "state.db")
    assert len(await store.search("apple", limit=1000)) == 200
    await store.aclose()
    assert sound(store.path)


async def test_deleting_with_a_damaged_index_works(tmp_path: Path) -> None:
    store = await with_damaged_index(tmp_path / "state.db")
    await store.create(source="cli", session_id="t")
    await store.append("t", [UserMessage.of("pear")])
    await store.delete("s")
    assert await store.search("apple") == []
    assert len(await store.search("pear")) == 1
    await store.aclose()
    assert sound(store.path)


async def test_a_lost_index_table_is_made_again(tmp_path: Path) -> None:
    store = await with_damaged_index(tmp_path / "state.db")
    await store.aclose()
    connection = sqlite3.connect(store.path)
    connection.execute("DROP TABLE message_words")
    connection.commit()
    connection.close()
    store = await open_store(store.path)
    await store.append("s", [UserMessage.of("pear")])
    assert len(await store.search("apple", limit=1000)) == 200
    assert len(await store.search("pear", limit=1000)) == 1
    await store.aclose()


async def test_an_index_of_an_older_format_is_built_anew(store: SqliteStore) -> None:
    await store.create(source="cli", session_id="s")
    await store.append("s", [UserMessage.of("apple")])
    await store.aclose()
    connection = sqlite3.connect(store.path)
    connection.execute("UPDATE search_range SET format = 0")
    connection.commit()
    connection.close()
    again = await open_store(store.path)
    assert (await again.statistics()).waiting_for_index == 1
    await again.index_step()
    assert len(await again.search("apple")) == 1
    await again.aclose()


async def test_rows_of_another_program_are_indexed_with_the_next_write(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    connection = sqlite3.connect(store.path)
    connection.execute(
        "INSERT INTO messages (session_id, role, content, timestamp) VALUES (?, 'user', 'stranger', 1)",
        (record.id,),
    )
    connection.commit()
    connection.close()
    assert (await store.statistics()).waiting_for_index == 1
    await store.append(record.id, [UserMessage.of("own")])
    assert len(await store.search("stranger")) == 1


async def test_odd_names_of_the_home_work(tmp_path: Path) -> None:
    home = tmp_path / "a b?c#d%20é'\"&mode=memory"
    store = await open_store(home / "state.db")
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("here")])
    assert len(await store.messages(record.id)) == 1
    await store.aclose()
    assert {path.name for path in home.iterdir()} == {"state.db", "state.db-guard"}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


async def test_the_log_does_not_grow_without_end(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    for number in range(400):
        await store.append(record.id, [UserMessage.of(json.dumps({"n": number}) * 1000)])
    wal = store.path.with_name("state.db-wal")
    assert wal.stat().st_size < 16 * 1024 * 1024


def test_a_checkpoint_waits_for_writers_of_other_processes_and_they_for_it(tmp_path: Path) -> None:
    first, second = CheckpointGuard(tmp_path / "state.db"), CheckpointGuard(tmp_path / "state.db")
    with first.writing(), first.writing(), second.writing():
        with first.checkpointing() as is_free:
            assert not is_free
    with first.writing(), second.checkpointing() as is_free:
        assert not is_free
    with second.checkpointing() as is_free:
        assert is_free
    order: list[str] = []
    with second.checkpointing():
        waiting = threading.Thread(target=lambda: _write_guarded(first, order))
        waiting.start()
        order.append("checkpoint")
    waiting.join(10)
    assert order == ["checkpoint", "write"]
    first.close()
    second.close()


def _write_guarded(guard: CheckpointGuard, order: list[str]) -> None:
    with guard.writing():
        order.append("write")
