"""`hermes import`."""

from __future__ import annotations

from pathlib import Path

import click

from hermes_agent.config.managed import require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.store.restore import restore_backup


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-f", "--force", is_flag=True, help="Replace what is there; the present files are kept in backups/."
)
def command(file: Path, force: bool) -> None:
    """Restore a backup made with `hermes backup`.

    The archive is checked whole before anything is changed. It is refused while a session runs.
    """
    home = Home.from_environment()
    require_unmanaged(home, "hermes import")
    home.ensure()
    report = restore_backup(home.root, file.expanduser().absolute(), force=force)
    for name in report.damaged:
        click.echo(f"Note: {name} was damaged in the backup already; `hermes doctor` can mend it.", err=True)
    click.echo(f"Restored {report.files} files to {home.root}")
    if report.set_aside is not None:
        click.echo(f"What was there before is in {report.set_aside}")
