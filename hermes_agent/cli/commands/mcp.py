"""`hermes mcp`."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.cli.commands.mcp_probe import Probe, probe, show_probe
from hermes_agent.cli.commands.mcp_writing import remove_server, require_writable
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.pickers.prompter import Choice, open_prompter
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load

SUBCOMMANDS: dict[str, str] = {
    "add": "hermes_agent.cli.commands.mcp_adding:add",
    "catalog": "hermes_agent.cli.commands.mcp_adding:catalog",
    "install": "hermes_agent.cli.commands.mcp_adding:install",
    "login": "hermes_agent.cli.commands.mcp_login:login",
    "logout": "hermes_agent.cli.commands.mcp_login:logout",
    "serve": "hermes_agent.cli.commands.mcp_serve:serve",
}
"""Further subcommands: name to `module:attr`, loaded when they are used."""

EXIT_FAILED = 1


class _Group(click.Group):
    """A group with subcommands in other modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        return sorted({*super().list_commands(ctx), *SUBCOMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        if cmd_name in SUBCOMMANDS:
            command: click.Command = load(SUBCOMMANDS[cmd_name])
            return command
        return super().get_command(ctx, cmd_name)


def _complete(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in App.load().settings.mcp_servers if name.startswith(incomplete)]


_name = click.argument("name", shell_complete=_complete)


@click.group("mcp", cls=_Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Connect servers of the Model Context Protocol, and see how they stand."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def list_(as_json: bool) -> None:
    """List the servers and what is known of them, without connecting."""
    app = App.load()
    rows = asyncio.run(_known_statuses(app))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("No MCP servers. Add one: hermes mcp add NAME --command PROGRAM or --url ADDRESS")
        click.echo("Well-known ones: hermes mcp catalog")
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        count = f"{row['tools']} tools" if row["is_known"] else "not connected yet"
        state = count if row["enabled"] else "disabled"
        if row["enabled"] and row["auth_state"] == "needs_reauth":
            state = "needs_reauth"
        click.echo(f"{row['name']:<{width}}  {row['transport']:<5}  {state:<18} {row['target']}")
        if row["enabled"] and row["auth_detail"]:
            click.echo(f"{'':<{width}}  sign-in: {row['auth_detail']}")
        for tool, reason in row["rejected"].items():
            click.echo(f"{'':<{width}}  left out: {tool} ({reason})")


def _sign_in(app: App, name: str, settings: McpServerSettings) -> dict[str, str]:
    """How signing in stands: `auth_state` is `authorized`, `needs_reauth`, `unavailable` or empty."""
    if settings.auth != "oauth" or not settings.url:
        return {"auth_state": "", "auth_detail": ""}
    status = app.mcp.broker().status(name, settings)
    advice = f"; hermes mcp login {name}" if status.state == "needs_reauth" else ""
    return {"auth_state": status.state, "auth_detail": f"{status.detail}{advice}"}


async def _known_statuses(app: App) -> list[dict[str, Any]]:
    servers = app.settings.mcp_servers
    manager = app.mcp.build(servers)
    try:
        statuses = {status.name: status for status in manager.statuses()}
        return [
            {
                "name": name,
                "enabled": settings.enabled,
                "transport": (settings.transport or "http") if settings.url else "stdio",
                "target": app.redactor.redact(settings.url or shlex.join([settings.command, *settings.args])),
                "auth": settings.auth,
                **_sign_in(app, name, settings),
                "tools": statuses[name].tools,
                "is_known": settings.enabled and not manager.unknown([name]),
                "rejected": dict(statuses[name].rejected),
            }
            for name, settings in sorted(servers.items())
        ]
    finally:
        await manager.aclose()


@command.command("test")
@click.argument("names", nargs=-1, shell_complete=_complete)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.option("--quiet", "-q", is_flag=True, help="Do not list the tools.")
@click.pass_context
def test(ctx: click.Context, names: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Connect to servers and show their tools. Exits with 1 if one cannot be used."""
    found = _probe_named(names)
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found], indent=2))
    else:
        for each in found:
            show_probe(each, with_tools=not quiet)
    if not all(each.is_usable for each in found):
        ctx.exit(EXIT_FAILED)


@command.command("reload")
@click.argument("names", nargs=-1, shell_complete=_complete)
@click.pass_context
def reload(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Learn the tools of servers anew, for the sessions that come."""
    found = _probe_named(names)
    for each in found:
        show_probe(each, with_tools=False)
    click.echo("New sessions use this; in a running one, type /reload-mcp.")
    if not all(each.is_usable for each in found):
        ctx.exit(EXIT_FAILED)


def _probe_named(names: tuple[str, ...]) -> list[Probe]:
    app = App.load()
    servers = app.settings.mcp_servers
    for name in names:
        _require_known(app, name)
    chosen = {name: servers[name] for name in names or servers if names or servers[name].enabled}
    if not chosen:
        raise UsageError(
            "No MCP servers are configured", remedy="Add one: hermes mcp add NAME --command PROGRAM"
        )
    enabled = {name: settings.model_copy(update={"enabled": True}) for name, settings in chosen.items()}
    return asyncio.run(probe(app, enabled))


@command.command("configure")
@_name
@click.option("--include", multiple=True, metavar="TOOL", help="Offer only these tools.")
@click.option("--exclude", multiple=True, metavar="TOOL", help="Offer all but these.")
@click.option("--all", "everything", is_flag=True, help="Offer all tools.")
@click.option("--enable/--disable", "enabled", default=None, help="Use it, or leave it aside.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds for one call.")
@click.option("--parallel/--no-parallel", default=None, help="Its tools may run beside each other.")
@click.pass_context
def configure(ctx: click.Context, /, name: str, **given: Any) -> None:
    """Choose a server's tools (in a list, or with options) and how it is used."""
    app = App.load()
    _require_known(app, name)
    require_writable(app.home, "hermes mcp configure", name)
    if given["include"] and given["exclude"]:
        raise UsageError("Give --include or --exclude, not both")
    changes: dict[str, Any] = {}
    if given["include"] or given["exclude"] or given["everything"]:
        changes |= {"tools.include": list(given["include"]), "tools.exclude": list(given["exclude"])}
    for key, option in (
        ("enabled", "enabled"),
        ("timeout", "timeout"),
        ("supports_parallel_tool_calls", "parallel"),
    ):
        if given[option] is not None:
            changes[key] = given[option]
    if not changes:
        invocation: Invocation = ctx.obj
        picked = _pick_tools(app, name, invocation)
        if picked is None:
            click.echo("Nothing was changed.")
            return
        changes = {"tools.include": picked, "tools.exclude": []}
    set_value = load("hermes_agent.config.editor:set_value")
    for key, value in changes.items():
        set_value(app.home, f"mcp_servers.{name}.{key}", value)
    click.echo(f"Changed {name}: {', '.join(changes)}")
    click.echo("New sessions use it; a running one after /reload-mcp.")


def _pick_tools(app: App, name: str, invocation: Invocation) -> list[str] | None:
    """Ask which tools are offered; an empty list means all."""
    prompter = open_prompter(
        invocation.terminal, instead=f"hermes mcp configure {name} --include TOOL … or --exclude TOOL …"
    )
    settings = app.settings.mcp_servers[name]
    unfiltered = settings.model_copy(update={"enabled": True, "tools": type(settings.tools)()})
    found = asyncio.run(probe(app, {name: unfiltered}))[0]
    if not found.is_usable:
        show_probe(found, with_tools=False)
        return None
    choices = [Choice(tool.original, tool.original, tool.summary) for tool in found.tools if tool.original]
    is_wanted = load("hermes_agent.mcp.offering:is_wanted")
    on = frozenset(choice.value for choice in choices if is_wanted(choice.value, settings.tools))
    picked = prompter.check(f"Tools of {name}", choices, on)
    if picked is None:
        return None
    if not picked and choices:
        raise UsageError(
            "No tool would be left",
            remedy=f"To leave the server aside: hermes mcp configure {name} --disable",
        )
    return [] if len(picked) == len(choices) else sorted(picked)


@command.command("remove")
@_name
@click.option("--yes", "-y", "is_confirmed", is_flag=True, help="Do not ask.")
@click.pass_context
def remove(ctx: click.Context, name: str, is_confirmed: bool) -> None:
    """Remove a server from the configuration."""
    app = App.load()
    _require_known(app, name)
    require_writable(app.home, "hermes mcp remove", name)
    if not is_confirmed:
        invocation: Invocation = ctx.obj
        prompter = open_prompter(invocation.terminal, instead=f"hermes mcp remove {name} --yes")
        if not prompter.confirm(f"Remove MCP server {name}?", default=False):
            click.echo("Nothing was changed.")
            return
    left = remove_server(app.home, name, app.settings.mcp_servers[name])
    load("hermes_agent.mcp.catalogue:CatalogueCache")(app.home.cache / "mcp").forget(name)
    asyncio.run(app.mcp.broker().remove(name))
    click.echo(f"Removed {name}.")
    if left:
        click.echo(f"Its secrets are gone from {app.home.env_file}: {', '.join(left)}")


def _require_known(app: App, name: str) -> McpServerSettings:
    settings = app.settings.mcp_servers.get(name)
    if settings is None:
        known = ", ".join(sorted(app.settings.mcp_servers)) or "none"
        raise UsageError(f"There is no MCP server {name!r}", remedy=f"Configured servers: {known}")
    return settings
