"""`hermes update`: which command brings this installation up to date."""

from __future__ import annotations

import click

from hermes_agent.cli.checks.installation import UPDATES, describe_installation
from hermes_agent.cli.options import Invocation
from hermes_agent.config.managed import require_unmanaged
from hermes_agent.config.paths import Home


@click.command("update")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show how this installation is brought up to date.

    Nothing is changed: the tool that installed hermes updates it.
    """
    invocation: Invocation = ctx.obj
    home = Home.from_environment()
    require_unmanaged(
        home,
        "hermes update",
        "services.hermes-agent.package",
        nix_line="# nothing, if it comes from the flake: nix flake update hermes-agent",
    )
    found = describe_installation(invocation.environ, home)
    click.echo(f"hermes-agent {found.version}, installed as: {found.method}")
    click.echo(f"Update:  {UPDATES[found.method]}")
    click.echo("A gateway that is running goes on with the old version until: hermes gateway restart")
