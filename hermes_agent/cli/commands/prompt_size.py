"""`hermes prompt-size`: what every request begins with, and what it costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import click

from hermes_agent.agent.service import SessionOptions
from hermes_agent.agent.tokens import estimate_text
from hermes_agent.app.container import App
from hermes_agent.cli.options import Invocation
from hermes_agent.core.model import ToolDefinition


@click.command("prompt-size")
@click.option(
    "--source", default="cli", show_default=True, metavar="NAME", help="The surface: cli, telegram …"
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def command(ctx: click.Context, source: str, as_json: bool) -> None:
    """Show what the fixed beginning of every request costs, part by part (estimated tokens)."""
    invocation: Invocation = ctx.obj
    toolsets = invocation.options.toolsets if invocation else None
    names = [name.strip() for name in toolsets.split(",")] if toolsets else None
    blocks, tools = asyncio.run(_parts(SessionOptions(source=source, toolsets=names)))
    rows = measure(blocks, tools)
    total = sum(tokens for _, _, tokens in rows)
    if as_json:
        parts = [{"kind": kind, "name": name, "tokens": tokens} for kind, name, tokens in rows]
        click.echo(json.dumps({"tokens": total, "parts": parts}, ensure_ascii=False, indent=2))
        return
    for title, wanted in (("System prompt", "prompt"), ("Tools", "tool")):
        chosen = [(name, tokens) for kind, name, tokens in rows if kind == wanted]
        click.echo(f"{title}: {sum(tokens for _, tokens in chosen):,} tokens")
        for name, tokens in chosen:
            click.echo(f"  {tokens:>6,}  {name}")
    click.echo(f"Together: {total:,} tokens. Providers cache them; hermes keeps them the same in a session.")


async def _parts(options: SessionOptions) -> tuple[list[str], Sequence[ToolDefinition]]:
    app = App.load()
    try:
        return await (await app.service()).prompt_parts(options)
    finally:
        await app.aclose()


def measure(blocks: Sequence[str], tools: Sequence[ToolDefinition]) -> list[tuple[str, str, int]]:
    """(`prompt` or `tool`, name, estimated tokens) of each part."""
    rows = []
    for number, block in enumerate(blocks):
        heading = block.partition("\n")[0]
        name = "Persona" if number == 0 else heading.removeprefix("# ")
        rows.append(("prompt", name[:60], estimate_text(block)))
    for tool in tools:
        text = json.dumps(
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
            ensure_ascii=False,
        )
        rows.append(("tool", tool.name, estimate_text(text)))
    return rows
