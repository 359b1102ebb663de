"""`hermes cron`: scheduled jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError
from hermes_agent.core.jobs import Occurrence
from hermes_agent.core.loading import load
from hermes_agent.scheduler.jobs import JobBook, timestamp
from hermes_agent.scheduler.schedule import describe_time

_FIELDS = (
    click.option("--name", help="Name, for people."),
    click.option("--repeat", type=click.IntRange(min=1), help="Run this many times, then stop."),
    click.option("--deliver", help="local, origin, PLATFORM, PLATFORM:CHAT[:THREAD] or all; with commas."),
    click.option("--skills", help="Skills to use, with commas."),
    click.option("-m", "--model", help="Model."),
    click.option("--provider", help="Provider."),
    click.option("--script", help="Program under HERMES_HOME/scripts; its output goes into the prompt."),
    click.option("--no-agent", is_flag=True, default=None, help="Deliver the script's output as it is."),
    click.option("--toolsets", "enabled_toolsets", help="Toolsets, with commas."),
    click.option("--workdir", type=click.Path(), help="Directory to work in."),
    click.option("--context-from", help="Jobs whose last output is read first, with commas."),
    click.option("--misfire", type=click.Choice(["grace", "run", "skip"]), help="If one was missed."),
    click.option("--jitter", "jitter_seconds", type=click.FloatRange(0), help="Seconds it may start late."),
    click.option("--concurrency", type=click.IntRange(min=1), help="Runs of this job at the same time."),
    click.option("--alert", help="Where failures are told besides."),
    click.option("--max-turns", type=click.IntRange(min=1), help="Most model requests in one run."),
    click.option("--max-tokens", type=click.IntRange(min=0), help="Most tokens of a run; 0: the setting."),
    click.option("--max-usd", type=click.FloatRange(min=0), help="Most US dollars of a run; 0: the setting."),
)  # fmt: skip


def _with_fields(function: Any) -> Any:
    for option in reversed(_FIELDS):
        function = option(function)
    return function


def _book() -> JobBook:
    return JobBook(Home.from_environment())


@click.group("cron")
def command() -> None:
    """Schedule jobs and see what became of them. They run inside `hermes gateway`."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_jobs(as_json: bool) -> None:
    """Show all jobs."""
    jobs = _book().all()
    if as_json:
        click.echo(json.dumps(jobs, indent=2, ensure_ascii=False))
        return
    if not jobs:
        click.echo('No jobs yet. For example:\n  hermes cron create "0 9 * * 1-5" "Summarise the news"')
        return
    for job in jobs:
        click.echo(_line(job))


@command.command("create")
@click.argument("schedule")
@click.argument("prompt", required=False)
@_with_fields
def create(schedule: str, prompt: str | None, **fields: Any) -> None:
    """Add a job: SCHEDULE is 30m, "every 2h", five cron fields, @daily or an ISO time."""
    given = {key: value for key, value in fields.items() if value is not None}
    job = _book().create({"schedule": schedule, "prompt": prompt or "", **given})
    _wake()
    click.echo(f"Created {_line(job)}")


@command.command("edit")
@click.argument("job")
@click.option("--schedule", help="New schedule.")
@click.option("--prompt", help="New prompt.")
@_with_fields
def edit(job: str, **fields: Any) -> None:
    """Change a job."""
    given = {key: value for key, value in fields.items() if value is not None}
    if not given:
        raise click.UsageError("Say what to change; hermes cron edit --help lists it.")
    click.echo(f"Changed {_line(_book().edit(job, given))}")
    _wake()


@command.command("pause")
@click.argument("job")
@click.option("--reason", default="", help="Why, for whoever looks later.")
def pause(job: str, reason: str) -> None:
    """Let no occurrence run until resumed."""
    click.echo(f"Paused {_line(_book().pause(job, reason))}")


@command.command("resume")
@click.argument("job")
def resume(job: str) -> None:
    """Go on, from the next occurrence."""
    click.echo(f"Resumed {_line(_book().resume(job))}")
    _wake()


@command.command("run")
@click.argument("job")
def run(job: str) -> None:
    """Run a job at once, beside its schedule (needs the gateway, or `hermes cron tick`)."""
    found = _book().run_soon(job)
    if _wake():
        click.echo(f"{found['name']} starts now; hermes cron history {found['id']} shows how it ended.")
    else:
        click.echo("No gateway is running: it starts with the next one, or with: hermes cron tick")


@command.command("remove")
@click.argument("job")
def remove(job: str) -> None:
    """Delete a job; its outputs stay."""
    removed = _book().remove(job)
    click.echo(f"Removed {removed['name']} ({removed['id']})")


@command.command("history")
@click.argument("job", required=False)
@click.option("--limit", default=20, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def history(job: str | None, limit: int, as_json: bool) -> None:
    """Show every occurrence: run, skipped, missed or lost, and why."""
    book = _book()
    job_id = str(book.get(job)["id"]) if job else None
    names = {str(each["id"]): str(each.get("name")) for each in book.all()}
    rows = asyncio.run(_history(job_id, limit))
    if as_json:
        click.echo(json.dumps([_as_json(row) for row in rows], indent=2, ensure_ascii=False))
        return
    for row in rows:
        name = names.get(row.job_id, row.job_id)
        reason = f"  {row.reason}" if row.reason else ""
        click.echo(f"{describe_time(row.scheduled_at):18} {row.state:8} {name}{reason}")
    if not rows:
        click.echo("Nothing was due yet.")


@command.command("status")
def status() -> None:
    """Say whether the scheduler runs, and what comes next."""
    try:
        answer = ask_gateway(Home.from_environment(), "status")
    except GatewayError:
        click.echo("No gateway is running, so no job runs. Start it with: hermes gateway run")
    else:
        state = (answer.get("services") or {}).get("cron") or {}
        click.echo(f"The scheduler runs: {state.get('state', 'unknown')}")
    due = [(timestamp(job.get("next_run_at")), job) for job in _book().all() if job.get("enabled", True)]
    for moment, job in sorted(((moment, job) for moment, job in due if moment), key=lambda item: item[0])[:5]:
        click.echo(f"  {describe_time(moment):18} {job['name']}")


@command.command("tick")
def tick() -> None:
    """Run what is due now, in this process, and wait for it (for hosts without the gateway)."""
    started = asyncio.run(_tick())
    click.echo(f"{started} started" if started else "Nothing is due")


async def _tick() -> int:
    app = App.load()
    try:
        scheduler = await load("hermes_agent.app.cron:make_scheduler")(app)
        started: int = await scheduler.tick()
        await scheduler.wait_idle()
    finally:
        await app.aclose()
    return started


async def _history(job_id: str | None, limit: int) -> list[Occurrence]:
    app = App.load()
    try:
        ledger = load("hermes_agent.store.occurrences:SqliteLedger")(await app.store())
        return list(await ledger.history(job_id, limit=limit))
    finally:
        await app.aclose()


def _wake() -> bool:
    try:
        ask_gateway(Home.from_environment(), "cron.wake")
    except GatewayError:
        return False
    return True


def _line(job: Mapping[str, Any]) -> str:
    state = str(job.get("state") or "scheduled")
    following = describe_time(timestamp(job.get("next_run_at"))) if state == "scheduled" else state
    last = f"  last: {job['last_status']}" if job.get("last_status") else ""
    error = f" ({job['last_error']})" if job.get("last_error") else ""
    return f"{job['id']}  {job['name']}  [{job.get('schedule_display', '?')}]  next: {following}{last}{error}"


def _as_json(row: Occurrence) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Occurrence.__slots__}
