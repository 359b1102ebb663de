"""The seams of the MCP client: a connected server, and what the layers beside it give (`app` fills it in)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.model import Model
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.mcp.catalogue import Catalogue


class ChildGuard(Protocol):
    """Ends child processes should this process die without doing so (`kill -9`)."""

    def watch(self, leader: int) -> None:
        """End this session of processes, should we die."""
        ...

    def forget(self, leader: int) -> None:
        """Nothing of it is left."""
        ...


class ServerAuth(Protocol):
    """Credentials of one remote server. Kept over reconnects.

    It raises `McpAuthError` where only a person can help.
    """

    def http_auth(self) -> object | None:
        """An `httpx2.Auth` for the requests of the next connection; None adds nothing."""
        ...

    async def auth_failed(self, status: int, challenge: str) -> bool:
        """The server refused the credential.

        Args:
            status: 401 or 403.
            challenge: The `WWW-Authenticate` header, or an empty string.

        Returns:
            True if there is a new credential: the connection is made again and the call repeated once.
        """
        ...


class News(Protocol):
    """What a server tells without being asked.

    Attributes:
        on_tools_changed: Called when its tools changed.
    """

    on_tools_changed: Callable[[], None]


class Client(Protocol):
    """A connected server: what `client.ServerClient` offers. Importing that would load the SDK."""

    catalogue: Catalogue
    ended: asyncio.Event
    refusal: Any

    @property
    def news(self) -> News:
        """What the server tells unasked."""
        ...

    def is_alive(self) -> bool:
        """False if the session is over."""
        ...

    async def ping(self) -> None:
        """Return when the server answers."""
        ...

    async def refresh(self) -> Catalogue:
        """Ask again what the server offers."""
        ...

    async def call_tool(self, tool: str, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        """Call a tool by the server's own name."""
        ...

    async def list_resources(self, context: ToolContext) -> ToolResult:
        """All resources and templates."""
        ...

    async def read_resource(self, uri: str, context: ToolContext) -> ToolResult:
        """Read a resource."""
        ...

    async def list_prompts(self, context: ToolContext) -> ToolResult:
        """All prompts."""
        ...

    async def get_prompt(self, prompt: str, arguments: dict[str, str], context: ToolContext) -> ToolResult:
        """Fill in a prompt."""
        ...


class NoGuard:
    """Watches nothing."""

    def watch(self, leader: int) -> None:
        """Ignore it."""

    def forget(self, leader: int) -> None:
        """Ignore it."""


def _nothing_found(_text: str) -> str | None:
    return None


def _no_auth(_name: str, _settings: McpServerSettings) -> ServerAuth | None:
    return None


def _unchanged(_name: str, settings: McpServerSettings) -> McpServerSettings:
    return settings


@dataclass(frozen=True, slots=True)
class McpPorts:
    """The surroundings of all servers.

    Attributes:
        cache: Directory for catalogues.
        child_environment: Without secrets; only variables of `stdio.SAFE_VARIABLES` reach a server.
        cwd: Where servers start, and the root they are told about.
        guard: Told about every server process.
        family: Leader of a session of processes to the ids of all living ones that belong to it; None where
            the system has no table of processes.
        find_orders: Says what makes a text look like an attempt to take over the agent.
        model_for: Model for `sampling`: a name (empty means the configured one) to a model; None refuses
            all such requests.
        make_auth: Credentials of a server with `auth: oauth`.
        refresh: Asked before every connect for the settings as they are now (keys change).
    """

    cache: Path
    child_environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    cwd: Path = Path("/")
    guard: ChildGuard = field(default_factory=NoGuard)
    family: Callable[[int], frozenset[int]] | None = None
    find_orders: Callable[[str], str | None] = _nothing_found
    model_for: Callable[[str], Model] | None = None
    make_auth: Callable[[str, McpServerSettings], ServerAuth | None] = _no_auth
    refresh: Callable[[str, McpServerSettings], McpServerSettings] = _unchanged
