"""What chats are told of background processes, moment by moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.platform import ChatAddress
from hermes_agent.gateway.delivery import Delivery
from hermes_agent.gateway.processes import FIRST_OUTPUT_SECONDS, LONGEST_OUTPUT_SECONDS, ProcessNotices
from hermes_agent.store import open_store
from hermes_agent.store.chats import SqliteChats
from hermes_agent.store.outbox import SqliteOutbox
from hermes_agent.store.store import SqliteStore

CHAT = ChatAddress("loopback", "c1")


@dataclass
class Process:
    """A process whose time passes when the test says so."""

    id: str = "proc_1"
    command: str = "make `all`\n && make check"
    pid: int | None = 1
    exit_code: int | None = None
    started_at: float = 0.0
    text: str = ""
    pauses: list[float | None] = field(default_factory=list)
    ticks: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)

    def output(self) -> str:
        return self.text

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        self.pauses.append(timeout_seconds)
        return await self.ticks.get()

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def kill(self) -> None: ...


@dataclass
class Told:
    """The notices, the store behind them, and the mode."""

    notices: ProcessNotices
    store: SqliteStore
    mode: list[str]

    async def texts(self, count: int) -> list[str]:
        """Wait until so many were queued."""
        async with asyncio.timeout(60):
            while True:
                entries = await SqliteOutbox(self.store).pending()
                if len(entries) >= count:
                    return [each.message.text for each in entries]
                await asyncio.sleep(0.01)

    async def remembered(self) -> str:
        return await SqliteChats(self.store).get_fact("gateway", "processes")

    async def until(self, condition: Callable[[str], bool]) -> str:
        """Wait until what is remembered fulfils a condition."""
        async with asyncio.timeout(60):
            while not condition(text := await self.remembered()):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)
        return text


@pytest.fixture
async def told(home: Home) -> AsyncIterator[Told]:
    store = await open_store(home.state_db)
    mode = ["all"]

    def settings() -> Settings:
        display = {"background_process_notifications": mode[0]}
        return Settings.model_validate({"display": display})

    delivery = Delivery(SqliteOutbox(store), lambda _name: None)
    notices = ProcessNotices(
        settings, SqliteChats(store), delivery, lambda text: text.replace("hunter2", "***")
    )
    yield Told(notices, store, mode)
    await notices.aclose()
    await delivery.aclose()
    await store.aclose()


async def begin(told: Told, process: Process) -> Callable[[bytes], None]:
    sink = told.notices.follower(CHAT)(process)
    assert sink is not None
    return sink


async def test_output_is_told_with_growing_pauses_and_without_secrets(told: Told) -> None:
    process = Process()
    sink = await begin(told, process)
    sink(b"line 1\npassword hunter2\n\x1b[31m```red\xff")
    process.ticks.put_nowait(False)
    (first,) = await told.texts(1)
    assert first.startswith("⚙️ `make 'all' && make check` runs")
    assert "password ***" in first
    assert first.count("```") == 2
    process.ticks.put_nowait(False)  # nothing new: nothing is told, and the pause stays
    sink(b"line 2\n")
    process.ticks.put_nowait(False)
    second = (await told.texts(2))[1]
    assert "line 2" in second
    assert "line 1" not in second
    process.exit_code, process.text = 0, "all good\n"
    process.ticks.put_nowait(True)
    third = (await told.texts(3))[2]
    assert third.startswith("✅")
    assert "all good" in third
    assert process.pauses[0] == FIRST_OUTPUT_SECONDS
    assert process.pauses[-1] == 4 * FIRST_OUTPUT_SECONDS


async def test_a_flood_shows_its_end(told: Told) -> None:
    process = Process()
    sink = await begin(told, process)
    for number in range(10_000):
        sink(b"x" * 1_000 + f" {number}\n".encode())
    process.ticks.put_nowait(False)
    (first,) = await told.texts(1)
    assert len(first) < 1_500
    assert "9999" in first


@pytest.mark.parametrize(
    ("mode", "code", "count"),
    [("all", 0, 1), ("result", 0, 1), ("error", 0, 0), ("error", 1, 1), ("error", None, 1), ("off", 1, 0)],
)
async def test_the_mode_counts_at_the_end(told: Told, mode: str, code: int | None, count: int) -> None:
    told.mode[0] = mode
    process, last = Process(), Process(id="proc_2", exit_code=0)
    await begin(told, process)
    process.exit_code = code
    process.ticks.put_nowait(True)
    await told.until(lambda text: bool(process.pauses) and process.id not in text)
    if mode != "all":
        assert process.pauses == [LONGEST_OUTPUT_SECONDS]
    told.mode[0] = "all"
    await begin(told, last)
    last.ticks.put_nowait(True)
    assert len(await told.texts(count + 1)) == count + 1


async def test_what_ends_with_the_gateway_is_told_by_the_next(told: Told) -> None:
    process = Process()
    await begin(told, process)
    await told.until(lambda text: process.id in text)
    told.notices.leave()
    process.exit_code = 143
    process.ticks.put_nowait(True)
    await told.notices.aclose()
    await told.notices.tell_lost()
    (text,) = await told.texts(1)
    assert "ended when I was restarted" in text
    await told.notices.tell_lost()
    assert len(await told.texts(1)) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"a": {"platform": "x"}}', "null"])
async def test_notes_that_cannot_be_read_are_forgotten(told: Told, text: str) -> None:
    await SqliteChats(told.store).put_fact("gateway", "processes", text)
    await told.notices.tell_lost()
    assert await told.remembered() == ""


async def test_remembered_processes_are_json(told: Told) -> None:
    await begin(told, Process())
    text = await told.until(bool)
    assert json.loads(text)["proc_1"]["chat_id"] == "c1"
