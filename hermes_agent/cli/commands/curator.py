"""`hermes curator`."""

from __future__ import annotations

import time

import click

from hermes_agent.app.container import App
from hermes_agent.skills.curator import Curator, summary
from hermes_agent.skills.usage import SkillUsage


@click.group("curator", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Look after the skills that the agent wrote; yours are never touched."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(status_command)


def _curator() -> Curator:
    return App.load().learning.curator()


@command.command("status")
def status_command() -> None:
    """Say when it ran, and what it looks after."""
    app = App.load()
    settings, curator = app.settings.curator, app.learning.curator()
    state, library = curator.state(), app.learning.skills.library
    word = "off (curator.enabled)" if not settings.enabled else "paused" if state.is_paused else "on"
    last = (
        time.strftime("%Y-%m-%d %H:%M", time.localtime(state.last_run_at)) if state.last_run_at else "never"
    )
    click.echo(f"Curator: {word}; last round: {last}; every {settings.interval_hours:g} hours")
    usage = library.usage.read()
    for skill in library.discover().skills:
        figures = usage.get(skill.name, SkillUsage())
        if skill.source == "agent":
            click.echo(f"  {skill.name}: {figures.state}{', pinned' if figures.pinned else ''}")
    click.echo(f"Archived: {len(curator.archived())}; backups: {len(curator.backups())}")


@command.command("run")
@click.option("--dry-run", is_flag=True, help="Change nothing, write the report.")
def run_command(dry_run: bool) -> None:
    """Do a round now."""
    done = _curator().run(is_dry=dry_run)
    click.echo(f"{'Would be: ' if dry_run else ''}{summary(done)}")
    for decision in done.decisions:
        if decision.action != "keep":
            click.echo(f"  {decision.action} {decision.name}: {decision.reason}")
    click.echo(f"Report: {done.report}")


@command.command("pause")
def pause_command() -> None:
    """No automatic rounds until resume."""
    _curator().pause(True)
    click.echo("Paused.")


@command.command("resume")
def resume_command() -> None:
    """Automatic rounds again."""
    _curator().pause(False)
    click.echo("Resumed.")


@command.command("pin")
@click.argument("name")
def pin_command(name: str) -> None:
    """Keep a skill whatever happens."""
    _curator().pin(name, True)
    click.echo(f"Pinned {name}.")


@command.command("unpin")
@click.argument("name")
def unpin_command(name: str) -> None:
    """Treat a skill like the others again."""
    _curator().pin(name, False)
    click.echo(f"Unpinned {name}.")


@command.command("archive")
@click.argument("name")
def archive_command(name: str) -> None:
    """Put a skill away; restore brings it back."""
    click.echo(f"Archived: {_curator().archive(name)}")


@command.command("restore")
@click.argument("name")
def restore_command(name: str) -> None:
    """Bring a skill back from the archive."""
    click.echo(f"Restored: {_curator().restore(name)}")


@command.command("list-archived")
def list_archived_command() -> None:
    """List the archive."""
    click.echo("\n".join(_curator().archived()) or "The archive is empty.")


@command.command("prune")
@click.option("--days", type=click.FloatRange(min=1), default=90, show_default=True, help="Without use.")
def prune_command(days: float) -> None:
    """Archive the agent's skills that were not used for so many days."""
    names = _curator().prune(days)
    click.echo(f"Archived: {', '.join(names)}" if names else "Nothing to archive.")


@command.command("backup")
def backup_command() -> None:
    """Save all skills."""
    click.echo(f"Saved: {_curator().backup()}")


@command.command("rollback")
def rollback_command() -> None:
    """Put the skills back as the newest backup has them."""
    used, saved = _curator().rollback()
    click.echo(f"Back to {used}. How it was before is in {saved}.")
