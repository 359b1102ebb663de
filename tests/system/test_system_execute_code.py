"""Scripts that call tools, in a real container and on a host over ssh: the same limits as on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "environments"))
from test_system_docker_environment import image, run
from test_system_ssh_environment import Server, server

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.environment import Command, Environment
from hermes_agent.core.errors import ToolDeniedError, ToolError
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.tool import SessionScope, ToolContext, ToolResult
from hermes_agent.environments import open_environment
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.toolsets import build_tool

__all__ = ["image", "server"]

pytestmark = pytest.mark.system


class Bench:
    """`execute_code` in an environment; its calls go to the tools of the same session."""

    def __init__(self, environment: Environment, home: Path, scratch: str) -> None:
        self.environment, self.scratch = environment, scratch
        self.home = Home(home)
        self.scope = SessionScope("test", environment)
        self.seen: list[str] = []

    async def run(self, code: str, **settings: Any) -> ToolResult:
        """Run a script."""
        setup = ToolSetup(self.home, settings=Settings({"code_execution": settings}))

        def tool(name: str) -> Any:
            return build_tool(name, setup, Redactor())

        async def invoke(name: str, arguments: Mapping[str, Any]) -> ToolResult:
            self.seen.append(name)
            if arguments.get("path") == "/denied":
                raise ToolDeniedError("Denied by the user")
            result: ToolResult = await tool(name).run(arguments, ToolContext(self.scope, "inner"))
            return result

        context = ToolContext(self.scope, "call", invoke=invoke)
        result: ToolResult = await tool("execute_code").run({"code": code}, context)
        return result

    async def shell(self, text: str) -> str:
        """What a command there prints."""
        return (await self.environment.execute(Command(text, persistent=False))).output.strip()


@pytest.fixture(params=["docker", "ssh"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    if request.param == "docker":
        name = request.getfixturevalue("image")
        if run("run", "--rm", "--network", "none", "--entrypoint", "sh", name, "-c", "python3 -V").returncode:
            pytest.skip(f"the image {name} has no python3")
        values: dict[str, Any] = {
            "docker_image": name,
            "docker_network": "none",
            "container_persistent": False,
            "container_memory": 512,
        }
        child_env, scratch = dict(os.environ), "/tmp/scratch"
    else:
        host: Server = request.getfixturevalue("server")
        values = {
            "ssh_host": "127.0.0.1",
            "ssh_port": host.port,
            "ssh_user": getpass.getuser(),
            "ssh_key": str(host.directory / "user"),
        }
        child_env, scratch = host.environment(), str(tmp_path / "scratch")
    environment = open_environment(
        TerminalSettings.model_validate({"backend": request.param, **values}),
        cwd=Path("/"),
        child_env=child_env,
        session_id="s1",
    )
    try:
        await environment.execute(Command(f"mkdir -p {scratch} && cd {scratch}"))
        yield Bench(environment, tmp_path / "home", scratch)
    finally:
        await environment.aclose()


async def test_a_script_calls_tools_where_commands_run(bench: Bench) -> None:
    code = """
import os
from hermes_tools import read_file, terminal, write_file, ToolError
write_file(path="in.txt", content="grüße\\n" * 5000)
print(read_file("in.txt", limit=10).count("grüße"))
answer = terminal("echo hello; exit 3")
print(answer["output"].strip(), answer["exit_code"])
print(os.getcwd(), os.path.getsize("in.txt"))
try:
    read_file("/denied")
except ToolError as error:
    print("refused:", error)
"""
    found = await bench.run(code)
    size = 5000 * len("grüße\n".encode())
    assert found.text == f"10\nhello 3\n{bench.scratch} {size}\nrefused: Denied by the user"
    assert found.summary == "exit 0, 4 tool calls"
    assert bench.seen == ["write_file", "read_file", "terminal", "read_file"]
    assert await bench.shell("ls -d /tmp/hermes-code-* 2>/dev/null | wc -l") == "0"


async def test_long_answers_arrive_whole(bench: Bench) -> None:
    await bench.shell(f"yes 'ü 0123456789' | head -c 3000000 > {bench.scratch}/long.txt")
    code = """
from hermes_tools import terminal
print([len(terminal("head -c 40000 long.txt")["output"].encode()) for _ in range(3)])
"""
    found = await bench.run(code)
    (lengths,) = found.text.splitlines()
    assert lengths == str([40_000] * 3)


async def test_limits_and_errors_are_those_of_this_machine(bench: Bench) -> None:
    calls = """
