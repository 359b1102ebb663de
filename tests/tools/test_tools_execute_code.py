"""Scripts that call tools: what comes back, what they may, and how the bad ones end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.config.settings import Settings
from hermes_agent.core.approvals import Allowed, Forbidden, NeedsApproval
from hermes_agent.core.errors import ToolArgumentsError, ToolDeniedError
from hermes_agent.core.tool import ToolResult
from hermes_agent.tools.code_policy import review_code


def opened(bench: Any, **code_execution: Any) -> Any:
    bench.setup = replace(bench.setup, settings=Settings({"code_execution": code_execution}))
    return bench


async def run(bench: Any, code: str, **settings: Any) -> ToolResult:
    """Run a script whose tool calls go to the tools of the bench."""
    opened(bench, **settings)
    seen: list[str] = []

    async def invoke(name: str, arguments: Mapping[str, Any]) -> ToolResult:
        seen.append(name)
        if arguments.get("path") == "/denied":
            raise ToolDeniedError("Denied by the user")
        return await bench.tool(name).run(arguments, bench.context)

    bench.seen = seen
    return await bench.tool("execute_code").run({"code": code}, replace(bench.context, invoke=invoke))


def processes_with(text: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


async def test_a_script_calls_tools_and_only_what_it_prints_comes_back(bench: Any) -> None:
    for number in range(3):
        bench.write(f"part{number}.txt", f"line {number}\n" * 100)
    code = """
from hermes_tools import read_file, terminal, write_file, ToolError
total = 0
for number in range(3):
    total += read_file(f"part{number}.txt").count(f"line {number}")
print("total", total)
answer = terminal("echo hello; exit 3")
print(answer["output"].strip(), answer["exit_code"])
write_file(path="out.txt", content="made")
try:
    read_file("/denied")
except ToolError as error:
    print("refused:", error)
"""
    found = await run(bench, code)
    assert found.text == "total 300\nhello 3\nrefused: Denied by the user"
    assert found.summary == "exit 0, 6 tool calls"
    assert (bench.folder / "out.txt").read_text() == "made"
    assert bench.seen == ["read_file"] * 3 + ["terminal", "write_file", "read_file"]


async def test_errors_come_with_what_the_script_said_of_them(bench: Any) -> None:
    found = await run(bench, "import sys\nprint('before')\nraise ValueError('the reason')")
    assert found.is_error
    assert "before" in found.text and "ValueError: the reason" in found.text and "exit code 1" in found.text
    found = await run(bench, "this is no Python")
    assert "SyntaxError" in found.text
    found = await run(bench, "import sys\nprint('x', file=sys.stderr)")
    assert found.text == "(it printed nothing)" and not found.is_error


async def test_calls_over_the_limit_are_refused(bench: Any) -> None:
    code = """
from hermes_tools import terminal, ToolError
done = failed = 0
last = None
for number in range(10_000):
    try:
        read = __import__("hermes_tools").search_files("nothing", limit=1)
        done += 1
    except ToolError as error:
        failed += 1
        last = error
        if failed > 500:
            break
print(done, failed, last)
"""
    found = await run(bench, code, max_tool_calls=5)
    assert found.text == "5 501 the limit of 5 tool calls per script is reached"
    assert len(bench.seen) == 5


async def test_a_gigabyte_of_output_is_cut_at_its_limit(bench: Any) -> None:
    code = """
import os, sys
block = b"x" * (1 << 20)
for _ in range(1024):
    os.write(1, block)
    os.write(2, block)
sys.exit(1)
"""
    found = await run(bench, code, max_stdout_bytes=5_000, max_stderr_bytes=1_000)
    assert len(found.text) < 7_000
    assert "[more was left out]" in found.text


async def test_an_endless_script_is_killed_with_all_it_started(bench: Any) -> None:
    code = """
import os, subprocess, time
subprocess.Popen(["sleep", "7654.1"])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "7654.2"])
    os._exit(0)
subprocess.Popen(["sleep", "7654.3"], start_new_session=True)
print("started", flush=True)
while True:
    time.sleep(1)
"""
    found = await run(bench, code, timeout=1.5)
    assert "started" in found.text and "killed after 1.5 seconds" in found.text
    assert processes_with("sleep 7654") == []


async def test_what_a_finished_script_leaves_behind_is_ended_too(bench: Any) -> None:
    code = """
import subprocess
subprocess.Popen(["sleep", "8765.1"], start_new_session=True)
subprocess.Popen(["sleep", "8765.2"])
print("gone")
"""
    found = await run(bench, code, timeout=20)
    assert found.text == "gone" and not found.is_error
    assert processes_with("sleep 8765") == []


async def test_a_script_that_keeps_forking_is_ended(bench: Any) -> None:
    code = """
import os, time
print(os.path.dirname(__file__), flush=True)
count = 0
while count < 60:
    count += 1
    if os.fork() == 0:
        os.setsid()
        while True:
            time.sleep(5)
while True:
    pass
