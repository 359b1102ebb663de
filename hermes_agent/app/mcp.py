"""The MCP servers of an `App`: made when a session needs them, reloaded, closed.

The one place that joins `mcp` with what it needs from its neighbours: child processes are guarded by
`environments`, results pass the wrappers of `tools`, sampling asks `models`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.injection import find_orders
from hermes_agent.core.loading import load
from hermes_agent.core.mcp import McpServerStatus
from hermes_agent.core.model import Model
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.tool import Tool
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.toolsets import MCP_PREFIX

if TYPE_CHECKING:
    from hermes_agent.mcp.manager import McpManager
    from hermes_agent.mcp.oauth.broker import OAuthBroker
    from hermes_agent.mcp.ports import ServerAuth

TOOLSET, NONE = "mcp", "no_mcp"
_CLOSED_SETS = frozenset({"safe", "hermes-webhook", "clarify", "todo", "debugging"})
"""Toolsets that promise to be no more than they are."""

_log = logging.getLogger(__name__)


def chosen_servers(toolsets: Sequence[str], servers: Sequence[str]) -> tuple[str, ...]:
    """Which servers a session with these toolsets gets.

    All of them, unless `mcp-<server>` names some, `no_mcp` forbids, or only closed sets are listed.
    """
    names = [name.strip() for name in toolsets if name.strip()]
    if not names or NONE in names:
        return ()
    named = {name.removeprefix(MCP_PREFIX) for name in names if name.startswith(MCP_PREFIX)}
    if named and TOOLSET not in names:
        return tuple(name for name in servers if name in named)
    return () if set(names) <= _CLOSED_SETS else tuple(servers)


class McpServers:
    """Implements `core.mcp.McpControl` for an app. Costs nothing while no server is configured."""

    def __init__(
        self,
        home: Home,
        config: Callable[[], LoadedConfig],
        redactor: Callable[[], Redactor],
        model_for: Callable[[str], Model],
    ) -> None:
        self._home = home
        self._config = config
        self._redactor = redactor
        self._model_for = model_for
        self._manager: McpManager | None = None
        self._broker: OAuthBroker | None = None
        self._servers: Mapping[str, McpServerSettings] | None = None

    def manager(self) -> McpManager | None:
        """All servers; None if none is configured."""
        servers = self.servers
        if self._manager is None and any(settings.enabled for settings in servers.values()):
            self._servers = servers
            self._manager = self.build(servers)
        return self._manager

    def build(self, servers: Mapping[str, McpServerSettings]) -> McpManager:
        """A manager of its own for these servers; the caller closes it."""
        guard = load("hermes_agent.environments.guard:Guard")()
        table = load("hermes_agent.environments.process_table")
        ports = load("hermes_agent.mcp.ports:McpPorts")(
            cache=self._home.cache / "mcp",
            child_environment=self._config().environ.child_environment(),
            cwd=Path(self._config().settings.terminal.cwd).expanduser().absolute(),
            guard=guard,
            family=table.session_processes if table.has_table() else None,
            find_orders=find_orders,
            model_for=self._model_for,
            make_auth=self._make_auth,
            refresh=self._refresh,
        )
        manager: McpManager = load("hermes_agent.mcp.manager:McpManager")(
            servers, ports, self._config().settings.mcp, on_close=guard.close
        )
        return manager

    async def start(self) -> None:
        """Connect in the background; returns at once. A changed configuration is adopted."""
        settings = self._config().settings
        if self._manager is not None and self._servers != settings.mcp_servers:
            self._servers = settings.mcp_servers
            await self._manager.adopt(settings.mcp_servers, settings.mcp)
        manager = self.manager()
        if manager is not None:
            manager.start()

    def tools(self, toolsets: Sequence[str]) -> tuple[Tool, ...]:
        """Tools for a session, of servers whose tools are known."""
        manager = self.manager()
        if manager is None:
            return ()
        return self._guarded(manager.tools(chosen_servers(toolsets, list(self.servers))))

    def unknown(self, toolsets: Sequence[str]) -> frozenset[str]:
        """Servers of a session with these toolsets whose tools are not known (yet)."""
        manager = self.manager()
        if manager is None:
            return frozenset()
        return manager.unknown(chosen_servers(toolsets, list(self.servers)))

    async def discover(self, toolsets: Sequence[str], *, is_attended: bool) -> None:
        """Wait for those servers, as long as the settings say."""
        manager = self.manager()
        if manager is not None:
            chosen = chosen_servers(toolsets, list(self.servers))
            await manager.discovered(chosen, is_attended=is_attended)

    def try_again(self, names: Collection[str]) -> None:
        """Connect, in the background, to those of these servers that were given up for now."""
        manager = self.manager()
        if manager is not None:
            manager.try_again(names)

    def statuses(self) -> Sequence[McpServerStatus]:
        """How each configured server stands."""
        manager = self.manager()
        if manager is not None:
            return manager.statuses()
        return tuple(McpServerStatus(name, "disabled", "") for name in sorted(self.servers))

    async def reload(self) -> Sequence[McpServerStatus]:
        """Read the configuration again and connect to every server anew."""
        settings = (await asyncio.to_thread(self._read)).settings
        self._servers = settings.mcp_servers
        manager = self.manager()
        if manager is None:
            return self.statuses()
        return await manager.reload(settings.mcp_servers, settings.mcp)

    async def aclose(self) -> None:
        """Disconnect and end all processes. Safe to call twice."""
        manager, self._manager, self._servers = self._manager, None, None
        if manager is not None:
            await manager.aclose()
        broker, self._broker = self._broker, None
        if broker is not None:
            await broker.aclose()

    @property
    def servers(self) -> Mapping[str, McpServerSettings]:
        """The configuration that is used now: that of the last `/reload-mcp`, if there was one."""
        return self._config().settings.mcp_servers if self._servers is None else self._servers

    def signed_in(self, name: str) -> None:
        """There is a new token: a server that waited for it is connected to, and its tools come."""
        if self._manager is not None and name in self.servers and self.servers[name].enabled:
            self._manager.connection(name).reset()

    def _read(self) -> LoadedConfig:
        config: LoadedConfig = load("hermes_agent.config.loader:load")(self._home)
        self._redactor().add(config.secret_values())
        return config

    def _refresh(self, name: str, settings: McpServerSettings) -> McpServerSettings:
        """A server's settings as they are now: keys in headers and `env` change."""
        if not (settings.headers or settings.env):
            return settings
        try:
            fresh = self._read().settings.mcp_servers.get(name)
        except Exception as error:  # noqa: BLE001 - a broken file must not end what works
            _log.warning("mcp server %s: its settings cannot be read again: %s", name, error)
            return settings
        if fresh is None or (fresh.command, fresh.args, fresh.url) != (
            settings.command,
            settings.args,
            settings.url,
        ):
            return settings  # another server by now: that is for /reload-mcp
        return fresh

    def broker(self) -> OAuthBroker:
        """The one owner of tokens in this process."""
        if self._broker is None:
            self._broker = load("hermes_agent.mcp.oauth.broker:OAuthBroker")(
                self._home.mcp_tokens, lambda secret: self._redactor().add((secret,))
            )
        return self._broker

    def _make_auth(self, name: str, settings: McpServerSettings) -> ServerAuth | None:
        return self.broker().make_auth(name, settings) if settings.auth == "oauth" else None

    def _guarded(self, tools: Sequence[Tool]) -> tuple[Tool, ...]:
        guarded_tool = load("hermes_agent.tools.wrappers:GuardedTool")
        setup = ToolSetup(home=self._home, output=self._config().settings.tool_output)
        return tuple(guarded_tool(tool, self._redactor(), setup) for tool in tools)
