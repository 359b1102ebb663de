"""The session's background processes: found by id, watched, reported when they end."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hermes_agent.core.environment import BackgroundProcess
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.tools.screen_text import plain_text

KEPT_PROCESSES = 64
UNREAD_BYTES = 20_000
TAIL_CHARS = 1_500

NOTICE_SECONDS = 10.0
MOST_NOTICES = 20
_BACKLOG_BYTES = 1_000_000
_STEP_BYTES = 32_768
_LINE_CHARS = 300

# `(a+)+` and its kin can take longer than the universe has, and a search cannot be interrupted.
_NESTED_REPEAT = re.compile(r"[+*}]\??\)[+*{]|\|[^()]*\)[+*{]")


class Watch:
    """Looks for patterns in the lines of a process and tells about them, not too often.

    At most one notice every ten seconds, with all lines found since the last one; after twenty
    notices it falls silent.

    Args:
        patterns: Regular expressions; a line that matches any of them is reported.
        notify: Gets the text of a notice.

    Raises:
        ToolArgumentsError: A pattern is no regular expression, or could search for ever.
    """

    def __init__(self, patterns: Sequence[str], notify: Callable[[str], None]) -> None:
        self._patterns = [_compiled(pattern) for pattern in patterns]
        self._notify = notify
        self._pending = bytearray()
        self._arrived = asyncio.Event()
        self._found: list[str] = []
        self._missed = 0
        self._notices = 0
        self._last_notice = -NOTICE_SECONDS

    def feed(self, data: bytes) -> None:
        """Take the next output; beyond a megabyte not yet looked at, the oldest is skipped."""
        if self._notices < MOST_NOTICES:
            self._pending += data[-_BACKLOG_BYTES:]
            del self._pending[: max(0, len(self._pending) - _BACKLOG_BYTES)]
            self._arrived.set()

    async def run(self) -> None:
        """Look at what arrives, a little at a time, until cancelled or silent."""
        while self._notices < MOST_NOTICES:
            wait = self._last_notice + NOTICE_SECONDS - time.monotonic() if self._found else None
            try:
                async with asyncio.timeout(None if wait is None else max(0.0, wait)):
                    await self._arrived.wait()
            except TimeoutError:
                self._tell()
                continue
            self._look(is_last=False)
            if time.monotonic() >= self._last_notice + NOTICE_SECONDS:
                self._tell()
            await asyncio.sleep(0)

    def finish(self) -> None:
        """The process has ended: look at the rest and tell what is left to tell."""
        while self._pending and self._notices < MOST_NOTICES:
            self._look(is_last=True)
        self._tell()

    def _look(self, *, is_last: bool) -> None:
        step = bytes(self._pending[:_STEP_BYTES])
        end = step.rfind(b"\n") + 1
        if not end:
            if not is_last and len(step) < _STEP_BYTES:
                self._arrived.clear()
                return
            end = len(step)
        del self._pending[:end]
        for line in step[:end].decode("utf-8", "replace").splitlines():
            if any(pattern.search(line) for pattern in self._patterns):
                if len(self._found) < 10:
                    self._found.append(line[:_LINE_CHARS])
                else:
                    self._missed += 1
        if b"\n" not in self._pending and len(self._pending) < _STEP_BYTES:
            self._arrived.clear()

    def _tell(self) -> None:
        if not self._found:
            return
        lines = [*self._found, *([f"({self._missed} more)"] if self._missed else [])]
        self._notices += 1
        if self._notices == MOST_NOTICES:
            lines.append("(no further matches will be reported)")
        self._found, self._missed = [], 0
        self._last_notice = time.monotonic()
        self._notify("\n".join(lines))


def _compiled(pattern: str) -> re.Pattern[str]:
    if _NESTED_REPEAT.search(pattern):
        raise ToolArgumentsError(
            f"watch_patterns: {pattern!r} repeats a repetition or an alternative",
            why="Such a search can take for ever.",
            remedy="Use a simpler pattern; plain words work.",
        )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ToolArgumentsError(
            f"watch_patterns: {pattern!r} is not a regular expression", why=str(error)
        ) from error


@dataclass(slots=True)
class Tracked:
    """A background process of the session.

    Attributes:
        process: The process.
        is_terminal: It writes to a terminal.
        unread: Output that no `poll` has shown yet; its oldest part goes first.
        unread_dropped: Bytes of it that are gone.
        unfinished_line: What was written to it since the last line end.
        started_in: The directory it began in.
    """

    process: BackgroundProcess
    is_terminal: bool = False
    unread: bytearray = field(default_factory=bytearray)
    unread_dropped: int = 0
    unfinished_line: str = ""
    started_in: str | None = None

    def feed(self, data: bytes) -> None:
        """Remember new output for the next `poll`."""
        self.unread += data[-UNREAD_BYTES:]
        excess = max(0, len(self.unread) - UNREAD_BYTES)
        self.unread_dropped += excess + max(0, len(data) - UNREAD_BYTES)
        del self.unread[:excess]

    def take_unread(self) -> str:
        """New output since the last time."""
        text = plain_text(bytes(self.unread).decode("utf-8", "replace"), is_terminal=self.is_terminal)
        if self.unread_dropped:
            text = f"[... {self.unread_dropped:,} bytes omitted ...]\n{text}"
        self.unread.clear()
        self.unread_dropped = 0
        return text

    def written(self, text: str) -> None:
        """Remember what was written."""
        self.unfinished_line = (self.unfinished_line + text).rpartition("\n")[2][-10_000:]


class Processes:
    """All background processes of one session, newest last. Session state."""

    def __init__(self) -> None:
        self._tracked: dict[str, Tracked] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def all(self) -> list[Tracked]:
        """Every process that is still known: the running ones and the last that ended."""
        return list(self._tracked.values())

    def get(self, process_id: str) -> Tracked:
        """Find a process by its id.

        Raises:
            ToolError: There is none.
        """
        if process_id in self._tracked:
            return self._tracked[process_id]
        running = [known for known, item in self._tracked.items() if item.process.exit_code is None]
        raise ToolError(
            f"No background process has the id {process_id!r}",
            why="Background processes live as long as the session is open.",
            remedy=f"Running now: {', '.join(running) or 'none'}.",
        )

    def add(
        self,
        tracked: Tracked,
        *,
        notify: Callable[[str], None],
        notify_on_complete: bool,
        watch: Watch | None,
    ) -> None:
        """Take a process in and follow it to its end."""
        self._tracked[tracked.process.id] = tracked
        ended = [known for known, item in self._tracked.items() if item.process.exit_code is not None]
        for known in ended[: max(0, len(self._tracked) - KEPT_PROCESSES)]:
            del self._tracked[known]
        task = asyncio.create_task(self._follow(tracked, notify, notify_on_complete, watch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(
        self, tracked: Tracked, notify: Callable[[str], None], notify_on_complete: bool, watch: Watch | None
    ) -> None:
        process = tracked.process
        watching = asyncio.create_task(watch.run()) if watch else None
        try:
            await process.wait()
        finally:
            if watching is not None:
                watching.cancel()
        if watch is not None:
            watch.finish()
        if notify_on_complete:
            tail = plain_text(process.output(), is_terminal=tracked.is_terminal)[-TAIL_CHARS:].strip()
            notify(
                f"Background process {process.id} ended with exit code {process.exit_code}: "
                f"{process.command[:200]}" + (f"\nLast output:\n{tail}" if tail else "")
            )
