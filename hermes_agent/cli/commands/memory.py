"""`hermes memory`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from hermes_agent.app.container import App
from hermes_agent.cli.commands.memory_service import ask_command, off_command, setup_command, status_command
from hermes_agent.core.memory import OWNER, MemoryChange, MemoryTarget
from hermes_agent.memory.files import FILE_NAMES
from hermes_agent.memory.format import one_line
from hermes_agent.memory.journal import Record, undone
from hermes_agent.memory.service import FileMemory

_user = click.option("--user", "about_user", is_flag=True, help="In USER.md: what is known of the person.")
_who = click.option(
    "--who", default=OWNER, metavar="ACCOUNT", help="Somebody else's memory, such as telegram:12345."
)


@click.group("memory", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show and change what the agent remembers."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show_command)


def _memory() -> FileMemory:
    return App.load().learning.memory


@command.command("show")
@_who
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def show_command(who: str = OWNER, as_json: bool = False) -> None:
    """Show every entry, when it was written and by whom."""
    memory = _memory()
    views = [memory.view_now(target, who) for target in FILE_NAMES]
    if as_json:
        click.echo(json.dumps({view.target: asdict(view) for view in views}, ensure_ascii=False, indent=2))
        return
    files = memory.files(who)
    for view in views:
        off = "" if memory.is_enabled(view.target) else ", switched off"
        click.echo(f"{files.path(view.target)}: {view.used_chars:,} of {view.limit_chars:,} characters{off}")
        for entry in view.entries:
            click.echo(f"  {_when(entry.added_at)}  {entry.origin:<7} {one_line(entry.text, 100)}")
        for warning in view.warnings:
            click.echo(f"  Warning: {warning}", err=True)
        click.echo()
    waiting = len(memory.queue.list())
    if waiting:
        click.echo(f"{waiting} waiting for your approval: hermes memory pending")


@command.command("add")
@click.argument("text")
@_user
@_who
def add_command(text: str, about_user: bool, who: str) -> None:
    """Remember something. Sessions that begin from now on know it."""
    change = MemoryChange("add", _target(about_user), text, principal=who, origin="person")
    click.echo(_memory().change_now(change, is_approved=True).text)


@command.command("remove")
@click.argument("text")
@_user
@_who
def remove_command(text: str, about_user: bool, who: str) -> None:
    """Forget the entry that contains TEXT."""
    change = MemoryChange("remove", _target(about_user), old_text=text, principal=who, origin="person")
    outcome = _memory().change_now(change, is_approved=True)
    click.echo(f"{outcome.summary}\nhermes memory undo brings it back.")


@command.command("history")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@_who
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def history_command(limit: int, who: str, as_json: bool) -> None:
    """List changes, the newest first."""
    records = _memory().files(who).journal.read()
    gone = undone(records)
    if not records:
        click.echo("Nothing was changed yet.", err=True)
    for record in reversed(records[-limit:]):
        if as_json:
            click.echo(json.dumps(asdict(record), ensure_ascii=False))
        else:
            click.echo(_line(record) + ("  (undone)" if record.id in gone else ""))


@command.command("undo")
@click.argument("number", type=int, required=False)
@_who
def undo_command(number: int | None, who: str) -> None:
    """Take back the newest change, or the one with this NUMBER (see history)."""
    record = _memory().files(who).undo(number)
    click.echo(f"Taken back: {_line(record)}")


@command.command("pending")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def pending_command(as_json: bool) -> None:
    """List changes that wait for your approval (memory.write_approval)."""
    waiting = _memory().queue.list()
    for item in waiting:
        if as_json:
            click.echo(json.dumps(asdict(item), ensure_ascii=False))
            continue
        change = item.change
        who = "" if change.principal == OWNER else f" ({change.principal})"
        what = " → ".join(one_line(part, 70) for part in (change.old_text, change.content) if part)
        click.echo(f"{item.id}  {_when(item.asked_at)}  {change.action} {change.target}{who}: {what}")
    if not waiting and not as_json:
        click.echo("Nothing waits for approval.")


@command.command("approve")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def approve_command(ids: tuple[str, ...]) -> None:
    """Make waiting changes."""
    memory = _memory()
    for identifier in ids:
        item = memory.queue.get(identifier)
        outcome = memory.change_now(item.change, is_approved=True)
        memory.queue.drop(identifier)
        click.echo(outcome.summary)


@command.command("reject")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def reject_command(ids: tuple[str, ...]) -> None:
    """Forget waiting changes."""
    memory = _memory()
    for identifier in ids:
        memory.queue.get(identifier)
        memory.queue.drop(identifier)
        click.echo(f"Rejected {identifier}.")


for _command in (status_command, setup_command, off_command, ask_command):
    command.add_command(_command)


def _target(about_user: bool) -> MemoryTarget:
    return "user" if about_user else "memory"


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(timestamp)) if timestamp else "unknown time    "


def _line(record: Record) -> str:
    gone = "; ".join(one_line(text) for _, text in record.removed)
    came = "; ".join(one_line(text) for _, text in record.added)
    what = " → ".join(part for part in (gone, came) if part) or "(nothing)"
    name = FILE_NAMES[record.target]
    return f"{record.id:>4}  {_when(record.time)}  {record.origin:<7} {record.action:<8} {name}: {what}"
