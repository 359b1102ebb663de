"""Which deliveries came lately, so that a repeated one is told from one that is meant to be done again.

The inbox alone keeps a delivery from being worked on twice, whatever happens to this file: it recognises
ids for a month. This file remembers when an id came first, because services send an old delivery again
when somebody asks them to, and after an hour that is new work.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.config.files import replace_atomically

_LOG = logging.getLogger(__name__)

_KEPT_SECONDS = 31 * 86_400.0
"""A day longer than the inbox."""
_MAX_ENTRIES = 20_000


@dataclass(slots=True)
class _Known:
    at: float
    round: int


class Deliveries:
    """Ids and times, in memory and as lines of a file.

    Args:
        path: Of the file.
        duplicate_seconds: Within this time the same id is a duplicate.
    """

    def __init__(self, path: Path, duplicate_seconds: float) -> None:
        self._path = path
        self._window = duplicate_seconds
        self._known: dict[str, _Known] = {}

    def load(self, now: float) -> None:
        """Read the file; what is too old or unreadable is dropped."""
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            try:
                moment, round_, key = json.loads(line)
                self._known[str(key)] = _Known(float(moment), int(round_))
            except (ValueError, TypeError):
                continue  # the last line of a process that was killed
        kept = [each for each in self._known.items() if now - each[1].at < _KEPT_SECONDS][-_MAX_ENTRIES:]
        self._known = dict(kept)
        if len(kept) < len(lines):
            text = "".join(_line(key, known) for key, known in kept)
            try:
                replace_atomically(self._path, text.encode(), mode=0o600)
            except OSError as error:
                _LOG.warning("%s cannot be written: %s", self._path, error)

    def message_id(self, route: str, delivery_id: str, now: float) -> str | None:
        """Under which id to take a delivery; None if it is a duplicate."""
        known = self._known.get(_key(route, delivery_id))
        if known is None:
            return delivery_id
        if 0 <= now - known.at < self._window:
            return None
        return f"{delivery_id}#{known.round + 1}"

    def taken(self, route: str, delivery_id: str, now: float) -> None:
        """It is in the inbox."""
        key = _key(route, delivery_id)
        before = self._known.pop(key, None)
        known = self._known[key] = _Known(now, before.round + 1 if before else 0)
        while len(self._known) > _MAX_ENTRIES:
            self._known.pop(next(iter(self._known)))
        self._append(key, known)

    def failed(self, route: str, delivery_id: str) -> None:
        """It came to nothing: when it is sent again it is no duplicate."""
        key = _key(route, delivery_id)
        before = self._known.pop(key, None)
        known = self._known[key] = _Known(0.0, before.round + 1 if before else 0)
        self._append(key, known)

    def _append(self, key: str, known: _Known) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, _line(key, known).encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            _LOG.warning("%s cannot be written: %s", self._path, error)


def _key(route: str, delivery_id: str) -> str:
    return f"{route}:{delivery_id}"


def _line(key: str, known: _Known) -> str:
    return json.dumps([round(known.at, 3), known.round, key], ensure_ascii=True) + "\n"
