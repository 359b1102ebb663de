"""`hermes mcp add`, `install` and `catalog`."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Mapping
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.cli.commands.mcp_probe import enabled_settings, probe, show_probe
from hermes_agent.cli.commands.mcp_writing import (
    check_name,
    pairs,
    require_writable,
    save_server,
    split_secrets,
)
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.pickers.prompter import open_prompter
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load
from hermes_agent.mcp.known import KNOWN, get_known


@click.command("add")
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


@click.command("catalog")
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


@click.command("install")
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
    keys: dict[str, str] = {}
    for variable, about in known.keys.items():
        if not app.environ.get(variable):
            prompter = open_prompter(
                invocation.terminal, instead=f"hermes config set {variable} VALUE, first"
            )
            keys[variable] = prompter.ask_secret(f"{variable} ({about})") or ""
            if not keys[variable]:
                raise UsageError(f"{name} needs {variable}")
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
    _try_and_save(app, target, entry, no_test=no_test, keys=keys)


def _try_and_save(
    app: App, name: str, entry: dict[str, Any], *, no_test: bool, keys: Mapping[str, str] = {}
) -> None:
    """Connect, show the tools and save; nothing is saved if the server cannot be reached.

    Args:
        app: Whose configuration.
        name: Of the server.
        entry: What is to be saved; `auth` is added if the server wants it.
        no_test: Save without connecting.
        keys: Variables of the entry that were asked for just now.
    """
    settings = enabled_settings(app, entry, keys)
    if not no_test:
        click.echo(f"Connecting to {name} …", err=True)
        found = asyncio.run(probe(app, {name: settings}))[0]
        if found.state == "needs_reauth" and not (settings.auth or settings.headers):
            entry["auth"] = "oauth"
        show_probe(found, with_tools=True)
        if not found.is_usable:
            raise UsageError(
                "Nothing was saved", remedy="Correct it and try again, or save it as it is with --no-test"
            )
    for variable, value in keys.items():
        load("hermes_agent.config.env_file:set_variable")(app.home, variable, value)
    stored, secrets = split_secrets(name, entry)
    save_server(app.home, name, stored, secrets)
    click.echo(f"Saved {name} in {app.home.config_file}")
    for variable in (*keys, *secrets):
        click.echo(f"Its secret is in {app.home.env_file} as {variable}")
    click.echo("New sessions have its tools; a running one after /reload-mcp.")
