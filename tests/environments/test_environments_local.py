"""Commands and files on this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from environment_contract import EnvironmentContract

from hermes_agent.core.environment import Command
from hermes_agent.core.errors import ToolError
from hermes_agent.environments.local import LocalEnvironment


def make(tmp_path: Path, **variables: str) -> LocalEnvironment:
    child_env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables}
    return LocalEnvironment(cwd=str(tmp_path), child_env=child_env, session_id="s1")


@pytest.fixture
async def environment(tmp_path: Path) -> AsyncIterator[LocalEnvironment]:
    made = make(tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
def scratch(tmp_path: Path) -> str:
    return str(tmp_path)


class TestLocalEnvironment(EnvironmentContract):
    """The contract, here."""


async def test_environment_is_exactly_what_was_given(tmp_path: Path) -> None:
    environment = make(tmp_path, LANG="C.UTF-8")
    result = await environment.execute(Command("env | cut -d= -f1 | sort | tr '\\n' ' '"))
    assert result.output == "HERMES_SESSION_ID HOME LANG PATH PWD SHLVL _ "
    await environment.aclose()


async def test_state_is_private_and_removed_at_the_end(tmp_path: Path) -> None:
    environment = make(tmp_path)
    await environment.execute(Command("export TOKEN=geheim"))
    directory = environment._directory
    assert directory is not None
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    states = list(directory.iterdir())
    assert [stat.S_IMODE(path.stat().st_mode) for path in states] == [0o600]
    await environment.aclose()
    assert not directory.exists()


async def test_state_that_was_tidied_away_loses_only_variables(environment: LocalEnvironment) -> None:
    await environment.execute(Command("cd /usr; export X=1"))
    assert environment._directory is not None
    await asyncio.to_thread(shutil.rmtree, environment._directory)
    result = await environment.execute(Command('pwd; echo "[$X]"'))
    assert result.output == "/usr\n[]\n"


async def test_place_for_the_state_that_is_forbidden_does_not_stop_commands(tmp_path: Path) -> None:
    environment = make(tmp_path)
    await environment.execute(Command("true"))
    assert environment._directory is not None
    environment._number = 10
    for name in ("state-11", "state-11.cwd"):  # as if it could not be created
        (environment._directory / name).mkdir()
    assert (await environment.execute(Command("echo works"))).output == "works\n"
    await environment.aclose()


async def test_system_without_bash_uses_sh(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    environment = make(tmp_path)
    environment._find_shell()
    environment._shell = type(environment._shell)(("/bin/sh",), "sh")  # type: ignore[misc, call-arg]
    await environment.execute(Command("export KEPT=1; cd /usr; umask 027"))
    result = await environment.execute(Command("echo $KEPT $PWD; umask; exit 4"))
    assert (result.output, result.exit_code) == ("1 /usr\n0027\n", 4)
    assert (await environment.execute(Command("if then"))).exit_code == 2
    assert (await environment.execute(Command("echo $KEPT"))).output == "1\n"
    await environment.aclose()


async def test_exit_by_signal_is_128_and_its_number(environment: LocalEnvironment) -> None:
    assert (await environment.execute(Command("kill -SEGV $$"))).exit_code == 128 + signal.SIGSEGV


async def test_flood_neither_fills_memory_nor_blocks_the_loop(environment: LocalEnvironment) -> None:
    flowing = asyncio.Event()
    flood = asyncio.create_task(
        environment.execute(Command("yes", timeout_seconds=1), lambda _data: flowing.set())
    )
    async with asyncio.timeout(60):
        await flowing.wait()
        for _ in range(20):  # the loop gets its turns while the flood goes on
            await asyncio.get_running_loop().run_in_executor(None, int)
        assert not flood.done()
        result = await flood
    assert result.dropped_bytes > 10_000_000
    assert len(result.output) < 1_100_000


async def test_nohup_survives_the_session_and_plain_children_do_not(tmp_path: Path) -> None:
    environment = make(tmp_path)
    result = await environment.execute(
        Command("sleep 60 & echo $!; nohup sleep 60 >/dev/null 2>&1 & echo $!")
    )
    plain, kept = (int(line) for line in result.output.split())
    await environment.aclose()
    try:
        await until(lambda: not is_running(plain))
        assert is_running(kept)
    finally:
        os.kill(kept, signal.SIGKILL)


HERMES = """
import asyncio, os, sys
from hermes_agent.core.environment import Command
from hermes_agent.environments.local import LocalEnvironment

async def main():
    variables = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": os.path.dirname(%(pids)r)}
    environment = LocalEnvironment(cwd="/", child_env=variables, session_id="s")
    await environment.spawn(Command("trap '' TERM; echo $$ >>%(pids)s; sleep 301; sleep 302"))
    await environment.execute(Command("echo $$ >>%(pids)s; sleep 303 & echo $! >>%(pids)s; sleep 304"))

asyncio.run(main())
"""


async def test_nothing_is_left_running_when_hermes_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hermes = await asyncio.create_subprocess_exec(sys.executable, "-c", HERMES % {"pids": str(pids)})
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 3)
    (private,) = (path for path in tmp_path.iterdir() if path.name.startswith("hermes-"))
    hermes.kill()
    await hermes.wait()
    started = [int(pid) for pid in pids.read_text().split()]
    await until(lambda: not any(is_running(pid) for pid in started))
    await until(lambda: not private.exists())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - other processes send no events
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    """Zombies, which nobody may have reaped in a container without an init, do not run."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_fifo_does_not_block_reading(environment: LocalEnvironment, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ToolError, match="Cannot read") as caught:
        await environment.read_bytes("fifo")
    assert "not a regular file" in (caught.value.why or "")
    info = await environment.stat("fifo")
    assert info is not None
    assert info.kind == "other"


async def test_files_without_a_size_are_read(environment: LocalEnvironment) -> None:
    assert (await environment.read_bytes("/proc/self/status")).startswith(b"Name:")


async def test_dangling_link_is_written_through(environment: LocalEnvironment, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later/target")
    await environment.write_bytes("link", b"x")
    assert (tmp_path / "later" / "target").read_bytes() == b"x"


async def test_new_file_has_the_mode_the_umask_says(environment: LocalEnvironment, tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        await environment.write_bytes("new", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


async def test_full_disk_leaves_the_old_file_alone(environment: LocalEnvironment, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    script = (
        "import resource, signal, sys; from hermes_agent.environments import local_files; "
        "from hermes_agent.core.errors import ToolError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: local_files.write(sys.argv[1], b'x' * 5000)\n"
        "except ToolError as error: print(error.why)\n"
    )
    done = await environment.execute(
        Command(f'{sys.executable} -c "{script}" {tmp_path}/file', cwd=str(Path(__file__).parents[2]))
    )
    assert done.output == "File too large\n"
    assert (tmp_path / "file").read_bytes() == b"old"
    assert (await environment.execute(Command("ls -A"))).output == "file\n"


async def test_unreadable_bytes_in_names_are_kept(environment: LocalEnvironment, tmp_path: Path) -> None:
    name = os.fsdecode(b"odd-\xff")
    await environment.write_bytes(name, b"x")
    assert (await environment.execute(Command(f"cat '{name}'"))).output == "x"
