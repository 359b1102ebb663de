"""Runs the tool calls of one turn: validate, approve, execute, report.

A batch runs concurrently only if every call in it is safe to (read-only, or their paths do not
overlap); results always come back in call order. Whatever happens, every call gets a result, because
providers refuse a history with an unanswered call.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.run import Run
from hermes_agent.core.errors import HermesError, ToolArgumentsError, ToolError
from hermes_agent.core.events import Notice, ToolCallFinished, ToolCallProgress, ToolCallStarted
from hermes_agent.core.messages import ToolCall, ToolMessage
from hermes_agent.core.tool import SessionScope, Tool, ToolContext, ToolResult

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from hermes_agent.agent.checkpoints import Checkpoints

PROGRESS_INTERVAL_SECONDS = 0.05
"""Live output is handed on at most this often …"""
PROGRESS_MAX_CHARS = 8_000
"""… and only its newest part, so that a flood of output cannot pile up in front of a slow surface."""

INTERRUPTED_TAIL_CHARS = 4_000
"""How much of an interrupted call's output the model is still told."""

INTERRUPTED_TEXT = "[interrupted by the user before it finished; it may have had effects]"
SKIPPED_TEXT = "[skipped: the user interrupted before this call started]"


class ProgressReporter:
    """Turns a tool's live output into events, joined and bounded."""

    def __init__(self, run: Run, tool_call_id: str) -> None:
        self._run = run
        self._tool_call_id = tool_call_id
        self._pending = ""
        self._handle: asyncio.TimerHandle | None = None
        self.started_at = time.monotonic()
        """When the work began; moved on when an approval was given, which is not the tool's time."""
        self.tail = ""
        """The newest output, so that an interrupted call can tell the model what was seen."""

    def report(self, text: str) -> None:
        """Take a piece of output."""
        self._pending = (self._pending + text)[-PROGRESS_MAX_CHARS:]
        self.tail = (self.tail + text)[-INTERRUPTED_TAIL_CHARS:]
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(PROGRESS_INTERVAL_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand on what is pending."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._pending:
            self._run.emit(ToolCallProgress(self._tool_call_id, self._pending))
            self._pending = ""


@dataclass(frozen=True, slots=True)
class _PreparedCall:
    call: ToolCall
    tool: Tool | None
    arguments: Mapping[str, Any]
    problem: str | None = None


class ToolRunner:
    """Executes batches for one session."""

    def __init__(
        self,
        tools: Sequence[Tool],
        scope: SessionScope,
        gate: ApprovalGate,
        *,
        notify: Callable[[str], None],
    ) -> None:
        self._tools = {tool.definition.name: tool for tool in tools}
        self._scope = scope
        self._gate = gate
        self._notify = notify
        self.checkpoints: Checkpoints | None = None
        """Who takes snapshots before files are changed; None if nobody does."""

    def use_tools(self, tools: Sequence[Tool]) -> None:
        """Offer these tools instead."""
        self._tools = {tool.definition.name: tool for tool in tools}

    async def run_batch(self, calls: Sequence[ToolCall], run: Run) -> list[ToolMessage]:
        """Run all calls; one message each, in order.

        If the run is interrupted, running calls are cancelled, the others are answered as skipped,
        and the messages are returned normally: `run.is_interrupted` tells.
        """
        if self.checkpoints is not None:
            self.checkpoints.begin_turn()
        prepared = [self._prepare(call) for call in calls]
        results: list[ToolMessage | None] = [None] * len(prepared)
        try:
            if len(prepared) > 1 and self._may_run_together(prepared):
                async with asyncio.TaskGroup() as group:
                    for index, item in enumerate(prepared):
                        group.create_task(self._run_into(results, index, item, run))
            else:
                for index, item in enumerate(prepared):
                    await self._run_into(results, index, item, run)
        except asyncio.CancelledError:
            if not run.is_interrupted:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        return [
            result or _message(item.call, ToolResult(SKIPPED_TEXT, is_error=True))
            for item, result in zip(prepared, results, strict=True)
        ]

    def _prepare(self, call: ToolCall) -> _PreparedCall:
        tool = self._tools.get(call.name)
        if tool is None:
            near = difflib.get_close_matches(call.name, self._tools, n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            names = ", ".join(self._tools)
            return _PreparedCall(
                call, None, {}, f"There is no tool {call.name!r}.{hint} Available tools: {names or 'none'}."
            )
        try:
            arguments = json.loads(call.arguments) if call.arguments.strip() else {}
        except json.JSONDecodeError as error:
            return _PreparedCall(
                call,
                tool,
                {},
                f"The arguments are not valid JSON ({error.msg} at character {error.pos}). "
                "Nothing was run. Send the call again with one complete JSON object.",
            )
        if not isinstance(arguments, dict):
            return _PreparedCall(call, tool, {}, "The arguments must be one JSON object. Nothing was run.")
        return _PreparedCall(call, tool, arguments)

    def _may_run_together(self, prepared: Sequence[_PreparedCall]) -> bool:
        context = ToolContext(self._scope)
        seen: list[PurePosixPath] = []
        for item in prepared:
            if item.tool is None or item.problem:
                continue
            if item.tool.is_parallel_safe(item.arguments):
                continue
            try:
                paths = item.tool.touched_paths(item.arguments, context)
            except ToolError:
                return False
            if paths is None:
                return False
            for path in map(PurePosixPath, paths):
                if any(path.is_relative_to(other) or other.is_relative_to(path) for other in seen):
                    return False
                seen.append(path)
        return True

    async def _run_into(
        self, results: list[ToolMessage | None], index: int, item: _PreparedCall, run: Run
    ) -> None:
        call, tool = item.call, item.tool
        reporter = ProgressReporter(run, call.id)
        run.emit(
            ToolCallStarted(
                call.id,
                call.name,
                tool.preview(item.arguments) if tool and not item.problem else "",
                call.arguments,
                tool.emoji if tool else "",
            )
        )
        result: ToolResult | None = None
        try:
            result = await self._execute(item, reporter, run)
        finally:
            if result is None:
                seen = f"\nIts last output:\n{reporter.tail}" if reporter.tail else ""
                result = ToolResult(INTERRUPTED_TEXT + seen, is_error=True, summary="interrupted")
            reporter.flush()
            results[index] = _message(call, result)
            duration = time.monotonic() - reporter.started_at
            state = "failed" if result.is_error else "done"
            logger.info(
                *("tool %s %s in %.2f s: %s", call.name, state, duration, result.summary),
                extra={"session_id": self._scope.session_id},
            )
            run.emit(
                ToolCallFinished(
                    call.id,
                    call.name,
                    result.text,
                    result.summary,
                    result.is_error,
                    duration,
                )
            )

    async def _invoke(
        self, tool_call_id: str, run: Run, name: str, arguments: Mapping[str, Any]
    ) -> ToolResult:
        """A call within a call: the same gate, no events of its own."""
        tool = self._tools.get(name)
        if tool is None:
            raise ToolError(f"There is no tool {name!r} here")
        context = ToolContext(self._scope, tool_call_id=tool_call_id, ask=run.ask, notify=self._notify)
        await self._permit(tool, arguments, context, run)
        return await tool.run(arguments, context)

    async def _permit(self, tool: Tool, arguments: Mapping[str, Any], context: ToolContext, run: Run) -> None:
        """Past the gate, with a snapshot of what may be lost. Raises `ToolDeniedError`."""
        verdict = tool.review(arguments, context)
        warning = await self._gate.check(
            verdict,
            tool_name=tool.definition.name,
            tool_call_id=context.tool_call_id,
            approver=run,
        )
        if warning:
            run.emit(Notice(warning, "warning"))
        if self.checkpoints is not None:
            await self.checkpoints.before(
                tool, arguments, verdict, context, lambda text: run.emit(Notice(text, "warning"))
            )

    @property
    def tools(self) -> tuple[Tool, ...]:
        """What the session can call."""
        return tuple(self._tools.values())

    async def _execute(self, item: _PreparedCall, reporter: ProgressReporter, run: Run) -> ToolResult:
        if item.tool is None or item.problem is not None:
            return ToolResult(f"Error: {item.problem}", is_error=True, summary="not run")
        context = ToolContext(
            self._scope,
            tool_call_id=item.call.id,
            report=reporter.report,
            ask=run.ask,
            notify=self._notify,
            invoke=partial(self._invoke, item.call.id, run),
        )
        try:
            await self._permit(item.tool, item.arguments, context, run)
            reporter.started_at = time.monotonic()
            return await item.tool.run(item.arguments, context)
        except ToolArgumentsError as error:
            return ToolResult(f"Error: {error.message}", is_error=True, summary="bad arguments")
        except HermesError as error:
            return ToolResult("Error: " + "\n".join(error.lines), is_error=True, summary=error.message[:80])
        except Exception as error:  # noqa: BLE001 - a tool's bug must not end the conversation
            return ToolResult(
                f"Error: {type(error).__name__}: {error}", is_error=True, summary=type(error).__name__
            )


def _message(call: ToolCall, result: ToolResult) -> ToolMessage:
    return ToolMessage(call.id, call.name, result.text, result.images, result.is_error)
