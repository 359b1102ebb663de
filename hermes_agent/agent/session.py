"""`Session`: an open conversation.

It owns the message log (append-only within a run), the frozen system prompt and tool list, the tools'
session state and the approvals. Only one run at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.budgets import Budget
from hermes_agent.agent.compaction import Compacted, CompactionFailed, Compactor, Spent
from hermes_agent.agent.context_files import ContextFiles
from hermes_agent.agent.late_tools import LateTools
from hermes_agent.agent.loop import RunLoop
from hermes_agent.agent.run import Run
from hermes_agent.agent.tokens import estimate, estimate_text
from hermes_agent.agent.tool_runner import ToolRunner
from hermes_agent.config.sections.agent import AgentSettings, GuardrailSettings
from hermes_agent.core.approvals import ApprovalRequest, Decision
from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import SessionBusyError, UsageError
from hermes_agent.core.events import Notice, RunFinished
from hermes_agent.core.mcp import McpControl, McpServerStatus
from hermes_agent.core.messages import (
    AssistantMessage,
    Message,
    TextPart,
    ToolMessage,
    UserMessage,
    unanswered_tool_calls,
)
from hermes_agent.core.model import Model, ModelInfo, ReasoningEffort, ToolDefinition, Usage
from hermes_agent.core.session import DraftKind, SessionRecord, SessionStore
from hermes_agent.core.tool import SessionScope, Tool

if TYPE_CHECKING:
    from hermes_agent.agent.checkpoints import Checkpoints
    from hermes_agent.agent.delegation import Subagents

NOTE_PREFIX = "[hermes] "
"""Starts user-role messages that the program wrote itself; they are not an exchange of their own."""

BACKGROUND_GRACE_SECONDS = 2.0
"""How long closing a session waits for background work (a review) before it is cancelled."""

LOST_RESULT_TEXT = "[no result: hermes stopped before this call finished; it may have had effects]"


def around_nothing(_session: Session, _run: Run) -> AbstractContextManager[object]:
    """Runs as they are."""
    return nullcontext()


@dataclass
class SessionParts:
    """What a session is made of; built by `agent.service`.

    Attributes:
        build_prompt: Makes the system prompt at the first run; never called if the record has one.
        is_stored: False keeps the conversation in memory only.
        history: What was said before, if it is not stored.
        cache_key: Names the conversation to the provider's prompt cache; empty means the session's id.
        around_run: Entered in the task of each run (tracing).
        lock: Locks the child session that a compaction opens.
        late_tools: Tools that were not known when the session was opened.
        reload_tools: Reloads the MCP servers; gives how they stand and all tools.
        mcp: The MCP servers.
        context_files: Reads project rules of sub-directories.
    """

    record: SessionRecord
    store: SessionStore
    model: Model
    tools: Sequence[Tool]
    environment: Environment
    gate: ApprovalGate
    compactor: Compactor
    agent: AgentSettings
    guardrails: GuardrailSettings
    build_prompt: Callable[[], Awaitable[str]]
    is_stored: bool = True
    history: Sequence[Message] = ()
    cache_key: str = ""
    principal: str = "owner"
    reasoning_effort: ReasoningEffort | None = None
    warnings: list[str] = field(default_factory=list)
    run_observers: Sequence[Callable[[Session, RunFinished], None]] = ()
    around_run: Callable[[Session, Run], AbstractContextManager[object]] = field(default=around_nothing)
    lock: Callable[[str], AbstractContextManager[object]] = field(default=lambda _id: nullcontext())
    late_tools: LateTools | None = None
    reload_tools: Callable[[], Awaitable[tuple[Sequence[McpServerStatus], Sequence[Tool]]]] | None = None
    mcp: McpControl | None = None
    context_files: ContextFiles | None = None


class Session:
    """An open conversation. Close it with `aclose`."""

    def __init__(self, parts: SessionParts) -> None:
        self._parts = parts
        self.record = parts.record
        self.model = parts.model
        self.gate = parts.gate
        self.agent_settings = parts.agent
        self.guardrails = parts.guardrails
        self.reasoning_effort = parts.reasoning_effort
        self.max_turns = parts.agent.max_turns
        self.usage = parts.record.usage
        self.context_tokens = 0
        """Tokens of the newest request and its answer, as the provider counted them; 0 if it has not yet."""
        self._counted_messages = 0
        self.warnings = parts.warnings
        self.system_prompt = parts.record.system_prompt or ""
        self.tools: tuple[Tool, ...] = tuple(parts.tools)
        self.tool_definitions: tuple[ToolDefinition, ...] = tuple(tool.definition for tool in parts.tools)
        self.scope = SessionScope(
            parts.record.id,
            parts.environment,
            principal=parts.principal,
            history=lambda: self._messages,
        )
        self._spent: list[tuple[Usage, ModelInfo]] = []
        self.scope.spend = lambda usage, info: self._spent.append((usage, info))
        self.tool_runner = ToolRunner(parts.tools, self.scope, parts.gate, notify=self.notify)
        self.subagents: Subagents | None = None
        """Who does parts of the job; None if nobody may."""
        self.context_files = parts.context_files or ContextFiles(parts.environment)
        self.tool_call_ids: set[str] = set()
        """Ids of all calls in the conversation, so that a new one can be made unique at once."""
        self._messages: list[Message] = []
        self._row_ids: list[int] = []
        self._notes: list[str] = []
        self.on_news: Callable[[str], None] | None = None
        """Shows people a line between runs; without it lines wait for the next run."""
        self._news: list[str] = []
        self.on_notify: Callable[[], None] | None = None
        """Called when the agent was told something it had asked for (a process has ended)."""
        self._background: set[asyncio.Task[None]] = set()
        self._run: Run | None = None
        self._is_closed = False
        self._is_released = False
        self._held = ExitStack()
        self.checkpoints: Checkpoints | None = None
        self.budget = Budget(used=parts.record.usage)
        """What may be used, and how tokens are priced; subagents share it."""

    def own(self, held: ExitStack) -> None:
        """Take over what must be released when the session closes (its lock)."""
        self._held = held

    @property
    def id(self) -> str:
        """The session's id."""
        return self.record.id

    @property
    def mcp_servers(self) -> Sequence[McpServerStatus]:
        """How the MCP servers stand."""
        return self._parts.mcp.statuses() if self._parts.mcp is not None else ()

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation, oldest first."""
        return self._messages

    @property
    def cache_key(self) -> str:
        """Names the conversation to the provider's prompt cache."""
        return self._parts.cache_key or self.record.id

    @property
    def current_run(self) -> Run | None:
        """The run that is going on, if any."""
        return self._run if self._run is not None and not self._run.is_finished else None

    async def load(self) -> None:
        """Read the history, and mend what a killed process left: a draft, calls without a result."""
        if not self._parts.is_stored:
            self._messages = list(self._parts.history)
            self._row_ids = [0] * len(self._messages)
            self._remember_call_ids(self._messages)
            return
        stored = await self._parts.store.messages(self.id)
        self._messages = [item.message for item in stored]
        self._row_ids = [item.id for item in stored]
        self._remember_call_ids(self._messages)
        mended: list[Message] = []
        if stored and stored[-1].id <= 0:
            # A draft is shown as a message but has no row yet; storing it also clears the draft.
            mended.append(self._messages.pop())
            self._row_ids.pop()
        mended.extend(
            ToolMessage(call.id, call.name, LOST_RESULT_TEXT, is_error=True)
            for call in unanswered_tool_calls([*self._messages, *mended])
        )
        if mended:
            await self.append(mended)
            self.add_note("The previous run was cut off when the program stopped.")

    def start(
        self,
        message: UserMessage | str,
        *,
        is_interactive: bool = True,
        approver: Callable[[ApprovalRequest], Awaitable[Decision]] | None = None,
    ) -> Run:
        """Begin a run with this input.

        Raises:
            SessionBusyError: A run of this session is still going on.
        """
        if self.current_run is not None:
            raise SessionBusyError(
                "This session is still working on the previous message",
                remedy="Wait for it, /stop it, or /steer it.",
            )
        user = UserMessage.of(message) if isinstance(message, str) else message
        run = Run(is_interactive=is_interactive, approver=approver)
        self._run = run
        run.begin(partial(self._work, RunLoop(self, user)))
        run.add_done_callback(self._tell_observers)
        return run

    @property
    def around_run(self) -> Callable[[Session, Run], AbstractContextManager[object]]:
        """Entered in the task of each run; the sessions of subagents take it over."""
        return self._parts.around_run

    async def _work(self, loop: RunLoop, run: Run) -> None:
        with self._parts.around_run(self, run):
            await loop.execute(run)

    def _tell_observers(self, finished: RunFinished) -> None:
        for observe in self._parts.run_observers:
            observe(self, finished)

    def show(self, line: str) -> None:
        """Show the people a line about the work that goes on; the agent does not read it."""
        if self.current_run is not None:
            self.current_run.emit(Notice(line))

    def tell(self, line: str) -> None:
        """Show people a line, now or with the next run; the agent does not read it."""
        if self.on_news is not None:
            self.on_news(line)
        elif self.current_run is not None:
            self.show(line)
        else:
            self._news.append(line)

    def take_news(self) -> list[str]:
        """Lines that could not be shown yet; each only once."""
        news, self._news = self._news, []
        return news

    def add_background(self, work: Coroutine[None, None, None]) -> None:
        """Do something beside the runs. Closing waits for it only a moment, then cancels it."""
        if self._is_released:
            work.close()
            return
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def fork(self, tools: Sequence[Tool], *, max_turns: int) -> Session:
        """A copy in memory with the same prompt prefix, byte for byte. Nothing it says is stored.

        It shares the model and the environment: do not close it, only see to it that its run ends before
        this session closes.

        Args:
            tools: What its calls run; their definitions must be those of this session.
            max_turns: Model requests it may make.
        """
        parts = replace(
            self._parts,
            record=replace(self.record, system_prompt=self.system_prompt),
            model=self.model,
            tools=tools,
            is_stored=False,
            history=tuple(self._messages),
            cache_key=self.cache_key,
            reasoning_effort=self.reasoning_effort,
            warnings=[],
            run_observers=(),
            late_tools=None,
            reload_tools=None,
            context_files=None,  # what it reads must not count as read here
        )
        copy = Session(parts)
        copy.max_turns = max_turns
        copy.budget = self.budget
        await copy.load()
        return copy

    async def keep_config(self, **values: object) -> None:
        """Store values in the free-form part of the session's record."""
        if self._parts.is_stored:
            config = {**self.record.model_config, **values}
            record = await self._parts.store.update(self.id, model_config=config)
            if record.id == self.id:  # A compaction may have opened a child meanwhile.
                self.record = record

    def add_note(self, text: str) -> None:
        """Tell the agent something with the next message it gets (never rewrites the prefix)."""
        self._notes.append(text)

    def notify(self, text: str) -> None:
        """Tell the agent something that it asked to be told, with the next message it gets."""
        self.add_note(text)
        if self.on_notify is not None:
            self.on_notify()

    @property
    def has_notes(self) -> bool:
        """Something waits to be told to the agent."""
        return bool(self._notes)

    def with_notes(self, message: UserMessage) -> UserMessage:
        """The message with all pending notes in front."""
        notes, self._notes = self._notes, []
        if not notes:
            return message
        text = "\n".join(f"{NOTE_PREFIX}{note}" for note in notes)
        return UserMessage((TextPart(text), *message.parts))

    def take_notes(self) -> str:
        """All pending notes as one text, for the end of a tool result."""
        notes, self._notes = self._notes, []
        return "\n".join(f"{NOTE_PREFIX}{note}" for note in notes)

    def take_warnings(self) -> list[str]:
        """What the user should be told at the next run; each only once."""
        warnings = list(self.warnings)
        self.warnings.clear()
        return warnings

    async def append(self, messages: Sequence[Message], *, usage: Usage | None = None) -> None:
        """Store messages, then make them part of the conversation."""
        if self._parts.is_stored:
            self._row_ids.extend(await self._parts.store.append(self.id, messages, usage=usage))
        else:
            self._row_ids.extend(0 for _ in messages)
        self._messages.extend(messages)
        self._remember_call_ids(messages)
        if usage is not None:
            self.usage = self.usage + usage

    async def book(self, usage: Usage) -> None:
        """Add what was used on behalf of this conversation outside of it (by subagents)."""
        if self._parts.is_stored:
            await self._parts.store.append(self.id, (), usage=usage)
        self.usage = self.usage + usage

    def _remember_call_ids(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, AssistantMessage) and message.tool_calls:
                self.tool_call_ids.update(call.id for call in message.tool_calls)

    @property
    def is_stored(self) -> bool:
        """Whether the conversation is kept on disk."""
        return self._parts.is_stored

    async def save_draft(self, kind: DraftKind, text: str) -> None:
        """Keep a piece of an unfinished answer."""
        await self._parts.store.append_draft(self.id, kind, text)

    async def discard_draft(self) -> None:
        """Forget the unfinished answer."""
        await self._parts.store.discard_draft(self.id)

    async def ensure_prompt(self) -> str:
        """The frozen system prompt; built and stored at the first run. A run's tools are final too."""
        if self._parts.late_tools is not None:
            await self._parts.late_tools.take(self)
        if not self.system_prompt:
            self.system_prompt = await self._parts.build_prompt()
            if self._parts.is_stored:
                self.record = await self._parts.store.update(
                    self.id,
                    system_prompt=self.system_prompt,
                    model=self.model.info.label,
                    cwd=self._parts.environment.cwd,
                )
        return self.system_prompt

    def use_checkpoints(self, checkpoints: Checkpoints) -> None:
        """Take snapshots before files are changed (`/rollback`)."""
        self.checkpoints = self.tool_runner.checkpoints = checkpoints

    def use_tools(self, tools: Sequence[Tool]) -> None:
        """Offer these tools from the next request on; changes the prompt prefix."""
        self.tools = tuple(tools)
        self.tool_definitions = tuple(tool.definition for tool in tools)
        self.tool_runner.use_tools(tools)

    async def reload_mcp(self) -> Sequence[McpServerStatus]:
        """Reload the MCP servers and adopt their tools (`/reload-mcp`); gives how they stand.

        Raises:
            SessionBusyError: A run is going on.
            ConfigError: The configuration cannot be used; everything stays as it was.
        """
        if self.current_run is not None:
            raise SessionBusyError("A run is going on", remedy="/stop it first.")
        if self._parts.reload_tools is None:
            return ()
        statuses, tools = await self._parts.reload_tools()
        if self._parts.late_tools is not None:
            self._parts.late_tools.look_anew()
        before = {tool.name for tool in self.tool_definitions}
        self.use_tools(tools)
        after = {tool.name for tool in self.tool_definitions}
        if self._messages and before != after:
            gone, new = ", ".join(sorted(before - after)), ", ".join(sorted(after - before))
            self.add_note(
                "The MCP servers were reloaded."
                + (f" New tools: {new}." if new else "")
                + (f" Tools that are gone: {gone}." if gone else "")
            )
        self.count_context(0)
        return statuses

    @property
    def fixed_tokens(self) -> int:
        """Estimated tokens of what every request carries besides the conversation."""
        return estimate_text(self.system_prompt) + _tool_tokens(self.tool_definitions)

    def needs_compaction(self) -> bool:
        """Whether the conversation should be shortened before the next request."""
        counted = self.context_tokens
        tokens = counted + estimate(self._messages[self._counted_messages :])
        if not counted:
            tokens += self.fixed_tokens
        return self._parts.compactor.is_due(tokens, self.model.info.context_window, len(self._messages))

    def count_context(self, tokens: int) -> None:
        """Note what the provider counted for the conversation as it is now."""
        self.context_tokens = tokens
        self._counted_messages = len(self._messages)

    async def compact(self, *, focus: str = "", force: bool = False) -> Compacted:
        """Shorten the conversation; it goes on in a child session, the old one stays as it was.

        Raises:
            CompactionFailed: Nothing was changed.
        """
        try:
            shorter = await self._parts.compactor.compact(
                self._messages,
                fixed_tokens=self.fixed_tokens,
                window=self.model.info.context_window,
                focus=focus,
                force=force,
            )
        except CompactionFailed as failure:
            await self._book_spent(failure.spent)
            raise
        await self._go_on_with(shorter.messages)
        await self._book_spent(shorter.spent)
        self.context_tokens = 0
        self._counted_messages = 0
        return shorter

    async def book_tools(self) -> Spent:
        """Count what tools used of other models since the last time, and say what it was."""
        spent, self._spent[:] = tuple(self._spent), []
        await self._book_spent(spent)
        return spent

    async def _book_spent(self, spent: Spent) -> None:
        """Count what was used for this conversation beside it."""
        for usage, info in spent:
            priced = self.budget.priced(usage, info)
            self.budget.add(priced)
            await self.book(priced)

    async def _go_on_with(self, messages: Sequence[Message]) -> None:
        """Adopt another history. The parent is ended only when the child is complete."""
        if not self._parts.is_stored:
            self._messages = list(messages)
            self._row_ids = [0] * len(messages)
            return
        store, parent = self._parts.store, self.record
        child = await store.create(
            source=parent.source,
            model=parent.model,
            cwd=parent.cwd,
            user_id=parent.user_id,
            title=await store.next_title(parent.title) if parent.title else None,
            parent_session_id=parent.id,
            model_config=parent.model_config,
        )
        self._held.enter_context(self._parts.lock(child.id))
        child = await store.update(child.id, system_prompt=self.system_prompt)
        row_ids = list(await store.append(child.id, messages))
        await store.end(parent.id, "compressed")
        self.record, self._messages, self._row_ids = child, list(messages), row_ids
        self.scope.session_id = child.id

    async def set_title(self, title: str) -> None:
        """Name the session. Raises `SessionTitleError`."""
        self.record = await self._parts.store.update(self.id, title=title)

    async def switch_model(self, model: Model) -> None:
        """Use another model from the next run on; the prompt prefix stays as it is."""
        old, self.model = self.model, model
        await old.aclose()
        if self._parts.is_stored:
            self.record = await self._parts.store.update(
                self.id,
                model=model.info.label,
                model_config={**self.record.model_config, "provider": model.info.provider},
            )

    async def undo(self) -> str:
        """Take back the last exchange; returns what the user had said.

        Raises:
            UsageError: There is nothing to take back.
        """
        if self.current_run is not None:
            raise SessionBusyError("A run is going on", remedy="/stop it first.")
        index = self._last_exchange()
        if index is None:
            raise UsageError("There is nothing to undo")
        message = self._messages[index]
        if self._parts.is_stored:
            await self._parts.store.rewind(self.id, self._row_ids[index])
        self._messages = self._messages[:index]
        self._row_ids = self._row_ids[:index]
        self.count_context(0)
        return _without_notes(message)

    def _last_exchange(self) -> int | None:
        for index in range(len(self._messages) - 1, -1, -1):
            message = self._messages[index]
            if isinstance(message, UserMessage) and _without_notes(message):
                return index
        return None

    def last_input(self) -> str:
        """The newest thing the person said, without what the program added; empty if there is none."""
        index = self._last_exchange()
        return "" if index is None else _without_notes(self._messages[index])

    def last_answer(self) -> str:
        """The newest visible text of the assistant."""
        for message in reversed(self._messages):
            if isinstance(message, AssistantMessage) and message.text:
                return message.text
        return ""

    async def aclose(self) -> None:
        """Interrupt a run that is going on and release everything. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.sleep(0)  # Observers of a run that ended this moment are told first.
        if self.subagents is not None:
            await self.subagents.aclose()
        run = self.current_run
        if run is not None:
            run.interrupt()
            await run.result()
        if self._background:
            _, unfinished = await asyncio.wait(self._background, timeout=BACKGROUND_GRACE_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        self._is_released = True
        await self._parts.environment.aclose()
        await self.model.aclose()
        if self._parts.is_stored and not self._messages and not self.record.message_count:
            # Opened and left without a word: nothing anybody would look for in a list.
            await self._parts.store.delete(self.id)
        self._held.close()


@lru_cache(maxsize=8)
def _tool_tokens(definitions: tuple[ToolDefinition, ...]) -> int:
    return sum(estimate_text(tool.description) + estimate_text(str(tool.parameters)) for tool in definitions)


def _without_notes(message: Message) -> str:
    if not isinstance(message, UserMessage):
        return ""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    return "\n".join(text for text in texts if not text.startswith(NOTE_PREFIX))
