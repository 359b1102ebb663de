"""`App`: the object graph of one process, built from settings.

Loading an `App` reads configuration and nothing else; the database, models and environments open when
they are first needed, so that every command pays only for what it uses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hermes_agent.agent.service import AgentPorts, AgentService, SessionOptions
from hermes_agent.agent.session import Session
from hermes_agent.app.late_jobs import LateJobDesk
from hermes_agent.app.learning import Learning
from hermes_agent.app.mcp import McpServers
from hermes_agent.app.recall import StoredSessionSummaries
from hermes_agent.app.sharing import ServingService, SharedModels
from hermes_agent.app.web import web_ports
from hermes_agent.config.editor_port import remember_rules
from hermes_agent.config.environ import Environ
from hermes_agent.config.extras import require_extra
from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.auxiliary import AuxiliaryTaskSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import (
    ConfigFileError,
    GatewayError,
    SessionBusyError,
    SessionNotFoundError,
)
from hermes_agent.core.events import RunFinished
from hermes_agent.core.loading import load as load_late
from hermes_agent.core.model import Model
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.services import ToolServices
from hermes_agent.core.session import SessionRecord, SessionStore
from hermes_agent.core.tool import Tool
from hermes_agent.core.usage import UsageStore
from hermes_agent.environments import open_environment
from hermes_agent.models.resolve import resolve_auxiliary, resolve_model
from hermes_agent.store.locks import SessionLock
from hermes_agent.tools.surfaces import toolset_names
from hermes_agent.tools.toolsets import build_tools, select_tools

if TYPE_CHECKING:
    from hermes_agent.app.tracing import Tracing
    from hermes_agent.store.store import SqliteStore

TOOLS_SECONDS = 30.0
"""How long built tools are offered to new sessions before they are built anew."""


class App:
    """What a process works with. Close it with `aclose`."""

    def __init__(self, config: LoadedConfig) -> None:
        self.config = config
        self.home: Home = config.home
        self.settings: Settings = config.settings
        self.environ: Environ = config.environ
        self.redactor = Redactor(config.secret_values(), enabled=config.settings.security.redact_secrets)
        self._store: SessionStore | None = None
        self._store_opening = asyncio.Lock()
        self._service: AgentService | None = None
        self._learning: Learning | None = None
        self._left_learnings: list[Learning] = []
        self._sessions: list[Session] = []
        self._auxiliary: dict[str, Model] = {}
        self._shared: SharedModels | None = None
        self.job_listeners: list[Callable[[], None]] = []
        """Called when the agent has changed scheduled jobs."""
        self._tracing: Tracing | None = None
        self._left_tracings: list[Tracing] = []
        self._own_tools: dict[tuple[object, ...], tuple[float, Sequence[Tool]]] = {}
        self.mcp = McpServers(self.home, lambda: self.config, lambda: self.redactor, self._sampling_model)

    @classmethod
    def load(
        cls, flags: Mapping[str, object] = {}, *, home: Home | None = None, use_file: bool = True
    ) -> App:
        """Read the configuration.

        Args:
            flags: Dotted setting keys given on the command line.
            home: State directory; default from the environment.
            use_file: False leaves config.yaml aside (`--ignore-user-config`).

        Raises:
            ConfigError: The configuration cannot be used.
        """
        return cls(load(home or Home.from_environment(), overrides=flags, use_file=use_file))

    async def store(self) -> SessionStore:
        """The session store, opened at first use.

        Raises:
            StoreError: It cannot be used.
        """
        async with self._store_opening:
            if self._store is None:
                self.home.ensure()
                # Late, because sqlite3 is not needed by commands that only read settings.
                self._store = await load_late("hermes_agent.store:open_store")(self.home.state_db)
            return self._store

    async def usage_store(self) -> UsageStore:
        """What was used by all sessions: the same database."""
        return cast("UsageStore", await self.store())

    async def service(self) -> AgentService:
        """What opens sessions."""
        if self._service is None:
            ports = AgentPorts(
                store=await self.store(),
                make_model=self.make_model if self._shared is None else self._shared.get,
                make_auxiliary=self.make_auxiliary,
                make_tools=self.make_tools,
                make_environment=self.make_environment,
                lock=self._lock,
                usage=await self.usage_store(),
                read_soul=self.read_soul,
                checkpoints=(
                    load_late("hermes_agent.app.checkpoints:checkpoint_store")(self)
                    if self.settings.checkpoints.enabled
                    else None
                ),
                remember_rules=self._remember_rules,
                toolsets_for=self.toolsets_for,
                mcp=self.mcp,
                prompt_sections=self.learning.prompt_sections,
                run_observers=(*self.learning.observers, *self._snapshots()),
            )
            if self.settings.telemetry.traces:
                ports = self._open_tracing().instrument(ports)
            if self._shared is None:
                self._service = AgentService(self.settings, ports)
            else:
                serving = self._service = ServingService(self.settings, ports)
                serving.calm = cast("SqliteStore", ports.store).arrivals.calm
            await self.mcp.start()
        return self._service

    def _snapshots(self) -> Sequence[Callable[[Session, RunFinished], None]]:
        if not self.settings.sessions.write_json_snapshots:
            return ()
        writer = load_late("hermes_agent.app.snapshots:SnapshotWriter")(self.home, self.store)
        return (writer.observe,)

    def _open_tracing(self) -> Tracing:
        if self._tracing is None:
            require_extra(self.home, "otel", "telemetry.traces")
            made: Tracing = load_late("hermes_agent.app.tracing:Tracing")(
                self.settings.telemetry, self.environ.get, self._redact
            )
            self._tracing = made
        return self._tracing

    def _redact(self, text: str) -> str:
        return self.redactor.redact(text)

    def serve(self) -> None:
        """From now on this process serves many people: their sessions share models and connections."""
        self._shared = self._shared or SharedModels(self.make_model)
        self._service = None

    async def open_session(
        self,
        *,
        resume: str | None = None,
        continue_latest: bool | str = False,
        options: SessionOptions | None = None,
    ) -> Session:
        """Open a new or a stored session.

        Args:
            resume: Id, unique id prefix or title.
            continue_latest: True for the newest session of this source, a text for the newest of that title.
            options: How to open it.

        Raises:
            SessionNotFoundError: There is none to resume.
            ProviderSetupError: No usable model.
        """
        options = options or SessionOptions()
        service = await self.service()
        record = await self._find(resume, continue_latest, options.source)
        if record is None:
            session = await service.create(options)
        else:
            session = await self._resume(service, record, options)
        if options.toolsets:
            missing = select_tools(options.toolsets, self.settings.custom_toolsets).unavailable
            if missing:
                session.warnings.append(f"This version has no tools for: {', '.join(missing)}")
        self._sessions.append(session)
        return session

    async def _resume(self, service: AgentService, record: SessionRecord, options: SessionOptions) -> Session:
        """Open a stored session; a gateway that has it open for a chat, and idle, gives it up."""
        try:
            return await service.resume(record, options)
        except SessionBusyError:
            ask_gateway = load_late("hermes_agent.app.daemon.control:ask_gateway")
            try:
                answer = await asyncio.to_thread(
                    ask_gateway, self.home, "session.release", session_id=record.id
                )
            except GatewayError:
                answer = {}
            if not answer.get("is_free"):
                raise
            return await service.resume(record, options)

    async def _find(
        self, resume: str | None, continue_latest: bool | str, source: str
    ) -> SessionRecord | None:
        store = await self.store()
        if resume:
            return await store.resolve(resume)
        if isinstance(continue_latest, str) and continue_latest:
            return await store.resolve(continue_latest)
        if continue_latest:
            latest = await store.latest(source=source)
            if latest is None:
                raise SessionNotFoundError(
                    "There is no session to continue yet", remedy="Start one with: hermes chat"
                )
            return latest
        return None

    def make_model(self, provider: str | None = None, model: str | None = None) -> Model:
        """The model stack. Raises `ProviderSetupError`."""
        return resolve_model(self.settings, self.environ, provider=provider, model=model, home=self.home)

    def make_auxiliary(self, task: str, main: Model) -> Model:
        """The model for a small job beside the conversation; the conversation's own if none is set."""
        settings = self.settings
        section: AuxiliaryTaskSettings = getattr(settings.auxiliary, task)
        summary_model = settings.compression.summary_model if task == "compression" else ""
        if summary_model:
            own = section.model_copy(update={"model": summary_model})
            settings = settings.replace(auxiliary=settings.auxiliary.model_copy(update={task: own}))
        elif section == AuxiliaryTaskSettings():
            return main
        if task not in self._auxiliary:
            self._auxiliary[task] = resolve_auxiliary(settings, self.environ, task, home=self.home)
        return self._auxiliary[task]

    def auxiliary_model(self, task: str) -> Model:
        """The model for a small job that belongs to no conversation. Raises `ProviderSetupError`."""
        if task not in self._auxiliary:
            self._auxiliary[task] = self.make_auxiliary(task, self.make_model())
        return self._auxiliary[task]

    @property
    def learning(self) -> Learning:
        """Memory, skills and what looks after them."""
        if self._learning is None:
            self._learning = Learning(self.home, self.settings, self.environ, self.redactor, self.store)
        return self._learning

    def make_tools(self, toolsets: Sequence[str]) -> Sequence[Tool]:
        """Tools of these toolsets, in a stable order; those of MCP servers as they are now."""
        key = (self._store is not None, *toolsets)
        known = self._own_tools.get(key)
        if known is None or time.monotonic() > known[0] + TOOLS_SECONDS:
            known = self._own_tools[key] = (time.monotonic(), self._build_tools(toolsets))
        return (*known[1], *self.mcp.tools(toolsets))

    def _build_tools(self, toolsets: Sequence[str]) -> Sequence[Tool]:
        services = ToolServices(
            sessions=self._store,
            jobs=self.job_desk(),
            chat_of=self._chat_of,
            web=web_ports(self),
            memory=self.learning.memory if self.learning.has_memory else None,
            skills=self.learning.skills,
            user_model=self.learning.external,
            summaries=StoredSessionSummaries(self),
        )
        return build_tools(toolsets, self.settings, self.home, self.redactor, services)

    def job_desk(self) -> LateJobDesk:
        """Scheduled jobs; the scheduler of this process is told of changes."""
        return LateJobDesk(self.home, self._tell_of_jobs)

    def _tell_of_jobs(self) -> None:
        for listener in self.job_listeners:
            listener()

    async def _chat_of(self, session_id: str) -> Mapping[str, str] | None:
        chats = load_late("hermes_agent.store.chats:SqliteChats")(await self.store())
        found: Mapping[str, str] | None = await chats.chat_of(session_id)
        return found

    def _sampling_model(self, name: str) -> Model:
        """The model that answers for an MCP server; an empty name means `auxiliary.mcp`."""
        if not name:
            return self.auxiliary_model("mcp")
        key = f"mcp {name}"
        if key not in self._auxiliary:
            provider, _, model = name.rpartition(":")
            self._auxiliary[key] = self.make_model(provider or None, model)
        return self._auxiliary[key]

    def make_environment(
        self, session_id: str, on_progress: Callable[[str], None], *, cwd: Path | None = None
    ) -> Environment:
        """The place where a session's commands run; nothing is started yet. `cwd` replaces `terminal.cwd`."""
        terminal = self.settings.terminal
        return open_environment(
            terminal,
            cwd=(cwd or Path(terminal.cwd)).expanduser().absolute(),
            child_env=self.environ.child_environment(terminal.env_passthrough),
            session_id=session_id,
            on_progress=on_progress,
        )

    def toolsets_for(self, surface: str) -> Sequence[str]:
        """Toolset names of a surface."""
        return toolset_names(self.settings, surface)

    def read_soul(self) -> str:
        """SOUL.md, or an empty string.

        Raises:
            ConfigFileError: It is there and cannot be read.
        """
        path = self.home.soul_file
        try:
            return path.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise ConfigFileError(f"{path} cannot be read", path=path, why=error.strerror) from error

    def _lock(self, session_id: str, source: str) -> SessionLock:
        return SessionLock(self.home.run, session_id, source=source)

    def _remember_rules(self, rules: Iterable[str]) -> None:
        remember_rules(self.home, rules)

    def adopt(self, config: LoadedConfig) -> None:
        """Use another configuration for everything that is opened from now on (`/reload`)."""
        self.config = config
        self.settings = config.settings
        self.environ = config.environ
        self.redactor = Redactor(config.secret_values(), enabled=config.settings.security.redact_secrets)
        self._service = None
        if self._tracing is not None:
            self._left_tracings.append(self._tracing)
            self._tracing = None
        self._own_tools.clear()
        if self._shared is not None:
            self._shared.forget()
        if self._learning is not None:  # sessions that are open go on with it
            self._left_learnings.append(self._learning)
        self._learning = None

    async def aclose(self) -> None:
        """Close sessions, then the store. Safe to call twice."""
        for session in self._sessions:
            await session.aclose()
        self._sessions.clear()
        for learning in (*self._left_learnings, *([self._learning] if self._learning is not None else ())):
            await learning.aclose()
        await self.mcp.aclose()
        for model in self._auxiliary.values():
            await model.aclose()
        self._auxiliary.clear()
        if self._shared is not None:
            await self._shared.aclose()
        for tracing in (*self._left_tracings, *([self._tracing] if self._tracing is not None else ())):
            await tracing.aclose()
        self._left_tracings.clear()
        self._tracing = None
        if self._store is not None:
            store, self._store = self._store, None
            await store.aclose()
