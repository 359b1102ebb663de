"""The scheduler as a service of the gateway process, and for `hermes cron tick`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hermes_agent.agent.service import AgentService
from hermes_agent.app.container import App
from hermes_agent.app.messaging import configured_platforms
from hermes_agent.core.outbox import Outbox, Outgoing
from hermes_agent.core.platform import ChatAddress
from hermes_agent.gateway.files import ChatFiles
from hermes_agent.gateway.home_channel import home_channel, parse_chat
from hermes_agent.gateway.media import take_media
from hermes_agent.scheduler.jobs import JobBook
from hermes_agent.scheduler.runner import JobRunner
from hermes_agent.scheduler.service import Scheduler
from hermes_agent.store.chats import SqliteChats
from hermes_agent.store.occurrences import SqliteLedger
from hermes_agent.store.outbox import SqliteOutbox
from hermes_agent.store.store import SqliteStore

if TYPE_CHECKING:
    from hermes_agent.app.gateway import GatewayProcess


async def make_service(process: GatewayProcess) -> Scheduler:
    """The scheduler; runs always, because jobs can be added at any time."""
    scheduler = await make_scheduler(process.app)

    async def wake(_request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        scheduler.wake()
        return {}

    process.control.register("cron.wake", wake)
    process.app.job_listeners.append(scheduler.wake)
    return scheduler


async def make_scheduler(app: App) -> Scheduler:
    """A scheduler over the app's home."""
    store = cast("SqliteStore", await app.store())
    runner = JobRunner(
        app.home,
        app.settings.cron,
        partial(_service_in, app),
        partial(deliver, app, SqliteOutbox(store)),
        app.environ.child_environment(app.settings.terminal.env_passthrough),
    )
    return Scheduler(
        JobBook(app.home),
        SqliteLedger(store),
        runner,
        app.settings.cron,
        settings_now=lambda: app.settings.cron,
    )


async def _service_in(app: App, cwd: Path | None) -> AgentService:
    service = await app.service()
    if cwd is None:
        return service
    make_environment = partial(app.make_environment, cwd=cwd)
    return service.with_ports(lambda ports: replace(ports, make_environment=make_environment))


async def deliver(app: App, outbox: Outbox, target: str, text: str, job: Mapping[str, Any]) -> str | None:
    """Queue a job's text for `platform`, `platform:chat[:thread]`, `origin` or `all`.

    Returns:
        Why it could not be queued, or None.
    """
    addresses = await _addresses(app, target, job)
    if not addresses:
        return "no such chat: set a home channel (/sethome), or name platform:chat"
    text, files = await take_media(text, ChatFiles(app.home, roots=lambda: app.settings.gateway.media_roots))
    for address in addresses:
        key = f"cron:{job['id']}:{job.get('due_at', 0)}:{address}"
        await outbox.put(Outgoing(key=key, address=address, text=text, files=files, kind="cron"))
    return None


async def _addresses(app: App, target: str, job: Mapping[str, Any]) -> list[ChatAddress]:
    if target == "origin":
        origin = job.get("origin") or {}
        if not origin.get("platform") or not origin.get("chat_id"):
            return []
        return [ChatAddress(origin["platform"], str(origin["chat_id"]), str(origin.get("thread_id") or ""))]
    platform, _, chat = target.partition(":")
    if chat:
        return [parse_chat(platform, chat)]
    every = (*app.settings.platforms, *(name for name, _build in configured_platforms(app)))
    names = list(dict.fromkeys(every)) if target == "all" else [platform]
    chats = SqliteChats(cast("SqliteStore", await app.store()))
    homes = [await home_channel(name, app.settings, app.environ.get, chats) for name in names]
    return [home for home in homes if home is not None]
