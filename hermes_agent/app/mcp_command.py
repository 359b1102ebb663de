"""`/mcp`: how the MCP servers stand, and signing in to one from a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_agent.core.errors import UsageError

if TYPE_CHECKING:
    from hermes_agent.app.container import App

_USAGE = "/mcp, /mcp login NAME, or /mcp login NAME ADDRESS"


async def mcp_command(app: App, argument: str) -> str:
    """Run it; returns what to show.

    Args:
        app: Whose servers.
        argument: What follows the command: nothing, `login NAME`, or that with the address which the
            browser ended up at.

    Raises:
        UsageError: It cannot be understood, or there is no such server.
        McpError: Signing in does not work, or not now.
    """
    verb, _, rest = argument.strip().partition(" ")
    if not verb:
        return _overview(app)
    name, _, pasted = rest.strip().partition(" ")
    if verb != "login" or not name:
        raise UsageError(f"There is no /mcp {argument.strip()}", remedy=_USAGE)
    settings = app.mcp.servers.get(name)
    if settings is None:
        known = ", ".join(sorted(app.mcp.servers)) or "none"
        raise UsageError(f"There is no MCP server {name!r}", remedy=f"Configured servers: {known}")
    broker = app.mcp.broker()
    if pasted.strip():
        await broker.finish_login(name, pasted)
        app.mcp.signed_in(name)
        return f"You are signed in to {name}. Its tools work from the next message on."
    if settings.oauth.grant_type == "client_credentials":
        await broker.login(name, settings, show=None)
        app.mcp.signed_in(name)
        return f"{name} signs in by itself, and has a new token."
    url = await broker.begin_login(name, settings)
    minutes = max(1, round(settings.oauth.timeout / 60))
    return (
        f"Open this address to sign in to {name} (within {minutes} min):\n\n{url}\n\n"
        "The browser then goes to an address that begins with http://127.0.0.1. If it cannot be opened, "
        f"send that address here:\n/mcp login {name} ADDRESS"
    )


def _overview(app: App) -> str:
    servers = app.mcp.servers
    if not servers:
        return (
            "No MCP servers are configured. Add one: hermes mcp add NAME --command PROGRAM or --url ADDRESS"
        )
    lines = []
    for status in app.mcp.statuses():
        settings = servers.get(status.name)
        line = f"- {status.line}"
        if settings is not None and settings.auth == "oauth" and settings.url:
            sign_in = app.mcp.broker().status(status.name, settings)
            if sign_in.state == "needs_reauth":
                line = f"{line}\n  {sign_in.detail}: /mcp login {status.name}"
        lines.append(line)
    return "\n".join(lines)
