"""`hermes backup`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from hermes_agent.config.paths import Home
from hermes_agent.store.backup import create_backup


@click.command("backup")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The archive; default: backups/ in the state directory.",
)
@click.option(
    "--quick",
    "is_quick",
    is_flag=True,
    help="Only conversations, settings, secrets, persona, memories and jobs.",
)
def command(output: Path | None, is_quick: bool) -> None:
    """Save the state directory to a zip file.

    It may run while hermes is in use. Caches, checkpoints, logs of databases and locks are left out. The
    archive holds your keys (.env): keep it where nobody else can read it.
    """
    home = Home.from_environment()
    target = output.expanduser() if output else home.backups / time.strftime("hermes-%Y%m%d-%H%M%S.zip")
    if target.is_dir():
        target /= time.strftime("hermes-%Y%m%d-%H%M%S.zip")
    report = create_backup(home.root, target.absolute(), is_quick=is_quick)
    for name, reason in report.left_out:
        click.echo(f"Note: {name}: {reason}", err=True)
    click.echo(f"Saved {report.files} files ({report.size / 1e6:.1f} MB) to {report.path}")
    if (home.env_file).exists() or home.auth_file.exists():
        click.echo("It holds your keys: keep it where nobody else can read it.")
    click.echo(f"Restore it with: hermes import {report.path}")
