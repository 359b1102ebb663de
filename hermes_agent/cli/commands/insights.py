"""`hermes insights`: what was used."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import click

from hermes_agent.agent.budgets import insights_text, since_day
from hermes_agent.config.paths import Home
from hermes_agent.core.usage import Insights
from hermes_agent.store import open_store


@click.command("insights")
@click.option("--days", type=click.IntRange(1, 36_500), default=30, show_default=True, help="How far back.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(days: int, as_json: bool) -> None:
    """Show requests, tokens, cost and tool calls by model, source and day."""
    found = asyncio.run(_collect(since_day(str(days))))
    click.echo(json.dumps(dataclasses.asdict(found)) if as_json else insights_text(found))


async def _collect(since: str) -> Insights:
    home = Home.from_environment()
    home.ensure()
    store = await open_store(home.state_db)
    try:
        return await store.insights(since)
    finally:
        await store.aclose()
