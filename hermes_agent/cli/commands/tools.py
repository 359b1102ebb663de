"""`hermes tools`."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import click

from hermes_agent.cli.options import Invocation
from hermes_agent.cli.pickers.prompter import Choice, Prompter, open_prompter
from hermes_agent.cli.pickers.toolsets import (
    LEAVES,
    PLATFORMS,
    UNITS,
    changed,
    check_platform,
    enabled_tools,
    listed_names,
    states,
    toolset_of,
    write_tools,
)
from hermes_agent.config.casting import nix_name, nix_value
from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.loading import load as load_late
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.services import ToolServices
from hermes_agent.tools.surfaces import TERMINAL, toolset_names
from hermes_agent.tools.toolsets import FACTORIES, TOOLSETS

_platform = click.option(
    "--platform",
    default=TERMINAL,
    show_default=True,
    metavar="NAME",
    help="The surface: cli, telegram, api-server …",
    shell_complete=lambda _ctx, _param, incomplete: [
        name for name in PLATFORMS if name.startswith(incomplete)
    ],
)


def _complete(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in (*LEAVES, *FACTORIES) if name.startswith(incomplete)]


@click.group("tools", invoke_without_command=True)
@_platform
@click.pass_context
def command(ctx: click.Context, platform: str) -> None:
    """Show or choose the tools the agent may use.

    Without a subcommand, turn tools on and off in a list; where nobody can choose, print the list.
    """
    if ctx.invoked_subcommand is not None:
        return
    invocation: Invocation = ctx.obj
    home = Home.from_environment()
    if not invocation.terminal.is_interactive:
        print_tools(load(home), platform)
        return
    _require_unmanaged(home, "hermes tools", platform)
    prompter = open_prompter(invocation.terminal, instead="hermes tools enable NAME, or disable")
    config = load(home)
    check_platform(platform, config.settings)
    picked = pick_tools(prompter, config, platform)
    if picked is None or set(picked) == set(enabled_tools(config.settings, platform)):
        click.echo("Nothing was changed.")
        return
    write_tools(config, platform, picked)
    _report(home, platform)


def pick_tools(prompter: Prompter, config: LoadedConfig, platform: str) -> tuple[str, ...] | None:
    """Ask which tools are on; None if the person skipped."""
    descriptions = _descriptions(config)
    enabled = enabled_tools(config.settings, platform)
    choices = [
        Choice(unit, ", ".join(members), descriptions.get(unit, ""), toolset_of(unit))
        for unit, members in UNITS
    ]
    on = frozenset(unit for unit, members in UNITS if set(members) & set(enabled))
    picked = prompter.check(f"Tools of {platform}", choices, on)
    if picked is None:
        return None
    wanted = {tool for unit, members in UNITS if unit in picked for tool in members}
    return tuple(tool for tool in FACTORIES if tool in wanted)


@command.command("list")
@_platform
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def list_(platform: str, as_json: bool) -> None:
    """List toolsets and tools, and whether they are on."""
    print_tools(load(Home.from_environment()), platform, as_json=as_json)


def print_tools(config: LoadedConfig, platform: str, *, as_json: bool = False) -> None:
    """Print which tools are on in a surface, as text or as one JSON object."""
    settings = config.settings
    check_platform(platform, settings)
    found = states(settings, platform)
    names = list(toolset_names(settings, platform))
    if as_json:
        tools = [{"name": each.name, "toolset": each.toolset, "enabled": each.is_enabled} for each in found]
        click.echo(json.dumps({"platform": platform, "toolsets": names, "tools": tools}, indent=2))
        return
    descriptions = _descriptions(config)
    click.echo(f"Tools of {platform} ({', '.join(names) or 'none'})")
    toolset = ""
    column = max((len(each.name) for each in found), default=0) + 2
    for each in found:
        if each.toolset != toolset:
            toolset = each.toolset
            click.echo(f"\n{toolset}")
        click.echo(
            f"  {'on ' if each.is_enabled else 'off'}  {each.name:<{column}}{descriptions.get(each.name, '')}"
        )
    own = [name for name in settings.custom_toolsets if name not in TOOLSETS]
    if own:
        click.echo(f"\nOwn toolsets: {', '.join(own)}")


@command.command("enable")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
@_platform
def enable(names: tuple[str, ...], platform: str) -> None:
    """Turn toolsets or single tools on."""
    _change(names, platform, is_enabled=True)


@command.command("disable")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
@_platform
def disable(names: tuple[str, ...], platform: str) -> None:
    """Turn toolsets or single tools off."""
    _change(names, platform, is_enabled=False)


def _change(names: tuple[str, ...], platform: str, *, is_enabled: bool) -> None:
    home = Home.from_environment()
    config = load(home)
    check_platform(platform, config.settings)
    after = changed(config.settings, platform, names, is_enabled=is_enabled)
    names_after = listed_names(config.settings, platform, after)
    _require_unmanaged(home, f"hermes tools {'enable' if is_enabled else 'disable'}", platform, names_after)
    if set(after) == set(enabled_tools(config.settings, platform)):
        click.echo(f"Already {'on' if is_enabled else 'off'}: {', '.join(names)}")
        return
    write_tools(config, platform, after)
    _report(home, platform)


def _report(home: Home, platform: str) -> None:
    enabled = enabled_tools(load(home).settings, platform)
    click.echo(f"On in {platform}: {', '.join(enabled) or 'nothing'}")
    click.echo("New sessions use it; running ones keep what they began with.")


def _require_unmanaged(home: Home, action: str, platform: str, names: list[str] | None = None) -> None:
    option = f"{OPTION_PREFIX}platform_toolsets.{nix_name(platform)}"
    line = f"{option} = {nix_value(names)};" if names is not None else None
    require_unmanaged(home, action, option, nix_line=line)


def _descriptions(config: LoadedConfig) -> dict[str, str]:
    """First sentence of each tool's description."""
    build = load_late("hermes_agent.tools.toolsets:build_tools")
    # Tools are only described here, never run: what they need may be anything.
    anything: Any = object()
    services = ToolServices(**{port.name: anything for port in fields(ToolServices)})
    tools = build(["all"], Settings(), config.home, Redactor(), services)
    return {tool.definition.name: _first_sentence(tool.definition.description) for tool in tools}


def _first_sentence(text: str) -> str:
    sentence = " ".join(text.split()).split(". ")[0].split(": ")[0].rstrip(".")
    return sentence if len(sentence) <= 90 else f"{sentence[:89].rsplit(' ', 1)[0]} …"
