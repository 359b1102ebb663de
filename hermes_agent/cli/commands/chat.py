"""`hermes chat`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from hermes_agent.cli.options import ChatOptions, Invocation, chat_options
from hermes_agent.core.loading import load


@click.command("chat")
@chat_options
@click.pass_context
def command(ctx: click.Context, /, **values: Any) -> None:
    """Talk to the agent.

    With -q, -z or --json, or with text on standard input, it answers once and leaves.
    """
    invocation: Invocation = ctx.obj
    options = invocation.options.merged_with(ChatOptions(**values))
    ctx.exit(load("hermes_agent.cli.chat.start:start")(replace(invocation, options=options)))
