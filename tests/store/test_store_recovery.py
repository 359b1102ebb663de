from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hermes_agent.core.errors import StoreBusyError, StoreVersionError
from hermes_agent.core.messages import UserMessage
from hermes_agent.store import open_store
from hermes_agent.store.recovery import check, is_in_use, repair, salvage


async def fill(path: Path) -> None:
    store = await open_store(path)
    for name in ("first", "second"):
        await store.create(source="cli", session_id=name, title=name)
        await store.append(name, [UserMessage.of(f"{name} text {number} " * 60) for number in range(200)])
    await store.aclose()


def damage(path: Path, table: str, share: float = 0.5, count: int = 3) -> None:
    connection = sqlite3.connect(path)
    pages = [
        page
        for (page,) in connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno", (table,)
        )
    ]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    start = int(len(pages) * share)
    with path.open("r+b") as file:
        for page in pages[start : start + count]:
            file.seek((page - 1) * 4096)
            file.write(b"\xa5" * 4096)


async def test_a_sound_database_has_no_problems(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert check(path) == []
    await fill(path)
    assert check(path) == []


async def test_damage_is_found_and_the_rest_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await fill(path)
    damage(path, "messages")
    damaged = path.read_bytes()
    assert check(path) != []
    repaired = repair(path, tmp_path / "backups")
    assert repaired.salvaged.gaps > 0
    assert repaired.salvaged.rows["sessions"] == 2
    assert 370 <= repaired.salvaged.rows["messages"] < 400
    assert repaired.set_aside[0].read_bytes() == damaged
    assert check(path) == []
    store = await open_store(path)
    assert len(await store.messages("first")) + len(await store.messages("second")) > 370
    while (await store.index_step()).waiting:
        pass
    assert await store.search('"second text 199"')
    await store.append("first", [UserMessage.of("goes on")])
    await store.aclose()


async def test_messages_of_lost_sessions_get_a_session(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await fill(path)
    damage(path, "sessions", share=0, count=1)
    report = salvage(path, tmp_path / "new.db")
    assert report.restored_sessions == 2
    assert report.rows["messages"] == 400
    store = await open_store(tmp_path / "new.db")
    assert {record.source for record in await store.list()} == {"recovered"}
    assert len(await store.messages("first")) == 200
    await store.aclose()


async def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"garbage" * 1000)
    assert check(path) == ["file is not a database"]
    repaired = repair(path, tmp_path / "backups")
    assert repaired.salvaged.rows == {}
    assert repaired.set_aside[0].read_bytes() == b"garbage" * 1000
    assert check(path) == []


async def test_an_older_database_is_salvaged_whole(older_database: Path) -> None:
    connection = sqlite3.connect(older_database)
    connection.execute("CREATE TABLE kanban (id INTEGER PRIMARY KEY, task TEXT)")
    connection.execute("INSERT INTO kanban VALUES (1, 'sweep')")
    connection.commit()
    connection.close()
    target = older_database.with_name("new.db")
    report = salvage(older_database, target)
    assert (report.rows["sessions"], report.rows["messages"], report.rows["kanban"]) == (2, 6, 1)
    assert report.gaps == 0
    store = await open_store(target)
    assert len(await store.messages("20250101_100000_aaaaaa")) == 4
    await store.aclose()


async def test_a_database_in_use_is_not_mended(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    assert not is_in_use(path)
    store = await open_store(path)
    await store.create(source="cli")
    assert is_in_use(path)
    with pytest.raises(StoreBusyError, match="in use"):
        repair(path, tmp_path / "backups")
    assert len(await store.list()) == 1
    await store.aclose()
    assert not is_in_use(path)


async def test_a_newer_database_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await fill(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE store_meta SET value = '999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreVersionError):
        check(path)
