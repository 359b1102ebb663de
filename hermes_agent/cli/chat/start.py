"""Decides what a chat invocation means: one answer or a conversation, and how it is shown."""

from __future__ import annotations

import os
import select
import stat
import sys
from dataclasses import dataclass
from typing import Literal, TypeAlias

import click

from hermes_agent.cli.options import ChatOptions, Invocation
from hermes_agent.cli.output import Terminal
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load

MAX_STDIN_BYTES = 4_000_000
STDIN_NOTICE_SECONDS = 2.0

Mode: TypeAlias = Literal["final", "json", "quiet", "plain", "live", "chat", "lines"]
"""How a chat is shown: `final` and `quiet` the answer, `json` events, `plain` the work as text, `live` the
work in colour, `chat` the conversation, `lines` a conversation on a terminal without cursor movement."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `text` is empty in conversations."""

    mode: Mode
    text: str = ""


def start(invocation: Invocation) -> int:
    """Run `hermes` or `hermes chat`; returns the exit code.

    Raises:
        UsageError: The options contradict each other, or there is nothing to ask.
    """
    plan = make_plan(invocation.options, invocation.terminal)
    if plan.mode in ("final", "json", "quiet", "plain"):
        code: int = load("hermes_agent.cli.chat.oneshot:main")(invocation, plan)
    elif plan.mode == "lines":
        code = load("hermes_agent.cli.chat.lines:main")(invocation, plan)
    else:
        code = load("hermes_agent.cli.chat.interactive:main")(invocation, plan)
    return code


def make_plan(options: ChatOptions, terminal: Terminal) -> Plan:
    """Choose the mode and read what is to be asked.

    Raises:
        UsageError: See `start`.
    """
    if options.resume and options.continue_latest is not None:
        raise UsageError(
            "-r and -c cannot be used together", remedy="-r names a session, -c takes the latest."
        )
    if options.final_only is not None and options.prompt is not None:
        raise UsageError(
            "-z and -q cannot be used together", remedy="-z prints the answer, -q shows the work."
        )
    given = options.final_only if options.final_only is not None else options.prompt
    is_once = given is not None or options.as_json or not terminal.stdin_is_tty
    if not is_once:
        if not terminal.stdout_is_tty:
            raise UsageError(
                "A conversation needs a terminal, and standard output is none",
                remedy='To ask once, use: hermes -q "…", or -z "…" for the answer alone',
            )
        return Plan("chat" if terminal.supports_editing else "lines")
    text = _gather(given, terminal)
    if not text.strip():
        raise UsageError(
            "There is nothing to ask", remedy='Write it behind -q or -z, or pipe it in: echo "…" | hermes'
        )
    if options.as_json:
        return Plan("json", text)
    if options.final_only is not None:
        return Plan("final", text)
    if options.is_quiet:
        return Plan("quiet", text)
    return Plan("live" if terminal.supports_editing else "plain", text)


def _gather(given: str | None, terminal: Terminal) -> str:
    """The text to ask: what was given, and what standard input holds."""
    if given is None or given == "-":
        if terminal.stdin_is_tty:
            click.echo("Type your question, then Ctrl+D on an empty line.", err=True)
        return _read_stdin()
    if terminal.stdin_is_tty or not _stdin_has_text():
        return given
    piped = _read_stdin().strip("\n")
    return f"{given}\n\n{piped}" if piped.strip() else given


def _stdin_has_text() -> bool:
    """Whether standard input is a pipe, socket or file (not a device such as /dev/null)."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)


def _read_stdin() -> str:
    """All of standard input.

    Raises:
        UsageError: It is too long, or cannot be read.
    """
    try:
        ready, _, _ = select.select([sys.stdin], [], [], STDIN_NOTICE_SECONDS)
        if not ready and not sys.stdin.isatty():
            click.echo("Waiting for text on standard input (to send none: < /dev/null) …", err=True)
        data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError("Standard input cannot be read", why=str(error)) from error
    if len(data) > MAX_STDIN_BYTES:
        raise UsageError(
            f"Standard input is longer than {MAX_STDIN_BYTES // 1_000_000} MB",
            remedy="Put it into a file and name the file in your question.",
        )
    return data.decode("utf-8", errors="replace")
