"""`hermes skills`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from hermes_agent.app.container import App
from hermes_agent.config.loader import load
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load as load_late
from hermes_agent.skills.discovery import MAIN_FILE, list_files
from hermes_agent.skills.edits import diff
from hermes_agent.skills.front_matter import SkillFormatError, parse
from hermes_agent.skills.library import SkillLibrary, describe
from hermes_agent.skills.usage import SkillUsage


@click.group("skills", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List skills, judge the agent's proposals, see how they are used."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_command)


def _library() -> SkillLibrary:
    library = App.load().learning.skills.library
    library.sync_bundled()
    return library


def _complete(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    names = [skill.name for skill in App.load().learning.skills.library.discover().skills]
    return [name for name in names if name.startswith(incomplete)]


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_command(as_json: bool = False) -> None:
    """List all skills."""
    library = _library()
    found, usage = library.discover(), library.usage.read()
    usable = {skill.name for skill in library.usable().skills}
    for skill in found.skills:
        figures = usage.get(skill.name, SkillUsage())
        if as_json:
            data = {
                "name": skill.name,
                "description": skill.front.description,
                "source": skill.source,
                "enabled": skill.name in usable,
                "path": str(skill.folder),
                "usage": asdict(figures),
            }
            click.echo(json.dumps(data, ensure_ascii=False))
            continue
        state = "on " if skill.name in usable else "off"
        click.echo(f"{state} {skill.name:<24} {skill.source:<8} {_cut(skill.front.description, 80)}")
    if as_json:
        return
    if not found.skills:
        click.echo(f"There are no skills. They are folders in {library.root}.")
    for problem in found.problems:
        click.echo(f"Not usable: {problem}", err=True)
    if waiting := len(library.proposals.list()):
        click.echo(f"\n{waiting} proposed by the agent: hermes skills proposals")


@command.command("show")
@click.argument("name", shell_complete=_complete)
def show_command(name: str) -> None:
    """Show a skill: where it is, how it is used, its instructions."""
    library = _library()
    skill = next((each for each in library.discover().skills if each.name == name), None)
    if skill is None:
        raise UsageError(f"There is no skill {name!r}", remedy="hermes skills list shows them.")
    figures = library.usage.read().get(name, SkillUsage())
    click.echo(f"{skill.folder / MAIN_FILE} ({skill.source})")
    used = f"last used {_when(figures.last_used_at)}" if figures.last_used_at else "not used yet"
    click.echo(f"Called {figures.use_count} times, read {figures.view_count} times, {used}.")
    if files := list_files(skill.folder):
        click.echo(f"Other files: {', '.join(files)}")
    click.echo()
    click.echo((skill.folder / MAIN_FILE).read_text(encoding="utf-8").rstrip())


@command.command("check")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def check_command(folder: Path) -> None:
    """Check a skill folder before it is used."""
    try:
        front, body = parse((folder / MAIN_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SkillFormatError) as error:
        raise UsageError(f"{folder / MAIN_FILE} is not valid", why=str(error)) from error
    click.echo(f"{front.name}: {front.description}")
    click.echo(f"Valid; {len(body):,} characters of instructions.")


@command.command("enable")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
def enable_command(names: tuple[str, ...]) -> None:
    """Offer skills again."""
    _switch(names, is_enabled=True)


@command.command("disable")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
def disable_command(names: tuple[str, ...]) -> None:
    """Offer skills no longer; their folders stay."""
    _switch(names, is_enabled=False)


def _switch(names: tuple[str, ...], *, is_enabled: bool) -> None:
    home = Home.from_environment()
    library = _library()
    known = {skill.name for skill in library.discover().skills}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"There is no skill {unknown[0]!r}", remedy="hermes skills list shows them.")
    disabled = [name for name in load(home).settings.skills.disabled if name not in names]
    if not is_enabled:
        disabled += [name for name in names if name not in disabled]
    action = f"hermes skills {'enable' if is_enabled else 'disable'}"
    option = f"{OPTION_PREFIX}skills.disabled"
    line = f"{option} = {load_late('hermes_agent.config.casting:nix_value')(disabled)};"
    require_unmanaged(home, action, option, nix_line=line)
    load_late("hermes_agent.config.editor:set_value")(home, "skills.disabled", disabled)
    click.echo(f"{'On' if is_enabled else 'Off'}: {', '.join(names)}. New sessions use it.")


@command.command("proposals")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def proposals_command(as_json: bool) -> None:
    """List what the agent proposes."""
    waiting = _library().proposals.list()
    if as_json:
        for item in waiting:
            click.echo(json.dumps({**asdict(item), "diff": diff(item.edits)}, ensure_ascii=False))
    elif waiting:
        click.echo(describe(waiting))
        click.echo("\nhermes skills diff ID shows one; approve ID, or reject ID decides.")
    else:
        click.echo("Nothing is proposed.")


@command.command("diff")
@click.argument("reference", metavar="ID|NAME")
@click.argument("version", required=False)
def diff_command(reference: str, version: str | None) -> None:
    """Show what a proposal, or a VERSION of a skill, changes."""
    library = _library()
    if version is None:
        record = library.proposal(reference)
    else:
        found = [item for item in library.versions(reference) if item.id == version]
        if not found:
            raise UsageError(f"The skill {reference!r} has no version {version!r}")
        record = found[0]
    click.echo(f"{record.action} {record.name}, by {record.origin}, {_when(record.time)}")
    click.echo(diff(record.edits) or "The whole skill goes to the archive.")


@command.command("approve")
@click.argument("references", nargs=-1, required=True, metavar="ID...")
def approve_command(references: tuple[str, ...]) -> None:
    """Make proposed changes."""
    library = _library()
    for reference in references:
        record = library.approve(reference)
        click.echo(f"Done: {record.action} {record.name} (version {record.id})")


@command.command("reject")
@click.argument("references", nargs=-1, required=True, metavar="ID...")
def reject_command(references: tuple[str, ...]) -> None:
    """Forget proposals."""
    library = _library()
    for reference in references:
        click.echo(f"Rejected: {library.reject(reference).name}")


@command.command("versions")
@click.argument("name", shell_complete=_complete)
def versions_command(name: str) -> None:
    """List the changes made to a skill through hermes."""
    known = _library().versions(name)
    click.echo(describe(known) if known else "No change was made through hermes.")


@command.command("undo")
@click.argument("name", shell_complete=_complete)
def undo_command(name: str) -> None:
    """Take back the newest change to a skill."""
    record = _library().undo(name)
    click.echo(f"Taken back: {record.action} of {name} (version {record.id})")


@command.command("sync")
def sync_command() -> None:
    """Bring the skills that come with the program; changed ones of yours stay as they are."""
    done = App.load().learning.skills.library.sync_bundled()
    for word, names in (("Added", done.added), ("Updated", done.updated), ("Kept yours", done.kept)):
        if names:
            click.echo(f"{word}: {', '.join(names)}")
    if not (done.added or done.updated):
        click.echo("Nothing new.")


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(timestamp))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
