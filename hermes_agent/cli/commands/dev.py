"""`hermes dev`: tools for people who work on hermes or test with it."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load

RECORD_LIMIT = 200
"""Requests that a long-running server keeps."""


@click.group("dev")
def command() -> None:
    """For developers: a scripted model server."""


@command.command("model-server", short_help="A model server that answers as a script says")
@click.option(
    "--script",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="YAML script; without one the model's name decides (echo, tokens-N, tools-N, status-NNN, demo).",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default=True,
    help="0 takes a free one.",
)
@click.option(
    "--once",
    is_flag=True,
    help="End when every step of the script was used; exit code 1 if it was not followed.",
)
@click.option("--allow-remote", is_flag=True, help="Permit a --host that other machines can reach.")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
def model_server(
    script: Path | None, host: str, port: int, once: bool, allow_remote: bool, as_json: bool
) -> None:
    """Serve a scripted model: OpenAI chat completions and Responses, Anthropic Messages.

    No model answers: the script does. Ctrl+C ends the server. /stats shows what clients did.
    """
    if not _is_loopback(host) and not allow_remote:
        raise UsageError(
            f"{host} can be reached from other machines",
            why="The server has no protection of its own.",
            remedy="Listen on 127.0.0.1, or add --allow-remote if you mean it.",
        )
    server = load("hermes_agent.models.scripted.server:ScriptedServer")(
        script, host=host, port=port, record_limit=RECORD_LIMIT
    )
    ended = threading.Event()
    with _signals(ended), server:
        _announce(server, script, as_json=as_json)
        while not ended.is_set():
            if server.wait_until_played(0.2 if not once else 0.05) and once:
                break
            ended.wait(0.2)
        problems = server.problems if script else ()
    for problem in problems:
        click.echo(f"Not as written: {problem}", err=True)
    if once and problems:
        raise click.exceptions.Exit(1)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _signals(ended: threading.Event) -> Iterator[None]:
    """Ctrl+C and a polite kill end the server; a second Ctrl+C ends the process."""

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(server: Any, script: Path | None, *, as_json: bool) -> None:
    if as_json:
        ready = {
            "event": "ready",
            "base_url": server.base_url,
            "url": server.url,
            "port": server.port,
            "pid": os.getpid(),
            "script": str(script) if script else None,
        }
        click.echo(json.dumps(ready))
        return
    what = f"follows {script}" if script else "answers as the model's name says"
    click.echo(
        f"Model server at {server.base_url} ({what}; Ctrl+C ends it). Use it: "
        f"OPENAI_API_KEY=none OPENAI_BASE_URL={server.base_url} hermes --provider openai-api -m echo"
    )
