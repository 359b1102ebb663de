"""No model is connected: offer what there is, and go on with one key."""

from __future__ import annotations

import asyncio
import sys
import termios
import tty
from dataclasses import replace

from rich.console import Group
from rich.text import Text

from hermes_agent.cli.chat.painter import Painter
from hermes_agent.cli.options import ChatOptions
from hermes_agent.cli.output import terminal_width, write_all
from hermes_agent.core.errors import ProviderSetupError
from hermes_agent.core.loading import load


async def choose_model(
    options: ChatOptions, painter: Painter, error: ProviderSetupError
) -> ChatOptions | None:
    """Ask which of the available models to use; None to leave."""
    write_all("Looking for model servers on this machine …\r")
    servers = await load("hermes_agent.models.discovery:discover")()
    offers: list[tuple[str, str, ChatOptions]] = []
    for number, server in enumerate(servers[:8], 1):
        names = ", ".join(server.models[:3])
        offers.append(
            (str(number), f"{server.name} at {server.base_url} ({names})", _use_server(options, server))
        )
    offers.append(("d", "the demo model: offline, understands a few fixed requests", _use_demo(options)))
    width = terminal_width() - 1
    rows = [Text(f"{error.message}.", style="bold")]
    rows += [Text(line, style="dim") for line in error.lines[1:]]
    rows.append(Text("\nFor now there is:" if servers else "\nFor now there is only:"))
    rows += [Text.assemble((f"  [{key}] ", "cyan bold"), label) for key, label, _ in offers]
    rows.append(Text.assemble(("  [q] ", "cyan bold"), "leave, and connect a model with: hermes setup"))
    write_all("\x1b[2K" + painter.paint(Group(*rows), width))
    choices = {key: chosen for key, _, chosen in offers}
    default = offers[0][0]
    write_all(f"Press a key (Enter takes {default}): ")
    key = await asyncio.to_thread(_read_key, frozenset({*choices, "q"}), default)
    write_all(f"{key}\n\n")
    return choices.get(key)


def _use_demo(options: ChatOptions) -> ChatOptions:
    return replace(options, provider="demo")


def _use_server(options: ChatOptions, server: object) -> ChatOptions:
    return replace(
        options, provider=getattr(server, "provider", None), model=getattr(server, "models", [None])[0]
    )


def _read_key(known: frozenset[str], default: str) -> str:
    """One key of `known`; Enter is `default`, Ctrl+C, Ctrl+D and Esc are `q`."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        while True:
            key = sys.stdin.read(1).lower()
            if key in ("\r", "\n"):
                return default
            if key in ("", "\x03", "\x04", "\x1b"):
                return "q"
            if key in known:
                return key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