"""
    found = await run(bench, code, timeout=1)
    assert found.is_error
    assert processes_with(found.text.splitlines()[0]) == []


async def test_the_script_has_no_secrets_and_its_traces_are_removed(bench: Any) -> None:
    os.environ["SECRET_OF_THE_TEST"] = "hunter2-hunter2"
    try:
        found = await run(bench, "import os\nprint(sorted(os.environ)); print(__file__)")
    finally:
        del os.environ["SECRET_OF_THE_TEST"]
    assert "SECRET_OF_THE_TEST" not in found.text
    assert not Path(found.text.splitlines()[-1]).parent.exists()


async def test_strict_scripts_work_in_an_empty_place(bench: Any) -> None:
    bench.write("here.txt", "x")
    code = "import os, hermes_tools\nprint(os.listdir('.'), sorted(os.environ))\n"
    code += "print(hermes_tools.read_file('here.txt'))"
    found = await run(bench, code, mode="strict")
    assert found.text.startswith("[] ['HERMES_SCRIPT', 'HOME', 'LC_ALL', 'PATH']")
    assert "x" in found.text
    found = await run(bench, "import os\nprint(os.getcwd())", mode="project")
    assert found.text == str(bench.folder)


async def test_tools_that_are_not_for_scripts_cannot_be_called(bench: Any) -> None:
    code = """
import hermes_tools, socket, os, json
print(hasattr(hermes_tools, "delegate_task"))
for request in (b'{"tool": "execute_code", "arguments": {}}', b'nonsense', b'{"tool": 5}', b'[]'):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.path.join(os.path.dirname(__file__), "rpc"))
    sock.sendall(request + b"\\n")
    print(json.loads(sock.recv(10000)))
"""
    found = await run(bench, code)
    assert "False" in found.text
    assert found.text.count("'error'") == 4
    assert bench.seen == []


async def test_threads_may_call_tools_at_the_same_time(bench: Any) -> None:
    bench.write("a.txt", "word\n")
    code = """
from concurrent.futures import ThreadPoolExecutor
from hermes_tools import search_files
with ThreadPoolExecutor(8) as pool:
    print(len(list(pool.map(lambda _: search_files("word"), range(20)))))
"""
    assert (await run(bench, code)).text == "20"


@pytest.mark.parametrize("code", ["", "  \n", "x\0y", "x = '\ud800'"])
async def test_what_is_no_script_is_refused(code: str, bench: Any) -> None:
    with pytest.raises(ToolArgumentsError):
        await run(bench, code)


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "from hermes_tools import terminal\nprint(terminal('ls'))",
        "import json, re, math\nfrom collections import Counter\nprint(Counter('x'), math.pi)",
        "from urllib.parse import quote\nfrom urllib import parse\nimport urllib.parse",
        "class A:\n    def __init__(self): self.x = 1\nif __name__ == '__main__':\n    print(A().x)",
        "from concurrent.futures import ThreadPoolExecutor",
        "not even Python (",
    ],
)
def test_scripts_that_only_compute_and_call_tools_run_freely(code: str) -> None:
    assert review_code(code) == Allowed()


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "import os.path as p",
        "from os import system",
        "import subprocess, json",
        "from . import x",
        "open('x', 'w')",
        "o = open",
        "eval('1')",
        "__import__('os')",
        "getattr(1, 'x')",
        "__builtins__['open']",
        "().__class__.__base__.__subclasses__()",
        "import json\njson.codecs.open('x')",
        "from json import codecs",
        "import hermes_tools\nhermes_tools._os.system('x')",
        "from hermes_tools import _os",
        "import random\nrandom._os.system('x')",
        "from operator import attrgetter",
        "import typing\ntyping.get_type_hints(f)",
        "import timeit",
        "import urllib.request",
        "from urllib import request",
        "match f:\n    case object(__globals__=g):\n        pass",
        "(lambda: 0).__globals__",
        "print(f'{x.__class__}')",
        "import zoneinfo._common",
        "(x for x in y).gi_frame.f_globals",
    ],
)
def test_scripts_that_reach_further_need_approval(code: str) -> None:
    verdict = review_code(code)
    assert isinstance(verdict, NeedsApproval)
    assert verdict.action == code
    assert verdict.reasons


def test_the_floor_holds_for_scripts_too() -> None:
    assert isinstance(review_code("import os\nos.system('rm -rf /')"), Forbidden)
    assert isinstance(review_code("import shutil\nshutil.rmtree('/')"), Forbidden)


def test_the_stub_works_in_this_python() -> None:
    from hermes_agent.core.model import ToolDefinition
    from hermes_agent.tools.code_stub import stub

    definition = ToolDefinition(
        "read_file", "", {"properties": {"offset": {}, "path": {}}, "required": ["path"]}
    )
    namespace: dict[str, Any] = {"__file__": "/nowhere/hermes_tools.py"}
    exec(compile(stub([definition]), "hermes_tools.py", "exec"), namespace)
    assert namespace["read_file"].__code__.co_varnames[:2] == ("path", "offset")
    with pytest.raises(namespace["ToolError"]):
        namespace["read_file"]("x")
    assert json.loads("1") == 1 and sys.version_info >= (3, 11)
