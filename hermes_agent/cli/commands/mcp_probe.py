"""Connecting to MCP servers to see what they offer, for `hermes mcp`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.config.expansion import expand
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.core.loading import load

SUMMARY_CHARS = 70


@dataclass(frozen=True, slots=True)
class ProbedTool:
    """A tool: its name for models, the server's own (empty for utilities), a line about it."""

    name: str
    original: str
    summary: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What came of connecting to a server.

    Attributes:
        state: `ready`, `failed` or `needs_reauth`.
    """

    name: str
    state: str
    detail: str
    seconds: float
    tools: tuple[ProbedTool, ...]
    rejected: Mapping[str, str]

    @property
    def is_usable(self) -> bool:
        """Connected, or only waiting for a login."""
        return self.state in ("ready", "needs_reauth")

    def to_json(self) -> dict[str, Any]:
        """As JSON-compatible values."""
        return {**asdict(self), "tools": [asdict(tool) for tool in self.tools]}


class _Variables:
    """Those of the app, and some that are not stored yet."""

    def __init__(self, app: App, fresh: Mapping[str, str]) -> None:
        self._app = app
        self._fresh = fresh

    def get(self, name: str) -> str | None:
        """Its value; None if it is not set."""
        return self._fresh.get(name) or self._app.environ.get(name)


def enabled_settings(app: App, entry: Mapping[str, Any], keys: Mapping[str, str] = {}) -> McpServerSettings:
    """The settings that an entry of `mcp_servers` means, its variables resolved.

    Args:
        app: Knows the variables.
        entry: As in config.yaml.
        keys: Variables that are not stored yet.

    Raises:
        SettingError: A variable is not set, or a value is of the wrong kind.
    """
    unresolved: dict[str, Any] = {}
    values = expand(dict(entry), _Variables(app, keys), unresolved)
    if unresolved:
        missing = ", ".join(sorted(unresolved))
        raise SettingError(
            f"Not set: {missing}",
            key="mcp_servers",
            remedy=f"Set it: hermes config set {next(iter(unresolved))} VALUE",
        )
    return McpServerSettings.model_validate(values)


async def probe(app: App, servers: Mapping[str, McpServerSettings]) -> list[Probe]:
    """Connect to all of them at once. What they offer is remembered for the sessions that come."""
    # What goes wrong is shown as a result; it must not also come as a log line.
    logging.getLogger("hermes_agent.mcp").addHandler(logging.NullHandler())
    manager = app.mcp.build(servers)
    try:
        return list(await asyncio.gather(*(_probe_one(manager, name) for name in sorted(servers))))
    finally:
        await manager.aclose()


async def _probe_one(manager: Any, name: str) -> Probe:
    started = time.monotonic()
    error_type = load("hermes_agent.mcp.errors:McpError")
    try:
        await manager.connection(name).client()
    except error_type as error:
        lines = [line for line in (error.message, error.why) if line]
        state = manager.connection(name).state
        state = state if state == "needs_reauth" else "failed"
        return Probe(name, state, "\n".join(lines), time.monotonic() - started, (), {})
    seconds = time.monotonic() - started
    (status,) = (each for each in manager.statuses() if each.name == name)
    tools = tuple(
        ProbedTool(tool.definition.name, tool.original, _summary(tool.definition.description))
        for tool in manager.offered(name)
    )
    return Probe(name, "ready", status.detail, seconds, tools, dict(status.rejected))


def show_probe(found: Probe, *, with_tools: bool) -> None:
    """Print it."""
    if found.state == "needs_reauth":
        click.echo(f"{found.name}: needs a login. Type: hermes mcp login {found.name}")
    elif found.state != "ready":
        click.echo(f"{found.name}: {found.detail}", err=True)
    else:
        who = f"{found.detail}, " if found.detail else ""
        click.echo(f"{found.name}: {who}{len(found.tools)} tools, connected in {found.seconds:.1f} s")
        if with_tools:
            for tool in found.tools:
                click.echo(f"  {tool.original or tool.name:<32} {tool.summary}")
    for name, reason in found.rejected.items():
        click.echo(f"  left out: {name} ({reason})")


def _summary(text: str) -> str:
    line = " ".join(text.split())
    first = line.split(". ")[0]
    return first if len(first) <= SUMMARY_CHARS else first[: SUMMARY_CHARS - 1] + "…"
