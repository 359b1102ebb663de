"""Child processes in sessions of their own: started, read, written and ended on the event loop.

Deliberately *not* built on `asyncio.subprocess`: that one waits for the end of the output before it
reports the end of the process, and hands output over in 64 KiB pieces through a stream reader.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from hermes_agent.core.errors import ExecutionError, ToolError
from hermes_agent.environments.process_table import any_alive, has_table, session_processes

Sink: TypeAlias = Callable[[bytes], None]
Stdin: TypeAlias = Literal["closed", "pipe", "pty"]

KILL_DELAY_SECONDS = 1.0
READ_BYTES = 1 << 20
PTY_ROWS, PTY_COLUMNS = 24, 120
_PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ: Linux only; elsewhere the call fails and the pipe stays as it is


class OutputPump:
    """Reads one descriptor on the loop and gives the bytes to a sink until the end."""

    def __init__(self, descriptor: int, sink: Sink) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._sink = sink
        self._is_widened = False
        self.ended = asyncio.Event()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # a terminal whose last user is gone gives EIO
            data = b""
        if not data:
            self.close()
            return
        if len(data) >= 65_536 and not self._is_widened:
            self._is_widened = True
            with contextlib.suppress(OSError):  # a wider pipe: fewer wake-ups for floods of output
                fcntl.fcntl(self._descriptor, _SET_PIPE_SIZE, _PIPE_BYTES)
        self._sink(data)

    def mute(self) -> None:
        """Go on reading, so that nobody who writes gets stuck, but forget what is read."""
        self._sink = _forget

    def close(self) -> None:
        """Stop reading."""
        if not self.ended.is_set():
            self.ended.set()
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)


def _forget(_data: bytes) -> None:
    pass


class Child:
    """A process that leads its own session. Make one with `Child.start`."""

    def __init__(self, process: subprocess.Popen[bytes], pumps: list[OutputPump], stdin: int | None) -> None:
        self.pid = process.pid
        self._process = process
        self._pumps = pumps
        self._stdin = stdin
        self._is_terminal = False
        self._exited = asyncio.Event()
        self._watch()

    @classmethod
    def start(
        cls,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        on_output: Sink,
        on_error: Sink | None = None,
        stdin: Stdin = "closed",
    ) -> Child:
        """Start a process in `/`.

        Args:
            arguments: Program (a path) and its arguments.
            environment: Its whole environment.
            on_output: Gets standard output, and standard error too unless `on_error` is given.
            on_error: Gets standard error.
            stdin: `closed` reads nothing; `pipe` and `pty` can be written to. With `pty`, output is
                the terminal's and `on_error` is not used.

        Raises:
            ExecutionError: The program cannot be started.
        """
        if stdin == "pty":
            return cls._start_on_terminal(arguments, environment, on_output)
        opened: list[int] = []
        try:
            read_end, write_end = _pipe(opened)
            error_read, error_write = _pipe(opened) if on_error else (-1, write_end)
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE if stdin == "pipe" else subprocess.DEVNULL,
                stdout=write_end,
                stderr=error_write,
                env=environment,
                cwd="/",  # scripts go to their directory themselves: a dead mount must not stop us here
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            for descriptor in opened:
                os.close(descriptor)
            raise _start_error(arguments, error) from error
        pumps = [OutputPump(read_end, on_output)]
        os.close(write_end)
        if on_error:
            pumps.append(OutputPump(error_read, on_error))
            os.close(error_write)
        return cls(process, pumps, _take_over(process))

    @classmethod
    def _start_on_terminal(
        cls, arguments: Sequence[str], environment: Mapping[str, str], on_output: Sink
    ) -> Child:
        opened: list[int] = []
        try:
            master, slave = os.openpty()
            opened += [master, slave]
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", PTY_ROWS, PTY_COLUMNS, 0, 0))
            process = subprocess.Popen(
                [part.replace(TTY_PLACE, os.ttyname(slave)) for part in arguments],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            for descriptor in opened:
                os.close(descriptor)
            raise _start_error(arguments, error) from error
        os.close(slave)
        writer = os.dup(master)
        child = cls(process, [OutputPump(master, on_output)], writer)
        child._is_terminal = True
        return child

    @property
    def exit_code(self) -> int | None:
        """None while it runs; 128 + n if signal n ended it."""
        code = self._process.returncode
        return 128 - code if code is not None and code < 0 else code

    @property
    def is_drained(self) -> bool:
        """All output was read to its end."""
        return all(pump.ended.is_set() for pump in self._pumps)

    @property
    def has_group(self) -> bool:
        """Some process of its group is alive."""
        try:
            os.killpg(self.pid, 0)
        except PermissionError:
            return True
        except ProcessLookupError:
            return False
        return True

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the process itself ends; False if the time-out came first."""
        return await _happens(self._exited, timeout_seconds)

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait for the end of the output; False if somebody still holds it open."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        for pump in self._pumps:
            left = deadline - asyncio.get_running_loop().time()
            if not await _happens(pump.ended, max(0.0, left)):
                return False
        return True

    async def write(self, data: bytes) -> None:
        """Write to standard input; waits while nobody reads.

        Raises:
            ToolError: It is closed.
        """
        if self._stdin is None:
            raise ToolError("The process has no open standard input")
        await write_all(self._stdin, data)

    async def close_stdin(self) -> None:
        """Close standard input; on a terminal, type Ctrl+D."""
        if self._is_terminal:
            await self.write(b"\x04")
        else:
            self.close_stdin_now()

    async def terminate(self) -> None:
        """End the whole session: SIGTERM, and SIGKILL a second later to who is left."""
        if self._exited.is_set() and not self.has_group:
            return
        family = await asyncio.to_thread(session_processes, self.pid)
        self._signal(signal.SIGTERM, family)
        self._signal(signal.SIGCONT, family)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KILL_DELAY_SECONDS
        while (left := deadline - loop.time()) > 0 and await self.wait(left):
            if not any_alive(family):
                # Who was born meanwhile is in the table; without a table, the group must be empty.
                family = await asyncio.to_thread(session_processes, self.pid)
                if not family and (has_table() or not self.has_group):
                    return
            await asyncio.sleep(0.02)
        self._signal(signal.SIGKILL, family | await asyncio.to_thread(session_processes, self.pid))
        await self.wait(KILL_DELAY_SECONDS)

    async def hang_up(self) -> None:
        """Tell what the process left behind that its terminal is gone, as a closing window does."""
        if not self._exited.is_set() or any_alive((self.pid,)):
            return  # a living process with our id is a stranger by now
        family = await asyncio.to_thread(session_processes, self.pid, leader_must_be_gone=True)
        self._signal(signal.SIGHUP, family)

    def mute(self) -> None:
        """Read on, but forget."""
        for pump in self._pumps:
            pump.mute()

    def close(self) -> None:
        """Let go of all descriptors."""
        self.close_stdin_now()
        for pump in self._pumps:
            pump.close()

    def abandon(self) -> None:
        """SIGTERM to a process that still runs, and let go."""
        if not self._exited.is_set():
            self._signal(signal.SIGTERM, frozenset())
        self.close()

    def _signal(self, number: signal.Signals, family: frozenset[int]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for pid in family:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def close_stdin_now(self) -> None:
        """Close the writing end."""
        if self._stdin is not None:
            descriptor, self._stdin = self._stdin, None
            asyncio.get_running_loop().remove_writer(descriptor)
            os.close(descriptor)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        descriptor = _process_descriptor(self.pid)
        if descriptor is None:
            threading.Thread(target=self._wait_in_thread, args=(loop,), daemon=True).start()
            return

        def on_exit() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._process.poll()
            self._exited.set()

        loop.add_reader(descriptor, on_exit)

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(self._exited.set)


TTY_PLACE = "@hermes-tty@"
"""Stands for the terminal's device in the arguments of a child that is started on one."""


async def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to a non-blocking descriptor; waits while nobody reads.

    Raises:
        ToolError: The other end is closed.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await _writable(descriptor)
        except OSError as error:
            raise ToolError("The process no longer reads its standard input") from error


def _process_descriptor(pid: int) -> int | None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # old kernels and strict sandboxes
            return os.pidfd_open(pid)
    return None


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened.extend(ends)
    return ends


def _take_over(process: subprocess.Popen[bytes]) -> int | None:
    """Own the writing end ourselves, unbuffered and non-blocking."""
    if process.stdin is None:
        return None
    descriptor = os.dup(process.stdin.fileno())
    process.stdin.close()
    process.stdin = None
    os.set_blocking(descriptor, False)
    return descriptor


def _start_error(arguments: Sequence[str], error: OSError | ValueError) -> ExecutionError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return ExecutionError(f"Cannot start {arguments[0]!r}", why=why)


async def _happens(event: asyncio.Event, timeout_seconds: float | None) -> bool:
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(timeout_seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(descriptor, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)
