"""Checks of MCP servers: are their programs there, their variables set, their tools known."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from hermes_agent.cli.checks.finding import Finding, Surroundings
from hermes_agent.config.expansion import has_template
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.loading import load


def check_mcp(around: Surroundings) -> Iterator[Finding]:
    """One finding per enabled server; online: whether it can be connected to. Nothing without servers."""
    servers = {name: each for name, each in around.config.settings.mcp_servers.items() if each.enabled}
    good = {}
    for name, each in sorted(servers.items()):
        problem = _offline(around, name, each)
        if problem is None:
            good[name] = each
        else:
            yield problem
    if around.is_online and good:
        yield from _online(around, good)
    elif good:
        yield Finding("MCP servers", "ok", f"{', '.join(sorted(good))} (not connected to; --online does)")


def _offline(around: Surroundings, name: str, server: McpServerSettings) -> Finding | None:
    """What is wrong without connecting."""
    label = f"MCP {name}"
    if not server.command and not server.url:
        return Finding(label, "fail", "neither a command nor a url", remedy=f"hermes mcp remove {name}")
    values = [*server.env.values(), *server.headers.values(), *server.args, server.url]
    missing = [str(value) for value in values if has_template(str(value))]
    if missing:
        names = ", ".join(text[text.find("${") + 2 : text.find("}")] for text in missing)
        return Finding(label, "fail", f"not set: {names}", remedy=f"hermes config set {names} VALUE")
    if server.command:
        path = str(server.env.get("PATH") or around.environ.get("PATH") or os.defpath)
        if shutil.which(server.command, path=path) is None and not Path(server.command).exists():
            return Finding(
                label,
                "fail",
                f"there is no program {server.command!r}",
                remedy=f"Install it, or correct mcp_servers.{name}.command",
            )
    return None


def _online(around: Surroundings, servers: dict[str, McpServerSettings]) -> Iterator[Finding]:
    app = load("hermes_agent.app.container:App")(around.config)
    for found in asyncio.run(load("hermes_agent.cli.commands.mcp_probe:probe")(app, servers)):
        label = f"MCP {found.name}"
        if found.state == "needs_reauth":
            yield Finding(label, "warn", "needs a login", remedy=f"hermes mcp login {found.name}")
        elif found.state != "ready":
            yield Finding(label, "fail", around.redactor.redact(found.detail))
        elif found.rejected:
            names = ", ".join(found.rejected)
            yield Finding(label, "warn", f"{len(found.tools)} tools; left out: {names}")
        else:
            yield Finding(label, "ok", f"{len(found.tools)} tools, connected in {found.seconds:.1f} s")
