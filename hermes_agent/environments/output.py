"""Bounded buffers for the output of commands.

Both take raw bytes in any chunking and cost the same however much flows through them; bytes become
text only when somebody asks.
"""

from __future__ import annotations

from hermes_agent.core.environment import OutputSink

HEAD_SHARE = 0.4
ROLLING_BYTES = 200_000


class OutputBuffer:
    """Keeps the first 40 % and the last 60 % of a stream.

    Args:
        max_bytes: Most bytes to keep.
    """

    def __init__(self, max_bytes: int) -> None:
        self._head_bytes = int(max_bytes * HEAD_SHARE)
        self._head = bytearray()
        self._tail = RollingBuffer(max_bytes - self._head_bytes)

    @property
    def dropped_bytes(self) -> int:
        """How many bytes of the middle are gone."""
        return self._tail.dropped_bytes

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        room = self._head_bytes - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.feed(data)

    def text(self) -> str:
        """What was kept; invalid UTF-8 replaced, and a line that says how much is missing."""
        if not self.dropped_bytes:
            return (bytes(self._head) + self._tail.data()).decode("utf-8", "replace")
        head, tail = _without_cut_end(bytes(self._head)), _without_cut_start(self._tail.data())
        return "".join(
            (
                head.decode("utf-8", "replace"),
                f"\n[... {self.dropped_bytes:,} bytes omitted ...]\n",
                tail.decode("utf-8", "replace"),
            )
        )


def tee(buffer: OutputBuffer | RollingBuffer, on_output: OutputSink | None) -> OutputSink:
    """A sink that fills a buffer and passes everything on to whoever watches."""
    if on_output is None:
        return buffer.feed
    watch = on_output

    def take(data: bytes) -> None:
        buffer.feed(data)
        watch(data)

    return take


class RollingBuffer:
    """Keeps the last `max_bytes` of a stream."""

    def __init__(self, max_bytes: int = ROLLING_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept = bytearray()
        self.total_bytes = 0

    @property
    def dropped_bytes(self) -> int:
        """How many bytes were pushed out."""
        return max(0, self.total_bytes - self._max_bytes)

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total_bytes += len(data)
        if len(data) >= self._max_bytes:
            self._kept = bytearray(data[len(data) - self._max_bytes :])
            return
        self._kept += data
        if len(self._kept) > 2 * self._max_bytes:  # trimmed rarely, so that small chunks stay cheap
            del self._kept[: len(self._kept) - self._max_bytes]

    def data(self) -> bytes:
        """The kept bytes."""
        return bytes(self._kept[max(0, len(self._kept) - self._max_bytes) :])

    def text(self) -> str:
        """The kept bytes as text; a character cut at the start is left out."""
        data = self.data()
        return (_without_cut_start(data) if self.dropped_bytes else data).decode("utf-8", "replace")


def _without_cut_start(data: bytes) -> bytes:
    start = 0
    while start < min(3, len(data)) and data[start] & 0xC0 == 0x80:
        start += 1
    return data[start:]


def _without_cut_end(data: bytes) -> bytes:
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        needed = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return data[:-back] if needed > back else data
    return data
