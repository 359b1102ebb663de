"""The terminal and process tools on a real local environment."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.approvals import Allowed, Forbidden
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.tool import SessionScope, ToolContext
from hermes_agent.environments.local import LocalEnvironment
from hermes_agent.tools import process, terminal
from hermes_agent.tools.setup import ToolSetup


class Bench:
    """A session with both tools; notices and live output are collected."""

    def __init__(self, tmp_path: Path, settings: TerminalSettings | None = None) -> None:
        self.environment = LocalEnvironment(
            cwd=str(tmp_path), child_env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, session_id="s"
        )
        self.reported: list[str] = []
        self.notices: list[str] = []
        self.noticed = asyncio.Event()
        setup = ToolSetup(Home(tmp_path / "home"), terminal=settings or TerminalSettings())
        self._terminal, self._process = terminal.build(setup), process.build(setup)
        self.context = ToolContext(
            SessionScope("s", self.environment), report=self.reported.append, notify=self._notify
        )

    def _notify(self, text: str) -> None:
        self.notices.append(text)
        self.noticed.set()

    async def terminal(self, command: str, **arguments: Any) -> dict[str, Any]:
        result = await self._terminal.run({"command": command, **arguments}, self.context)
        return {**json.loads(result.text), "is_error": result.is_error, "summary": result.summary}

    async def process(self, action: str, **arguments: Any) -> dict[str, Any]:
        result = await self._process.run({"action": action, **arguments}, self.context)
        return dict(json.loads(result.text))

    def review(self, **arguments: Any) -> object:
        tool = self._process if "action" in arguments else self._terminal
        return tool.review(arguments, self.context)

    async def notice(self) -> str:
        async with asyncio.timeout(60):
            await self.noticed.wait()
        self.noticed.clear()
        return self.notices[-1]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.environment.aclose()


async def test_result_has_output_exit_code_and_error(bench: Bench) -> None:
    assert await bench.terminal("echo out; echo err >&2; exit 3") == {
        "output": "out\nerr\n",
        "exit_code": 3,
        "error": None,
        "is_error": True,
        "summary": "exit 3, 2 lines",
    }


async def test_grep_without_a_match_is_not_an_error(bench: Bench) -> None:
    assert not (await bench.terminal("echo a | grep b"))["is_error"]
    assert (await bench.terminal("grep b /nowhere"))["is_error"]
    assert (await bench.terminal("echo a | grep b; false"))["is_error"]


async def test_output_is_shown_while_the_command_runs(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    running = asyncio.create_task(bench.terminal("echo first; read x <gate; echo second"))
    async with asyncio.timeout(60):
        while not bench.reported:
            await asyncio.wait((running,), timeout=0.02)
    assert "".join(bench.reported) == "first\n"
    await asyncio.to_thread((tmp_path / "gate").write_text, "go\n")
    await running
    assert "".join(bench.reported) == "first\nsecond\n"


async def test_timed_out_command_says_what_to_do(bench: Bench) -> None:
    result = await bench.terminal("echo before; sleep 60", timeout=0.3)
    assert result["output"] == "before\n"
    assert result["exit_code"] is None
    assert "Timed out" in result["error"]
    assert "background=true" in result["error"]
    assert result["is_error"]


async def test_limit_of_the_timeout_comes_from_the_settings(tmp_path: Path) -> None:
    bench = Bench(tmp_path, TerminalSettings(max_foreground_timeout=5))
    with pytest.raises(ToolArgumentsError, match="over the limit of 5 seconds"):
        await bench.terminal("true", timeout=6)
    with pytest.raises(ToolArgumentsError, match="positive"):
        await bench.terminal("true", timeout=0)
    await bench.environment.aclose()


async def test_empty_command_is_refused(bench: Bench) -> None:
    with pytest.raises(ToolArgumentsError, match="empty"):
        await bench.terminal(" \n")


async def test_program_that_asks_gets_no_input_and_the_model_a_hint(bench: Bench) -> None:
    result = await bench.terminal("printf 'Continue? [y/N] '; read answer || exit 1")
    assert "asked for input" in result["error"]


async def test_colours_and_progress_bars_do_not_reach_the_model(bench: Bench) -> None:
    script = r"printf '\033[31mred\033[0m\n10%%\r50%%\r100%%\ndone\n'"
    assert (await bench.terminal(script, pty=True))["output"] == "red\n100%\ndone\n"


async def test_workdir_is_for_one_command(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert (await bench.terminal("pwd", workdir="sub"))["output"] == f"{tmp_path}/sub\n"
    assert (await bench.terminal("pwd"))["output"] == f"{tmp_path}\n"
    missing = await bench.terminal("pwd", workdir="nope")
    assert missing["exit_code"] == 126
    assert "No such file or directory" in missing["output"]


async def test_long_output_keeps_its_lines_for_the_file_it_will_be_spilled_to(bench: Bench) -> None:
    result = await bench._terminal.run({"command": "seq 20000; exit 2"}, bench.context)
    lines = result.text.splitlines()
    assert lines[:2] == ["1", "2"]
    assert json.loads(lines[-1]) == {"exit_code": 2, "error": None}


async def test_dangerous_commands_are_reviewed_also_when_typed_into_a_process(bench: Bench) -> None:
    assert isinstance(bench.review(command="rm -rf /"), Forbidden)
    assert isinstance(bench.review(command="echo hi"), Allowed)
    started = await bench.terminal("sh", background=True)
    process_id = started["session_id"]
    assert isinstance(bench.review(action="submit", session_id=process_id, data="rm -rf /"), Forbidden)
    await bench.process("write", session_id=process_id, data="rm -rf")
    assert isinstance(bench.review(action="submit", session_id=process_id, data=" /"), Forbidden)
    assert isinstance(bench.review(action="poll", session_id=process_id), Allowed)


async def test_background_process_is_polled_written_to_and_closed(bench: Bench) -> None:
    started = await bench.terminal("while read line; do echo got $line; done; echo end", background=True)
    process_id = started["session_id"]
    assert process_id.startswith("proc_")
    assert (await bench.process("list"))["processes"][0]["status"] == "running"
    await bench.process("submit", session_id=process_id, data="one")
    await bench.process("write", session_id=process_id, data="two\n")
    await bench.process("close", session_id=process_id)
    done = await bench.process("wait", session_id=process_id, timeout=20)
    assert done["exit_code"] == 0
    log = await bench.process("log", session_id=process_id)
    assert log["output"] == "got one\ngot two\nend"
    assert (await bench.process("log", session_id=process_id, offset=1, limit=1))["output"] == "got two"
    assert (await bench.process("poll", session_id=process_id))["output"] == ""
    with pytest.raises(ToolError, match="has ended"):
        await bench.process("submit", session_id=process_id, data="three")


async def test_poll_gives_only_what_is_new(bench: Bench, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    started = await bench.terminal(
        "echo one; read x <gate; echo two", background=True, watch_patterns=["^one"]
    )
    await bench.notice()
    assert (await bench.process("poll", session_id=started["session_id"]))["output"] == "one\n"
    await asyncio.to_thread((tmp_path / "gate").write_text, "go\n")
    done = await bench.process("wait", session_id=started["session_id"], timeout=20)
    assert done["output"] == "two\n"


async def test_interactive_program_is_driven_through_a_terminal(bench: Bench) -> None:
    started = await bench.terminal(
        "[ -t 0 ] && read -p 'name? ' n && echo hello $n", background=True, pty=True, watch_patterns=["hello"]
    )
    await bench.process("submit", session_id=started["session_id"], data="ann")
    assert "hello ann" in await bench.notice()
    done = await bench.process("wait", session_id=started["session_id"], timeout=20)
    assert done["output"].endswith("hello ann\n")
    assert "\r" not in done["output"]


async def test_end_of_a_background_process_is_told(bench: Bench) -> None:
    started = await bench.terminal("echo all done; exit 4", background=True, notify_on_complete=True)
    notice = await bench.notice()
    assert started["session_id"] in notice
    assert "exit code 4" in notice
    assert "all done" in notice


async def test_matching_lines_are_told_but_not_all_at_once(bench: Bench) -> None:
    await bench.terminal(
        "for i in $(seq 50); do echo error $i; echo fine; done; sleep 60",
        background=True,
        watch_patterns=["^error"],
    )
    notice = await bench.notice()
    assert "error 1" in notice
    assert "\nfine" not in notice
    assert len(notice) < 5_000
    assert len(bench.notices) == 1


async def test_flood_of_watched_output_does_not_stop_the_loop(bench: Bench) -> None:
    await bench.terminal(
        "yes 'some longer line of output'", background=True, watch_patterns=["nothing like it$"]
    )
    async with asyncio.timeout(60):
        for _ in range(200):  # the loop gets its turns while the flood goes on
            await asyncio.get_running_loop().run_in_executor(None, int)
    assert (await bench.process("list"))["processes"][0]["status"] == "running"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(x*)*", "(a|aa)+$", "("])
async def test_pattern_that_could_search_for_ever_is_refused(bench: Bench, pattern: str) -> None:
    with pytest.raises(ToolArgumentsError, match="watch_patterns"):
        await bench.terminal("true", background=True, watch_patterns=[pattern])


async def test_kill_ends_the_process(bench: Bench) -> None:
    started = await bench.terminal("sleep 60", background=True)
    assert (await bench.process("kill", session_id=started["session_id"]))["exit_code"] == 143


async def test_wait_gives_up_after_its_timeout(bench: Bench) -> None:
    started = await bench.terminal("sleep 60", background=True)
    waited = await bench.process("wait", session_id=started["session_id"], timeout=0.05)
    assert waited["status"] == "running"


async def test_unknown_and_missing_ids_name_what_runs(bench: Bench) -> None:
    started = await bench.terminal("sleep 60", background=True)
    with pytest.raises(ToolError) as caught:
        await bench.process("poll", session_id="proc_000000000000")
    assert started["session_id"] in (caught.value.remedy or "")
    with pytest.raises(ToolArgumentsError, match="session_id is missing"):
        await bench.process("kill")
    with pytest.raises(ToolArgumentsError, match="need background=true"):
        await bench.terminal("true", notify_on_complete=True)


async def test_process_that_does_not_read_its_input_is_not_waited_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WRITE_SECONDS", 0.2)
    started = await bench.terminal("sleep 60", background=True)
    with pytest.raises(ToolError, match="did not read"):
        await bench.process("write", session_id=started["session_id"], data="x" * 1_000_000)


def test_both_tools_together_are_small() -> None:
    setup = ToolSetup(Home(Path("/nowhere")))
    definitions = [terminal.build(setup).definition, process.build(setup).definition]
    text = "".join(json.dumps([d.name, d.description, d.parameters]) for d in definitions)
    assert len(text) < 3_000  # characters; about a quarter of it is tokens


async def test_commands_are_judged_by_the_directory_they_start_in(bench: Bench) -> None:
    assert isinstance(bench.review(command="rm -rf *", workdir="/"), Forbidden)
    assert not isinstance(bench.review(command="rm -rf *"), Forbidden)
    await bench.terminal("cd /")
    assert isinstance(bench.review(command="rm -rf *"), Forbidden)


async def test_input_for_a_shell_is_judged_by_the_directory_it_started_in(bench: Bench) -> None:
    started = await bench.terminal("cat", background=True, workdir="/")
    typed = {"action": "submit", "session_id": started["session_id"], "data": "rm -rf *"}
    assert isinstance(bench.review(**typed), Forbidden)
    await bench.process("kill", session_id=started["session_id"])
