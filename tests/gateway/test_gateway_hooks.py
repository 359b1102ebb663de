"""Event hooks: told by the real gateway, and never able to hurt a run."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gateway_process import Gateway
from loopback_server import LoopbackServer

from hermes_agent.cli.commands.hooks import command
from hermes_agent.config.paths import Home
from hermes_agent.gateway.hooks import MAX_HANGS, FileHooks, HookError, read_hooks, try_hook

NOTE = """
import json
from pathlib import Path

def handle(event_type, context):
    with Path(__file__).with_name("seen.jsonl").open("a") as seen:
        seen.write(json.dumps([event_type, context]) + "\\n")
"""


def make_hook(home: Home, name: str, code: str, events: object = "*", **more: object) -> Path:
    folder = home.hooks / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "HOOK.yaml").write_text(json.dumps({"name": name, "events": events, **more}))
    (folder / "handler.py").write_text(code)
    return folder


def seen(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    path = folder / "seen.jsonl"
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what happens in other processes gives no event
            await asyncio.sleep(0.02)


class Lines(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Iterator[Lines]:
    logger, lines = logging.getLogger("hermes_agent.gateway.hooks"), Lines()
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)


@pytest.fixture
async def hooks(home: Home) -> AsyncIterator[FileHooks]:
    made = FileHooks(home.hooks, lambda: dict(os.environ))
    yield made
    await made.aclose()


def test_a_conversation_is_told_from_its_start_to_its_reset(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    folder = make_hook(gateway.home, "note", NOTE)
    make_hook(gateway.home, "broken", "def handle(event_type, context): raise RuntimeError('no')")
    make_hook(gateway.home, "leaving", "import os\ndef handle(event_type, context): os._exit(9)")
    make_hook(gateway.home, "empty", "")
    make_hook(gateway.home, "odd", NOTE, events=["agent:begin"])
    gateway.start()
    chat_server.say("run uname -a")
    chat_server.wait_for_text("Linux")
    chat_server.say("/new")
    chat_server.wait_for_text("🆕")
    chat_server.wait_for(lambda: any(event == "session:reset" for event, _ in seen(folder)))
    assert gateway.stop() == 0
    events = [event for event, _ in seen(folder)]
    assert events == [
        "gateway:startup",
        "session:start",
        "agent:start",
        "agent:step",
        "agent:step",
        "agent:end",
        "command:new",
        "session:end",
        "session:reset",
        "session:start",
    ]
    told = dict(seen(folder))
    assert told["gateway:startup"] == {"platforms": ["loopback"]}
    assert told["agent:start"]["message"] == "run uname -a"
    assert told["agent:step"]["tool_names"] == ["terminal"]
    assert told["agent:end"]["outcome"] == "completed"
    assert told["command:new"]["args"] == ""
    assert told["session:end"]["reason"] == "new"
    assert told["agent:end"]["user_id"] == "u1"
    log = gateway.output()
    assert "hook broken: agent:start: RuntimeError: no (line 1)" in log
    assert "hook leaving: agent:start: its process ended: exit code 9" in log
    assert "hook empty: agent:start: TypeError" in log
    assert "hook odd: there is no event agent:begin" in log


async def test_a_hook_that_hangs_is_ended_and_after_three_times_switched_off(
    home: Home, hooks: FileHooks, log: Lines
) -> None:
    code = "import time\ndef handle(e, c):\n    open('tried', 'a').write(e + '\\n')\n    time.sleep(3600)\n"
    folder = make_hook(home, "slow", code, timeout=0.5)
    for _ in range(MAX_HANGS + 2):
        hooks.emit("agent:end", {})
    await until(lambda: any("hook slow: switched off" in line for line in log.lines))
    assert (folder / "tried").read_text().count("agent:end") == MAX_HANGS
    hooks.emit("agent:end", {})
    (folder / "handler.py").write_text(NOTE)
    os.utime(folder / "handler.py", (1, 1))
    await until(lambda: hooks.emit("agent:end", {}) or seen(folder))


async def test_a_hook_that_takes_the_processor_for_itself_does_not_hold_up_the_loop(
    home: Home, hooks: FileHooks
) -> None:
    make_hook(home, "greedy", "async def handle(e, c):\n    while True: pass\n", timeout=2)
    folder = make_hook(home, "note", NOTE)
    hooks.emit("agent:end", {})
    await until(lambda: seen(folder))


async def test_changes_are_noticed_and_removed_hooks_told_no_more(home: Home, hooks: FileHooks) -> None:
    hooks.emit("agent:end", {"n": 1})  # there is no directory yet
    folder = make_hook(home, "note", NOTE, events="agent:*")
    await until(lambda: hooks.emit("agent:end", {"n": 2}) or seen(folder))
    (folder / "handler.py").write_text(NOTE.replace("seen.jsonl", "other.jsonl"))
    await until(lambda: hooks.emit("agent:end", {"n": 3}) or (folder / "other.jsonl").exists())
    hooks.emit("command:help", {})
    (folder / "HOOK.yaml").write_text(json.dumps({"events": ["command:*"]}))
    await until(
        lambda: hooks.emit("command:new", {}) or "command:new" in (folder / "other.jsonl").read_text()
    )
    hooks.emit("agent:end", {"n": 4})
    hooks.emit("command:last", {})
    await until(lambda: "command:last" in (folder / "other.jsonl").read_text())
    text = (folder / "other.jsonl").read_text()
    assert "command:help" not in text
    assert '"n": 4' not in text


COUNT = """
import json
from pathlib import Path

