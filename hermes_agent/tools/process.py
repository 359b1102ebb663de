"""`process`: look after the background processes that `terminal` started."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any, Literal

from hermes_agent.core.approvals import Allowed, Verdict
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.command_policy import review_command
from hermes_agent.tools.function import tool
from hermes_agent.tools.processes import Processes, Tracked
from hermes_agent.tools.screen_text import plain_text
from hermes_agent.tools.setup import ToolSetup

LOG_LINES = 200
WRITE_SECONDS = 10.0


def build(setup: ToolSetup) -> Tool:
    """The tool."""
    return ProcessTool(setup).tool


class ProcessTool:
    """`process` with its settings."""

    def __init__(self, setup: ToolSetup) -> None:
        self._default_wait = setup.terminal.timeout
        self._longest_wait = setup.terminal.max_foreground_timeout
        self.tool: Tool = tool(
            name="process",
            description=(
                "Manage background processes of terminal. poll: status and new output; log: output by lines; "
                "write: raw data to stdin; submit: data and Enter; close: end of stdin."
            ),
            emoji="⚙️",
            toolset="terminal",
            preview=_preview,
            review=_review,
        )(self.run)

    async def run(
        self,
        action: Literal["list", "poll", "log", "wait", "kill", "write", "submit", "close"],
        session_id: Annotated[str | None, "proc_…; not for list"] = None,
        data: Annotated[str | None, "For write and submit"] = None,
        timeout: Annotated[float | None, "Seconds for wait"] = None,
        offset: Annotated[int | None, "log: first line, from 0; default: the last lines"] = None,
        limit: Annotated[int, "log: lines"] = LOG_LINES,
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Act."""
        processes = context.session.state(Processes)
        if action == "list":
            return _listed(processes)
        if not session_id:
            raise ToolArgumentsError(f"session_id is missing; {action} needs it")
        tracked = processes.get(session_id)
        if action == "log":
            return _log(tracked, offset, limit)
        if action == "wait":
            await tracked.process.wait(self._wait_seconds(timeout))
        elif action == "kill":
            await tracked.process.kill()
        elif action == "close":
            await tracked.process.close_stdin()
        elif action in ("write", "submit"):
            await _write(tracked, data, is_line=action == "submit")
        return _status(tracked)

    def _wait_seconds(self, seconds: float | None) -> float:
        if seconds is not None and seconds < 0:
            raise ToolArgumentsError(f"timeout must not be negative, got {seconds:g}")
        return min(self._default_wait if seconds is None else seconds, self._longest_wait)


def _preview(arguments: Any) -> str:
    parts = (arguments["action"], arguments["session_id"], arguments["data"])
    return " ".join(part for part in parts if part)


def _review(arguments: Any, context: ToolContext) -> Verdict:
    """What is typed into a process may be a command for a shell: the same rules as for commands."""
    if arguments["action"] not in ("write", "submit") or not arguments["data"]:
        return Allowed()
    try:
        tracked = context.session.state(Processes).get(arguments["session_id"] or "")
    except ToolError:
        return Allowed()  # there is no such process: `run` says so
    return review_command(
        tracked.unfinished_line + arguments["data"],
        is_isolated=context.environment.is_isolated,
        cwd=tracked.started_in,
    )


async def _write(tracked: Tracked, data: str | None, *, is_line: bool) -> None:
    if data is None:
        raise ToolArgumentsError("data is missing; write and submit need it")
    text = data + "\n" if is_line else data
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await tracked.process.write(text.encode(errors="replace"))
    except TimeoutError:
        raise ToolError(
            f"{tracked.process.id} did not read its input for {WRITE_SECONDS:g} seconds",
            why="A part of the data may have been written.",
        ) from None
    tracked.written(text)


def _described(tracked: Tracked) -> dict[str, object]:
    process = tracked.process
    return {
        "session_id": process.id,
        "command": process.command[:200],
        "status": "running" if process.exit_code is None else "exited",
        "exit_code": process.exit_code,
        "pid": process.pid,
        "age_seconds": round(time.time() - process.started_at),
    }


def _listed(processes: Processes) -> ToolResult:
    known = [_described(tracked) for tracked in processes.all()]
    running = sum(item["status"] == "running" for item in known)
    return ToolResult(
        json.dumps({"processes": known}, ensure_ascii=False), summary=f"{running} running of {len(known)}"
    )


def _status(tracked: Tracked) -> ToolResult:
    told = {**_described(tracked), "output": tracked.take_unread()}
    end = "running" if told["exit_code"] is None else f"exit {told['exit_code']}"
    return ToolResult(json.dumps(told, ensure_ascii=False), summary=end)


def _log(tracked: Tracked, offset: int | None, limit: int) -> ToolResult:
    if limit < 1:
        raise ToolArgumentsError(f"limit must be at least 1, got {limit}")
    lines = plain_text(tracked.process.output(), is_terminal=tracked.is_terminal).splitlines()
    start = max(0, len(lines) - limit) if offset is None else max(0, offset)
    shown = lines[start : start + limit]
    told = {
        "session_id": tracked.process.id,
        "exit_code": tracked.process.exit_code,
        "output": "\n".join(shown),
        "lines": f"{start}-{start + len(shown)} of {len(lines)}",
    }
    return ToolResult(json.dumps(told, ensure_ascii=False), summary=f"{len(shown)} of {len(lines)} lines")
