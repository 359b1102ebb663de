"""`AgentService`: opens sessions. The one way every surface starts to work with the agent.

It knows ports only; `app.container` gives it what makes models, tools and environments.
"""

from __future__ import annotations

import platform
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.budgets import Budget, insights
from hermes_agent.agent.checkpoints import Checkpoints
from hermes_agent.agent.compaction import Compactor
from hermes_agent.agent.context_files import ContextFiles, find_orders
from hermes_agent.agent.delegation import ChildParts, Subagents
from hermes_agent.agent.judge import ModelJudge
from hermes_agent.agent.late_tools import LateTools
from hermes_agent.agent.personalities import get_personality
from hermes_agent.agent.prompt import PromptParts, build_system_prompt, prompt_blocks
from hermes_agent.agent.run import Run
from hermes_agent.agent.session import Session, SessionParts, around_nothing
from hermes_agent.config.settings import Settings
from hermes_agent.core.checkpoints import CheckpointStore
from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import ConfigError, UsageError
from hermes_agent.core.events import RunFinished
from hermes_agent.core.mcp import McpControl, McpServerStatus
from hermes_agent.core.memory import OWNER
from hermes_agent.core.messages import Message
from hermes_agent.core.model import Model, ReasoningEffort, ToolDefinition
from hermes_agent.core.session import SessionRecord, SessionStore
from hermes_agent.core.tool import Tool
from hermes_agent.core.usage import UsageStore

