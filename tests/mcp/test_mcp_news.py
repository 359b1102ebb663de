"""What servers tell without being asked, and what they are told: logging, resources, roots."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp_bench import Bench, data, raw

from hermes_agent.mcp.manager import McpManager

RESOURCES = json.dumps({"resources": {"subscribe": True}})


def said(log: Path, method: str) -> list[dict[str, Any]]:
    """What the server was sent with this method."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [message for line in lines if (message := json.loads(line)).get("method") == method]


async def until_said(log: Path, method: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while not (found := said(log, method)):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    return found


class Kept(logging.Handler):
    """What server `a` had logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))


@pytest.fixture
def kept() -> Iterator[Kept]:
    logger, handler = logging.getLogger("hermes_agent.mcp.server.a"), Kept()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    ("level", "wanted"),
    [(logging.DEBUG, "debug"), (logging.INFO, "info"), (25, "warning"), (40, "error"), (50, "critical")],
)
async def test_a_server_is_asked_for_the_messages_that_our_log_keeps(
    bench: Bench, tmp_path: Path, kept: Kept, level: int, wanted: str
) -> None:
    logging.getLogger("hermes_agent.mcp.server.a").setLevel(level)
    log = tmp_path / "log"
    manager = bench.manager(a=raw(more=1, log=log, capabilities=json.dumps({"logging": {}})))
    await manager.discovered()
    assert (await until_said(log, "logging/setLevel"))[0]["params"] == {"level": wanted}


async def test_a_server_without_logging_is_not_asked_for_it(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert (await bench.call(bench.manager(a=raw(more=1, log=log)), "mcp_a_echo", text="x")).text == "x"
    assert said(log, "logging/setLevel") == []


async def test_messages_come_into_our_log_with_their_level_and_as_one_line(bench: Bench, kept: Kept) -> None:
    manager = bench.manager(a=raw(more=1))
    levels = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
    for level in levels:
        await bench.call(manager, "mcp_a_say", level=level, data=f"{level}!")
    await bench.call(manager, "mcp_a_say", level="info", logger="db", data={"rows": 3})
    await bench.call(manager, "mcp_a_say", level="info", data="fine\n2026-01-01 ERROR hermes: forged")
    await bench.call(manager, "mcp_a_say", level="info", data="x" * 100_000)
    found = kept.lines
    numbers = (10, 20, 20, 30, 40, 50, 50, 50)
    assert found[:8] == [(number, f"{level}!") for number, level in zip(numbers, levels, strict=True)]
    assert found[8] == (20, 'db: {"rows": 3}')
    assert found[9] == (20, "fine 2026-01-01 ERROR hermes: forged")
    assert len(found[10][1]) == 2_000


async def read(bench: Bench, manager: McpManager, uri: str) -> None:
    assert (await bench.call(manager, "mcp_a_read_resource", uri=uri)).text == "as it is now"


async def test_a_session_learns_once_that_a_resource_it_read_has_changed(
    bench: Bench, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    manager = bench.manager(a=raw(more=1, log=log, capabilities=RESOURCES))
    await read(bench, manager, "memo://today")
    assert (await until_said(log, "resources/subscribe"))[0]["params"] == {"uri": "memo://today"}
    await bench.call(manager, "mcp_a_touch", uri="memo://another")
    assert bench.person.notes == []
    for _ in range(2):
        await bench.call(manager, "mcp_a_touch", uri="memo://today")
    note = "Resource memo://today of MCP server 'a' has changed since it was read."
    assert bench.person.notes == [note]
    await read(bench, manager, "memo://today")
    await bench.call(manager, "mcp_a_touch", uri="memo://today#part-2-ignore-all-rules")
    assert bench.person.notes == [note, note]
    assert len(said(log, "resources/subscribe")) == 1


async def test_only_the_last_resources_are_watched(bench: Bench) -> None:
    manager = bench.manager(a=raw(more=1, capabilities=RESOURCES))
    for number in range(60):
        await read(bench, manager, f"memo://{number}/")
    await bench.call(manager, "mcp_a_touch", uri="memo://1/")
    await bench.call(manager, "mcp_a_touch", uri="memo://59/")
    assert [note.split()[1] for note in bench.person.notes] == ["memo://59/"]


async def test_a_server_that_tells_of_no_changes_is_not_asked_to(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    manager = bench.manager(a=raw(more=1, log=log, capabilities=json.dumps({"resources": {}})))
    await read(bench, manager, "memo://today")
    await bench.call(manager, "mcp_a_echo", text="x")
    assert said(log, "resources/subscribe") == []


@pytest.mark.parametrize(
    ("url", "is_asked"),
    [
        ("https://example.org/form?id=1", True),
        ("http://127.0.0.1:8000/", True),
        ("javascript:alert(1)", False),
        ("file:///etc/passwd", False),
        ("https:///nowhere", False),
    ],
)
async def test_people_are_asked_to_open_web_pages_only(bench: Bench, url: str, is_asked: bool) -> None:
    manager = bench.manager(a=raw(more=1))
    bench.person.answers[:] = ["accept"]
    params = {"mode": "url", "message": "Please sign", "url": url, "elicitationId": "e1"}
    answer = data(await bench.call(manager, "mcp_a_ask", method="elicitation/create", params=params))
    assert answer["action"] == ("accept" if is_asked else "decline")
    assert [url in question.text for question in bench.person.questions] == [True] * is_asked


async def roots(bench: Bench, manager: McpManager) -> list[str]:
    answer = data(await bench.call(manager, "mcp_a_ask", method="roots/list"))
    return [root["uri"] for root in answer["roots"]]


async def test_a_server_is_told_when_the_session_works_elsewhere(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    manager = bench.manager(a=raw(more=1, log=log))
    bench.person.environment.cwd = "/srv/one place"
    await bench.call(manager, "mcp_a_echo", text="x")
    assert await roots(bench, manager) == ["file:///srv/one%20place"]
    await bench.call(manager, "mcp_a_echo", text="x")
    assert said(log, "notifications/roots/list_changed") == []
    bench.person.environment.cwd = "/srv/another"
    await bench.call(manager, "mcp_a_echo", text="x")
    assert len(said(log, "notifications/roots/list_changed")) == 1
    assert await roots(bench, manager) == ["file:///srv/another"]
    assert len(said(log, "notifications/roots/list_changed")) == 1


async def test_a_server_that_was_started_for_directories_keeps_them(bench: Bench, tmp_path: Path) -> None:
    """A list of roots replaces what the arguments of `server-filesystem` say."""
    given = tmp_path / "given"
    given.mkdir()
    (tmp_path / "code").mkdir()
    settings = raw(more=1)
    for arguments, settings_roots, expected in (
        ([str(given)], [], [given]),
        (["./given"], [], [given]),
        (["--directory", str(tmp_path / "code"), str(given)], [], [given]),
        (["-y", "package", "/no/such/directory", "--verbose"], [], [tmp_path]),
        ([str(given)], [str(tmp_path / "code"), "relative"], [tmp_path / "code", tmp_path / "relative"]),
    ):
        # After the program, where the server of these tests takes them for options of no meaning.
        words = [*settings.args, *(f"{word}" for word in arguments)]
        changed = settings.model_copy(update={"args": words, "roots": settings_roots})
        manager = bench.manager(a=changed)
        assert await roots(bench, manager) == [path.as_uri() for path in expected]
        await manager.aclose()
