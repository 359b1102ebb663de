"""Checks of the machine: Python, programs, terminal, clock."""

from __future__ import annotations

import locale
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import hermes_agent
from hermes_agent.cli.checks.finding import Finding, Surroundings
from hermes_agent.cli.checks.installation import describe_installation
from hermes_agent.cli.output import terminal_width
from hermes_agent.config.env_file import is_ignored
from hermes_agent.core.loading import load

_DAY_SECONDS = 86_400
_OLDEST_SQLITE = (3, 35, 0)
_PROGRAMS = (
    ("ripgrep", "rg", "Searching files is slower without it.", "ripgrep"),
    ("git", "git", "The agent cannot look at or keep versions of your files.", "git"),
    ("bash", "bash", "Commands of the agent are run by it.", "bash"),
)


def check_python(around: Surroundings) -> Iterator[Finding]:
    """The interpreter, and how hermes was installed."""
    found = describe_installation(around.environ, around.home)
    yield Finding("Python", "ok", f"{found.python} ({sys.executable})")
    revision = f", revision {found.revision[:12]}" if found.revision else ""
    yield Finding("hermes", "ok", f"{found.version}{revision}, {found.method} at {found.location}")


def check_sqlite(_around: Surroundings) -> Iterator[Finding]:
    """SQLite's version and full-text search."""
    found = load("hermes_agent.store.features:sqlite_features")()
    remedy = "Use a Python with a newer SQLite: uv's and those of current systems have one."
    if not found.has_fts5:
        yield Finding(
            "SQLite", "fail", f"{found.version} without FTS5", "Conversations cannot be searched.", remedy
        )
    elif tuple(map(int, found.version.split("."))) < _OLDEST_SQLITE:
        yield Finding("SQLite", "fail", f"{found.version} is too old", "3.35 or newer is needed.", remedy)
    else:
        yield Finding("SQLite", "ok", f"{found.version} with FTS5")


def check_programs(around: Surroundings) -> Iterator[Finding]:
    """Programs that tools use."""
    search_path = around.environ.get("PATH", "")
    for label, program, why, package in _PROGRAMS:
        place = shutil.which(program, path=search_path)
        if place is not None:
            yield Finding(label, "ok", place)
        else:
            yield Finding(label, "warn", "not found on PATH", why, f"Install the package {package!r}.")


def check_terminal(around: Surroundings) -> Iterator[Finding]:
    """Whether the full chat can be shown here."""
    terminal = around.terminal
    if not terminal.is_interactive:
        yield Finding("Terminal", "ok", "not a terminal: plain output")
        return
    name = around.environ.get("TERM", "")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    if terminal.is_dumb:
        yield Finding(
            "Terminal",
            "warn",
            f"TERM={name or '(not set)'} cannot move the cursor",
            "The chat uses plain lines: no completion, no live display.",
            "Set TERM to what your terminal is, for example xterm-256color.",
        )
    elif encoding != "utf8":
        yield Finding(
            "Terminal",
            "warn",
            f"{name}, but the encoding is {sys.stdout.encoding}",
            f"Characters outside it are shown as '?'; the locale is {locale.setlocale(locale.LC_CTYPE)}.",
            "Set LANG=C.UTF-8, or PYTHONUTF8=1.",
        )
    elif terminal_width() < 60:
        yield Finding("Terminal", "warn", f"only {terminal_width()} columns", "Tables and diffs will wrap.")
    else:
        color = "with colours" if terminal.color_stdout else "without colours"
        yield Finding("Terminal", "ok", f"{name}, {terminal_width()} columns, {color}")


def check_clock(around: Surroundings) -> Iterator[Finding]:
    """Whether the clock is plainly wrong: sign-ins and session order depend on it."""
    now = time.time()
    newest = 0.0
    for path in (Path(hermes_agent.__file__), around.home.config_file, around.home.state_db):
        try:
            newest = max(newest, path.stat().st_mtime)
        except OSError:
            continue
    shown = datetime.fromtimestamp(now).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    if newest - now > _DAY_SECONDS:
        yield Finding(
            "Clock",
            "warn",
            f"{shown} is before files were written",
            "Certificates and session order depend on the time.",
            "Set the clock; on a server turn on time synchronisation (timedatectl set-ntp true).",
        )
    else:
        yield Finding("Clock", "ok", shown)


def check_environment(around: Surroundings) -> Iterator[Finding]:
    """Variables of `.env` that are never taken from there."""
    names = [name for name in ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD") if around.environ.get(name)]
    odd = [name for name in names if is_ignored(name)]
    if odd:
        yield Finding(
            "Environment",
            "warn",
            f"{', '.join(odd)} {'is' if len(odd) == 1 else 'are'} set",
            "Programs may load other libraries than those hermes was tested with.",
            f"If something odd happens, try: env {' '.join(f'-u {name}' for name in odd)} hermes doctor",
        )
