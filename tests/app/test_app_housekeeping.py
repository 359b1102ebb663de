"""The curator on its timer: when the gateway is idle, one round for all processes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hermes_agent.app.container import App
from hermes_agent.app.housekeeping import Housekeeping, prune_sessions
from hermes_agent.config.loader import load
from hermes_agent.config.paths import Home
from hermes_agent.core.memory import Exchange
from hermes_agent.core.messages import UserMessage
from hermes_agent.memory.exchanges import Exchanges
from hermes_agent.store.locks import SessionLock

DAY = 86_400.0


@pytest.fixture
async def app(home: Home) -> AsyncIterator[App]:
    home.config_file.write_text(
        "curator: {min_idle_hours: 1, interval_hours: 24}\nskills: {bundled: false}\n"
    )
    folder = home.skills / "old-way"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: old-way\ndescription: How it was done once.\n---\nSteps.\n")
    figures = {"old-way": {"created_by": "agent", "created_at": time.time() - 200 * DAY}}
    (home.skills / ".usage.json").write_text(json.dumps(figures))
    due(home)
    made = App.load(home=home)
    yield made
    await made.aclose()


def due(home: Home) -> None:
    state = {"last_run_at": time.time() - 10 * DAY, "is_paused": False}
    (home.skills / ".curator.json").write_text(json.dumps(state))


def rounds(home: Home) -> list[Path]:
    return sorted((home.logs / "curator").glob("*/run.json"))


class Work:
    """What the process is doing; every look of the timer is seen."""

    def __init__(self, busy: int = 0) -> None:
        self.busy = busy
        self._looks: asyncio.Queue[None] = asyncio.Queue()

    def active(self) -> int:
        self._looks.put_nowait(None)
        return self.busy

    async def looked(self, times: int) -> None:
        for _ in range(times):
            await asyncio.wait_for(self._looks.get(), 20)


async def test_a_round_is_made_when_it_is_due_and_nobody_works(app: App, home: Home) -> None:
    work = Work(busy=1)
    care = Housekeeping(lambda: app, work.active, check_seconds=0.01)
    started = asyncio.Event()
    task = asyncio.create_task(care.run(started.set))
    await asyncio.wait_for(started.wait(), 5)
    await work.looked(3)
    assert rounds(home) == [] and (home.skills / "old-way").exists()
    work.busy = 0
    await work.looked(4)  # the first of them at the latest made the round
    assert care.health().facts == {"curator": "1 archived, 0 stale, 0 kept, 0 not the curator's business"}
    await asyncio.wait_for(care.drain(), 5)
    assert len(rounds(home)) == 1
    assert not (home.skills / "old-way").exists()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_somebody_who_spoke_a_moment_ago_puts_it_off(app: App, home: Home) -> None:
    await (await app.store()).create(source="cli")
    assert await app.learning.curate() is None
    assert (home.skills / "old-way").exists()


async def test_two_processes_make_one_round(app: App, home: Home) -> None:
    other = App.load(home=home)
    done = await asyncio.gather(*(each.learning.curate(2 * 3600) for each in (app, other, app, other)))
    await other.aclose()
    assert sum(each is not None for each in done) == 1
    assert len(rounds(home)) == 1


async def test_sessions_that_were_not_used_for_long_go_if_that_is_wanted(app: App, home: Home) -> None:
    home.config_file.write_text("sessions: {auto_prune: true, retention_days: 30}\n")
    app.adopt(load(home))
    store = await app.store()
    (old, running, new) = [(await store.create(source="cli")).id for _ in range(3)]
    for identifier in (old, running, new):
        await store.append(identifier, [UserMessage.of("hello")])
    with sqlite3.connect(home.state_db) as database:
        for table, column in (("messages", "timestamp"), ("sessions", "started_at")):
            key = "session_id" if table == "messages" else "id"
            database.execute(
                f"UPDATE {table} SET {column} = ? WHERE {key} != ?", (time.time() - 40 * DAY, new)
            )
    with SessionLock(home.run, running, source="cli"):
        assert await prune_sessions(app) == 1
    assert {record.id for record in await store.list()} == {running, new}
    assert await prune_sessions(app) == 1


async def test_a_round_that_fails_ends_nothing(app: App, home: Home) -> None:
    home.logs.mkdir()
    (home.logs / "curator").write_text("in the way")
    work = Work()
    care = Housekeeping(lambda: app, work.active, check_seconds=0.01)
    task = asyncio.create_task(care.run(lambda: None))
    await work.looked(3)
    assert not task.done() and not care.health().facts
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_an_earlier_process_could_not_send_is_sent(home: Home) -> None:
    heard = home.root / "heard.txt"
    plugin = home.plugins / "notes"
    plugin.mkdir(parents=True)
    (plugin / "plugin.yaml").write_text("name: notes\n")
    (plugin / "__init__.py").write_text(
        "from pathlib import Path\n"
        "class Notes:\n"
        "    def __init__(self, setup): pass\n"
        "    async def observe(self, exchange):\n"
        f"        Path({str(heard)!r}).write_text(exchange.said)\n"
        "    async def profile(self, principal): return ''\n"
        "    async def aclose(self): pass\n"
        "def register(context): context.register_memory_provider(Notes)\n"
    )
    home.config_file.write_text("memory: {provider: notes}\nplugins: {enabled: [notes]}\n")
    Exchanges(home, "notes").put(Exchange("x1", "s1", "owner", "left behind", "ok", 1e9))
    app = App.load(home=home)
    task = asyncio.create_task(Housekeeping(lambda: app, lambda: 0).run(lambda: None))
    await asyncio.sleep(0)  # it has begun
    assert app.learning.external is not None
    assert await app.learning.external.settle(20)
    assert heard.read_text() == "left behind"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await app.aclose()
