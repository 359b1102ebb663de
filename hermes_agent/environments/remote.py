"""An environment at the other end of a connection: what Docker and SSH have in common.

A `Connection` opens channels; here they become commands with state, time-outs, background processes
and files.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import secrets
import time
from collections.abc import Sequence
from typing import Final, Protocol

from hermes_agent.core.environment import Command, CommandResult, FileInfo, OutputSink
from hermes_agent.core.errors import ExecutionError, ToolError
from hermes_agent.environments import remote_scripts
from hermes_agent.environments.background import BackgroundJob
from hermes_agent.environments.children import PTY_COLUMNS, PTY_ROWS
from hermes_agent.environments.output import OutputBuffer, RollingBuffer, tee
from hermes_agent.environments.remote_files import RemoteFiles, ScriptResult
from hermes_agent.environments.remote_run import RemoteRun
from hermes_agent.environments.remote_scripts import BOOTSTRAP, RunPlan, encode_text
from hermes_agent.environments.shell_state import Flavour, StateFiles, build_script

DRAIN_SECONDS: Final = 0.2
_LONGEST_ARGUMENT: Final = 100_000


class Channel(Protocol):
    """One program at the other end, with its streams."""

    @property
    def exit_code(self) -> int | None:
        """How the program ended; None while it runs and if the connection broke."""
        ...

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the program and its output have ended; False if the time-out came first."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to standard input. Raises `ToolError` if it is closed."""
        ...

    def close_input(self) -> None:
        """End standard input."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Connection(Protocol):
    """A way to one place."""

    async def connect(self) -> int:
        """Get ready, if we are not; returns a number that changes when the place was made anew.

        Raises:
            ExecutionError: There is no way.
        """
        ...

    async def open(
        self, arguments: Sequence[str], *, on_output: OutputSink, on_error: OutputSink, pty: bool
    ) -> Channel:
        """Start a program."""
        ...

    async def explain_loss(self, errors: str) -> ExecutionError:
        """Why a channel ended before its program did; `errors` is what came on standard error."""
        ...

    async def aclose(self) -> None:
        """Give the place up. Safe to call twice."""
        ...


class RemoteEnvironment:
    """Runs commands through a connection.

    Args:
        connection: The way there.
        name: `docker` or `ssh`.
        is_isolated: Damage stays there.
        start: Where the session starts; `.` is wherever one arrives.
        session_id: Exported as `HERMES_SESSION_ID`.
        is_persistent: Keep directory and exported variables from one command to the next.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        name: str,
        is_isolated: bool,
        start: str,
        session_id: str,
        is_persistent: bool,
    ) -> None:
        self._connection = connection
        self._name = name
        self._is_isolated = is_isolated
        self._start = start
        self._session_id = session_id
        self._is_persistent = is_persistent
        self._lock = asyncio.Lock()
        self._generation: int | None = None
        self._directory = ""
        self._shell: Flavour = "sh"
        self._home = "~"
        self._cwd = "~" if start in ("", ".") else start
        self._state: str | None = None
        self._number = 0
        self._runs: set[RemoteRun] = set()
        self._leftovers: list[RemoteRun] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._files = RemoteFiles(self._run_script)

    @property
    def name(self) -> str:
        """`docker` or `ssh`."""
        return self._name

    @property
    def is_isolated(self) -> bool:
        """Damage stays there."""
        return self._is_isolated

    @property
    def cwd(self) -> str:
        """The session's current directory; `~` until the first use if nothing else is known."""
        return self._cwd

    async def execute(self, command: Command, on_output: OutputSink | None = None) -> CommandResult:
        """Run a command to its end."""
        started = time.monotonic()
        buffer = OutputBuffer(command.max_output_bytes)
        sink = tee(buffer, on_output)
        await self._ready()
        keeps = command.persistent and self._is_persistent
        run = await self._begin(command, sink, keeps=keeps, has_stdin=False)
        try:
            timed_out = not await run.wait(command.timeout_seconds)
            if timed_out:
                await self._end(run)
            else:
                await run.drain(DRAIN_SECONDS)
        except asyncio.CancelledError:
            await self._end(run)
            raise
        finally:
            self._let_go(run)
        if run.is_lost and not timed_out:
            raise await self._connection.explain_loss(run.errors)
        if keeps and run.cwd:
            self._state = run.files.new
            if command.cwd is None:
                self._cwd = run.cwd
        return CommandResult(
            output=buffer.text(),
            exit_code=None if timed_out else run.exit_code,
            timed_out=timed_out,
            dropped_bytes=buffer.dropped_bytes,
            duration_seconds=time.monotonic() - started,
            cwd=self._cwd,
        )

    async def spawn(self, command: Command, on_output: OutputSink | None = None) -> BackgroundJob:
        """Start a command in the background. It reads the session's state but does not change it."""
        buffer = RollingBuffer()
        sink = tee(buffer, on_output)
        await self._ready()
        run = await self._begin(command, sink, keeps=False, has_stdin=True)
        if not await run.started():
            self._let_go(run)
            raise await self._connection.explain_loss(run.errors)
        self._keep(asyncio.create_task(self._see_off(run)))
        return BackgroundJob(
            run, command=command.text, buffer=buffer, timeout_seconds=command.timeout_seconds
        )

    def resolve(self, path: str) -> str:
        """Make a path absolute as far as the place is known; links are left as they are."""
        if path == "~" or path.startswith("~/"):
            path = self._home + path[1:]
        joined = path if path.startswith("~/") or path == "~" else posixpath.join(self._cwd, path)
        return posixpath.normpath(joined)

    async def stat(self, path: str) -> FileInfo | None:
        """Describe a path, following links; None if nothing is there."""
        await self._ready()
        return await self._files.stat(self.resolve(path))

    async def read_bytes(self, path: str, *, offset: int = 0, max_bytes: int | None = None) -> bytes:
        """Read a file or a slice of it."""
        await self._ready()
        return await self._files.read(self.resolve(path), offset, max_bytes)

    async def write_bytes(self, path: str, data: bytes) -> None:
        """Replace a file atomically, keeping its mode and following links; parents are created."""
        await self._ready()
        await self._files.write(self.resolve(path), data)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        await self._ready()
        await self._files.remove(self.resolve(path))

    async def aclose(self) -> None:
        """End background processes, hang up on what commands left behind, and leave."""
        await asyncio.gather(*(self._end(run) for run in self._runs))
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._directory:
            pids = [run.pid for run in self._leftovers if run.pid is not None]
            directory, self._directory = self._directory, ""
            with contextlib.suppress(ExecutionError, TimeoutError):  # the place is gone, with all of ours
                async with asyncio.timeout(10):
                    await self._run_script(remote_scripts.tidy(directory, pids), b"")
        for run in self._leftovers:
            run.close()
        self._leftovers.clear()
        self._generation = None
        await self._connection.aclose()

    async def _ready(self) -> None:
        async with self._lock:
            generation = await self._connection.connect()
            if generation == self._generation:
                return
            result = await self._run_script(remote_scripts.prepare(self._start, self._directory), b"")
            lines = result.output.decode("utf-8", "surrogateescape").splitlines()
            if result.exit_code == 43:
                raise ExecutionError(
                    f"The working directory {self._start!r} does not exist in the {self._name} environment",
                    remedy="Set terminal.cwd to a directory that exists there, or to '.'.",
                )
            if result.exit_code or len(lines) != 4:
                raise ExecutionError(
                    f"The {self._name} environment cannot run commands",
                    why=result.errors.strip()[-500:] or f"A first script ended with {result.exit_code}.",
                    remedy="It needs a POSIX shell (sh), mktemp and a writable /tmp.",
                )
            directory, shell, self._home, cwd = lines
            self._shell = "bash" if shell == "bash" else "sh"
            if directory != self._directory:
                self._directory, self._state = directory, None
            if self._generation is None or not self._is_persistent:
                self._cwd = cwd
            self._generation = generation

    async def _begin(self, command: Command, sink: OutputSink, *, keeps: bool, has_stdin: bool) -> RemoteRun:
        if "\0" in command.text:
            raise ToolError("A command cannot contain a zero byte")
        self._number += 1
        base = f"{self._directory}/{self._number}"
        text = command.text
        if len(text) > _LONGEST_ARGUMENT // 4:
            await self._files.write(f"{base}.sh", text.encode(errors="surrogateescape"))
            text = f". {base}.sh"
        files = StateFiles(
            self._state if command.persistent and self._is_persistent else None, base if keeps else None
        )
        plan = RunPlan(
            nonce=f"hermes-{secrets.token_hex(8)}",
            shell=self._shell,
            script=build_script(
                text,
                flavour=self._shell,
                cwd=self._cwd if command.cwd is None else self.resolve(command.cwd),
                files=files,
                own_names=command.env,
                is_strict=command.cwd is not None,
            ),
            environment={"HERMES_SESSION_ID": self._session_id, **command.env},
            files=files,
            fifo=f"{base}.in" if has_stdin and not command.pty else None,
        )
        run = RemoteRun(plan, sink, is_terminal=command.pty)
        if command.pty:
            script = encode_text(remote_scripts.on_terminal(plan, PTY_ROWS, PTY_COLUMNS)).decode()
            arguments: tuple[str, ...] = ("sh", "-c", f'eval "$(printf "%b" "{script}")"')
        else:
            arguments = BOOTSTRAP
        channel = await self._connection.open(
            arguments, on_output=run.feed, on_error=run.feed_report, pty=command.pty
        )
        run.attach(channel, self._kill)
        self._runs.add(run)
        if not command.pty:
            try:
                await channel.write(encode_text(remote_scripts.supervise(plan)) + b"\n")
            except ToolError:
                await run.wait(5)  # it will find out that the connection is lost
        return run

    async def _run_script(self, script: str, data: bytes) -> ScriptResult:
        """Run one of our own scripts, data on its standard input."""
        output, reports = bytearray(), bytearray()
        nonce = f"hermes-{secrets.token_hex(8)}"
        channel = await self._connection.open(
            BOOTSTRAP, on_output=output.extend, on_error=reports.extend, pty=False
        )
        # A subshell, so that an `exit` inside does not skip the report.
        whole = f"(\n{script}\n); printf '%s exit %s\\n' {nonce} $? >&2"
        try:
            with contextlib.suppress(ToolError):  # it ended early; its report says why
                await channel.write(encode_text(whole) + b"\n" + data)
            await channel.wait()
        finally:
            channel.close()
        errors, _, report = reports.decode("utf-8", "replace").rpartition(f"{nonce} exit ")
        if not report.strip().isdigit():
            raise await self._connection.explain_loss(reports.decode("utf-8", "replace"))
        return ScriptResult(int(report), bytes(output), errors)

    def _kill(self, pid: int) -> None:
        """End a session from outside; the last of its processes within a second from now."""
        self._keep(asyncio.create_task(self._kill_now(pid)))

    async def _kill_now(self, pid: int) -> None:
        with contextlib.suppress(ExecutionError, TimeoutError):  # there is no way there any more
            async with asyncio.timeout(10):
                await self._run_script(remote_scripts.kill(pid), b"")

    async def _see_off(self, run: RemoteRun) -> None:
        await run.wait()
        await run.drain(DRAIN_SECONDS)
        self._let_go(run)

    def _let_go(self, run: RemoteRun) -> None:
        self._runs.discard(run)
        if run.is_drained:
            run.close()
        else:  # its own children live on: go on reading, so that they do not get stuck
            run.mute()
            self._leftovers.append(run)

    async def _end(self, run: RemoteRun) -> None:
        task = asyncio.create_task(run.terminate())
        self._keep(task)
        await asyncio.shield(task)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
