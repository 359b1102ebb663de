"""What a server tells without being asked: log messages, changed tools, changed resources."""

from __future__ import annotations

import asyncio
import json
import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

import mcp_types as types
from mcp.client.session import ClientSession, IncomingMessage
from mcp.client.subscriptions import SubscriptionLost, listen
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from hermes_agent.core.tool import ToolContext

MAX_WATCHED = 50
"""Resources that are watched; of more, those read longest ago are forgotten."""
LISTEN_AGAIN_SECONDS = 5.0
MAX_LOG_CHARS = 2_000

_LEVELS: dict[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "alert": logging.CRITICAL,
    "emergency": logging.CRITICAL,
}
_WANTED: tuple[types.LoggingLevel, ...] = ("debug", "info", "warning", "error")

_log = logging.getLogger(__name__)


class ServerNews:
    """Takes the notifications of one server, and asks for those that must be asked for."""

    def __init__(self, name: str) -> None:
        self.on_tools_changed: Callable[[], None] = lambda: None
        self._name = name
        self._log = logging.getLogger(f"hermes_agent.mcp.server.{name}")
        self._readers: OrderedDict[str, list[Callable[[], Callable[[str], None] | None]]] = OrderedDict()
        self._subscribed: set[str] = set()
        self._watching_more = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, session: ClientSession) -> None:
        """Ask for changes and log messages; nobody waits for that."""
        capabilities = session.server_capabilities or types.ServerCapabilities()
        if session.protocol_version in MODERN_PROTOCOL_VERSIONS:
            self._begin(self._listen(session, capabilities))
        elif capabilities.logging is not None:
            level = wanted_level(self._log)
            request = types.SetLevelRequest(params=types.SetLevelRequestParams(level=level))
            self._begin(self._ask(session, request))

    async def stop(self) -> None:
        """End what `start` and `watch` began."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def watch(self, session: ClientSession, uri: str, context: ToolContext) -> None:
        """Tell the session of this context when the resource changes: once for every time it was read."""
        capabilities = session.server_capabilities
        if not (capabilities and capabilities.resources and capabilities.resources.subscribe):
            return
        self._readers.setdefault(uri, []).append(_weak(context.notify))
        self._readers.move_to_end(uri)
        while len(self._readers) > MAX_WATCHED:
            self._readers.popitem(last=False)
        if uri in self._subscribed:
            return
        self._subscribed.add(uri)
        if session.protocol_version in MODERN_PROTOCOL_VERSIONS:
            self._watching_more.set()
        else:
            request = types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri))
            self._begin(self._ask(session, request))

    async def on_log(self, params: types.LoggingMessageNotificationParams) -> None:
        """Write a log message of the server to our log, as one line."""
        data = params.data if isinstance(params.data, str) else json.dumps(params.data, default=str)
        text = " ".join(data[:MAX_LOG_CHARS].split())
        self._log.log(
            _LEVELS.get(params.level, logging.ERROR),
            "%s",
            f"{params.logger}: {text}" if params.logger else text,
        )

    async def on_message(self, message: IncomingMessage) -> None:
        """Take any other notification."""
        if isinstance(message, types.ToolListChangedNotification):
            self.on_tools_changed()
        elif isinstance(message, types.ResourceUpdatedNotification):
            self._resource_changed(message.params.uri)
        elif isinstance(message, Exception):
            _log.debug("mcp server %s: %s", self._name, message)

    def _resource_changed(self, changed: str) -> None:
        # The address may be that of a part; what is shown is what the agent itself asked for.
        for uri in [uri for uri in self._readers if changed.startswith(uri)]:
            for reader in self._readers.pop(uri):
                notify = reader()
                if notify is not None:
                    notify(f"Resource {uri} of MCP server {self._name!r} has changed since it was read.")

    async def _ask(self, session: ClientSession, request: types.ClientRequest) -> None:
        try:
            await session.send_request(request, types.EmptyResult)
        except (MCPError, ValidationError, RuntimeError) as error:
            _log.debug("mcp server %s refused %s: %s", self._name, request.method, error)

    async def _listen(self, session: ClientSession, capabilities: types.ServerCapabilities) -> None:
        """Subscribe to changes (2026 and later), anew for every further resource."""
        has_tools = bool(capabilities.tools and capabilities.tools.list_changed)
        while True:
            self._watching_more.clear()
            if has_tools or self._readers:
                following = asyncio.create_task(self._follow(session, has_tools, list(self._readers)))
            else:
                following = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]
            more = asyncio.create_task(self._watching_more.wait())
            try:
                await asyncio.wait((following, more), return_when=asyncio.FIRST_COMPLETED)
                if following.done() and not more.done():
                    await asyncio.sleep(LISTEN_AGAIN_SECONDS)
                    self.on_tools_changed()  # they may have, while nobody listened
            finally:
                for task in (following, more):
                    task.cancel()
                await asyncio.wait((following, more))

    async def _follow(self, session: ClientSession, has_tools: bool, uris: list[str]) -> None:
        try:
            async with listen(session, tools_list_changed=has_tools, resource_subscriptions=uris) as changes:
                async for _change in changes:
                    pass  # `on_message` is told too
        except (MCPError, SubscriptionLost, TimeoutError) as error:
            _log.debug("mcp server %s tells of no changes: %s", self._name, error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"mcp-news-{self._name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def wanted_level(log: logging.Logger) -> types.LoggingLevel:
    """The lowest level that this logger keeps."""
    lowest = log.getEffectiveLevel()
    return next((level for level in _WANTED if _LEVELS[level] >= lowest), "critical")


def _weak(notify: Callable[[str], None]) -> Callable[[], Callable[[str], None] | None]:
    """Does not keep a session alive that was closed long ago."""
    try:
        return weakref.WeakMethod(notify)
    except TypeError:
        return lambda: notify
