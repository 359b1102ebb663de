"""`terminal`: run a shell command, in the foreground or in the background."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from collections.abc import Callable
from typing import Annotated, Any

from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.approvals import Verdict
from hermes_agent.core.environment import Command, CommandResult
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.command_policy import review_command
from hermes_agent.tools.function import tool
from hermes_agent.tools.processes import Processes, Tracked, Watch
from hermes_agent.tools.screen_text import plain_text
from hermes_agent.tools.setup import ToolSetup

REPORT_SECONDS = 0.1
REPORT_BYTES = 8_192

NO_INPUT_HINT = (
    "Commands get no input. Answer questions with flags (-y, --no-pager, --non-interactive), or start the "
    "program with background=true and pty=true and use process submit."
)

_ASKS = re.compile(
    r"(\[y/n\]|\(y(es)?/no?[^)]*\)|password[^\n]*:|passphrase[^\n]*:|\?\s*)\s*\Z", re.IGNORECASE
)
_SAYS_NO_WITH_ONE = frozenset(
    (
        "grep",
        "egrep",
        "fgrep",
        "rg",
        "ag",
        "diff",
        "cmp",
        "test",
        "[",
        "[[",
        "which",
        "pgrep",
        "pidof",
        "command",
    )
)


class LiveOutput:
    """Passes output on as it comes, as text, at most ten times a second and 8 KiB at a time."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        """Take the next output; of a flood only the newest part is shown."""
        self._waiting += data[-REPORT_BYTES:]
        del self._waiting[: max(0, len(self._waiting) - REPORT_BYTES)]
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_SECONDS, self.flush)

    def flush(self) -> None:
        """Show what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text = plain_text(self._decoder.decode(bytes(self._waiting)))
        self._waiting.clear()
        if text:
            self._report(text)


def build(setup: ToolSetup) -> Tool:
    """The tool."""
    return TerminalTool(setup).tool


