"""`hermes` in a terminal whose screen and scrollback can be read like a person does."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pexpect
import pyte
from command_line import CommandLine

READY = "Ask something, or /help"

LONGEST_WAIT = 60.0
"""Seconds until a test gives up on something that should be shown; ends as soon as it is. A loaded machine
needs many."""


class VirtualTerminal:
    """A process in a pseudo terminal, drawn on an emulated screen."""

    def __init__(self, child: pexpect.spawn, rows: int, columns: int) -> None:
        self.child = child
        self.raw = ""
        self.is_closed = False
        self._screen = pyte.HistoryScreen(columns, rows, history=5_000, ratio=0.5)
        self._stream = pyte.Stream(self._screen)

    @property
    def screen(self) -> str:
        """What is visible, without trailing blanks."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def text(self) -> str:
        """The scrollback and the screen."""
        history = [
            "".join(line[column].data for column in range(self._screen.columns)).rstrip()
            for line in self._screen.history.top
        ]
        return "\n".join([*history, self.screen])

    def send(self, text: str) -> None:
        """Type."""
        self.child.send(text)

    def wait_for(
        self, *wanted: str, timeout: float = LONGEST_WAIT, where: str = "text", times: int = 1
    ) -> str:
        """Read until all of `wanted` are in the text (or on the screen); returns it."""
        deadline = time.monotonic() + timeout
        while True:
            shown: str = getattr(self, where)
            if all(shown.count(each) >= times for each in wanted):
                return shown
            if self.is_closed or time.monotonic() > deadline:
                raise AssertionError(f"{wanted} not shown:\n{self.text}\n(closed: {self.is_closed})")
            self._read(0.05)

    def wait_while(self, unwanted: str, timeout: float = LONGEST_WAIT) -> None:
        """Read until something is no longer on the screen."""
        deadline = time.monotonic() + timeout
        while unwanted in self.screen:
            assert time.monotonic() < deadline, f"{unwanted!r} stays:\n{self.screen}"
            self._read(0.05)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size, as a person dragging the window."""
        self._screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def wait_for_end(self) -> int:
        """Read to the end; returns the exit code, negative for a signal."""
        deadline = time.monotonic() + LONGEST_WAIT
        while not self.is_closed:
            assert time.monotonic() < deadline, f"the process stays:\n{self.text}"
            self._read(0.5)
        self.child.wait()
        status = self.child.exitstatus
        return status if status is not None else -(self.child.signalstatus or 0)

    def hang_up(self) -> None:
        """Close the terminal, as closing its window does, and wait for the process."""
        self.child.ptyproc.fileobj.close()
        self.child.closed = self.child.ptyproc.closed = True
        self.wait_for_death()

    def wait_for_death(self) -> None:
        """Wait for a process whose terminal nobody reads."""
        deadline = time.monotonic() + LONGEST_WAIT
        while self.child.ptyproc.isalive():
            assert time.monotonic() < deadline, "the process stays"
            signal.sigtimedwait([], 0.02)

    def read_for(self, seconds: float) -> None:
        """Read for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def _read(self, timeout: float) -> None:
        try:
            data = self.child.read_nonblocking(65_536, timeout)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            self.is_closed = True
            return
        self.raw += data
        self._stream.feed(data)


@contextmanager
def terminal(
    cli: CommandLine, *arguments: str, ready: str = READY, rows: int = 30, columns: int = 80, **extra: str
) -> Iterator[VirtualTerminal]:
    """Start `hermes`, wait until `ready` is shown; the process is gone afterwards whatever happens."""
    child = cli.spawn(*arguments, **extra)
    child.delaybeforesend = None
    shown = VirtualTerminal(child, rows, columns)
    if (rows, columns) != (30, 80):
        shown.resize(rows, columns)
    try:
        if ready:
            shown.wait_for(ready)
        yield shown
    finally:
        if not child.closed:
            child.close(force=True)
        elif child.ptyproc.isalive():
            child.ptyproc.kill(signal.SIGKILL)
