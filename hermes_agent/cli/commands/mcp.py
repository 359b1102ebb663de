"""`hermes mcp`."""

from __future__ import annotations

import asyncio
import json
import shlex
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.cli.commands.mcp_probe import Probe, enabled_settings, probe, show_probe
from hermes_agent.cli.commands.mcp_writing import (
    check_name,
    pairs,
    remove_server,
    require_writable,
    save_server,
    split_secrets,
)
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.pickers.prompter import Choice, open_prompter
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load
from hermes_agent.mcp.known import KNOWN, get_known

SUBCOMMANDS: dict[str, str] = {
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


@command.command("add")
@click.argument("name")
@click.argument("arguments", nargs=-1)
@click.option("--url", default="", metavar="ADDRESS", help="A remote server.")
@click.option("--command", "program", default="", metavar="PROGRAM", help="A program to start.")
@click.option("--args", "more", multiple=True, metavar="TEXT", help="Its arguments (or write them after --).")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable for the program.")
@click.option("--header", multiple=True, metavar="NAME=VALUE", help="Sent with every request.")
@click.option("--auth", type=click.Choice(["oauth"]), help="Sign in with OAuth.")
@click.option("--transport", type=click.Choice(["http", "sse"]), help="How the address speaks.")
@click.option("--preset", default="", metavar="NAME", help="Take what the catalogue says about it.")
@click.option("--no-test", is_flag=True, help="Save it without connecting.")
@click.option("--force", is_flag=True, help="Replace a server of this name.")
@click.pass_context
def add(ctx: click.Context, /, name: str, arguments: tuple[str, ...], preset: str, **given: Any) -> None:
    """Add a server: connect to it, show its tools, save it.

    \b
    hermes mcp add files --command npx -- -y @modelcontextprotocol/server-filesystem /data
    hermes mcp add tracker --url https://example.org/mcp --auth oauth
    """
    if preset:
        ctx.invoke(install, name=preset, directory=None, as_name=name, no_test=given["no_test"])
        return
    check_name(name)
    app = App.load()
    require_writable(app.home, "hermes mcp add", name)
    if name in app.settings.mcp_servers and not given["force"]:
        raise UsageError(
            f"There is a server {name!r} already", remedy="Choose another name, or replace it with --force"
        )
    if bool(given["url"]) == bool(given["program"]):
        raise UsageError("Give either --url or --command")
    entry: dict[str, Any] = {}
    if given["program"]:
        first, *rest = shlex.split(given["program"])
        entry["command"] = first
        words = [*rest, *(word for text in given["more"] for word in shlex.split(text)), *arguments]
        if words:
            entry["args"] = words
    else:
        if arguments:
            raise UsageError(f"A remote server takes no arguments: {' '.join(arguments)}")
        entry["url"] = given["url"]
    for key, values in (("env", given["env"]), ("headers", given["header"])):
        if values:
            entry[key] = pairs(values, f"--{'header' if key == 'headers' else key}")
    entry |= {key: given[key] for key in ("auth", "transport") if given[key]}
    _try_and_save(app, name, entry, no_test=given["no_test"])


def _try_and_save(app: App, name: str, entry: dict[str, Any], *, no_test: bool) -> None:
    """Connect, show the tools and save; nothing is saved if the server cannot be reached."""
    settings = enabled_settings(app, entry)
    if not no_test:
        click.echo(f"Connecting to {name} …", err=True)
        found = asyncio.run(probe(app, {name: settings}))[0]
        show_probe(found, with_tools=True)
        if not found.is_usable:
            raise UsageError(
                "Nothing was saved", remedy="Correct it and try again, or save it as it is with --no-test"
            )
    stored, secrets = split_secrets(name, entry)
    save_server(app.home, name, stored, secrets)
    click.echo(f"Saved {name} in {app.home.config_file}")
    for variable in secrets:
        click.echo(f"Its secret is in {app.home.env_file} as {variable}")
    click.echo("New sessions have its tools; a running one after /reload-mcp.")


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


@command.command("catalog")
@click.argument("search", default="")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def catalog(search: str, as_json: bool) -> None:
    """List well-known servers."""
    found = [each for each in KNOWN if search.lower() in f"{each.name} {each.summary}".lower()]
    if as_json:
        rows = [{"name": each.name, "summary": each.summary, "needs": each.needs} for each in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for each in found:
        click.echo(f"{each.name:<20} {each.summary}" + (f" (needs {each.needs})" if each.needs else ""))
    click.echo("\nInstall one: hermes mcp install NAME" if found else f"Nothing fits {search!r}.")


@command.command("install")
@click.argument(
    "name",
    shell_complete=lambda _ctx, _parameter, text: [each.name for each in KNOWN if each.name.startswith(text)],
)
@click.option("--directory", metavar="PATH", help="For servers that work in one directory.")
@click.option("--as", "as_name", default="", metavar="NAME", help="Under another name.")
@click.option("--no-test", is_flag=True, help="Save it without connecting.")
@click.pass_context
def install(ctx: click.Context, name: str, directory: str | None, as_name: str, no_test: bool) -> None:
    """Add a well-known server; asks for the keys it needs and keeps them in .env."""
    known = get_known(name)
    app = App.load()
    target = as_name or name
    check_name(target)
    require_writable(app.home, "hermes mcp install", target)
    if target in app.settings.mcp_servers:
        raise UsageError(f"There is a server {target!r} already", remedy="Choose another name with --as")
    invocation: Invocation = ctx.obj
    for variable, about in known.keys.items():
        if not app.environ.get(variable):
            prompter = open_prompter(
                invocation.terminal, instead=f"hermes config set {variable} VALUE, first"
            )
            value = prompter.ask_secret(f"{variable} ({about})")
            if not value:
                raise UsageError(f"{name} needs {variable}")
            load("hermes_agent.config.env_file:set_variable")(app.home, variable, value)
            app = App.load()
    entry: dict[str, Any] = {}
    if known.url:
        entry["url"] = known.url
        entry |= {"headers": dict(known.headers)} if known.headers else {}
        entry |= {"auth": known.auth} if known.auth else {}
    else:
        if "{directory}" in known.command and not directory:
            prompter = open_prompter(
                invocation.terminal, instead=f"hermes mcp install {name} --directory PATH"
            )
            directory = prompter.ask("Directory", str(app.home.root))
        words = [word.replace("{directory}", directory or "") for word in known.command]
        entry = {"command": words[0], "args": words[1:]}
    _try_and_save(app, target, entry, no_test=no_test)


def _require_known(app: App, name: str) -> McpServerSettings:
    settings = app.settings.mcp_servers.get(name)
    if settings is None:
        known = ", ".join(sorted(app.settings.mcp_servers)) or "none"
        raise UsageError(f"There is no MCP server {name!r}", remedy=f"Configured servers: {known}")
    return settings
