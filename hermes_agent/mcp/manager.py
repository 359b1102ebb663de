"""`McpManager`: all servers of a process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from hermes_agent.config.sections.mcp import McpServerSettings, McpSettings
from hermes_agent.core.mcp import McpServerStatus
from hermes_agent.core.tool import Tool, ToolResult
from hermes_agent.mcp.catalogue import Catalogue, CatalogueCache
from hermes_agent.mcp.connection import Connection
from hermes_agent.mcp.errors import McpUnavailableError
from hermes_agent.mcp.offering import Offer, offer
from hermes_agent.mcp.ports import McpPorts
from hermes_agent.mcp.search import deferred
from hermes_agent.mcp.tools import Action, McpTool

REFRESH_DELAY_SECONDS = 2.0
"""Servers whose tools are known connect this late, so that they do not slow down a start."""
SPACING_SECONDS = 0.03
"""Between two connects in the background, so that twenty at once do not hold up the event loop."""

_log = logging.getLogger(__name__)


class McpManager:
    """Owns a connection per enabled server. Construction does nothing; `start` returns at once."""

    def __init__(
        self,
        servers: Mapping[str, McpServerSettings],
        ports: McpPorts,
        common: McpSettings | None = None,
        *,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._ports = ports
        self._common = common or McpSettings()
        self._cache = CatalogueCache(ports.cache)
        self._on_close = on_close
        self._connections: dict[str, Connection] = {}
        self._catalogues: dict[str, Catalogue] = {}
        self._offers: dict[str, Offer] = {}
        self._disabled: tuple[str, ...] = ()
        self._learned = asyncio.Event()
        self._starters: list[asyncio.TimerHandle] = []
        self._started_at: dict[str, float] = {}
        self._servers: dict[str, McpServerSettings] = {}
        self._add(servers)

    def _add(self, servers: Mapping[str, McpServerSettings]) -> None:
        self._servers |= servers
        self._disabled = tuple(sorted(name for name, each in self._servers.items() if not each.enabled))
        for name, settings in sorted(servers.items()):
            if not settings.enabled:
                continue
            self._connections[name] = Connection(
                name,
                settings,
                self._ports,
                lambda catalogue, name=name: self._learn(name, catalogue),  # type: ignore[misc]
            )
            known = self._cache.read(name, settings)
            if known is not None:
                self._catalogues[name] = known

    def start(self) -> None:
        """Connect in the background: now where tools are unknown, a little later elsewhere."""
        loop = asyncio.get_running_loop()
        fresh = [name for name in self._connections if name not in self._started_at]
        for index, name in enumerate(fresh):
            self._started_at[name] = loop.time()
            delay = (REFRESH_DELAY_SECONDS if name in self._catalogues else 0) + index * SPACING_SECONDS
            self._starters.append(loop.call_later(delay, self._connections[name].connect_first))

    def tools(self, only: Iterable[str] | None = None) -> tuple[Tool, ...]:
        """Tools for a new session, in a stable order: those of servers whose tools are known.

        Args:
            only: Names of servers; None means all.
        """
        wanted = set(self._connections if only is None else only)
        tools: list[McpTool] = []
        for name in sorted(self._connections):
            if name in wanted:
                tools += self._offer(name).tools
        return deferred(_without_doubles(tools), self._common.max_schema_tokens)

    async def discovered(
        self, only: Iterable[str] | None = None, *, is_attended: bool = False
    ) -> tuple[Tool, ...]:
        """The same, but waits for servers whose tools are not known yet.

        Args:
            only: Names of servers; None means all.
            is_attended: Wait `discovery_wait` at most, not `discovery_timeout`. Either way nobody waits for
                a server that was started longer ago than `discovery_timeout`.
        """
        wanted = set(self._connections if only is None else only)
        self.start()
        seconds = self._common.discovery_wait if is_attended else self._common.discovery_timeout
        try:
            async with asyncio.timeout(seconds):
                while any(self._is_awaited(name) for name in wanted):
                    self._learned.clear()
                    waiting = [
                        asyncio.create_task(self._connections[name].settled())
                        for name in wanted
                        if self._is_awaited(name)
                    ]
                    try:
                        await asyncio.wait(
                            [*waiting, learned := asyncio.create_task(self._learned.wait())],
                            return_when=asyncio.FIRST_COMPLETED,
                        )
                    finally:
                        for task in (*waiting, learned):
                            task.cancel()
        except TimeoutError:
            late = sorted(name for name in wanted if self._is_awaited(name))
            _log.warning("mcp: %s did not list tools in time", ", ".join(late))
        return self.tools(wanted)

    def _is_awaited(self, name: str) -> bool:
        connection = self._connections.get(name)
        return (
            connection is not None
            and name not in self._catalogues
            and not connection.has_failed
            and self._is_patient(name)
            and connection.state in ("idle", "connecting")
        )

    def _is_patient(self, name: str) -> bool:
        """Whether it was started so short a time ago that it is worth waiting for."""
        started = self._started_at.get(name)
        if started is None:
            return True
        return asyncio.get_running_loop().time() - started < self._common.discovery_timeout

    def unknown(self, only: Iterable[str] | None = None) -> frozenset[str]:
        """Enabled servers whose tools are not known (yet)."""
        names = self._connections if only is None else only
        return frozenset(name for name in names if name in self._connections and name not in self._catalogues)

    def try_again(self, names: Iterable[str]) -> None:
        """Connect, in the background, to those of these servers that were given up for now."""
        for name in names:
            connection = self._connections.get(name)
            if connection is not None:
                connection.try_again()

    async def use(
        self, server: str, action: Action, *, may_repeat: bool, report: Callable[[str], None]
    ) -> ToolResult:
        """Do something with a connected server; raises `McpError`. `report` is told of a wait for it."""
        connection = self._connections.get(server)
        if connection is None:
            raise McpUnavailableError(
                server,
                f"MCP server {server!r} is not configured any more",
                remedy="Its tools go away with the next session, or with /reload-mcp.",
            )
        if connection.state != "ready":
            report(f"[waiting for MCP server {server!r} to connect]\n")
        return await connection.calls.use(action, may_repeat=may_repeat)

    def statuses(self) -> Sequence[McpServerStatus]:
        """How every server stands, by name."""
        rows = [
            *(self._status(name, each) for name, each in self._connections.items()),
            *(McpServerStatus(name, "disabled", "") for name in self._disabled),
        ]
        return tuple(sorted(rows, key=lambda row: row.name))

    def _status(self, name: str, connection: Connection) -> McpServerStatus:
        found = self._offer(name)
        status = connection.status(self._catalogues.get(name))
        return McpServerStatus(
            status.name, status.state, status.transport, len(found.tools), status.detail, found.rejected
        )

    def offered(self, server: str) -> tuple[McpTool, ...]:
        """The tools of one server, as far as they are known."""
        return self._offer(server).tools

    def connection(self, server: str) -> Connection:
        """One server's connection. Raises `KeyError`."""
        return self._connections[server]

    async def adopt(self, servers: Mapping[str, McpServerSettings], common: McpSettings) -> None:
        """Use another configuration. Servers that stay as they were are not touched."""
        self._common = common
        gone = {name for name, settings in self._servers.items() if servers.get(name) != settings}
        await self._drop(gone)
        self._add({name: settings for name, settings in servers.items() if name not in self._servers})
        self.start()

    async def reload(
        self, servers: Mapping[str, McpServerSettings], common: McpSettings | None = None
    ) -> Sequence[McpServerStatus]:
        """Use another configuration, connect to every server anew, and wait for what they list."""
        self._common = common or self._common
        await self._drop(set(self._servers))
        self._add(servers)
        self._catalogues.clear()
        await self.discovered()
        for name, connection in self._connections.items():
            if name not in self._catalogues:
                # What is slow or down keeps the tools it had; calls say what is wrong.
                known = self._cache.read(name, connection.settings)
                if known is not None:
                    self._catalogues[name] = known
        return self.statuses()

    async def aclose(self) -> None:
        """Disconnect from all servers and end their processes. Safe to call twice."""
        for starter in self._starters:
            starter.cancel()
        self._starters.clear()
        if self._connections:
            await asyncio.gather(*(connection.aclose() for connection in self._connections.values()))
        on_close, self._on_close = self._on_close, lambda: None
        await asyncio.to_thread(on_close)

    async def _drop(self, names: Collection[str]) -> None:
        """Forget these servers; their tools in open sessions say so."""
        dropped = [self._connections.pop(name) for name in names if name in self._connections]
        for name in names:
            for table in (self._servers, self._catalogues, self._offers, self._started_at):
                table.pop(name, None)
        await asyncio.gather(*(connection.aclose() for connection in dropped))

    def _learn(self, name: str, catalogue: Catalogue) -> None:
        before = self._catalogues.get(name)
        known = self._cache.write(name, self._connections[name].settings, catalogue)
        if known != before:
            self._catalogues[name] = known
            self._offers.pop(name, None)
            for tool, reason in self._offer(name).rejected.items():
                _log.warning("mcp server %s: tool %r is left out: %s", name, tool, reason)
        self._learned.set()

    def _offer(self, name: str) -> Offer:
        if name not in self._offers:
            catalogue = self._catalogues.get(name)
            if catalogue is None:
                return Offer()
            self._offers[name] = offer(
                name, self._connections[name].settings, catalogue, self, self._ports.find_orders
            )
        return self._offers[name]


def _without_doubles(tools: Sequence[McpTool]) -> tuple[McpTool, ...]:
    """Servers `a-b` and `a.b` may give two tools one name: the first keeps it."""
    return tuple({tool.definition.name: tool for tool in reversed(tools)}.values())[::-1]
