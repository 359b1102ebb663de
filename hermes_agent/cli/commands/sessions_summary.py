"""`hermes sessions search --summarize`."""

from __future__ import annotations

import asyncio
import json

import click

from hermes_agent.app.container import App
from hermes_agent.app.recall import StoredSessionSummaries
from hermes_agent.cli.commands.sessions_view import plain
from hermes_agent.core.memory import OWNER
from hermes_agent.core.recall import Recollection


def print_summary(query: str, session: str, *, as_json: bool) -> None:
    """Print one answer and the sessions it is from. Raises `HermesError`."""
    found = asyncio.run(_summarise(query, session))
    if as_json:
        facts = None
        if found is not None:
            sources = [{"id": each.id, "title": each.title, "source": each.source} for each in found.sources]
            facts = {"text": found.text, "sessions": sources, "is_partial": found.is_partial}
        click.echo(json.dumps(facts, ensure_ascii=False))
    elif found is None:
        click.echo("Nothing found.")
    else:
        click.echo(plain(found.text))
        click.echo("\nSessions (hermes sessions show ID):")
        for line in found.source_lines:
            click.echo(f"  {plain(line)}")
        if found.is_partial:
            click.echo("More sessions match than were read; use more words, or --session ID.")


async def _summarise(query: str, session: str) -> Recollection | None:
    app = App.load()
    try:
        store = await app.store()
        within = (await store.resolve(session)).id if session else ""
        return await StoredSessionSummaries(app).summarise(query, principal=OWNER, session_id=within)
    finally:
        await app.aclose()
