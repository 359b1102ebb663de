"""The messaging service of the gateway process: ports made of the app's parts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hermes_agent.app.container import App
from hermes_agent.app.mcp_command import mcp_command
from hermes_agent.config.extras import require_extra
from hermes_agent.config.files import replace_atomically
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.loading import load
from hermes_agent.core.platform import Platform
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
    return service


async def make_messaging(app: App, process: GatewayProcess | None = None) -> MessagingService:
    """Everything the gateway needs, from the app."""
    store = cast("SqliteStore", await app.store())
    chats = SqliteChats(store)
    inbox, outbox = SqliteInbox(store), SqliteOutbox(store)

    async def prune() -> None:
        await inbox.prune()
        await outbox.prune()

    ports = GatewayPorts(
        settings=lambda: app.settings,
        environ=lambda: app.environ,
        service=app.service,
        sessions=store,
        inbox=inbox,
        outbox=outbox,
        chats=chats,
        approvals=chats,
        pairing=PairingBook(app.home),
        home=app.home,
        platforms=partial(configured_platforms, app),
        mcp=partial(mcp_command, app),
        prune=prune,
        adopt_index=partial(_adopt_index, app, chats),
        write_index=_IndexFile(app, chats).write,
    )
    if process is not None:
        ports.restart = process.restart
        ports.reload = partial(_reload, process)
    return MessagingService(ports)


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
