"""`hermes version`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from hermes_agent.cli.checks.installation import UPDATES, describe_installation
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.output import short_path
from hermes_agent.config.paths import Home


@click.command("version")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the version, where it runs and how it is brought up to date.

    Nothing is asked over the network.
    """
    invocation: Invocation = ctx.obj
    found = describe_installation(invocation.environ, Home.from_environment())
    if as_json:
        facts = {name: str(value) if value is not None else None for name, value in asdict(found).items()}
        click.echo(json.dumps({**facts, "update": UPDATES[found.method]}, indent=2))
        return
    revision = f" ({found.revision[:12]})" if found.revision else ""
    click.echo(f"hermes-agent {found.version}{revision}")
    rows = (
        ("Python", f"{found.python}, {short_path(found.executable)}"),
        ("System", found.system),
        ("Installed", f"{found.method}, {short_path(str(found.location))}"),
        ("Home", short_path(str(found.home))),
        ("Update", UPDATES[found.method]),
    )
    for label, text in rows:
        click.echo(f"{label + ':':<11}{text}")
