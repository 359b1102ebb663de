"""No model is connected: offer what there is, and go on with one key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
import tty
from collections.abc import Sequence

from rich.console import Group
from rich.text import Text

from hermes_agent.cli.chat.painter import Painter
from hermes_agent.cli.output import terminal_width, write_all
from hermes_agent.core.errors import ProviderSetupError
from hermes_agent.models.discovery import LocalServer, discover

MAX_SERVERS = 8


async def choose_model(painter: Painter, error: ProviderSetupError) -> dict[str, object] | None:
    """Ask which of the available models to use.

    Returns:
        Settings as dotted keys, or None to leave.
    """
    write_all("Looking for model servers on this machine …\r")
    servers: Sequence[LocalServer] = await discover()
    offers: list[tuple[str, str, dict[str, object]]] = []
    for number, server in enumerate(servers[:MAX_SERVERS], 1):
        names = ", ".join(server.models[:3]) + (" …" if len(server.models) > 3 else "")
        offers.append((str(number), f"{server.name} at {server.base_url} ({names})", _use(server)))
    demo = "the demo model: offline, no AI, understands a few fixed requests"
    offers.append(("d", demo, {"model.provider": "demo", "model.default": ""}))
    rows = [Text(f"{error.message}.", style="bold")]
    rows += [Text(line, style="dim") for line in error.lines[1:]]
    rows.append(Text("\nUntil then you can use:"))
    rows += [Text.assemble((f"  [{key}] ", "cyan bold"), label) for key, label, _ in offers]
    rows.append(
        Text.assemble(("  [q] ", "cyan bold"), "nothing: leave, and connect a model with: hermes setup")
    )
    write_all("\x1b[2K" + painter.paint(Group(*rows), terminal_width() - 1))
    choices = {key: chosen for key, _, chosen in offers}
    default = offers[0][0]
    write_all(f"Press a key (Enter takes {default}): ")
    key = await _read_key(frozenset({*choices, "q"}), default)
    write_all(f"{key}\n\n")
    return choices.get(key)


def _use(server: LocalServer) -> dict[str, object]:
    flags: dict[str, object] = {"model.provider": server.provider, "model.default": server.models[0]}
    if server.provider == "custom":
        flags["model.base_url"] = server.base_url
    return flags


async def _read_key(known: frozenset[str], default: str) -> str:
    """One key of `known`; Enter is `default`; Ctrl+D, Esc and the end of input are `q`."""
    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    pressed: asyncio.Queue[str] = asyncio.Queue()

    def on_ready() -> None:
        try:
            data = os.read(descriptor, 64)
        except OSError:
            data = b""
        for letter in data.decode("utf-8", errors="replace").lower() or "\x04":
            pressed.put_nowait(letter)

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, on_ready)
    try:
        while True:
            key = await pressed.get()
            if key in ("\r", "\n"):
                return default
            if key in ("\x04", "\x1b"):
                return "q"
            if key in known:
                return key
    finally:
        loop.remove_reader(descriptor)
        with contextlib.suppress(termios.error):  # the terminal may be gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
