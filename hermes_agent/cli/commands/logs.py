"""`hermes logs`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import click

from hermes_agent.app.logging import log_file, log_generations
from hermes_agent.cli.log_reader import LEVELS, Filter, Follower, follow, newest_records, parse_since
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.output import write_all
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import StoreError

LOGS = ("agent", "errors", "gateway")
_COLORS = {"DEBUG": "bright_black", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@click.command("logs")
@click.argument(
    "name", type=click.Choice((*LOGS, "list")), default="agent", metavar="[agent|errors|gateway|list]"
)
@click.option(
    "-n",
    "--lines",
    "count",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Newest records to show.",
)
@click.option(
    "-f", "--follow", "is_following", is_flag=True, help="Go on showing what is added; Ctrl+C ends it."
)
@click.option(
    "--level", type=click.Choice(LEVELS, case_sensitive=False), help="This level and more important ones."
)
@click.option("--session", metavar="ID", default="", help="Records of one session (start of its id).")
@click.option("--since", metavar="WHEN", help="Not before: 30m, 2h, 1d, 14:00, 2026-01-31.")
@click.option(
    "--component", metavar="NAME", default="", help="Records of one part: agent, models, store, cli …"
)
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    count: int,
    is_following: bool,
    level: str | None,
    session: str,
    since: str | None,
    component: str,
) -> None:
    """Show the log files.

    `agent` has everything from `logging.level` upwards, `errors` warnings and errors, `gateway` what the
    gateway says. `list` names the files and their sizes.
    """
    invocation: Invocation = ctx.obj
    home = Home.from_environment()
    if name == "list":
        _list(home)
        return
    now = datetime.now()  # noqa: DTZ005 - records carry local time
    wanted = Filter((level or "").upper(), session, parse_since(since, now) if since else None, component)
    path = log_file(home, name)
    color = invocation.terminal.color_stdout
    follower = Follower(path, wanted) if is_following else None  # first, so that nothing falls between
    try:
        records = newest_records(path, count, wanted) if count else []
    except OSError as error:
        raise StoreError(f"Cannot read {path}", why=error.strerror) from error
    _write((line for record in records for line in record.splitlines(keepends=True)), color)
    if not records and count:
        _explain_silence(path, wanted)
    if follower is not None:
        with closing(follower):
            for lines in follow(follower):
                _write(lines, color)


def _write(lines: Iterable[str], color: bool) -> None:
    text = "".join(_painted(line) if color else line for line in lines)
    if text:
        write_all(text if text.endswith("\n") else text + "\n")


def _painted(line: str) -> str:
    words = line.split(" ", 3)
    style = _COLORS.get(words[2], "") if len(words) > 3 else ""
    return click.style(line.rstrip("\n"), fg=style) + "\n" if style else line


def _explain_silence(path: Path, wanted: Filter) -> None:
    """Say on standard error why nothing is shown."""
    if not log_generations(path):
        click.echo(f"There is no {path} yet: nothing has been logged.", err=True)
    elif wanted == Filter():
        click.echo(f"{path} is empty.", err=True)
    else:
        click.echo(f"No record in {path} matches.", err=True)


def _list(home: Home) -> None:
    found = False
    for path in sorted(home.logs.glob("*.log")):
        files = log_generations(path)
        if not files:
            continue
        found = True
        size = sum(file.stat().st_size for file in files) / 1024
        changed = datetime.fromtimestamp(files[0].stat().st_mtime).strftime("%Y-%m-%d %H:%M")  # noqa: DTZ006
        click.echo(f"{path.stem:<10} {size:>9.1f} KiB in {len(files)}  {changed}  {path}")
    if not found:
        click.echo(f"There are no log files in {home.logs} yet.", err=True)
