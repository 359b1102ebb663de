"""Reading log files: the newest records that match, and those that are still to come."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from hermes_agent.app.logging import log_generations
from hermes_agent.core.errors import UsageError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
POLL_SECONDS = 0.25
_HEADER = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[,.]\d+ (?P<level>[A-Z]+)"
    r"(?: \[(?P<session>[^\]]+)\])? (?P<logger>[\w.]+): "
)
_AGO = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>s|m|h|d|w)[a-z]*(?:\s+ago)?", re.IGNORECASE)
_CLOCK = re.compile(r"\d{1,2}:\d\d")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records to show; empty fields match all.

    Attributes:
        level: Least important level.
        session: Start of a session id.
        since: Local time; older records are left out.
        component: A part of the program (`store`, `models.retry`), or the start of any logger's name.
    """

    level: str = ""
    session: str = ""
    since: datetime | None = None
    component: str = ""

    def matches(self, header: re.Match[str]) -> bool:
        """Whether a record with this header is wanted."""
        if self.level and _rank(header["level"]) < _rank(self.level):
            return False
        if self.session and not (header["session"] or "").startswith(self.session):
            return False
        if self.since is not None and header["time"] < self.since.strftime("%Y-%m-%d %H:%M:%S"):
            return False
        return not self.component or self._is_of_component(header["logger"])

    def _is_of_component(self, logger: str) -> bool:
        wanted = self.component.removeprefix("hermes_agent.")
        return f"{logger.removeprefix('hermes_agent.')}.".startswith(f"{wanted}.")


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def parse_since(text: str, now: datetime) -> datetime:
    """A point in time: `30m`, `2h`, `1d`, `2026-01-31`, `2026-01-31 14:00`, `14:00` (today).

    Raises:
        UsageError: It is none of these.
    """
    if ago := _AGO.fullmatch(text.strip()):
        try:
            return now - timedelta(**{_UNITS[ago["unit"].lower()]: float(ago["number"])})
        except OverflowError:
            return datetime(1, 1, 1)  # noqa: DTZ001 - local time, as in the log
    text = text.strip()
    try:
        if _CLOCK.fullmatch(text):
            text = f"{now:%Y-%m-%d} {text.zfill(5)}"
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no point in time",
            remedy="Use an age (30m, 2h, 1d), a time of today (14:00) or a date ('2026-01-31 14:00').",
        ) from None
    return moment.astimezone().replace(tzinfo=None) if moment.tzinfo else moment


class Matcher:
    """Decides line by line: further lines of a record share its fate."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._is_wanted = wanted == Filter()

    def feed(self, line: str) -> bool:
        """Whether this line is shown."""
        header = _HEADER.match(line)
        if header is not None:
            self._is_wanted = self._wanted.matches(header)
        return self._is_wanted


def newest_records(path: Path, count: int, wanted: Filter) -> list[str]:
    """The last `count` records that match, oldest first, from as many old files as it takes.

    Raises:
        OSError: A file cannot be read.
    """
    found: deque[str] = deque()
    for file in log_generations(path):
        found.extendleft(reversed(deque(_records(file, wanted), maxlen=count - len(found))))
        if len(found) >= count:
            break
    return list(found)


def _records(file: Path, wanted: Filter) -> Iterator[str]:
    matcher = Matcher(wanted)
    lines: list[str] = []
    is_shown = False
    with file.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for line in stream:
            if _HEADER.match(line) or not lines:
                if lines and is_shown:
                    yield "".join(lines)
                lines = []
                is_shown = matcher.feed(line)
            lines.append(line)
    if lines and is_shown:
        yield "".join(lines)


class Follower:
    """Reads what is appended to a log, over rotations, from where it ends now.

    Each call of `poll` returns at once; whoever follows waits between two calls.
    """

    def __init__(self, path: Path, wanted: Filter) -> None:
        self._path = path
        self._matcher = Matcher(wanted)
        self._rest = b""
        self._file: BinaryIO | None = self._open()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def poll(self) -> Sequence[str]:
        """New lines that are shown, each with its line end."""
        lines: list[str] = []
        while True:
            lines += self._read()
            fresh = self._successor()
            if fresh is None:
                return lines
            lines += self._read()  # what came between the last read and the rotation
            self._close()
            self._file = fresh

    def close(self) -> None:
        """Close the file."""
        self._close()

    def _successor(self) -> BinaryIO | None:
        """The file that stands at the path now, if it is another one than ours."""
        if self._file is not None:
            try:
                known, current = os.fstat(self._file.fileno()), self._path.stat()
            except OSError:
                return None
            if os.path.samestat(known, current):
                if current.st_size < self._file.tell():  # emptied in place
                    self._file.seek(0)
                return None
        return self._open()

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except OSError:
            return None

    def _read(self) -> list[str]:
        if self._file is None:
            return []
        *whole, self._rest = (self._rest + self._file.read()).split(b"\n")
        lines = [line.decode("utf-8", "replace") + "\n" for line in whole]
        return [line for line in lines if self._matcher.feed(line)]

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def follow(follower: Follower) -> Iterator[Sequence[str]]:
    """Batches of new lines, for ever."""
    while True:
        if lines := follower.poll():
            yield lines
        time.sleep(POLL_SECONDS)