SOLO_SOURCES = frozenset({"cli", "api_server", "cron", "acp", "subagent"})
"""Surfaces that are no chat of the gateway."""


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to open a session.

    Attributes:
        provider: Provider id; None takes the configured one.
        model: Model name; None takes the configured one.
        toolsets: Toolset names; None takes those of the surface.
        max_turns: Overrides `agent.max_turns`.
        is_yolo: Skip approval questions (never the hard floor).
        ignores_rules: Leave out SOUL.md and project rules (`--ignore-rules`).
        is_stored: False keeps the conversation in memory; then nobody else can open it and nothing is locked.
        principal: Who the session works for.
        session_id: Id of a new session; None makes one up.
        history: What was said before, for a new session.
        system_prompt: A whole prompt for a new session; None builds the usual one at the first run.
        cache_key: Names the conversation to the provider's prompt cache; empty means the session's id.
        reasoning_effort: None takes the configured one.
        surface: A block of the prompt, with a heading, about where answers are shown; empty says nothing.
    """

    source: str = "cli"
    provider: str | None = None
    model: str | None = None
    toolsets: Sequence[str] | None = None
    max_turns: int | None = None
    is_yolo: bool = False
    ignores_rules: bool = False
    is_stored: bool = True
    title: str | None = None
    user_id: str | None = None
    principal: str = "owner"
    session_id: str | None = None
    history: Sequence[Message] = ()
    system_prompt: str | None = None
    cache_key: str = ""
    reasoning_effort: ReasoningEffort | None = None
    surface: str = ""


def _unseen(_line: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class PromptScope:
    """Whose prompt is built, and which tools the session offers, by name."""

    record: SessionRecord
    principal: str
    tools: frozenset[str]


@dataclass(frozen=True, slots=True)
class PromptSections:
    """Further blocks of the prompt in order, each with a heading, and warnings for the person."""

    blocks: Sequence[str] = ()
    warnings: Sequence[str] = ()


async def _no_sections(_scope: PromptScope) -> PromptSections:
    return PromptSections()


@dataclass(frozen=True, slots=True)
class AgentPorts:
    """What the agent needs from the layers beside it.

    Attributes:
        make_model: (provider, model) to the whole model stack; raises `ProviderSetupError`.
        make_auxiliary: (task of `auxiliary`, main model) to the model for that task.
        make_tools: Toolset names to tools, in a stable order.
        make_environment: (session id, what to do with a line for people when getting ready takes long) to
            the place where its commands run.
        lock: (session id, source) to a held lock; raises `SessionBusyError`.
        read_soul: The text of SOUL.md, or an empty string; raises `ConfigError`.
        remember_rules: Stores approval rules for good.
        toolsets_for: Toolset names of a surface.
        prompt_sections: Further blocks of the system prompt (memory, skills index), asked for once per
            session, when its prompt is built.
        run_observers: Told about every run of stored sessions after it ended; they must not raise and
            must not wait for anything slow (start a task instead).
        around_run: Entered in the task of each run (tracing).
        mcp: The MCP servers.
        checkpoints: Keeps snapshots of files; None takes none.
        usage: Knows what all sessions used, for limits of a day.
    """

    store: SessionStore
    make_model: Callable[[str | None, str | None], Model]
    make_auxiliary: Callable[[str, Model], Model]
    make_tools: Callable[[Sequence[str]], Sequence[Tool]]
    make_environment: Callable[[str, Callable[[str], None]], Environment]
    lock: Callable[[str, str], AbstractContextManager[object]]
    read_soul: Callable[[], str]
    remember_rules: Callable[[Iterable[str]], None]
    toolsets_for: Callable[[str], Sequence[str]]
    prompt_sections: Callable[[PromptScope], Awaitable[PromptSections]] = field(default=_no_sections)
    run_observers: Sequence[Callable[[Session, RunFinished], None]] = ()
    around_run: Callable[[Session, Run], AbstractContextManager[object]] = field(default=around_nothing)
    checkpoints: CheckpointStore | None = None
    usage: UsageStore | None = None
    mcp: McpControl | None = None


class AgentService:
    """Opens sessions."""

    def __init__(self, settings: Settings, ports: AgentPorts, *, is_yolo: bool = False) -> None:
        self.settings = settings
        self._ports = ports
        self._is_yolo = is_yolo

    async def create(self, options: SessionOptions) -> Session:
        """Open a new session. It is stored at once (unless it is not to be), so that it can be resumed.

        Raises:
            ProviderSetupError: No usable model.
            StoreError: The database cannot be used.
        """
        model = self._ports.make_model(options.provider, options.model)
        toolsets = self._toolsets(options)
        tools = self._ports.make_tools(toolsets)
        if not options.is_stored:
            now = time.time()
            record = SessionRecord(
                options.session_id or f"{options.source}-{secrets.token_hex(8)}",
                options.source,
                now,
                model=model.info.label,
                user_id=options.user_id,
                last_active_at=now,
            )
            return await self._open(record, model, toolsets, tools, options)
        record = await self._ports.store.create(
            source=options.source,
            model=model.info.label,
            title=options.title,
            user_id=options.user_id,
            model_config={"provider": model.info.provider, "toolsets": list(toolsets)},
            session_id=options.session_id,
        )
        session = await self._open(record, model, toolsets, tools, options)
        if options.history:
            await session.append(options.history)
        return session

    async def resume(self, record: SessionRecord, options: SessionOptions) -> Session:
        """Open a stored session; its model, toolsets and prompt are used again unless options say otherwise.

        Raises:
            SessionBusyError: Another process runs it.
        """
        provider = options.provider
        model_name = options.model
        if provider is None and model_name is None and record.model:
            provider, _, model_name = record.model.partition(":")
            provider = str(record.model_config.get("provider") or provider) or None
            model_name = model_name or None
        model = self._ports.make_model(provider, model_name)
        stored = record.model_config.get("toolsets")
        toolsets = options.toolsets or (
            [str(name) for name in stored] if isinstance(stored, list) else self._toolsets(options)
        )
        session = await self._open(record, model, toolsets, self._ports.make_tools(toolsets), options)
        if record.ended_at is not None:
            await self._ports.store.reopen(record.id)
        return session

    async def insights(self, argument: str) -> str:
        """What was used in the last days (`/insights`). Raises `UsageError`."""
        if self._ports.usage is None:
            raise UsageError("Nothing is known of what was used")
        return await insights(self._ports.usage, argument)

    def make_model(self, provider: str | None, model: str | None) -> Model:
        """The model stack for a switch within a session."""
        return self._ports.make_model(provider, model)

    def with_ports(self, change: Callable[[AgentPorts], AgentPorts]) -> AgentService:
        """A service like this one, with some ports replaced (a server shares models and tools)."""
        return AgentService(self.settings, change(self._ports), is_yolo=self._is_yolo)

    async def system_prompt(self, options: SessionOptions) -> str:
        """The prompt that a new session opened with these options would get."""
        return "\n\n".join((await self.prompt_parts(options))[0]) + "\n"

    async def prompt_parts(self, options: SessionOptions) -> tuple[list[str], Sequence[ToolDefinition]]:
        """What every request of a new session would begin with: blocks of the prompt, and the tools."""
        toolsets = self._toolsets(options)
        if self._ports.mcp is not None:
            await self._ports.mcp.discover(toolsets, is_attended=False)
        tools = [tool.definition for tool in self._ports.make_tools(toolsets)]
        record = SessionRecord(f"{options.source}-{secrets.token_hex(8)}", options.source, time.time())
        environment = self._ports.make_environment(record.id, _unseen)
        try:
            names = frozenset(tool.name for tool in tools)
            return prompt_blocks(await self._prompt(record, environment, options, names, [])), tools
        finally:
            await environment.aclose()

    def _principal(self, options: SessionOptions) -> str:
        return OWNER if options.principal in self.settings.memory.owners else options.principal

    def _toolsets(self, options: SessionOptions) -> Sequence[str]:
        return options.toolsets if options.toolsets is not None else self._ports.toolsets_for(options.source)

    async def _open(
        self,
        record: SessionRecord,
        model: Model,
        toolsets: Sequence[str],
        tools: Sequence[Tool],
        options: SessionOptions,
    ) -> Session:
        max_turns = options.max_turns or self.settings.agent.max_turns
        if max_turns < 1:
            raise UsageError("--max-turns must be at least 1")
        settings = self.settings
        warnings: list[str] = []

        def show(line: str) -> None:
            session.show(line)

        with ExitStack() as held:
            if options.is_stored:
                held.enter_context(self._ports.lock(record.id, options.source))
            environment = self._ports.make_environment(record.id, show)

            async def build_prompt() -> str:
                if options.system_prompt is not None:
                    return options.system_prompt
                names = frozenset(tool.name for tool in session.tool_definitions)
                return build_system_prompt(await self._prompt(record, environment, options, names, warnings))

            session = Session(
                SessionParts(
                    record=record,
                    store=self._ports.store,
                    model=model,
                    tools=tools,
                    environment=environment,
                    gate=ApprovalGate(
                        settings.approvals,
                        always=set(settings.command_allowlist),
                        remember=self._ports.remember_rules,
                        judge=(
                            ModelJudge(self._ports.make_auxiliary("approval", model))
                            if settings.approvals.mode == "smart"
                            else None
                        ),
                        is_yolo=options.is_yolo or self._is_yolo,
                    ),
                    compactor=Compactor(
                        settings.compression,
                        lambda: self._ports.make_auxiliary("compression", session.model),
                        max_messages=(
                            None
                            if record.source in SOLO_SOURCES
                            else settings.compression.hygiene_hard_message_limit
                        ),
                    ),
                    agent=settings.agent,
                    guardrails=settings.tool_loop_guardrails,
                    build_prompt=build_prompt,
                    is_stored=options.is_stored,
                    history=options.history,
                    cache_key=options.cache_key,
                    principal=self._principal(options),
                    reasoning_effort=options.reasoning_effort or settings.model.reasoning_effort,
                    warnings=warnings,
                    run_observers=self._ports.run_observers,
                    around_run=self._ports.around_run,
                    lock=lambda child: self._ports.lock(child, options.source),
                    late_tools=(
                        LateTools(self._ports.mcp, toolsets, self._ports.make_tools)
                        if self._ports.mcp is not None
                        else None
                    ),
                    reload_tools=lambda: self._reload_tools(toolsets),
                    mcp=self._ports.mcp,
                    context_files=self._context_files(environment),
                )
            )
            session.max_turns = max_turns
            session.subagents = Subagents(session, self._child_parts(toolsets))
            session.budget = Budget.of(settings.budgets, options.source, record.usage, self._ports.usage)
            if self._ports.checkpoints is not None:
                session.use_checkpoints(Checkpoints(self._ports.checkpoints))
            await session.load()
            # From here on the session owns the lock; until here an error releases it.
            session.own(held.pop_all())
        return session

    def _child_parts(self, toolsets: Sequence[str]) -> ChildParts:
        settings, ports = self.settings, self._ports
        chosen = settings.delegation
        return ChildParts(
            settings=chosen,
            guardrails=settings.tool_loop_guardrails,
            make_model=(
                (lambda: ports.make_model(chosen.provider or None, chosen.model or None))
                if chosen.model or chosen.provider
                else None
            ),
            make_tools=ports.make_tools,
            make_environment=ports.make_environment,
            make_compactor=lambda model: Compactor(
                settings.compression, lambda: ports.make_auxiliary("compression", model)
            ),
            store=ports.store,
            toolsets=tuple(toolsets),
        )

    async def _reload_tools(
        self, toolsets: Sequence[str]
    ) -> tuple[Sequence[McpServerStatus], Sequence[Tool]]:
        statuses = await self._ports.mcp.reload() if self._ports.mcp is not None else ()
        return statuses, self._ports.make_tools(toolsets)

    def _context_files(self, environment: Environment) -> ContextFiles:
        chosen = self.settings.context
        return ContextFiles(
            environment, max_chars=chosen.file_max_chars, hint_max_chars=chosen.hint_max_chars
        )

    async def _prompt(
        self,
        record: SessionRecord,
        environment: Environment,
        options: SessionOptions,
        tools: frozenset[str],
        warnings: list[str],
    ) -> PromptParts:
        soul = ""
        if not options.ignores_rules:
            try:
                soul = self._ports.read_soul()
            except ConfigError as error:
                warnings.append(f"No persona: {': '.join(error.lines)}")
        if soul and (reason := find_orders(soul)) is not None:
            warnings.append(f"SOUL.md contains {reason}; it was used all the same because it is yours.")
        files = self._context_files(environment)
        rules = None if options.ignores_rules else await files.load(environment.cwd)
        if rules is not None and rules.warning:
            warnings.append(rules.warning)
        name = self.settings.display.personality
        sections = await self._ports.prompt_sections(PromptScope(record, self._principal(options), tools))
        warnings.extend(sections.warnings)
        return PromptParts(
            soul=soul,
            cwd=environment.cwd,
            environment=environment.name,
            platform=f"{platform.system()} {platform.machine()}" if environment.name == "local" else "",
            date=time.strftime("%Y-%m-%d"),
            project_rules_path=rules.path if rules else "",
            project_rules=rules.text if rules else "",
            personality=get_personality(name, self.settings.agent.personalities) if name else "",
            surface=options.surface,
            sections=sections.blocks,
        )
