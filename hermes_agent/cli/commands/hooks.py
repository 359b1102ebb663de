"""`hermes hooks`: programs of yours that are told what happens in the gateway."""

from __future__ import annotations

import asyncio
import json

import click

from hermes_agent.app.container import App
from hermes_agent.app.messaging import hook_environment
from hermes_agent.core.errors import UsageError
from hermes_agent.gateway.hooks import EVENTS, HookSpec, example_context, names, read_hooks, try_hook


@click.group("hooks")
def command() -> None:
    """Programs of yours that are told what happens in the gateway (docs/hooks.md)."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
def list_(as_json: bool) -> None:
    """List the hooks, and what is wrong with those that cannot be used."""
    home = App.load().home
    found = read_hooks(home.hooks)
    if not found and not as_json:
        click.echo(f"There are no hooks in {home.hooks}. docs/hooks.md shows how one is made.")
    for spec in found:
        if as_json:
            entry = {"name": spec.name, "events": list(spec.events), "description": spec.description}
            click.echo(json.dumps({**entry, "problem": spec.problem}, ensure_ascii=False))
        elif spec.problem:
            click.echo(f"{spec.name:<20} not used: {spec.problem}")
        else:
            click.echo(f"{spec.name:<20} {', '.join(spec.events)}  {spec.description}".rstrip())


@command.command("test")
@click.argument("name")
@click.option("--event", help="Default: the first that the hook asks for.")
@click.option("--context", "text", help="JSON object; default: made-up values.")
def test(name: str, event: str | None, text: str | None) -> None:
    """Let a hook handle an event now. What it prints is shown; an error ends with exit code 1."""
    app = App.load()
    spec = _find(read_hooks(app.home.hooks), name)
    chosen = event or _concrete(spec.events[0])
    seconds = asyncio.run(try_hook(spec, chosen, _context(chosen, text), hook_environment(app)))
    click.echo(f"{name} handled {chosen} in {seconds * 1000:.0f} ms.")
    if event and not spec.wants(event):
        click.echo(f"In the gateway it would not be told: HOOK.yaml names {', '.join(spec.events)}.")


def _find(found: list[HookSpec], name: str) -> HookSpec:
    spec = next((each for each in found if each.name == name), None)
    if spec is None:
        raise UsageError(f"There is no hook {name!r}", remedy=f"There are: {names(found)}")
    if spec.problem:
        raise UsageError(f"The hook {name!r} cannot be used", why=spec.problem)
    return spec


def _concrete(pattern: str) -> str:
    if pattern.startswith("command:"):
        return pattern.replace("*", "help")
    return next((event for event in EVENTS if pattern in (event, "*") or "*" in pattern), pattern)


def _context(event: str, text: str | None) -> dict[str, object]:
    if text is None:
        return example_context(event)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError("--context is not JSON", why=str(error)) from error
    if not isinstance(found, dict):
        raise UsageError("--context is not a JSON object")
    return found