from concurrent.futures import ThreadPoolExecutor
from hermes_tools import search_files, ToolError
def call(number):
    try:
        search_files("nothing", limit=1)
    except ToolError as error:
        return str(error)
with ThreadPoolExecutor(8) as pool:
    print([text for text in pool.map(call, range(40)) if text].count("%s"))
"""
    limit = "the limit of 3 tool calls per script is reached"
    assert (await bench.run(calls % limit, max_tool_calls=3)).text == "37"
    loud = "import os, sys\nfor _ in range(64):\n    os.write(1, b'x' * (1 << 20))\n"
    loud += "    os.write(2, b'y' * (1 << 20))\nsys.exit(1)"
    found = await bench.run(loud, max_stdout_bytes=5_000, max_stderr_bytes=1_000)
    assert found.is_error and len(found.text) < 7_000 and "[more was left out]" in found.text
    found = await bench.run("raise ValueError('the reason')")
    assert "ValueError: the reason" in found.text
    found = await bench.run("import os\nprint(os.listdir('.'), sorted(os.environ))", mode="strict")
    assert found.text.startswith("[] ['HERMES_SCRIPT', 'HOME', 'LC_ALL', 'PATH']")


async def test_an_endless_script_is_ended_with_all_it_started(bench: Bench) -> None:
    mark = "5432.1" if bench.environment.name == "docker" else "5432.2"
    code = f"""
import subprocess, time
subprocess.Popen(["sleep", "{mark}"], start_new_session=True)
print("started", flush=True)
while True:
    time.sleep(1)
"""
    found = await bench.run(code, timeout=2)
    assert "started" in found.text and "killed after 2 seconds" in found.text
    assert await bench.shell(f"grep -l '[s]leep.{mark}' /proc/[0-9]*/cmdline 2>/dev/null | wc -l") == "0"


async def test_an_interrupted_script_leaves_nothing(bench: Bench) -> None:
    code = "from hermes_tools import terminal\nterminal('touch begun; sleep 6543.5')"
    task = asyncio.create_task(bench.run(code))
    async with asyncio.timeout(30):
        while await bench.shell("ls begun 2>/dev/null") != "begun":
            pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = "grep -l '[s]leep.6543.5' /proc/[0-9]*/cmdline 2>/dev/null | wc -l; ls -d /tmp/hermes-code-*"
    async with asyncio.timeout(10):  # the command that a tool call had started ends within a second
        while not (await bench.shell(left)).startswith("0\nls:"):
            pass


async def test_a_place_without_python_says_so(bench: Bench) -> None:
    if bench.environment.name != "docker":
        pytest.skip("this host has Python, and it stays")
    await bench.shell("for name in $(ls /usr/bin/python3*); do mv $name /tmp/; done")
    with pytest.raises(ToolError, match="no python3 in the docker environment"):
        await bench.run("print(1)")


def test_a_fork_bomb_of_an_ordinary_user_meets_a_limit() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody who has nothing else running")
    bomb = "import os, time\nfor _ in range(3000):\n"
    bomb += "    if os.fork() == 0:\n        time.sleep(20)\n        os._exit(0)"
    runner = (Path(__file__).parents[2] / "hermes_agent/tools/code_runner.py").read_bytes()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        errors = Path(folder) / "err"
        process = subprocess.Popen(
            ["/usr/bin/python3", "-I", "-S", "-", str(errors), "5000", "/usr/bin/python3", "-c", bomb],
            stdin=subprocess.PIPE,
            user=60_123,
            cwd="/",
            start_new_session=True,
        )
        try:
            process.communicate(runner, timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 1
        assert "Resource temporarily unavailable" in errors.read_text()


def test_the_helpers_run_in_an_old_python() -> None:
    source = Path(__file__).parents[2] / "hermes_agent" / "tools"
    for name in ("code_relay", "code_runner", "code_sweep"):
        text = (source / f"{name}.py").read_text()
        assert "hermes_agent" not in text
        done = subprocess.run(
            [sys.executable, "-c", "import ast,sys; ast.parse(sys.stdin.read(), feature_version=(3, 7))"],
            input=text,
            text=True,
            check=False,
        )
        assert done.returncode == 0
