"""The `Tool` port: something a model can do.

A tool validates and acts. It does not decide whether it may (the agent asks `review` first), does
not cut its own output for the context window and does not redact: those are wrappers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hermes_agent.core.approvals import Question, Verdict
from hermes_agent.core.environment import BackgroundProcess, Environment, OutputSink
from hermes_agent.core.errors import ToolError
from hermes_agent.core.messages import ImagePart, Message
from hermes_agent.core.model import Spend, ToolDefinition

StateT = TypeVar("StateT")


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call gave.

    Attributes:
        text: What the model reads.
        is_error: The call failed; counted by the loop guardrails.
        images: Shown to models that can see.
        summary: One line for people (`42 lines`, `exit 0`), never read by the model.
    """

    text: str
    is_error: bool = False
    images: tuple[ImagePart, ...] = ()
    summary: str = ""


class SessionScope:
    """What tools may know of the session they work for. Lives as long as the session is open."""

    def __init__(
        self,
        session_id: str,
        environment: Environment,
        *,
        principal: str = "owner",
        history: Callable[[], Sequence[Message]] = tuple,
    ) -> None:
        self.session_id = session_id
        self.environment = environment
        self.principal = principal
        self.on_process: Callable[[BackgroundProcess], OutputSink | None] | None = None
        """Told of each background process; what it gives gets the process's output."""
        self.spend: Spend = lambda _usage, _info: None
        """Told what tools use of other models."""
        self._history = history
        self._state: dict[type[Any], Any] = {}
        self._processes: list[BackgroundProcess] = []

    def provide(self, value: object) -> None:
        """Give the session's tools something that only the session can make (`core.delegation`)."""
        self._state[type(value)] = value

    def started(self, process: BackgroundProcess) -> OutputSink | None:
        """A tool has started a background process; what is given wants its output."""
        self._processes = [*self.running, process]
        return self.on_process(process) if self.on_process is not None else None

    @property
    def running(self) -> list[BackgroundProcess]:
        """Background processes that have not ended; closing the session would end them."""
        return [each for each in self._processes if each.exit_code is None]

    def find(self, kind: type[StateT]) -> StateT | None:
        """What was provided, or is kept, of this kind; None if there is nothing."""
        found: StateT | None = self._state.get(kind)
        return found

    @property
    def history(self) -> Sequence[Message]:
        """The conversation so far."""
        return self._history()

    def state(self, kind: type[StateT]) -> StateT:
        """The session's one instance of `kind`, made with no arguments at first use."""
        if kind not in self._state:
            self._state[kind] = kind()
        value: StateT = self._state[kind]
        return value


async def _nobody_answers(_question: Question) -> str | None:
    return None


async def _no_other_tools(name: str, _arguments: Mapping[str, Any]) -> ToolResult:
    raise ToolError(f"{name} cannot be called from here")


@dataclass(frozen=True, slots=True)
class ToolContext:
    """One call's surroundings.

    Attributes:
        session: The session's scope.
        tool_call_id: Id of this call.
        report: Show live output to whoever watches; never read by the model.
        ask: Put a question to the person; None if nobody can answer or the time is up.
        notify: Tell the session something later (a background process ended); it reaches the model
            with its next turn.
        invoke: Call another tool of the session, past the same approval gate (a script of the model's
            does); raises `ToolError`.
    """

    session: SessionScope
    tool_call_id: str = ""
    report: Callable[[str], None] = field(default=lambda _text: None)
    ask: Callable[[Question], Awaitable[str | None]] = field(default=_nobody_answers)
    notify: Callable[[str], None] = field(default=lambda _text: None)
    invoke: Callable[[str, Mapping[str, Any]], Awaitable[ToolResult]] = field(default=_no_other_tools)

    @property
    def environment(self) -> Environment:
        """Where the session's commands run."""
        return self.session.environment


class Tool(Protocol):
    """Something a model can do.

    Arguments are the parsed JSON object; `run` raises `ToolArgumentsError` if they do not fit the
    schema and `ToolError` for any expected failure. It is cancelled to interrupt it.
    """

    @property
    def definition(self) -> ToolDefinition:
        """What the model is told; constant."""
        ...

    @property
    def emoji(self) -> str:
        """One character for progress displays."""
        ...

    def is_parallel_safe(self, arguments: Mapping[str, Any]) -> bool:
        """May run beside any other safe call of the same batch (read-only)."""
        ...

    def touched_paths(self, arguments: Mapping[str, Any], context: ToolContext) -> tuple[str, ...] | None:
        """Absolute paths the call reads or writes, if it touches nothing else; None if unknown.

        Calls whose paths do not overlap may run at the same time.
        """
        ...

    def preview(self, arguments: Mapping[str, Any]) -> str:
        """One line for people: the command, the path."""
        ...

    def review(self, arguments: Mapping[str, Any], context: ToolContext) -> Verdict:
        """Classify the call before it runs. Pure and fast."""
        ...

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Do it."""
        ...
