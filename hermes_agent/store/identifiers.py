"""Session ids and titles."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from typing import Final

from hermes_agent.core.errors import SessionTitleError

MAX_TITLE_LENGTH: Final = 100

_LOCAL_SOURCES: Final = frozenset({"cli", "tui", "acp", "cron"})
_NUMBERED: Final = re.compile(r"(.*?) #(\d+)", re.DOTALL)
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")


def new_session_id(source: str, now: float | None = None) -> str:
    """`YYYYMMDD_HHMMSS_` (local time) and 6 hex digits, 8 for sessions of the gateway."""
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(now))
    return f"{stamp}_{os.urandom(3 if source in _LOCAL_SOURCES else 4).hex()}"


def clean_title(title: str) -> str | None:
    """The title as it is stored: one line, no invisible characters; None if nothing is left.

    Raises:
        SessionTitleError: It is longer than 100 characters.
    """
    cleaned = " ".join(_UNSEEN.sub(" ", title).encode("utf-8", "replace").decode().split())
    if len(cleaned) > MAX_TITLE_LENGTH:
        raise SessionTitleError(
            f"The title has {len(cleaned)} characters, {MAX_TITLE_LENGTH} are possible",
            remedy="Choose a shorter one.",
        )
    return cleaned or None


def split_title(title: str) -> tuple[str, int]:
    """`("plan", 3)` for `plan #3`, `("plan", 1)` for `plan`."""
    match = _NUMBERED.fullmatch(title)
    return (match[1], int(match[2])) if match else (title, 1)


def check_title_is_free(connection: sqlite3.Connection, title: str, session_id: str | None) -> None:
    """Titles name one session each.

    Raises:
        SessionTitleError: Another session has it.
    """
    row = connection.execute(
        "SELECT id FROM sessions WHERE title = ? AND id IS NOT ?", (title, session_id)
    ).fetchone()
    if row is not None:
        raise SessionTitleError(
            f"The title {title!r} is taken",
            why=f"Session {row[0]} has it",
            remedy=f"Choose another, for example {next_title(connection, title)!r}.",
        )


def titles_like(connection: sqlite3.Connection, title: str) -> list[tuple[str, int, str]]:
    """Sessions called `title` or `title #N`, as (id, N, title)."""
    base, _ = split_title(title)
    rows = connection.execute(
        "SELECT id, title FROM sessions WHERE title = ? OR substr(title, 1, ?) = ?",
        (base, len(base) + 2, f"{base} #"),
    )
    found = []
    for identifier, other in rows:
        other_base, number = split_title(other)
        if other_base == base:
            found.append((identifier, number, other))
    return found


def next_title(connection: sqlite3.Connection, title: str) -> str:
    """The first free numbered form: `plan` → `plan #2` → `plan #3`, cut to fit."""
    base, _ = split_title(title)
    number = max((number for _, number, _ in titles_like(connection, title)), default=0) + 1
    if number == 1:
        return base
    suffix = f" #{number}"
    return base[: MAX_TITLE_LENGTH - len(suffix)].rstrip() + suffix