class TerminalTool:
    """`terminal` with its settings."""

    def __init__(self, setup: ToolSetup) -> None:
        self._settings: TerminalSettings = setup.terminal
        self._max_bytes = setup.output.max_bytes
        self.tool: Tool = tool(
            name="terminal",
            description=(
                "Run a shell command. Directory and exported variables persist; stdin is closed. "
                "Prefer the file tools to read, write and search files. For servers and all that takes over "
                f"{self._settings.max_foreground_timeout:g} s use background=true and the process tool."
            ),
            emoji="💻",
            toolset="terminal",
            preview="command",
            review=self._review,
        )(self.run)

    async def run(
        self,
        command: str,
        background: Annotated[bool, "Return at once with a process id"] = False,
        timeout: Annotated[float | None, "Seconds"] = None,
        workdir: Annotated[str | None, "Directory for this command only"] = None,
        pty: Annotated[bool, "Give it a terminal"] = False,
        notify_on_complete: Annotated[bool, "Background: tell me when it ends"] = False,
        watch_patterns: Annotated[list[str] | None, "Background: tell me of lines matching these"] = None,
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Run a command."""
        if not command.strip():
            raise ToolArgumentsError("command is empty")
        if background:
            seconds = self._checked(timeout, None)
            started = Command(command, cwd=workdir, pty=pty, timeout_seconds=seconds)
            return await _spawn(started, notify_on_complete, watch_patterns or [], context)
        if watch_patterns or notify_on_complete:
            raise ToolArgumentsError("watch_patterns and notify_on_complete need background=true")
        live = LiveOutput(context.report)
        seconds = self._checked(timeout, self._settings.max_foreground_timeout)
        try:
            result = await context.environment.execute(
                Command(command, cwd=workdir, pty=pty, timeout_seconds=seconds or self._settings.timeout),
                live.feed,
            )
        finally:
            live.flush()
        return self._told(command, result, is_terminal=pty)

    def _review(self, arguments: Any, context: ToolContext) -> Verdict:
        environment = context.environment
        workdir = arguments["workdir"]
        return review_command(
            arguments["command"],
            is_isolated=environment.is_isolated,
            cwd=environment.resolve(workdir) if workdir else environment.cwd,
        )

    def _checked(self, seconds: float | None, most: float | None) -> float | None:
        if seconds is not None and seconds <= 0:
            raise ToolArgumentsError(f"timeout must be positive, got {seconds:g}")
        if seconds is not None and most is not None and seconds > most:
            raise ToolArgumentsError(
                f"timeout {seconds:g} is over the limit of {most:g} seconds; "
                "use background=true and wait with the process tool"
            )
        return seconds

    def _told(self, command: str, result: CommandResult, *, is_terminal: bool) -> ToolResult:
        output = plain_text(result.output, is_terminal=is_terminal)
        error = _explanation(result, output)
        status = {"exit_code": result.exit_code, "error": error}
        text = json.dumps({"output": output, **status}, ensure_ascii=False)
        if len(text.encode(errors="replace")) > self._max_bytes:
            # It will be kept in a file and read there in pages, which needs its lines as lines.
            text = f"{output}\n\n{json.dumps(status, ensure_ascii=False)}"
        return ToolResult(
            text,
            is_error=result.exit_code != 0 and not (result.exit_code == 1 and _may_say_no(command)),
            summary=_summary(result, output),
        )


async def _spawn(
    command: Command, notify_on_complete: bool, patterns: list[str], context: ToolContext
) -> ToolResult:
    processes = context.session.state(Processes)
    early: list[bytes] = []
    sinks: list[Callable[[bytes], None]] = [early.append]

    def take(data: bytes) -> None:
        for sink in sinks:
            sink(data)

    watch = None
    if patterns:
        watch = Watch(
            patterns,
            lambda lines: context.notify(f"Background process {process.id} ({_short(command)}):\n{lines}"),
        )
    environment = context.environment
    process = await environment.spawn(command, take)
    started_in = environment.resolve(command.cwd) if command.cwd else environment.cwd
    tracked = Tracked(process, is_terminal=command.pty, started_in=started_in)
    follower = context.session.started(process)
    sinks[:] = [tracked.feed, *([watch.feed] if watch else []), *([follower] if follower else [])]
    for data in early:
        take(data)
    processes.add(tracked, notify=context.notify, notify_on_complete=notify_on_complete, watch=watch)
    told = {"output": "Started in the background", "session_id": process.id, "pid": process.pid}
    return ToolResult(
        json.dumps({**told, "exit_code": None, "error": None}, ensure_ascii=False), summary=process.id
    )


def _short(command: Command) -> str:
    return command.text if len(command.text) <= 80 else f"{command.text[:79]}…"


def _explanation(result: CommandResult, output: str) -> str | None:
    if result.timed_out:
        return (
            f"Timed out after {result.duration_seconds:.0f} seconds and was killed. "
            f"For long work pass a longer timeout or background=true. {NO_INPUT_HINT}"
        )
    if result.exit_code and _ASKS.search(output[-200:]):
        return f"It seems to have asked for input. {NO_INPUT_HINT}"
    if result.exit_code == 127:
        return "Command not found"
    if result.exit_code == 137:
        return "Killed (SIGKILL); perhaps out of memory"
    return None


def _may_say_no(command: str) -> bool:
    """The last program of the command ends with 1 to say `no`, not to say that it failed."""
    last = re.split(r"\|\||&&|[|;\n&]", command.strip().rstrip(";&"))[-1].split()
    words = [word for word in last if "=" not in word.split("/")[0]]
    return bool(words) and words[0].rpartition("/")[2] in _SAYS_NO_WITH_ONE


def _summary(result: CommandResult, output: str) -> str:
    lines = len(output.splitlines())
    end = "timed out" if result.timed_out else f"exit {result.exit_code}"
    return f"{end}, {lines} line{'' if lines == 1 else 's'}"
