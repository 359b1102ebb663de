"""`Connection`: one server, owned by one task for as long as the program runs.

The task connects, keeps the session, and cleans up, all by itself, because what it enters must be left
in the task that entered it. Everybody else only asks for the client and waits. ::

    idle ──call──> connecting ──> ready ──gone, idle, reload──> idle or connecting
                       │
                       └──failed──> waiting (1, 2, 4 … 60 s) ──> connecting, or parked until the next call
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.loading import load
from hermes_agent.core.mcp import McpServerStatus, McpState
from hermes_agent.mcp.breaker import FAILURES, Breaker
from hermes_agent.mcp.calling import Caller
from hermes_agent.mcp.catalogue import Catalogue
from hermes_agent.mcp.errors import (
    McpAuthError,
    McpConnectionLostError,
    McpError,
    McpUnavailableError,
)
from hermes_agent.mcp.ports import Client, McpPorts, ServerAuth

FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 60.0
MAX_RETRIES = 5
"""Retries by itself; after that the next call tries again."""

_log = logging.getLogger(__name__)


class Connection:
    """One server. `start` it once, `aclose` it in the end."""

    def __init__(
        self,
        name: str,
        settings: McpServerSettings,
        ports: McpPorts,
        on_catalogue: Callable[[Catalogue], None],
    ) -> None:
        self.name = name
        self.settings = settings
        self._ports = ports
        self._on_catalogue = on_catalogue
        self.state: McpState = "idle"
        self.detail = ""
        self._client: Client | None = None
        self._error: McpError | None = None
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._over = asyncio.Event()
        self._changed = asyncio.Event()
        self._breaker = Breaker()
        self._is_closed = False
        self._is_parked = False
        self._refresh_task: asyncio.Task[None] | None = None
        self.calls = Caller(self, ports)
        self.auth: ServerAuth | None = None
        """Its credentials, once it was connected to; None if it has none of its own."""
        self.has_failed = False
        """Whether a connect failed, ever."""
        self.connects = 0
        """How often it was connected."""

    @property
    def transport(self) -> str:
        """`stdio` or `http`, for people."""
        return self.settings.transport or "http" if self.settings.url else "stdio"

    def status(self, catalogue: Catalogue | None) -> McpServerStatus:
        """How it stands."""
        return McpServerStatus(
            self.name,
            self.state,
            self.transport,
            len(catalogue.tools) if catalogue else 0,
            self.detail,
            dict(catalogue.rejected) if catalogue else {},
        )

    def connect(self) -> None:
        """Connect in the background if it is not connected."""
        if self._is_closed:
            return
        if self._task is None:
            self.auth = self._ports.make_auth(self.name, self.settings) if self.settings.url else None
            self._task = asyncio.create_task(self._own(), name=f"mcp-{self.name}")
        self._wanted.set()

    def connect_first(self) -> None:
        """Connect in the background if it was never tried."""
        if self._task is None:
            self.connect()

    async def client(self) -> Client:
        """The connected client; waits for a connection that is being made.

        Raises:
            McpUnavailableError: There is none within `connect_timeout`, or it failed too often just now.
            McpAuthError: Somebody must sign in first.
        """
        if self._client is not None:
            return self._client
        if self._is_closed:
            raise McpUnavailableError(self.name, f"MCP server {self.name!r} is not used any more")
        self._check_breaker()
        self._error = None
        self.connect()
        try:
            async with asyncio.timeout(self.settings.connect_timeout + 1):
                return await self._connected()
        except TimeoutError as error:
            raise self._timed_out() from error

    async def _connected(self) -> Client:
        while True:
            if self._client is not None:
                return self._client
            if self._error is not None:
                raise self._error
            await self._changed.wait()

    def is_current(self, client: Client) -> bool:
        """Whether this client is the one that is connected now."""
        return self._client is client

    def count_failure(self) -> None:
        """A call failed in a way that speaks against the server."""
        self._breaker.count()

    def needs_login(self, why: str) -> None:
        """Nothing works before somebody signs in."""
        self._error = McpAuthError(self.name, why)
        self._set("needs_reauth", why)

    def reconnect(self) -> None:
        """Leave the session and make a new one when it is needed (at once if somebody waits)."""
        self._client = None
        self._over.set()

    async def settled(self) -> None:
        """Wait until it is known whether the connection that is being made comes about."""
        while self.state in ("idle", "connecting"):
            await self._changed.wait()

    def try_again(self) -> None:
        """Connect in the background if it was given up for now."""
        if self._is_parked:
            self.connect()

    def reset(self) -> None:
        """Forget failures, and connect."""
        self._breaker.reset()
        self._error = None
        self.connect()

    async def aclose(self) -> None:
        """Leave the session, end the process, end the task, for good. Safe to call twice."""
        self._is_closed = True
        self.calls.stop()
        if self._refresh_task is not None:
            self._refresh_task.cancel()
        task, self._task = self._task, None
        if task is None:
            return
        while not task.done():
            # More than once, because a task group may raise what its children raised instead.
            task.cancel()
            await asyncio.wait([task], timeout=5)
        self._set("idle")

    # -- the owning task

    async def _own(self) -> None:
        retries = 0
        while not self._is_closed:
            await self._wanted.wait()
            self._wanted.clear()
            self._is_parked = False
            connects = self.connects
            error = await self._serve()
            if error is None or self._is_closed:
                retries = 0
                continue
            was_connected = self.connects != connects
            retries = 1 if was_connected else retries + 1
            if was_connected and self._wanted.is_set():
                # A call came while it was cleaned up: what ended this session is no answer to that.
                self._breaker.count()
                continue
            self._fail(error)
            if isinstance(error, McpAuthError) or retries > MAX_RETRIES:
                self._is_parked = True
                continue
            try:
                async with asyncio.timeout(pause_seconds(retries)):
                    await self._wanted.wait()
            except TimeoutError:
                self._wanted.set()

    async def _serve(self) -> McpError | None:
        """Connect, and stay until the session is over. Returns what went wrong, None if nothing did."""
        self._set("connecting")
        try:
            self.settings = await asyncio.to_thread(self._ports.refresh, self.name, self.settings)
            open_session = await asyncio.to_thread(load, "hermes_agent.mcp.opening:open_session")
            async with asyncio.timeout(self.settings.connect_timeout) as limit:
                async with open_session(self.name, self.settings, self._ports, self.auth) as client:
                    limit.reschedule(None)
                    self._ready(client)
                    try:
                        await self._stay(client)
                    finally:
                        self._client = None
                        client.news.on_tools_changed = _nothing
                        # A deadline again: a server that does not let go must not hold us for ever.
                        limit.reschedule(asyncio.get_running_loop().time() + 30)
        except TimeoutError:
            return self._timed_out()
        except McpError as error:
            return error
        except ImportError as error:
            return McpUnavailableError(
                self.name,
                "The library for MCP servers cannot be loaded",
                why=str(error),
                remedy="Install hermes anew.",
            )
        except Exception as error:  # noqa: BLE001 - the task's top handler: it must outlive any server
            mapped: McpError = load("hermes_agent.mcp.opening:as_error")(self.name, error)
            return mapped
        return None

    def _ready(self, client: Client) -> None:
        self._over.clear()
        self._wanted.clear()
        self._client = client
        self._error = None
        self.connects += 1
        self.calls.last_used = time.monotonic()
        client.news.on_tools_changed = self._tools_changed
        self._on_catalogue(client.catalogue)
        self._set("ready", client.catalogue.server)

    async def _stay(self, client: Client) -> None:
        ended = asyncio.create_task(client.ended.wait())
        over = asyncio.create_task(self._over.wait())
        try:
            while not (ended.done() or over.done()):
                await asyncio.wait(
                    (ended, over), timeout=self._idle_left(), return_when=asyncio.FIRST_COMPLETED
                )
                left = self._idle_left()
                if left is not None and left <= 0:
                    self._set("idle", "stopped, because it was not used")
                    return
        finally:
            ended.cancel()
            over.cancel()
        if self._over.is_set():
            self._wanted.set()
        else:
            raise McpConnectionLostError(self.name, f"MCP server {self.name!r} went away")

    def _idle_left(self) -> float | None:
        """Seconds until a program counts as unused; None if that does not matter."""
        if self.settings.url or not self.settings.idle_timeout:
            return None
        if self.calls.busy:
            return self.settings.idle_timeout
        return self.calls.last_used + self.settings.idle_timeout - time.monotonic()

    def _tools_changed(self) -> None:
        if self._refresh_task is None or self._refresh_task.done():
            self._refresh_task = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            async with asyncio.timeout(self.settings.timeout):
                self._on_catalogue(await client.refresh())
        except TimeoutError:
            _log.warning("mcp server %s said that its tools changed, but does not list them", self.name)
        except Exception as error:  # noqa: BLE001 - a background task: what the server lists may be anything
            _log.warning("mcp server %s: its changed tools cannot be read: %s", self.name, error)

    # -- failures

    def _fail(self, error: McpError) -> None:
        self._error = error
        self.has_failed = True
        if isinstance(error, McpAuthError):
            self._set("needs_reauth", error.why or "")
            return
        self._breaker.count()
        detail = error.message + (f": {error.why}" if error.why else "")
        _log.warning("mcp server %s: %s", self.name, detail)
        self._set("failed", detail)

    def _check_breaker(self) -> None:
        left = self._breaker.seconds_left
        if left > 0:
            raise McpUnavailableError(
                self.name,
                f"MCP server {self.name!r} failed {FAILURES} times in a row; "
                f"it is left alone for {left:.0f} s more",
                why=self.detail or None,
                remedy=f"hermes mcp test {self.name} shows what is wrong; /reload-mcp tries at once.",
            )

    def _timed_out(self) -> McpUnavailableError:
        return McpUnavailableError(
            self.name,
            f"MCP server {self.name!r} was not connected within {self.settings.connect_timeout:g} s",
            remedy=f"hermes mcp test {self.name} shows more; "
            f"mcp_servers.{self.name}.connect_timeout waits longer.",
        )

    def _set(self, state: McpState, detail: str = "") -> None:
        self.state, self.detail = state, detail
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def pause_seconds(retry: int) -> float:
    """How long to wait before a retry; the first is 1."""
    return min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** (retry - 1))


def _nothing() -> None:
    pass
