"""Running the checks and showing what they found."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from hermes_agent.cli.checks.finding import Check, Finding, Status, Surroundings
from hermes_agent.cli.output import terminal_width
from hermes_agent.core.errors import HermesError, ManagedError
from hermes_agent.core.loading import load

_CHECKS = "hermes_agent.cli.checks."
CHECKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Program", "machine", ("check_python", "check_sqlite", "check_environment")),
    (
        "State",
        "state",
        (
            *("check_home", "check_config", "check_env_file", "check_auth_file", "check_soul"),
            *("check_database", "check_logs", "check_locks"),
        ),
    ),
    ("Services", "services", ("check_model", "check_backend")),
    ("Services", "mcp", ("check_mcp",)),
    ("Services", "memory", ("check_memory_service",)),
    ("Machine", "machine", ("check_programs", "check_terminal", "check_clock")),
)
"""Heading, module, functions: what `hermes doctor` does, in the order it is shown."""

_LABELS = {
    "check_config": "config.yaml",
    "check_env_file": ".env",
    "check_auth_file": "auth.json",
    "check_soul": "SOUL.md",
    "check_database": "state.db",
}
"""Names of checks that could not be made, as their findings have them."""

_SIGNS: dict[Status, tuple[str, str, str]] = {
    "ok": ("✓", "ok", "green"),
    "warn": ("!", "warn", "yellow"),
    "fail": ("✗", "FAIL", "red"),
    "skip": ("-", "skip", "bright_black"),
}
_INDENT = 18


def examine(around: Surroundings) -> Iterator[tuple[str, Finding]]:
    """Run every check; yields the heading and each finding as it is made."""
    for heading, module, names in CHECKS:
        for name in names:
            for finding in _guarded(load(f"{_CHECKS}{module}:{name}"), name, around):
                yield heading, finding


def _guarded(check: Check, name: str, around: Surroundings) -> Iterator[Finding]:
    label = _LABELS.get(name) or name.removeprefix("check_").capitalize()
    try:
        yield from check(around)
    except ManagedError as error:  # a repair is somebody else's business
        yield Finding.of_error(label, error, "warn")
    except HermesError as error:
        yield Finding.of_error(label, error)
    except OSError as error:
        yield Finding(label, "fail", around.redactor.redact(str(error)), "The check could not be made.")
    except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others find
        text = around.redactor.redact(f"{type(error).__name__}: {error}")
        yield Finding(label, "fail", text, "The check itself failed: please report this.")


def render(finding: Finding, *, color: bool) -> str:
    """One finding as lines for people."""
    sign, word, style = _SIGNS[finding.status]
    encoding = (sys.stdout.encoding or "ascii").lower()
    mark = sign if encoding.startswith("utf") else f"{word:<4}"
    if color:
        mark = click.style(mark, fg=style, bold=finding.status == "fail")
    text = finding.message + (" (mended)" if finding.fixed else "")
    arrow = "→ " if encoding.startswith("utf") else "> "
    extra = [finding.why or "", f"{arrow}{finding.remedy}" if finding.remedy else ""]
    width = max(40, terminal_width()) - _INDENT
    first, *rest = _wrapped(text, width)
    lines = [f"{mark} {finding.name:<{_INDENT - 4}}{first}", *(" " * (_INDENT - 2) + line for line in rest)]
    for paragraph in filter(None, extra):
        lines += [" " * (_INDENT - 2) + line for line in _wrapped(paragraph, width)]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns; words (paths, commands) stay whole."""
    return [
        part
        for line in text.split("\n")
        for part in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
    ]


def to_json(findings: Sequence[tuple[str, Finding]]) -> dict[str, Any]:
    """The report as JSON-compatible values."""
    return {
        "status": worst(findings),
        "checks": [{"group": heading.lower(), **asdict(finding)} for heading, finding in findings],
    }


def worst(findings: Sequence[tuple[str, Finding]]) -> Status:
    """`fail` if anything failed, else `warn` if anything warned, else `ok`."""
    found = {finding.status for _, finding in findings}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"
