"""`execute_code`: a Python script that calls tools; only what it prints comes back."""

from __future__ import annotations

import shlex
from typing import Final

from hermes_agent.config.sections.code_execution import CodeExecutionSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.approvals import Verdict
from hermes_agent.core.environment import Command, CommandResult
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.loading import load
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.code_places import MARK, Place, open_place
from hermes_agent.tools.code_policy import review_code
from hermes_agent.tools.code_rpc import ToolCalls
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
        try:
            data = code.encode()
        except UnicodeEncodeError as error:
            raise ToolArgumentsError("code has half a surrogate pair in it") from error
        section = self._settings.code_execution
        calls = ToolCalls(
            frozenset(CALLABLE), context.invoke, max_calls=section.max_tool_calls, report=context.report
        )
        files = {"script.py": data, "hermes_tools.py": self._stub().encode()}
        async with open_place(context.environment, files, calls) as place:
            result = await context.environment.execute(await self._command(place, section, context))
            errors = await place.read_errors(section.max_stderr_bytes + 1)
        return _told(result, _cut(errors, section.max_stderr_bytes), calls.count, section)

    def _stub(self) -> str:
        built = (load(FACTORIES[name])(self._setup) for name in CALLABLE)
        return stub([tool.definition for tool in built if tool is not None])

    async def _command(self, place: Place, section: CodeExecutionSettings, context: ToolContext) -> Command:
        cwd = context.environment.cwd
        here, helper = shlex.quote(place.directory), shlex.quote(place.python)
        python = helper
        cleaned = ""
        if section.mode == "project":
            for name in (".venv", "venv"):
                found = await context.environment.stat(f"{cwd}/{name}/bin/python")
                if found is not None and found.kind == "file":
                    python = shlex.quote(f"{cwd}/{name}/bin/python")
                    break
            else:
                python = f'"$(command -v python3 || echo {helper})"'
        else:
            cwd = f"{place.directory}/work"
            cleaned = f'env -i PATH="$PATH" HOME={here}/work LC_ALL=C.UTF-8 {MARK}="${MARK}" '
        text = (
            f"exec {helper} -I -S {here}/runner.py {here}/stderr"
            f" {section.max_stderr_bytes + 1} {cleaned}{python} -u -B {here}/script.py"
        )
        return Command(
            text,
            cwd=cwd,
            timeout_seconds=section.timeout,
            env={MARK: place.directory},
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


def _cut(data: bytes, limit: int) -> str:
    more = "\n[more was left out]" if len(data) > limit else ""
    return data[:limit].decode(errors="replace") + more
