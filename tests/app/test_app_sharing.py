"""What sessions of a serving process share, and that taking messages in goes before working on them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hermes_agent.agent.service import SessionOptions
from hermes_agent.app.container import App
from hermes_agent.config.environ import Environ
from hermes_agent.config.loader import load
from hermes_agent.config.paths import Home
from hermes_agent.core.platform import InboundMessage, Person
from hermes_agent.store.arrivals import BURST
from hermes_agent.store.inbox import SqliteInbox
from hermes_agent.store.store import SqliteStore

if TYPE_CHECKING:
    from conftest import StartServer


def configured(home: Home, base_url: str) -> App:
    home.config_file.write_text(
        f"model: {{provider: custom, default: echo, base_url: '{base_url}', api_key: none-at-all}}\n"
    )
    return App(load(home, environ=Environ({})))


async def answer(app: App, source: str) -> str:
    session = await (await app.service()).create(SessionOptions(source=source))
    try:
        return (await session.start("hello").result()).text
    finally:
        await session.aclose()


async def test_sessions_of_a_serving_process_use_one_connection(
    home: Home, model_server: StartServer
) -> None:
    server = model_server()
    app = configured(home, server.base_url)
    app.serve()
    try:
        for number in range(5):
            assert "hello" in await answer(app, f"source-{number % 2}")
        assert server.stats()["connections"] == 1
        app.adopt(app.config)
        assert "hello" in await answer(app, "after-a-reload")
        assert server.stats()["connections"] == 2
    finally:
        await app.aclose()


async def test_tools_are_built_once_for_sessions_that_follow_each_other(home: Home) -> None:
    app = configured(home, "http://127.0.0.1:9/v1")
    try:
        toolsets = app.toolsets_for("cli")
        first = app.make_tools(toolsets)
        assert all(one is other for one, other in zip(first, app.make_tools(toolsets), strict=True))
        app.adopt(app.config)
        assert first[0] is not app.make_tools(toolsets)[0]
    finally:
        await app.aclose()


async def test_no_session_is_opened_while_a_burst_comes_in(home: Home, model_server: StartServer) -> None:
    app = configured(home, model_server().base_url)
    app.serve()
    try:
        store = await app.store()
        assert isinstance(store, SqliteStore)
        inbox = SqliteInbox(store)
        sender = Person("u1")
        order: list[str] = []

        async def open_session() -> None:
            session = await (await app.service()).create(SessionOptions(source="loopback"))
            order.append("opened")
            await session.aclose()

        async with asyncio.timeout(60), asyncio.TaskGroup() as work:
            for number in range(4 * BURST):
                await inbox.add(InboundMessage("loopback", "c", f"m{number}", sender, "x"), f"key-{number}")
                if number == BURST:
                    assert store.arrivals.is_burst
                    work.create_task(open_session())
            order.append("taken in")
        assert order == ["taken in", "opened"]
        assert len(await inbox.unfinished()) == 4 * BURST
    finally:
        await app.aclose()
