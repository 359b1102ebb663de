"""Errors as people read them: at most three short lines and a documented exit code."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 70
EXIT_INTERRUPTED = 130

EXIT_CODES = (
    (0, "done"),
    (1, "the run failed"),
    (2, "wrong usage"),
    (3, "the configuration cannot be used"),
    (4, "the model: no key, refused, unreachable"),
    (5, "stored state: database, sessions, files"),
    (6, "a tool or command environment"),
    (7, "managed from outside (NixOS, Homebrew)"),
    (8, "the turn limit was reached before the work was done"),
    (9, "the answer hit the output limit"),
    (70, "an error in hermes itself"),
    (130, "interrupted with Ctrl+C"),
)
"""Documented in `hermes --help` and docs/chat.md."""


def print_lines(lines: Sequence[str], *, color: bool, label: str = "Error") -> None:
    """Print what, why and what next to standard error."""
    if not lines:
        return
    style = {"Error": "red", "Note": "yellow"}.get(label, "red")
    head = click.style(f"{label}:", fg=style, bold=True) if color else f"{label}:"
    indent = " " * (len(label) + 2)
    text = "\n".join(lines)
    first, *rest = text.split("\n")
    click.echo("\n".join([f"{head} {first}", *(indent + line for line in rest)]), err=True, color=color)


def report(error: HermesError, *, color: bool, debug: bool) -> int:
    """Print an expected error and return its exit code."""
    if debug:
        traceback.print_exception(error)
    print_lines(error.lines, color=color)
    return error.exit_code


def report_unexpected(error: BaseException, *, color: bool, debug: bool) -> int:
    """Print one line about an error of ours, keep the traceback in the log; the exit code is 70."""
    if debug:
        traceback.print_exception(error)
    path = Home.from_environment().logs / "errors.log"
    if _log(error, path):
        where = f"The details are in {path}"
    else:
        where = f"The details could not be written to {path}; --debug shows them here"
    summary = f"{type(error).__name__}: {error}".split("\n")[0][:300]
    print_lines((f"hermes itself failed ({summary})", where), color=color)
    return EXIT_INTERNAL


def _log(error: BaseException, path: Path) -> bool:
    """Write the traceback to the log; False if it cannot be written."""
    try:
        before = path.stat().st_size if path.exists() else -1
        if not logging.root.handlers:
            settings = load("hermes_agent.config.sections.logging:LoggingSettings")()
            redactor = load("hermes_agent.core.redaction:Redactor")()
            Home.from_environment().ensure()
            load("hermes_agent.app.logging:start_logging")(Home.from_environment(), settings, redactor)
        logging.getLogger("hermes_agent.cli").critical("unexpected error", exc_info=error)
        return path.stat().st_size > before
    except (OSError, HermesError, ImportError):
        return False


def report_usage(error: click.ClickException, *, color: bool) -> int:
    """Print a command-line mistake the same way as every other error."""
    message = error.format_message().strip().rstrip(".")
    remedy: str | None = None
    context = getattr(error, "ctx", None)
    if context is not None:
        remedy = f"{context.command_path} --help shows how it is used"
    print_lines(tuple(line for line in (message, remedy) if line), color=color)
    sys.stderr.flush()
    return error.exit_code
