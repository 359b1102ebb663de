"""`hermes sessions`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from hermes_agent.cli.commands.sessions_view import line, print_json, print_sessions, show, show_hits, when
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.output import terminal_width, write_all
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load
from hermes_agent.core.session import SearchHit, SessionRecord
from hermes_agent.store import SqliteStore, open_store
from hermes_agent.store.locks import SessionLock, running_sessions
from hermes_agent.store.transfer import message_json, session_json

ResultT = TypeVar("ResultT")


@click.group("sessions", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, search, show, rename, export and delete conversations."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_command)


@command.command("list")
@click.option("--source", metavar="NAME", help="Only sessions of this surface: cli, telegram …")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def list_command(source: str | None, limit: int, as_json: bool) -> None:
    """List sessions, the most recently used first."""

    async def collect(store: SqliteStore) -> Sequence[SessionRecord]:
        return await store.list(limit=limit, source=source)

    print_sessions(_run(collect), as_json=as_json)


@command.command("browse")
@click.option("--source", metavar="NAME", help="Only sessions of this surface.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=200, show_default=True, help="How many.")
@click.pass_context
def browse_command(ctx: click.Context, source: str | None, limit: int) -> None:
    """Choose a session and go on with it."""
    invocation: Invocation = ctx.obj

    async def collect(store: SqliteStore) -> Sequence[SessionRecord]:
        return await store.list(limit=limit, source=source)

    records = _run(collect)
    if not records:
        click.echo("There are no sessions yet.")
        return
    if not invocation.terminal.supports_editing:
        print_sessions(records, as_json=False)
        return
    chosen: str | None = load("hermes_agent.cli.commands.sessions_browse:choose")(
        [(record.id, line(record, terminal_width() - 6)) for record in records]
    )
    if chosen is not None:
        ctx.exit(load("hermes_agent.entry:main")(["chat", "--resume", chosen]))


@command.command("show")
@click.argument("session")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: the session and its messages.")
@click.option("--tools", "with_tools", is_flag=True, help="Show tool calls and their results whole.")
def show_command(session: str, as_json: bool, with_tools: bool) -> None:
    """Show a conversation. SESSION is an id, the beginning of one, or a title."""

    async def collect(store: SqliteStore) -> dict[str, Any]:
        record = await store.resolve(session, exact_title=True)
        messages = await store.messages(record.id)
        return session_json(record) | {"messages": [message_json(item) for item in messages]}

    found = _run(collect)
    if as_json:
        print_json(found)
        return
    show(found, with_tools=with_tools)


@command.command("search")
@click.argument("query", nargs=-1, required=True)
@click.option("--source", metavar="NAME", help="Only sessions of this surface.")
@click.option("--session", metavar="ID", help="Only this session.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@click.option("--summarize", is_flag=True, help="One answer from all that is found, written by a model.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def search_command(
    ctx: click.Context,
    query: tuple[str, ...],
    source: str | None,
    session: str | None,
    limit: int,
    summarize: bool,
    as_json: bool,
) -> None:
    """Find messages that hold all words.

    "several words" is a phrase, foo* a beginning; AND, OR and NOT work between words.
    """
    invocation: Invocation = ctx.obj
    if summarize:
        if source:
            raise UsageError("--summarize looks into sessions of all surfaces", remedy="Leave --source out.")
        load("hermes_agent.cli.commands.sessions_summary:print_summary")(
            " ".join(query), session or "", as_json=as_json
        )
        return

    async def collect(store: SqliteStore) -> Sequence[SearchHit]:
        await _finish_index(store)
        within = (await store.resolve(session, exact_title=True)).id if session else None
        return await store.search(" ".join(query), limit=limit, session_id=within, source=source)

    hits = _run(collect)
    if as_json:
        for hit in hits:
            print_json(dataclasses.asdict(hit))
        return
    show_hits(hits, color=invocation.terminal.color_stdout)


@command.command("rename")
@click.argument("session")
@click.argument("title", nargs=-1, required=True)
def rename_command(session: str, title: tuple[str, ...]) -> None:
    """Give a session a title; an empty one ("") removes it."""

    async def rename(store: SqliteStore) -> SessionRecord:
        record = await store.resolve(session, exact_title=True)
        return await store.update(record.id, title=" ".join(title))

    record = _run(rename)
    click.echo(
        f"{record.id} is now called {record.title!r}" if record.title else f"{record.id} has no title now"
    )


@command.command("export")
@click.argument("session", required=False)
@click.option("--all", "is_all", is_flag=True, help="Every session.")
@click.option("--source", metavar="NAME", help="With --all: only sessions of this surface.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Default: standard output."
)
def export_command(session: str | None, is_all: bool, source: str | None, output: Path | None) -> None:
    """Write sessions as JSON lines: one session with its messages per line."""
    if (session is None) == (not is_all):
        raise UsageError(
            "Name one session, or say --all", remedy="hermes sessions export --all -o sessions.jsonl"
        )

    async def export(store: SqliteStore) -> int:
        if session is not None:
            identifiers = [(await store.resolve(session, exact_title=True)).id]
        else:
            identifiers = list(await store.identifiers(source=source))
        if output is None or str(output) == "-":
            async for text in _export_lines(store, identifiers):
                write_all(text)
        else:
            await load("hermes_agent.store.transfer:write_lines")(output, _export_lines(store, identifiers))
        return len(identifiers)

    count = _run(export)
    if output is not None and str(output) != "-":
        click.echo(f"Wrote {_sessions(count)} to {output}", err=True)


@command.command("delete")
@click.argument("session")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete_command(session: str, yes: bool) -> None:
    """Delete a session for good."""

    async def find(store: SqliteStore) -> SessionRecord:
        return await store.resolve(session, exact_title=True)

    async def delete(store: SqliteStore) -> None:
        await store.delete(record.id)

    record = _run(find)
    if not yes:
        _confirm(f"Delete {line(record, 100)} for good?")
    with SessionLock(Home.from_environment().run, record.id, source="sessions delete"):
        _run(delete)
    click.echo(f"Deleted {record.id}")


@command.command("prune")
@click.option(
    "--older-than",
    type=click.IntRange(min=0),
    default=90,
    show_default=True,
    metavar="DAYS",
    help="Not used since.",
)
@click.option("--source", metavar="NAME", help="Only sessions of this surface.")
@click.option("-y", "--yes", is_flag=True, help="Really delete; otherwise they are only listed.")
def prune_command(older_than: int, source: str | None, yes: bool) -> None:
    """Delete sessions that were not used for a long time. Without --yes it only says which."""

    async def find(store: SqliteStore) -> Sequence[SessionRecord]:
        return await store.inactive_since(time.time() - older_than * 86_400, source=source)

    async def prune(store: SqliteStore) -> int:
        running = {holder.session_id for holder in running_sessions(Home.from_environment().run)}
        chosen = [record for record in records if record.id not in running]
        for record in chosen:
            await store.delete(record.id)
        return len(chosen)

    records = _run(find)
    if not records:
        click.echo(f"No session is older than {older_than} days.")
        return
    if not yes:
        print_sessions(records, as_json=False)
        click.echo(f"{_sessions(len(records))} would be deleted. Add --yes to do it.")
        return
    click.echo(f"Deleted {_sessions(_run(prune))}.")


@command.command("stats")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def stats_command(as_json: bool) -> None:
    """Say how much is stored."""

    async def collect(store: SqliteStore) -> dict[str, Any]:
        return (await store.statistics()).to_json()

    found = _run(collect)
    if as_json:
        print_json(found)
        return
    sources = ", ".join(f"{name or 'unknown'} {count}" for name, count in found["sources"].items())
    click.echo(f"Sessions      {found['sessions']}" + (f" ({sources})" if sources else ""))
    click.echo(f"Messages      {found['messages']}")
    if found["oldest"]:
        click.echo(f"Since         {when(found['oldest'])}")
    usage = found["usage"]
    click.echo(f"Tokens        {usage['input_tokens']:,} in, {usage['output_tokens']:,} out")
    if usage["cost_usd"] is not None:
        click.echo(f"Cost          ${usage['cost_usd']:.2f}")
    click.echo(f"Database      {found['database_bytes'] / 1e6:.1f} MB")
    if found["waiting_for_index"]:
        click.echo(
            f"Not yet searchable: about {found['waiting_for_index']} messages (hermes sessions optimize)"
        )
    if found["old_index_tables"]:
        click.echo("The older agent's search index is kept too: hermes sessions optimize --drop-old-index")


@command.command("optimize")
@click.option(
    "--drop-old-index",
    is_flag=True,
    help="Also remove the older agent's search index (it can then not search).",
)
def optimize_command(drop_old_index: bool) -> None:
    """Finish the search index, tidy it up and give free space back to the disk."""

    async def optimize(store: SqliteStore) -> tuple[int, int]:
        before = (await store.statistics()).database_bytes
        await _finish_index(store)
        await store.compact(drop_old_index=drop_old_index)
        return before, (await store.statistics()).database_bytes

    before, after = _run(optimize)
    click.echo(f"Database: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now")


def _run(work: Callable[[SqliteStore], Awaitable[ResultT]]) -> ResultT:
    async def main() -> ResultT:
        async with _store() as store:
            return await work(store)

    return asyncio.run(main())


@asynccontextmanager
async def _store() -> AsyncIterator[SqliteStore]:
    home = Home.from_environment()
    home.ensure()
    store = await open_store(home.state_db)
    try:
        yield store
    finally:
        await store.aclose()


async def _finish_index(store: SqliteStore) -> None:
    """Index what an older program has left, saying so if it takes long."""
    waiting = (await store.statistics()).waiting_for_index
    while waiting:
        if sys.stderr.isatty():
            click.echo(f"\rIndexing older messages, about {waiting} to go …  ", nl=False, err=True)
        waiting = (await store.index_step()).waiting
        if not waiting and sys.stderr.isatty():
            click.echo(err=True)


async def _export_lines(store: SqliteStore, identifiers: Sequence[str]) -> AsyncIterator[str]:
    for identifier in identifiers:
        record = await store.get(identifier)
        messages = [message_json(item) for item in await store.messages(identifier)]
        yield json.dumps(session_json(record) | {"messages": messages}, ensure_ascii=False) + "\n"


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("Nobody is here to confirm", remedy="Add --yes.")
    click.confirm(question, abort=True)


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
