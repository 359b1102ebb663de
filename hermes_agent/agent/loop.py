"""The loop: model request, tool calls, results, until a text answer."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hermes_agent.agent.budgets import says_go_on
from hermes_agent.agent.compaction import CompactionFailed, Spent
from hermes_agent.agent.guardrails import LoopGuard
from hermes_agent.agent.tokens import estimate
from hermes_agent.agent.turn import Turn, TurnResult
from hermes_agent.core.errors import ContextOverflowError, HermesError, ModelError
from hermes_agent.core.events import (
    CompactionFinished,
    CompactionStarted,
    Notice,
    Outcome,
    RunFinished,
    RunStarted,
    TurnStarted,
    UsageUpdated,
)
from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import ModelRequest, Usage

if TYPE_CHECKING:
    from hermes_agent.agent.run import Run
    from hermes_agent.agent.session import Session

logger = logging.getLogger(__name__)

MAX_CONTINUATIONS = 3
"""How often an answer that hit the output limit is continued before the run ends as `truncated`."""

EXIT_CODES: dict[Outcome, int] = {
    "completed": 0,
    "interrupted": 130,
    "failed": 1,
    "budget_exhausted": 8,
    "truncated": 9,
}
"""Exit codes of one-shot commands, where no error names its own. Documented in docs/cli.md."""

CONTINUE_TEXT = "[hermes] Your answer hit the output limit. Continue exactly where it stopped."
SUMMARISE_TEXT = (
    "[hermes] The turn limit of this run is reached and tools are off now. "
    "Say briefly what is done, what is not, and what the next step would be."
)
CUT_CALL_TEXT = (
    "Error: your reply hit the output limit before this call was complete. Nothing was run. "
    "Do it in smaller pieces."
)
MUTATING_TOOLS = frozenset({"write_file", "patch"})


@dataclass
class _Progress:
    turns: int = 0
    continuations: int = 0
    usage: Usage = field(default_factory=Usage)
    text: list[str] = field(default_factory=list)
    has_overflowed: bool = False
    failed_edits: dict[str, str] = field(default_factory=dict)


class _Ended(Exception):  # noqa: N818 - a signal, not a failure
    """The run is over."""

    def __init__(
        self,
        outcome: Outcome,
        *,
        error: tuple[str, ...] = (),
        exit_code: int | None = None,
        error_type: str = "",
    ) -> None:
        super().__init__(outcome)
        self.error_type = error_type
        self.outcome = outcome
        self.error = error
        self.exit_code = EXIT_CODES[outcome] if exit_code is None else exit_code


class RunLoop:
    """Drives one run of a session to its `RunFinished`."""

    def __init__(self, session: Session, message: UserMessage) -> None:
        self._session = session
        self._message = message
        self._guard = LoopGuard(session.guardrails)
        self._progress = _Progress()
        self._log = logging.LoggerAdapter(logger, {"session_id": session.id})

    async def execute(self, run: Run) -> None:
        """Run to the end; always emits `RunFinished`, never raises for expected failures."""
        started = time.monotonic()
        session = self._session
        run.emit(RunStarted(run.id, session.id, session.model.info))
        self._log.info("run %s starts with %s", run.id, session.model.info.label)
        try:
            await session.append([session.with_notes(self._message)])
            await session.ensure_prompt()
            for warning in session.take_warnings():
                run.emit(Notice(warning, "warning"))
            for line in session.take_news():
                run.emit(Notice(line))
            await self._take_turns(run)
            ended = _Ended("completed")
        except _Ended as signal:
            ended = signal
        except HermesError as error:
            self._log.warning("run %s failed: %s", run.id, "; ".join(error.lines))
            ended = _Ended(
                "failed", error=error.lines, exit_code=error.exit_code, error_type=type(error).__name__
            )
        except Exception as error:  # noqa: BLE001 - the top handler of a run
            self._log.exception("run %s failed unexpectedly", run.id)
            ended = _Ended(
                "failed",
                error=(f"Internal error: {type(error).__name__}: {error}", "The log has the details."),
                exit_code=70,
            )
        if ended.outcome == "interrupted":
            session.add_note("The user interrupted the previous run.")
        self._report_failed_edits(run)
        progress = self._progress
        duration = time.monotonic() - started
        usage = progress.usage
        self._log.info(
            "run %s %s: %d turns, %.1f s, %d tokens read, %d written",
            *(run.id, ended.outcome, progress.turns, duration, usage.input_tokens, usage.output_tokens),
        )
        run.emit(
            RunFinished(
                outcome=ended.outcome,
                text="".join(progress.text),
                usage=progress.usage,
                turns=progress.turns,
                duration_seconds=duration,
                error=ended.error,
                exit_code=ended.exit_code,
                error_type=ended.error_type,
            )
        )

    async def _take_turns(self, run: Run) -> None:
        session = self._session
        while True:
            if self._progress.turns >= session.max_turns:
                await self._summarise(run)
            await self._check_budget(run)
            if session.needs_compaction():
                await self._compact(run)
            reply = (await self._take_turn(run, with_tools=True)).message
            if reply.tool_calls:
                await self._run_tools(reply, run)
            elif reply.finish_reason == "length":
                await self._continue_answer()
            elif steering := run.take_steering():
                # Too late for this answer: it becomes the next message instead of getting lost.
                self._progress.text.clear()
                await session.append([UserMessage.of(steering)])
            else:
                if reply.finish_reason == "content_filter":
                    run.emit(Notice("The provider's content filter ended the answer.", "warning"))
                return

    async def _take_turn(self, run: Run, *, with_tools: bool) -> TurnResult:
        session = self._session
        self._progress.turns += 1
        run.emit(TurnStarted(self._progress.turns))
        request = ModelRequest(
            system=session.system_prompt,
            messages=session.messages,
            tools=session.tool_definitions if with_tools else (),
            session_id=session.cache_key,
            reasoning_effort=session.reasoning_effort,
        )
        turn = Turn(
            session.model,
            run,
            save_draft=session.save_draft if session.is_stored else None,
            discard_draft=session.discard_draft,
            session_id=session.id,
        )
        try:
            result = await turn.stream(request)
            self._log.debug("turn %d: %s", self._progress.turns, result.message.finish_reason)
        except ContextOverflowError:
            if self._progress.has_overflowed or not await self._compact(run, force=True):
                raise
            self._progress.has_overflowed = True
            return await self._take_turn(run, with_tools=with_tools)
        except ModelError:
            await self._keep(turn.partial("error"), None)
            raise
        if result.is_interrupted:
            await self._keep(result.message, result.usage)
            raise _Ended("interrupted")
        reply = replace(
            result.message, tool_calls=_with_unique_ids(result.message.tool_calls, session.tool_call_ids)
        )
        if not with_tools:
            reply = replace(reply, tool_calls=())
        await self._keep(reply, result.usage)
        used = result.usage.input_tokens + result.usage.output_tokens
        session.count_context(used)
        run.emit(UsageUpdated(self._progress.usage, used, result.info.context_window))
        return replace(result, message=reply)

    async def _keep(self, message: AssistantMessage, usage: Usage | None) -> None:
        if usage is not None:
            usage = self._session.budget.priced(usage, self._session.model.info)
            self._session.budget.add(usage)
            self._progress.usage = self._progress.usage + usage
        if not (message.text or message.tool_calls or message.reasoning):
            if self._session.is_stored:
                await self._session.discard_draft()
            return
        if message.tool_calls:
            self._progress.text.clear()
        else:
            self._progress.text.append(message.text)
        await self._session.append([message], usage=usage)

    async def _compact(self, run: Run, *, force: bool = False) -> bool:
        """Shorten the conversation; on failure it stays as it is and the user is told."""
        session = self._session
        run.emit(CompactionStarted(session.context_tokens or estimate(session.messages)))
        try:
            shorter = await session.compact(force=force)
        except CompactionFailed as failure:
            self._count_spent(failure.spent)
            run.emit(Notice(f"The conversation was not shortened: {failure}", "warning"))
            run.emit(CompactionFinished(session.context_tokens, str(failure)))
            return False
        self._count_spent(shorter.spent)
        if shorter.warning:
            run.emit(Notice(shorter.warning, "warning"))
        run.emit(CompactionFinished(shorter.tokens_after + session.fixed_tokens))
        return True

    def _count_spent(self, spent: Spent) -> None:
        for usage, info in spent:
            self._progress.usage = self._progress.usage + self._session.budget.priced(usage, info)

    async def _continue_answer(self) -> None:
        self._progress.continuations += 1
        if self._progress.continuations > MAX_CONTINUATIONS:
            raise _Ended("truncated", error=("The answer hit the model's output limit several times.",))
        await self._session.append([UserMessage.of(CONTINUE_TEXT)])

    async def _check_budget(self, run: Run) -> None:
        """Pause at a limit: a person may let the run go on; else it ends and can be taken up again later."""
        session = self._session
        while (exceeded := await session.budget.exceeded()) is not None:
            # A subagent ends here: its caller comes to the same limit, and asks.
            is_child = session.record.source == "subagent"
            answer = None if is_child else await run.ask(exceeded.question())
            if not says_go_on(answer):
                stopped = "It was stopped; say something to go on." if answer else exceeded.remedy
                raise _Ended("budget_exhausted", error=(exceeded.text, stopped))
            session.budget.extend(exceeded.scope)

    async def _summarise(self, run: Run) -> None:
        run.emit(Notice(f"The turn limit ({self._session.max_turns}) is reached; asking for a summary."))
        await self._session.append([UserMessage.of(SUMMARISE_TEXT)])
        await self._take_turn(run, with_tools=False)
        raise _Ended("budget_exhausted")

    async def _run_tools(self, reply: AssistantMessage, run: Run) -> None:
        session = self._session
        if reply.finish_reason == "length":
            messages = [
                ToolMessage(call.id, call.name, CUT_CALL_TEXT, is_error=True) for call in reply.tool_calls
            ]
            self._progress.continuations += 1
            await session.append(messages)
            if self._progress.continuations > MAX_CONTINUATIONS:
                raise _Ended("truncated", error=("The model's tool calls kept hitting its output limit.",))
            return
        results = await session.tool_runner.run_batch(reply.tool_calls, run)
        self._count_spent(await session.book_tools())
        stop_reason = None
        finished: list[Message] = []
        for call, result in zip(reply.tool_calls, results, strict=True):
            observation = self._guard.observe(call, result.text, is_error=result.is_error)
            stop_reason = stop_reason or observation.stop_reason
            self._note_edit(call, result)
            finished.append(_with_text(result, observation.warning))
        if not run.is_interrupted:
            finished[-1] = await self._with_news(finished[-1], reply.tool_calls, run)
        await session.append(finished)
        if run.is_interrupted:
            raise _Ended("interrupted")
        if stop_reason is not None:
            raise _Ended("failed", error=(f"Stopped by the loop guardrail: {stop_reason}.",))

    async def _with_news(self, message: Message, calls: Sequence[ToolCall], run: Run) -> Message:
        """Add what the agent should learn with this turn to the last result (role order stays valid)."""
        news = [await self._directory_hint(calls, run), self._session.take_notes()]
        if steering := run.take_steering():
            news.append(f"[The user says, while you work]\n{steering}")
        text = "\n\n".join(part for part in news if part)
        return _with_text(message, text or None)

    async def _directory_hint(self, calls: Sequence[ToolCall], run: Run) -> str:
        environment = self._session.scope.environment
        for path in _paths_in(calls):
            hint = await self._session.context_files.hint_for(environment.resolve(path), environment.cwd)
            if hint is None:
                continue
            if hint.warning:
                run.emit(Notice(hint.warning, "warning"))
                continue
            return f"[Project rules for this directory, from {hint.path}]\n{hint.text}"
        return ""

    def _note_edit(self, call: ToolCall, result: ToolMessage) -> None:
        if call.name not in MUTATING_TOOLS:
            return
        for path in _paths_in([call]) or ["(patch)"]:
            if result.is_error:
                self._progress.failed_edits[path] = result.text
            else:
                self._progress.failed_edits.pop(path, None)

    def _report_failed_edits(self, run: Run) -> None:
        if failed := sorted(self._progress.failed_edits):
            run.emit(Notice(f"Not changed, although the agent tried: {', '.join(failed)}", "warning"))


def _with_text(message: Message, addition: str | None) -> Message:
    if addition is None or not isinstance(message, ToolMessage):
        return message
    return replace(message, text=f"{message.text}\n\n{addition}")


def _with_unique_ids(calls: tuple[ToolCall, ...], used: Set[str]) -> tuple[ToolCall, ...]:
    """Some providers number their calls anew in every reply; results are matched by id, so rename."""
    taken: set[str] = set()
    renamed: list[ToolCall] = []
    for call in calls:
        name, number = call.id or "call", 2
        while name in used or name in taken:
            name, number = f"{call.id or 'call'}_{number}", number + 1
        taken.add(name)
        renamed.append(call if name == call.id else replace(call, id=name))
    return tuple(renamed)


def _paths_in(calls: Sequence[ToolCall]) -> list[str]:
    paths: list[str] = []
    for call in calls:
        try:
            arguments = json.loads(call.arguments or "{}")
        except json.JSONDecodeError:
            continue
        path = arguments.get("path") if isinstance(arguments, dict) else None
        if isinstance(path, str) and path:
            paths.append(path)
    return paths
