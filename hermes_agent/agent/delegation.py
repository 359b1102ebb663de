"""Subagents: sessions in memory that do a part of the job and report back.

A child sees its goal and what the caller wrote beside it, nothing of the conversation. It has the
caller's tools without those of `FORBIDDEN`, works in the caller's directory, asks the caller's person
for approval, and what it uses is counted with the caller. Its conversation ends with it.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hermes_agent.agent.borrowed import BorrowedModel, BorrowedPlace
from hermes_agent.agent.checkpoints import Checkpoints
from hermes_agent.agent.compaction import Compactor
from hermes_agent.agent.run import Run
from hermes_agent.agent.session import Session, SessionParts
from hermes_agent.config.sections.agent import GuardrailSettings
from hermes_agent.config.sections.delegation import DelegationSettings
from hermes_agent.core.approvals import ApprovalRequest, Decision
from hermes_agent.core.delegation import Assignment, ChildReport, Delegation
from hermes_agent.core.environment import (
    Command,
    Environment,
)
from hermes_agent.core.errors import HermesError, ToolError, UsageError
from hermes_agent.core.events import Notice, RunFinished, ToolCallFinished, ToolCallStarted, UsageUpdated
from hermes_agent.core.model import Model, Usage
from hermes_agent.core.session import SessionRecord, SessionStore
from hermes_agent.core.tool import Tool

FORBIDDEN: Final = frozenset(
    (
        "delegate_task",
        "clarify",
        "memory",
        "user_model",
        "execute_code",
        "send_message",
        "cronjob",
        "skill_manage",
    )
)
"""Tools no subagent has: they speak to people, outlive the job, or start further agents."""

MAX_ASSIGNMENTS: Final = 20
GOAL_CHARS: Final = 60

PROMPT: Final = """\
You are a subagent of Hermes. Another agent gave you one task; do it with your tools and report.
- You know only what the task says. Nobody can answer questions: where something is unclear, take the \
likeliest reading and say so.
- Stay within the task. Do not start work that was not asked for.
- Your last message is the report, read by the agent that called you: the result first; then what you did, \
absolute paths of files you made or changed, and what failed or stayed open. Be brief and exact; never claim \
what you have not checked.
Directory: {cwd} ({environment})
Date: {date}"""


@dataclass(frozen=True, slots=True)
class ChildParts:
    """What children are made of; built by `agent.service`.

    Attributes:
        make_model: The model of children; None shares the caller's.
        make_tools: Toolset names to tools; raises `SettingError`.
        make_environment: (session id, lines for people) to a place of their own.
        make_compactor: A compactor for a conversation with this model.
        toolsets: What the caller was opened with.
        depth: How many callers there are above the caller.
    """

    settings: DelegationSettings
    guardrails: GuardrailSettings
    make_model: Callable[[], Model] | None
    make_tools: Callable[[Sequence[str]], Sequence[Tool]]
    make_environment: Callable[[str, Callable[[str], None]], Environment]
    make_compactor: Callable[[Model], Compactor]
    store: SessionStore
    toolsets: tuple[str, ...] = ()
    depth: int = 0


@dataclass
class Child:
    """A subagent at work."""

    number: int
    goal: str
    started_at: float
    run: Run | None = None
    turns_text: str = "waiting"
    tokens: int = 0
    _is_cancelled: bool = False

    def was_cancelled(self) -> bool:
        """Whether a person stopped it."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Stop it, also if it has not begun."""
        self._is_cancelled = True
        if self.run is not None:
            self.run.interrupt()


