"""`hermes checkpoints`: snapshots of files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from hermes_agent.agent.checkpoints import snapshots_text
from hermes_agent.app.checkpoints import checkpoint_store
from hermes_agent.app.container import App
from hermes_agent.cli.commands.sessions_view import when
from hermes_agent.environments.checkpoints import GitCheckpoints


@click.group("checkpoints", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Snapshots taken before the agent changed files; /rollback in a chat brings them back."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_command)


def _store() -> GitCheckpoints:
    return checkpoint_store(App.load())


@command.command("list")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
def list_command(directory: Path | None = None) -> None:
    """List directories with snapshots, or the snapshots of one."""
    store = _store()
    if directory is not None:
        place = str(directory.absolute())
        click.echo(snapshots_text(asyncio.run(store.snapshots(place)), place))
        return
    found = asyncio.run(store.directories())
    if not found:
        click.echo("There are no snapshots. They are taken when checkpoints.enabled is true.")
    for item in found:
        click.echo(f"{item.snapshots:>4}  {when(item.newest_at):<12}  {item.directory}")


@command.command("diff")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("number", type=click.IntRange(min=1))
def diff_command(directory: Path, number: int) -> None:
    """Show what has changed in DIRECTORY since snapshot NUMBER."""
    click.echo(asyncio.run(_store().diff(str(directory.absolute()), number)) or "Nothing has changed since.")


@command.command("restore")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.argument("number", type=click.IntRange(min=1))
@click.argument("file", required=False)
def restore_command(directory: Path, number: int, file: str | None) -> None:
    """Bring DIRECTORY, or one FILE in it, back to snapshot NUMBER. How it is now is kept as a snapshot."""
    done = asyncio.run(_store().restore(str(directory.absolute()), number, file))
    for name in done.written:
        click.echo(f"restored {name}")
    for name in done.removed:
        click.echo(f"removed {name}")
    if not done.written and not done.removed:
        click.echo("Everything was like that already.")


@command.command("prune")
@click.option("--all", "everything", is_flag=True, help="Forget every snapshot.")
def prune_command(everything: bool) -> None:
    """Forget snapshots that are too old, too many or too large."""
    count = asyncio.run(_store().prune(everything=everything))
    click.echo(f"Forgot {count} snapshot{'' if count == 1 else 's'}.")