count = 0

async def handle(event_type, context):
    global count
    count += 1
    with Path(__file__).with_name("seen.jsonl").open("a") as seen:
        seen.write(json.dumps([event_type, {**context, "count": count}]) + "\\n")
"""


async def test_events_keep_their_order_and_state_lasts(home: Home, hooks: FileHooks) -> None:
    folder = make_hook(home, "note", COUNT)
    for number in range(50):
        hooks.emit("agent:step", {"n": number, "odd": {1}, "text": "ü\n" * 1000})
    await until(lambda: len(seen(folder)) == 50)
    assert [(context["n"], context["count"]) for _, context in seen(folder)] == [
        (number, number + 1) for number in range(50)
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[", "cannot be read"),
        ("- a", "no map"),
        ("name: x", "names no events"),
        ("events: []", "names no events"),
        ("events: [1]", "names no events"),
        ("events: [agent:done]", "no event agent:done"),
        ("{events: [agent:end], timeout: -1}", "timeout"),
        ("{events: [agent:end], timeout: soon}", "timeout"),
        ("\xff", "names no events"),
    ],
)
def test_a_hook_that_cannot_be_used_says_why(home: Home, text: str, problem: str) -> None:
    folder = make_hook(home, "x", "")
    (folder / "HOOK.yaml").write_bytes(text.encode("latin-1") if text == "\xff" else text.encode())
    (spec,) = read_hooks(home.hooks)
    assert problem in spec.problem or text == "\xff"
    assert spec.problem
    assert not spec.wants("agent:end")


async def test_what_a_hook_prints_is_no_answer(home: Home, capfd: pytest.CaptureFixture[str]) -> None:
    make_hook(
        home, "loud", "import sys\ndef handle(e, c):\n    print('{\"id\": 1}')\n    sys.stdout.flush()\n"
    )
    (spec,) = read_hooks(home.hooks)
    assert await try_hook(spec, "agent:end", {}, dict(os.environ)) > 0
    assert '{"id": 1}' in capfd.readouterr().err


async def test_sys_exit_fails_one_event_only(home: Home) -> None:
    make_hook(home, "x", "import sys\ndef handle(e, c): sys.exit(2)")
    (spec,) = read_hooks(home.hooks)
    with pytest.raises(HookError, match="SystemExit: 2"):
        await try_hook(spec, "agent:end", {}, dict(os.environ))


def test_the_command_lists_and_tries_hooks(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_HOME", str(home.root))
    run = CliRunner().invoke
    assert "There are no hooks" in run(command, ["list"]).output
    folder = make_hook(home, "note", NOTE, events=["command:*"], description="Notes")
    make_hook(home, "bad", "", events=[])
    listed = run(command, ["list"]).output
    assert "note                 command:*  Notes" in listed
    assert "not used: HOOK.yaml names no events" in listed
    tried = run(command, ["test", "note"])
    assert "note handled command:help" in tried.output
    assert seen(folder)[0][1]["command"] == "help"
    assert "would not be told" in run(command, ["test", "note", "--event", "agent:end"]).output
    assert run(command, ["test", "nothing"]).exit_code
    assert run(command, ["test", "note", "--context", "["]).exit_code
