"""Server-sent events: bytes in, events out. Knows nothing of JSON or of any provider."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hermes_agent.core.errors import ModelResponseError

MAX_EVENT_BYTES = 64 * 1024 * 1024
"""A longer event is taken for garbage."""


class ServerEvent(NamedTuple):
    """One event: its name (empty if it has none) and its data lines joined by newlines."""

    name: str
    data: bytes


@dataclass(slots=True)
class EventDecoder:
    """Turns a byte stream, however it is cut, into events. Comments and unknown fields are ignored."""

    _rest: list[bytes] = field(default_factory=list)
    _rest_bytes: int = 0
    _data: list[bytes] = field(default_factory=list)
    _name: str = ""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Take the next bytes; give the events they complete.

        Raises:
            ModelResponseError: One event is larger than `MAX_EVENT_BYTES`.
        """
        if b"\n" not in chunk:
            self._keep(chunk)
            return []
        lines = chunk.split(b"\n")
        if self._rest:
            lines[0] = b"".join((*self._rest, lines[0]))
            self._rest.clear()
            self._rest_bytes = 0
        self._keep(lines.pop())
        events: list[ServerEvent] = []
        for line in lines:
            self._line(line, events)
        return events

    def finish(self) -> list[ServerEvent]:
        """The stream has ended: give what an abrupt end left complete enough to be tried."""
        events: list[ServerEvent] = []
        if self._rest:
            line = b"".join(self._rest)
            self._rest.clear()
            self._line(line, events)
        self._line(b"", events)
        return events

    def _keep(self, rest: bytes) -> None:
        if not rest:
            return
        self._rest.append(rest)
        self._rest_bytes += len(rest)
        if self._rest_bytes > MAX_EVENT_BYTES:
            raise ModelResponseError("The provider sent one event of more than 64 MiB")

    def _line(self, line: bytes, events: list[ServerEvent]) -> None:
        if line.endswith(b"\r"):
            line = line[:-1]
        if not line:
            if self._data:
                events.append(ServerEvent(self._name, b"\n".join(self._data)))
                self._data.clear()
            self._name = ""
        elif line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            self._name = line[6:].strip().decode("utf-8", "replace")
        elif line.startswith(b"\xef\xbb\xbf"):
            self._line(line[3:], events)
