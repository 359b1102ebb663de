"""`execute_code`: a Python script that calls tools; only what it prints comes back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from hermes_agent.config.sections.code_execution import CodeExecutionSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.approvals import Verdict
from hermes_agent.core.environment import Command, CommandResult
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.loading import load
from hermes_agent.core.model import ToolDefinition
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.code_policy import review_code
from hermes_agent.tools.code_rpc import ToolServer
from hermes_agent.tools.code_stub import stub
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.screen_text import plain_text
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.toolsets import FACTORIES

CALLABLE: Final = (
    "web_search",
    "web_extract",
    "read_file",
    "write_file",
    "search_files",
    "patch",
    "terminal",
)
"""Tools a script may call, if the session has them."""

MAX_CODE_CHARS: Final = 1_000_000
SWEEPS: Final = 20
"""How often stray processes of a script are looked for; each round finds those that the last one missed."""

_MARK: Final = "HERMES_SCRIPT"

RUNNER: Final = """\
import os, subprocess, sys, threading
path, limit, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
def keep():
    left = limit
    with open(path, "wb", buffering=0) as file:
        while True:
            data = os.read(child.stderr.fileno(), 65536)
            if not data:
                return
            file.write(data[:left])
            left -= min(left, len(data))
reader = threading.Thread(target=keep, daemon=True)
reader.start()
code = child.wait()
reader.join(0.3)
os._exit(code if code >= 0 else 128 - code)
"""
"""Keeps the beginning of a script's standard error, however much there is and whoever holds it open."""


def build(setup: ToolSetup) -> Tool | None:
    """The tool."""
    if setup.settings is None:
        return None
    return ExecuteCode(setup, setup.settings).tool


class ExecuteCode:
    """`execute_code` with its settings."""

    def __init__(self, setup: ToolSetup, settings: Settings) -> None:
        self._setup = setup
        self._settings = settings
        self.tool: Tool = tool(
            name="execute_code",
            description=(
                "Run a Python script that calls tools: from hermes_tools import read_file, … (available: "
                f"{', '.join(CALLABLE)}; the parameters you know). They return text, terminal a dict, and "
                "raise hermes_tools.ToolError. Only what it prints comes back: use it for loops and to "
                "filter large results."
            ),
            emoji="🐍",
            toolset="code_execution",
            preview=lambda given: given["code"],
            review=_review,
        )(self.run)

    async def run(self, code: str, *, context: ToolContext) -> ToolResult:
        """Run a script."""
        if not code.strip():
            raise ToolArgumentsError("code is empty")
        if len(code) > MAX_CODE_CHARS or "\0" in code:
            raise ToolArgumentsError("code is too long, or has a zero byte in it")
        if context.environment.name != "local":
            raise ToolError(
                "Scripts that call tools run on this machine only",
                why=f"Commands run in {context.environment.name}.",
                remedy="Use terminal to run a script there.",
            )
        try:
            data = code.encode()
        except UnicodeEncodeError as error:
            raise ToolArgumentsError("code has half a surrogate pair in it") from error
        section = self._settings.code_execution
        directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="hermes-code-"))
        server = ToolServer(
            frozenset(CALLABLE), context.invoke, max_calls=section.max_tool_calls, report=context.report
        )
        try:
            await asyncio.to_thread(self._prepare, directory, data)
            await server.start(directory / "rpc")
            command = await self._command(directory, section, context)
            try:
                result = await context.environment.execute(command)
            finally:
                # Also those that left the process group. Shielded: an interrupt must not spare them.
                await asyncio.shield(asyncio.to_thread(sweep, str(directory)))
            errors = await asyncio.to_thread(_read, directory / "stderr", section.max_stderr_bytes)
        finally:
            await server.aclose()
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        return _told(result, errors, server.calls, section)

    def _prepare(self, directory: Path, code: bytes) -> None:
        definitions: list[ToolDefinition] = [
            built.definition for name in CALLABLE if (built := load(FACTORIES[name])(self._setup)) is not None
        ]
        (directory / "hermes_tools.py").write_text(stub(definitions), encoding="utf-8")
        (directory / "script.py").write_bytes(code)
        (directory / "runner.py").write_text(RUNNER, encoding="utf-8")
        (directory / "work").mkdir()

    async def _command(
        self, directory: Path, section: CodeExecutionSettings, context: ToolContext
    ) -> Command:
        cwd = context.environment.cwd
        here = shlex.quote(str(directory))
        python = shlex.quote(sys.executable)
        cleaned = ""
        if section.mode == "project":
            for name in (".venv", "venv"):
                found = await context.environment.stat(f"{cwd}/{name}/bin/python")
                if found is not None and found.kind == "file":
                    python = shlex.quote(f"{cwd}/{name}/bin/python")
                    break
            else:
                python = f'"$(command -v python3 || echo {python})"'
        else:
            cwd = f"{directory}/work"
            cleaned = f'env -i PATH="$PATH" HOME={here}/work LC_ALL=C.UTF-8 {_MARK}="${_MARK}" '
        text = (
            f"exec {shlex.quote(sys.executable)} -I -S {here}/runner.py {here}/stderr"
            f" {section.max_stderr_bytes + 1} {cleaned}{python} -u -B {here}/script.py"
        )
        return Command(
            text,
            cwd=cwd,
            timeout_seconds=section.timeout,
            env={_MARK: str(directory)},
            max_output_bytes=max(section.max_stdout_bytes, 1),
            persistent=False,
        )


def _review(arguments: Arguments, context: ToolContext) -> Verdict:
    return review_code(arguments["code"], is_isolated=context.environment.is_isolated)


def _told(result: CommandResult, errors: str, calls: int, section: CodeExecutionSettings) -> ToolResult:
    parts = [plain_text(result.output)]
    if result.timed_out:
        parts.append(f"[killed after {section.timeout:g} seconds]")
    if result.exit_code:
        parts.append(f"[exit code {result.exit_code}]")
    if errors and (result.exit_code or result.timed_out):
        parts.append(f"[standard error]\n{plain_text(errors)}")
    text = "\n".join(part.rstrip("\n") for part in parts if part.strip())
    end = "timed out" if result.timed_out else f"exit {result.exit_code}"
    return ToolResult(
        text or "(it printed nothing)",
        is_error=result.timed_out or result.exit_code != 0,
        summary=f"{end}, {calls} tool call{'' if calls == 1 else 's'}",
    )


def _read(path: Path, limit: int) -> str:
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    cut = "\n[more was left out]" if len(data) > limit else ""
    return data[:limit].decode(errors="replace") + cut


def sweep(mark: str) -> int:
    """Kill every process whose environment names this script's directory; says how many.

    All are stopped before any is killed, so that a script that forks without end cannot outrun this.
    """
    killed = 0
    for _ in range(SWEEPS):
        found = _marked(f"{_MARK}={mark}".encode())
        if not found:
            break
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in found:
                with contextlib.suppress(OSError):
                    os.kill(pid, number)
        killed += len(found)
    return killed


def _marked(entry: bytes) -> list[int]:
    found = []
    own = os.getpid()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if int(place.name) != own and entry in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except (OSError, ValueError):
            continue
    return found
