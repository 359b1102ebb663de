"""The messaging service of the gateway process: ports made of the app's parts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hermes_agent.agent.service import AgentService
from hermes_agent.agent.skill_commands import expand
from hermes_agent.app.container import App
from hermes_agent.app.learning_commands import memory_command, skills_command
from hermes_agent.app.mcp_command import mcp_command
from hermes_agent.config.extras import require_extra
from hermes_agent.config.files import replace_atomically
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.loading import load
from hermes_agent.core.memory import OWNER
from hermes_agent.core.platform import Platform
from hermes_agent.core.speech import Transcriber
from hermes_agent.gateway.files import ChatFiles
from hermes_agent.gateway.hooks import FileHooks
from hermes_agent.gateway.pairing import PairingBook
from hermes_agent.gateway.platforms.table import PLATFORMS, PlatformEntry, is_enabled
from hermes_agent.gateway.ports import GatewayPorts, PlatformFactory
from hermes_agent.gateway.service import MessagingService
from hermes_agent.store.chats import SqliteChats
from hermes_agent.store.inbox import SqliteInbox
from hermes_agent.store.outbox import SqliteOutbox
from hermes_agent.store.store import SqliteStore

if TYPE_CHECKING:
    from hermes_agent.app.gateway import GatewayProcess

_LOG = logging.getLogger(__name__)


async def make_service(process: GatewayProcess) -> MessagingService:
    """The service; it runs without any platform too, because one can be configured at any time."""
    service = await make_messaging(process.app, process)
    process.control.register("send", service.on_send)
    process.control.register("outbox.look", service.on_look)
    process.control.register("pairing.approved", service.on_approved)
    process.control.register("approvals", service.on_approvals)
    process.control.register("approve", service.on_approve)
    process.control.register("platform", service.on_platform)
    process.control.register("session.release", service.on_release)
    process.control.register("session.handoff", service.on_handoff)
    return service


async def make_messaging(app: App, process: GatewayProcess | None = None) -> MessagingService:
    """Everything the gateway needs, from the app."""
    store = cast("SqliteStore", await app.store())
    chats = SqliteChats(store)
    inbox, outbox = SqliteInbox(store), SqliteOutbox(store)

    files = ChatFiles(
        app.home,
        roots=lambda: app.settings.gateway.media_roots,
        transcriber=partial(make_transcriber, app),
    )
    hooks = FileHooks(app.home.hooks, partial(hook_environment, app))

    async def prune() -> None:
        await inbox.prune()
        await outbox.prune()
        await asyncio.to_thread(files.prune)

    ports = GatewayPorts(
        settings=lambda: app.settings,
        environ=lambda: app.environ,
        service=partial(_service, app),
        sessions=store,
        inbox=inbox,
        outbox=outbox,
        chats=chats,
        approvals=chats,
        pairing=PairingBook(app.home),
        home=app.home,
        files=files,
        platforms=partial(configured_platforms, app),
        mcp=partial(mcp_command, app),
        memory=partial(_memory, app),
        skills=lambda argument: skills_command(app.learning, argument),
        expand=lambda text, session_id: expand(app.learning.skills, text, session_id=session_id),
        hooks=hooks,
        close_hooks=hooks.aclose,
        redact=partial(_redact, app),
        prune=prune,
        adopt_index=partial(_adopt_index, app, chats),
        write_index=_IndexFile(app, chats).write,
    )
    if process is not None:
        ports.restart = process.restart
        ports.reload = partial(_reload, process)
    return MessagingService(ports)


async def _service(app: App) -> AgentService:
    """The app's service; sessions of the gateway begin in `gateway.cwd`."""
    service = await app.service()
    cwd = app.settings.gateway.cwd
    if not cwd:
        return service
    make_environment = partial(app.make_environment, cwd=Path(cwd))
    return service.with_ports(lambda ports: replace(ports, make_environment=make_environment))


async def _memory(app: App, argument: str, principal: str) -> str:
    owner = principal in app.settings.memory.owners
    return await memory_command(app.learning, argument, principal=OWNER if owner else principal)


def _redact(app: App, text: str) -> str:
    return app.redactor.redact(text)


def make_transcriber(app: App) -> Transcriber | None:
    """Who listens to voice messages; None if nobody is set up."""
    found: Transcriber | None = load("hermes_agent.models.transcription:make_transcriber")(
        app.settings.stt, app.environ.get
    )
    return found


def hook_environment(app: App) -> dict[str, str]:
    """Hooks are the owner's own code: they get all variables, as the gateway has them."""
    found = {name: app.environ.get(name) or "" for name in app.environ.names()}
    return {**found, "HERMES_HOME": str(app.home.root)}


def configured_platforms(app: App) -> Sequence[tuple[str, PlatformFactory]]:
    """Name and factory of every platform that is switched on."""
    found = []
    for entry in PLATFORMS:
        settings = app.settings.platforms.get(entry.name)
        if is_enabled(entry, settings, app.environ.get):
            found.append((entry.name, partial(_build, app, entry)))
    return found


def _build(app: App, entry: PlatformEntry) -> Platform:
    settings = app.settings.platforms.get(entry.name) or PlatformSettings()
    if entry.extra:
        require_extra(app.home, entry.extra, entry.label or entry.name.capitalize())
    platform: Platform = load(entry.path)(settings, app.environ.get)
    return platform


async def _adopt_index(app: App, chats: SqliteChats) -> None:
    try:
        text = await asyncio.to_thread(app.home.chat_index.read_text, encoding="utf-8")
        index = json.loads(text)
    except (OSError, ValueError):
        return
    if isinstance(index, dict) and (count := await chats.adopt(index)):
        _LOG.info("%d chats of an older agent taken over", count)


class _IndexFile:
    """`sessions/sessions.json`, written when it has changed."""

    def __init__(self, app: App, chats: SqliteChats) -> None:
        self._app = app
        self._chats = chats
        self._written = b""

    async def write(self) -> None:
        """Write it. Raises `StoreUnwritableError`."""
        index = await self._chats.index()
        data = (json.dumps(index, indent=2, ensure_ascii=False) + "\n").encode()
        if data == self._written or (not index and not self._written):
            return
        path = self._app.home.chat_index
        await asyncio.to_thread(_replace, path, data)
        self._written = data


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_atomically(path, data, mode=0o600)


async def _reload(process: GatewayProcess) -> str:
    result = await process.reload()
    lines = ["Settings are read again.", *result["warnings"], *result["problems"]]
    return "\n".join(lines)
