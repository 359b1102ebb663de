"""One command at the other end of a connection, as a `Job`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hermes_agent.core.environment import OutputSink
from hermes_agent.core.errors import ToolError
from hermes_agent.environments.remote_scripts import RunPlan, encode

if TYPE_CHECKING:
    from hermes_agent.environments.remote import Channel

KILL_SECONDS: Final = 2.5
"""How long the other end gets to end a command by itself: its own second, and the way there and back."""


class RemoteRun:
    """Follows a command by the reports of its supervisor.

    Args:
        plan: What was sent there.
        sink: Gets the command's output.
        is_terminal: Output and reports share one stream.
    """

    def __init__(self, plan: RunPlan, sink: OutputSink, *, is_terminal: bool) -> None:
        self.files = plan.files
        self.pid: int | None = None
        self.exit_code: int | None = None
        self.cwd = ""
        self._nonce = plan.nonce.encode()
        self._sink = sink
        self._is_terminal = is_terminal
        self._held = bytearray()
        self._reports = bytearray()
        self._started = asyncio.Event()
        self._ended = asyncio.Event()
        self._channel: Channel | None = None
        self._closing: asyncio.Task[None] | None = None
        self._kill: Callable[[int], None] | None = None

    @property
    def is_lost(self) -> bool:
        """The channel closed before the command reported its end."""
        return self._ended.is_set() and self.exit_code is None

    @property
    def is_drained(self) -> bool:
        """All output has arrived."""
        if self._is_terminal and self.exit_code is not None:
            return True  # the report is the last thing on a terminal
        return self._closing is None or self._closing.done()

    @property
    def errors(self) -> str:
        """What came on standard error beside reports."""
        return self._reports.decode("utf-8", "replace").strip()

    def attach(self, channel: Channel, kill: Callable[[int], None]) -> None:
        """Follow this channel; `kill` ends a session there by its id."""
        self._channel = channel
        self._kill = kill
        self._closing = asyncio.create_task(self._follow(channel))

    def feed(self, data: bytes) -> None:
        """Take output. On a terminal, reports are lines that begin with 0x1e and the nonce."""
        if not self._is_terminal:
            self._sink(data)
            return
        self._held += data
        while (mark := self._held.find(b"\x1e")) >= 0:
            if mark:
                self._sink(bytes(self._held[:mark]))
                del self._held[:mark]
            if not (b"\x1e" + self._nonce).startswith(bytes(self._held[: len(self._nonce) + 1])):
                self._sink(b"\x1e")
                del self._held[:1]
                continue
            end = self._held.find(b"\n")
            if end < 0:
                return  # the rest of the report is on its way
            self._report(bytes(self._held[1:end]).strip())
            del self._held[: end + 1]
        if self._held:
            self._sink(bytes(self._held))
            self._held.clear()

    def feed_report(self, data: bytes) -> None:
        """Take standard error: reports, and the transport's own complaints."""
        self._reports += data
        lines = self._reports.split(b"\n")
        kept = [line for line in lines[:-1] if not self._report(bytes(line))]
        self._reports = bytearray(b"\n".join((*kept[-20:], lines[-1])))

    async def started(self) -> bool:
        """Wait until it runs; False if it cannot."""
        await self._started.wait()
        return self.pid is not None

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for its end; False if the time-out came first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ended.wait()
        except TimeoutError:
            return self._ended.is_set()
        return True

    async def drain(self, timeout_seconds: float) -> None:
        """Wait for the rest of the output, unless somebody else holds it open."""
        if self._closing is not None and not self.is_drained:
            await asyncio.wait((self._closing,), timeout=timeout_seconds)

    async def write(self, data: bytes) -> None:
        """Write to the command's standard input."""
        if self._is_terminal:
            await self._send(data)
            return
        for start in range(0, len(data), 16_384):
            await self._send(b"d" + encode(data[start : start + 16_384]) + b"\n")

    async def close_stdin(self) -> None:
        """Close the command's standard input; on a terminal, type Ctrl+D."""
        await self._send(b"\x04" if self._is_terminal else b"c\n")

    async def terminate(self) -> None:
        """End the command: its supervisor does it when its control line ends; otherwise we do."""
        if self._ended.is_set() or self._channel is None:
            return
        if not self._is_terminal:
            self._channel.close_input()
            if await self.wait(KILL_SECONDS):
                return
        with contextlib.suppress(TimeoutError):  # too early: it has not even told its id
            async with asyncio.timeout(KILL_SECONDS):
                await self._started.wait()
        if self.pid is not None and self._kill is not None:
            self._kill(self.pid)
        if not await self.wait(KILL_SECONDS):
            self.close()
            self._ended.set()

    def mute(self) -> None:
        """Forget further output."""
        self._sink = _forget

    def close(self) -> None:
        """Let go of the channel."""
        if self._channel is not None:
            self._channel.close()

    async def _send(self, data: bytes) -> None:
        if self._channel is None:
            raise ToolError("The process has no standard input")
        await self._channel.write(data)

    async def _follow(self, channel: Channel) -> None:
        await channel.wait()
        if self._held:
            self._sink(bytes(self._held))
        self._started.set()
        self._ended.set()

    def _report(self, line: bytes) -> bool:
        if not line.startswith(self._nonce):
            return False
        what, _, value = line[len(self._nonce) :].strip().partition(b" ")
        if what == b"pid":
            self.pid = int(value)
            self._started.set()
        elif what == b"cwd":
            self.cwd = value.decode("utf-8", "surrogateescape")
        elif what == b"exit":
            self.exit_code = int(value)
            self._ended.set()
        return True


def _forget(_data: bytes) -> None:
    pass