class Subagents:
    """The subagents of one session."""

    def __init__(self, session: Session, parts: ChildParts) -> None:
        self._session = session
        self._parts = parts
        self._numbers = itertools.count(1)
        self._asking = asyncio.Lock()
        self._places = asyncio.Semaphore(parts.settings.max_concurrent_children)
        self._background: set[asyncio.Task[None]] = set()
        self.working: dict[int, Child] = {}
        """Those that work or wait, by number."""
        self.used = Usage()
        """What all of them used, with theirs."""
        session.scope.provide(Delegation(self.delegate, self.start))

    async def delegate(
        self,
        assignments: Sequence[Assignment],
        report: Callable[[str], None],
        tool_call_id: str = "",
    ) -> list[ChildReport]:
        """Have all of them done, as many at a time as the settings allow. Cancelling cancels them all.

        Raises:
            ToolError: There is nothing to do, or too much, or no deeper level is allowed.
        """
        self._check(assignments)
        children = [Child(next(self._numbers), item.goal, time.monotonic()) for item in assignments]
        self.working.update({child.number: child for child in children})
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._one(child, assignment, report, tool_call_id))
                    for child, assignment in zip(children, assignments, strict=True)
                ]
        finally:
            for child in children:
                self.working.pop(child.number, None)
        return [task.result() for task in tasks]

    def start(self, assignments: Sequence[Assignment], done: Callable[[Sequence[ChildReport]], None]) -> None:
        """Have them done in the background.

        Raises:
            ToolError: As `delegate`.
        """
        self._check(assignments)

        async def work() -> None:
            done(await self.delegate(assignments, lambda _text: None))

        task = asyncio.create_task(work())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def cancel(self, number: int | None = None) -> int:
        """Stop one of them, or all; says how many were stopped.

        Raises:
            UsageError: None has this number.
        """
        if number is not None and number not in self.working:
            raise UsageError(f"No subagent {number} is at work", remedy="/agents lists them.")
        chosen = [child for child in self.working.values() if number in (None, child.number)]
        for child in chosen:
            child.cancel()
        return len(chosen)

    async def aclose(self) -> None:
        """Stop those in the background."""
        for task in tuple(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _check(self, assignments: Sequence[Assignment]) -> None:
        if self._parts.depth >= self._parts.settings.max_spawn_depth:
            raise ToolError(
                "No further subagents at this depth", remedy="Do it yourself, or report what is missing."
            )
        if not assignments or any(not item.goal.strip() for item in assignments):
            raise ToolError("Every task needs a goal")
        if len(assignments) > MAX_ASSIGNMENTS:
            raise ToolError(f"{len(assignments)} tasks are too many at once; at most {MAX_ASSIGNMENTS}")

    async def _one(
        self, child: Child, assignment: Assignment, report: Callable[[str], None], tool_call_id: str
    ) -> ChildReport:
        show = _Branch(child, report)
        async with self._places:
            if child.was_cancelled():
                show.end("cancelled")
                return ChildReport(assignment.goal, "interrupted", "", ("Cancelled by the user.",))
            show.begin()
            try:
                session = await self._open(assignment)
            except HermesError as error:
                show.end(f"failed: {error.message}")
                return ChildReport(assignment.goal, "failed", "", error.lines)
            try:
                finished = await self._work(session, child, assignment, show, tool_call_id)
            finally:
                await session.aclose()
        problem = finished.error
        if finished.outcome == "interrupted" and child.was_cancelled():
            problem = ("Cancelled by the user.",)
        show.end(_ending(finished))
        return ChildReport(
            assignment.goal,
            finished.outcome,
            finished.text or session.last_answer(),
            problem,
            finished.turns,
            finished.duration_seconds,
            finished.usage,
        )

    async def _work(
        self, session: Session, child: Child, assignment: Assignment, show: _Branch, tool_call_id: str
    ) -> RunFinished:
        caller = self._session.current_run

        async def ask(request: ApprovalRequest) -> Decision:
            if caller is None or caller.is_finished:
                return "deny"
            named = replace(
                request,
                tool_call_id=tool_call_id or request.tool_call_id,
                reasons=(*request.reasons, f"wanted by subagent {child.number}: {_short(child.goal)}"),
            )
            async with self._asking:
                return await caller.request_approval(named)

        text = assignment.goal if not assignment.context else f"{assignment.goal}\n\n{assignment.context}"
        is_interactive = caller is not None and caller.is_interactive
        run = child.run = session.start(text, is_interactive=is_interactive, approver=ask)
        try:
            async for event in run:
                show.event(event)
        except asyncio.CancelledError:
            run.interrupt()
            raise
        finally:
            finished = await run.result()
            used = finished.usage
            if session.subagents is not None:
                used = used + session.subagents.used
            self.used = self.used + used
            await self._session.book(used)
        return finished

    async def _open(self, assignment: Assignment) -> Session:
        """A session for one task.

        Raises:
            HermesError: A toolset is unknown, or the model cannot be used.
        """
        caller, parts = self._session, self._parts
        may_delegate = assignment.role == "orchestrator" and parts.depth + 1 < parts.settings.max_spawn_depth
        tools = self._tools(assignment, may_delegate=may_delegate)
        name = f"{caller.id}_sub_{secrets.token_hex(4)}"
        environment = await _place(caller.scope.environment, name, parts)
        model = BorrowedModel(caller.model) if parts.make_model is None else parts.make_model()
        prompt = PROMPT.format(
            cwd=environment.cwd, environment=environment.name, date=time.strftime("%Y-%m-%d")
        )

        async def build_prompt() -> str:
            return prompt

        session = Session(
            SessionParts(
                record=SessionRecord(name, "subagent", time.time(), parent_session_id=caller.id),
                store=parts.store,
                model=model,
                tools=tools,
                environment=environment,
                gate=caller.gate,
                compactor=parts.make_compactor(model),
                agent=caller.agent_settings,
                # Nobody watches a child: one that goes in circles is stopped.
                guardrails=parts.guardrails.model_copy(update={"stop_enabled": True}),
                build_prompt=build_prompt,
                is_stored=False,
                principal=caller.scope.principal,
                reasoning_effort=caller.reasoning_effort,
                around_run=caller.around_run,
            )
        )
        session.max_turns = parts.settings.max_iterations
        session.budget = caller.budget
        if caller.checkpoints is not None:
            session.use_checkpoints(Checkpoints(caller.checkpoints.store))
        if may_delegate:
            session.subagents = Subagents(session, replace(parts, depth=parts.depth + 1))
        await session.load()
        return session

    def _tools(self, assignment: Assignment, *, may_delegate: bool) -> list[Tool]:
        own = self._session.tool_runner.tools
        wanted: set[str] | None = None
        if assignment.toolsets is not None:
            wanted = {tool.definition.name for tool in self._parts.make_tools(assignment.toolsets)}
        return [
            tool
            for tool in own
            if (name := tool.definition.name) not in FORBIDDEN or (may_delegate and name == "delegate_task")
            if wanted is None or name in wanted or (may_delegate and name == "delegate_task")
        ]


class _Branch:
    """One child's lines in the tree that the person sees."""

    def __init__(self, child: Child, report: Callable[[str], None]) -> None:
        self._child = child
        self._report = report

    def begin(self) -> None:
        self._child.turns_text = "working"
        self._report(f"├─ {self._child.number} {_short(self._child.goal)}\n")

    def event(self, event: object) -> None:
        if isinstance(event, ToolCallStarted):
            self._child.turns_text = f"{event.name} {event.preview}".strip()
            self._report(f"│  {self._child.number} {event.emoji or '·'} {event.name} {event.preview}\n")
        elif isinstance(event, ToolCallFinished) and event.is_error:
            self._report(f"│  {self._child.number} ✗ {event.name}: {event.summary}\n")
        elif isinstance(event, UsageUpdated):
            self._child.tokens = event.usage.input_tokens + event.usage.output_tokens
        elif isinstance(event, Notice) and event.level != "info":
            self._report(f"│  {self._child.number} ! {event.text}\n")

    def end(self, text: str) -> None:
        self._report(f"└─ {self._child.number} {text}\n")


def agents_text(session: Session) -> str:
    """`/agents`: who works for this conversation."""
    working = session.subagents.working if session.subagents is not None else {}
    if not working:
        return "No subagent is at work."
    now = time.monotonic()
    rows = [
        f"{child.number}  {now - child.started_at:4.0f} s  {child.tokens:>8,} tokens  {_short(child.goal)}"
        f"\n   {_short(child.turns_text, 100)}"
        for child in working.values()
    ]
    return "\n".join([*rows, "/agents stop N stops one, /agents stop all stops them all."])


def agents(session: Session, argument: str) -> str:
    """`/agents [stop N|stop all]`.

    Raises:
        UsageError: It is neither, or nobody has this number.
    """
    words = argument.split()
    if not words:
        return agents_text(session)
    if words[0] not in ("stop", "cancel") or len(words) != 2 or session.subagents is None:
        raise UsageError("/agents takes nothing, `stop N` or `stop all`")
    if words[1] != "all" and not words[1].isdecimal():
        raise UsageError(f"{words[1]!r} is not a number", remedy="/agents lists them.")
    count = session.subagents.cancel(None if words[1] == "all" else int(words[1]))
    return f"Stopped {count} subagent{'' if count == 1 else 's'}." if count else "No subagent is at work."


def _ending(finished: RunFinished) -> str:
    used = finished.usage.input_tokens + finished.usage.output_tokens
    spent = f"{finished.duration_seconds:.0f} s, {finished.turns} turns, {used:,} tokens"
    reason = f": {finished.error[0]}" if finished.error else ""
    return f"{finished.outcome.replace('_', ' ')} ({spent}){reason}"


def _short(text: str, limit: int = GOAL_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


async def _place(caller: Environment, name: str, parts: ChildParts) -> Environment:
    """Where a child works: a shell of its own here, the caller's place elsewhere, in the same directory."""
    if caller.name != "local":
        return BorrowedPlace(caller)
    environment = parts.make_environment(name, lambda _line: None)
    if environment.cwd != caller.cwd:
        await environment.execute(Command(f"cd -- {shlex.quote(caller.cwd)}", timeout_seconds=10))
    return environment
