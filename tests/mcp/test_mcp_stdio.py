"""Servers that are programs, and everything they can do wrong."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from mcp_bench import Bench, data, gone, is_alive, raw

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.connection import pause_seconds
from hermes_agent.mcp.errors import (
    McpConnectionLostError,
    McpError,
    McpRequestError,
    McpTimeoutError,
    McpUnavailableError,
)
from hermes_agent.mcp.stdio import server_environment


async def test_a_tool_of_a_program_is_called_under_its_long_name(bench: Bench) -> None:
    result = await bench.call(bench.manager(**{"my-srv": raw()}), "mcp_my_srv_echo", text="hello")
    assert result.text == "hello"
    assert not result.is_error


async def test_a_server_gets_no_variable_that_it_need_not_have(bench: Bench) -> None:
    ports = {"child_environment": {"PATH": os.environ["PATH"], "LC_ALL": "C", "COLOUR": "red", "HOME": "/h"}}
    manager = bench.manager(ports=ports, a=raw(settings={"env": {"OWN": "1"}}))
    seen = data(await bench.call(manager, "mcp_a_env"))
    assert seen.pop("LC_CTYPE", "") in ("", "C.UTF-8")
    assert seen == {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/h", "OWN": "1"}


def test_shell_functions_in_the_environment_are_left_out() -> None:
    assert server_environment({"PATH": "() { :; }; evil", "HOME": "/h"}, {}) == {"HOME": "/h"}


async def test_all_pages_of_a_tool_list_are_read(bench: Bench) -> None:
    manager = bench.manager(a=raw(page=3))
    names = [tool.definition.name for tool in await manager.discovered()]
    assert len(names) == 10
    assert names == sorted(names)


async def test_greetings_on_the_wrong_channel_do_no_harm(bench: Bench) -> None:
    assert (await bench.call(bench.manager(a=raw(garbage=1)), "mcp_a_echo", text="x")).text == "x"


async def test_ten_megabytes_come_through_and_the_loop_keeps_turning(bench: Bench) -> None:
    manager = bench.manager(a=raw())
    assert len((await bench.call(manager, "mcp_a_big", size=10_000_000)).text) == 10_000_000


async def test_a_program_that_does_not_exist_is_named(bench: Bench) -> None:
    manager = bench.manager(a=McpServerSettings(command="no-such-program"))
    assert await manager.discovered() == ()
    with pytest.raises(McpUnavailableError, match="no program 'no-such-program'"):
        await manager.connection("a").client()


async def test_the_last_words_of_a_server_that_ends_at_once_are_told(bench: Bench) -> None:
    manager = bench.manager(a=raw(fail="the key is missing"))
    await manager.discovered()
    (status,) = manager.statuses()
    assert status.state == "failed"
    assert "the key is missing" in status.detail
    assert "exit code 7" in status.detail


async def test_a_server_that_never_answers_is_given_up_in_time(bench: Bench) -> None:
    manager = bench.manager(a=raw(mute=1, settings={"connect_timeout": 0.5}), b=raw())
    started = time.monotonic()
    names = [tool.definition.name for tool in await manager.discovered()]
    assert all(name.startswith("mcp_b_") for name in names)
    assert len(names) == 10
    assert time.monotonic() - started < 30
    with pytest.raises(McpUnavailableError, match=r"not connected within 0.5 s"):
        await manager.connection("a").client()


async def test_a_call_that_hangs_times_out_and_the_server_is_told(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    manager = bench.manager(a=raw(log=log, settings={"timeout": 0.3}))
    with pytest.raises(McpRequestError, match=r"did not answer within 0.3 s"):
        await bench.call(manager, "mcp_a_hang")
    assert (await bench.call(manager, "mcp_a_echo", text="still here")).text == "still here"
    assert "notifications/cancelled" in log.read_text()


async def test_a_server_that_hangs_for_good_is_started_anew(bench: Bench, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    manager = bench.manager(a=raw(starts=starts, deaf=1000, settings={"timeout": 0.3}))
    with pytest.raises(McpTimeoutError):
        await bench.call(manager, "mcp_a_hang")
    first, *_ = map(int, starts.read_text().split())
    assert await gone(first)
    assert (await bench.call(manager, "mcp_a_echo", text="new")).text == "new"
    assert len(starts.read_text().split()) == 2


async def test_a_server_that_is_only_slow_stays(bench: Bench) -> None:
    manager = bench.manager(a=raw(settings={"timeout": 0.3}))
    pid = (await bench.call(manager, "mcp_a_pid")).text
    with pytest.raises(McpTimeoutError):
        await bench.call(manager, "mcp_a_hang")
    assert (await bench.call(manager, "mcp_a_pid")).text == pid


async def test_more_than_a_deaf_server_takes_can_be_given_up(bench: Bench) -> None:
    manager = bench.manager(a=raw(deaf=1000, settings={"timeout": 0.3}))
    for _ in range(2):
        with pytest.raises(McpTimeoutError):
            await bench.call(manager, "mcp_a_hang", text="x" * 5_000_000)
    await manager.aclose()


async def test_progress_is_shown_and_keeps_a_call_alive(bench: Bench) -> None:
    manager = bench.manager(a=raw(settings={"timeout": 0.6}))
    assert (await bench.call(manager, "mcp_a_progress", pause=0.35)).text == "done"
    assert bench.person.reports == ["step 1 (1/3)\n", "step 2 (2/3)\n", "step 3 (3/3)\n"]


async def test_an_interrupted_call_is_cancelled_at_the_server(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "log"
    manager = bench.manager(a=raw(log=log))
    await manager.discovered()
    call = asyncio.create_task(bench.call(manager, "mcp_a_hang"))
    while '"hang"' not in log.read_text():  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await bench.call(manager, "mcp_a_echo", text="x")).text == "x"
    assert "notifications/cancelled" in log.read_text()


async def test_a_crash_during_a_call_is_told_and_the_next_call_works(bench: Bench) -> None:
    manager = bench.manager(a=raw())
    with pytest.raises(McpConnectionLostError, match="may have had effects") as caught:
        await bench.call(manager, "mcp_a_crash")
    assert "the floor gave way" in (caught.value.why or "")
    assert (await bench.call(manager, "mcp_a_echo", text="back")).text == "back"


async def test_a_harmless_call_is_repeated_after_a_crash(bench: Bench, tmp_path: Path) -> None:
    manager = bench.manager(a=raw(mark=tmp_path / "mark"))
    assert (await bench.call(manager, "mcp_a_crash_once")).text == "second time lucky"


async def test_a_server_that_crashes_again_and_again_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    manager = bench.manager(a=raw(starts=starts))
    for _ in range(3):
        with pytest.raises(McpConnectionLostError):
            await bench.call(manager, "mcp_a_crash")
    before = starts.read_text()
    with pytest.raises(McpUnavailableError, match="failed 3 times in a row; it is left alone"):
        manager.connection("a").reconnect()
        await bench.call(manager, "mcp_a_echo")
    manager.connection("a").reset()
    assert (await bench.call(manager, "mcp_a_echo", text="x")).text == "x"
    assert before.count("\n") in (3, 4)


async def test_a_server_that_could_not_start_is_tried_again_by_itself(bench: Bench, tmp_path: Path) -> None:
    starts, until = tmp_path / "starts", tmp_path / "until"
    manager = bench.manager(a=raw(starts=starts, fail="not yet", until=until))
    assert await manager.discovered() == ()
    until.touch()
    async with asyncio.timeout(60):
        while manager.unknown():  # noqa: ASYNC110 - after a second, nobody calls
            await asyncio.sleep(0.02)
    assert len(starts.read_text().split()) == 2
    assert manager.statuses()[0].state == "ready"


def test_pauses_between_retries_grow_to_a_minute() -> None:
    pauses = [pause_seconds(retry) for retry in range(1, 12)]
    assert pauses[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(pauses[7:]) == {60}


async def test_closing_ends_the_server_and_its_children(bench: Bench, tmp_path: Path) -> None:
    child = tmp_path / "child"
    manager = bench.manager(a=raw(child=child))
    pid = int((await bench.call(manager, "mcp_a_pid")).text)
    child_pid = int(child.read_text())
    assert is_alive(pid)
    assert is_alive(child_pid)
    await manager.aclose()
    assert not is_alive(pid)
    assert await gone(child_pid)


async def test_a_server_that_ignores_sigterm_is_killed(bench: Bench) -> None:
    manager = bench.manager(a=raw(stubborn=1))
    pid = int((await bench.call(manager, "mcp_a_pid")).text)
    await manager.aclose()
    assert not is_alive(pid)


async def test_a_cancelled_close_still_ends_the_server(bench: Bench) -> None:
    manager = bench.manager(a=raw(stubborn=1))
    pid = int((await bench.call(manager, "mcp_a_pid")).text)
    closing = asyncio.create_task(manager.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await manager.aclose()
    assert await gone(pid)


async def test_an_unused_program_is_stopped_and_comes_back(bench: Bench) -> None:
    manager = bench.manager(a=raw(settings={"idle_timeout": 0.2}))
    pid = int((await bench.call(manager, "mcp_a_pid")).text)
    assert await gone(pid)
    (status,) = manager.statuses()
    assert status.state == "idle"
    bench.person.reports.clear()
    assert int((await bench.call(manager, "mcp_a_pid")).text) != pid
    assert bench.person.reports == ["[waiting for MCP server 'a' to connect]\n"]


async def test_a_killed_server_comes_back_by_itself(bench: Bench) -> None:
    manager = bench.manager(a=raw())
    pid = int((await bench.call(manager, "mcp_a_pid")).text)
    os.kill(pid, signal.SIGKILL)
    assert await gone(pid)
    assert int((await bench.call(manager, "mcp_a_pid")).text) != pid


async def test_twenty_calls_at_once_share_one_server(bench: Bench, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    manager = bench.manager(a=raw(starts=starts))
    results = await asyncio.gather(
        *(bench.call(manager, "mcp_a_echo", text=str(number)) for number in range(20))
    )
    assert [result.text for result in results] == [str(number) for number in range(20)]
    assert starts.read_text().count("\n") == 1


async def test_reconnecting_leaves_no_process_descriptor_or_task(bench: Bench, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    manager = bench.manager(a=raw(starts=starts))
    await bench.call(manager, "mcp_a_echo", text="x")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    tasks = len(asyncio.all_tasks())
    for _ in range(15):
        manager.connection("a").reconnect()
        await bench.call(manager, "mcp_a_echo", text="x")
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
    assert len(asyncio.all_tasks()) <= tasks + 1
    pids = [int(line) for line in starts.read_text().split()]
    assert len(pids) == 16
    assert sum(is_alive(pid) for pid in pids) == 1


async def test_servers_die_with_a_killed_owner(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from mcp_bench import Bench, Person, raw
async def main():
    bench = Bench(Path({str(tmp_path)!r}), Person())
    manager = bench.manager(a=raw(starts={str(tmp_path / "starts")!r}, child={str(tmp_path / "child")!r}))
    await manager.discovered()
    print("ready", flush=True)
    await asyncio.sleep(100)
asyncio.run(main())
"""
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"ready\n"
    pids = [int((tmp_path / "starts").read_text()), int((tmp_path / "child").read_text())]
    assert all(map(is_alive, pids))
    owner.kill()
    await owner.wait()
    for pid in pids:
        assert await gone(pid)


async def test_every_failure_is_an_error_with_the_servers_name(bench: Bench) -> None:
    manager = bench.manager(abc=McpServerSettings())
    with pytest.raises(McpError, match="'abc' has neither a command nor a url"):
        await manager.connection("abc").client()
