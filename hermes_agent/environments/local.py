"""Commands on this machine, one shell per command, in sessions of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hermes_agent.core.environment import Command, CommandResult, FileInfo, OutputSink
from hermes_agent.core.errors import ToolError
from hermes_agent.environments import local_files
from hermes_agent.environments.background import BackgroundJob
from hermes_agent.environments.children import TTY_PLACE, Child
from hermes_agent.environments.guard import Guard
from hermes_agent.environments.output import OutputBuffer, RollingBuffer, tee
from hermes_agent.environments.shell_state import Flavour, StateFiles, build_script

DRAIN_SECONDS: Final = 0.2
"""How long the output of a finished shell is waited for while its children keep the pipe open."""

_LONGEST_ARGUMENT: Final = 100_000  # Linux takes 128 KiB in one argument


@dataclass(frozen=True, slots=True)
class _Shell:
    arguments: tuple[str, ...]
    flavour: Flavour


class LocalEnvironment:
    """This machine.

    Args:
        cwd: Where the session starts.
        child_env: The whole environment of every command, secrets already removed.
        session_id: Exported as `HERMES_SESSION_ID`.
        is_persistent: Keep directory and exported variables from one command to the next.
    """

    name = "local"
    is_isolated = False

    def __init__(
        self, *, cwd: str, child_env: Mapping[str, str], session_id: str = "", is_persistent: bool = True
    ) -> None:
        self._cwd = cwd
        self._environment = {**child_env, "HERMES_SESSION_ID": session_id}
        self._is_persistent = is_persistent
        self._directory: Path | None = None
        self._is_directory_guarded = False
        self._state: str | None = None
        self._number = 0
        self._shell: _Shell | None = None
        self._guard = Guard()
        self._children: set[Child] = set()
        self._leftovers: list[Child] = []
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def cwd(self) -> str:
        """The session's current directory."""
        return self._cwd

    async def execute(self, command: Command, on_output: OutputSink | None = None) -> CommandResult:
        """Run a command to its end."""
        started = time.monotonic()
        buffer = OutputBuffer(command.max_output_bytes)
        sink = tee(buffer, on_output)
        files = self._state_files(command)
        child = self._start(command, files, sink, stdin="pty" if command.pty else "closed")
        try:
            timed_out = not await child.wait(command.timeout_seconds)
            if timed_out:
                await self._end(child)
            elif not await child.drain(0):
                await child.drain(DRAIN_SECONDS)
        except asyncio.CancelledError:
            await self._end(child)
            raise
        finally:
            self._let_go(child)
            self._adopt(command, files)
        return CommandResult(
            output=buffer.text(),
            exit_code=None if timed_out else child.exit_code,
            timed_out=timed_out,
            dropped_bytes=buffer.dropped_bytes,
            duration_seconds=time.monotonic() - started,
            cwd=self._cwd,
        )

    async def spawn(self, command: Command, on_output: OutputSink | None = None) -> BackgroundJob:
        """Start a command in the background. It reads the session's state but does not change it."""
        buffer = RollingBuffer()
        sink = tee(buffer, on_output)
        files = StateFiles(self._state_files(command).old)
        child = self._start(command, files, sink, stdin="pty" if command.pty else "pipe")
        process = BackgroundJob(
            child, command=command.text, buffer=buffer, timeout_seconds=command.timeout_seconds
        )
        task = asyncio.create_task(self._see_off(child))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return process

    def resolve(self, path: str) -> str:
        """Make a path absolute; links are left as they are."""
        if path == "~" or path.startswith("~/"):
            path = self._environment.get("HOME", str(Path.home())) + path[1:]
        elif path.startswith("~"):
            path = os.path.expanduser(path)  # noqa: PTH111 - `~name` of somebody unknown stays as it is
        return os.path.normpath(os.path.join(self._cwd, path))  # noqa: PTH118 - paths are text here

    async def stat(self, path: str) -> FileInfo | None:
        """Describe a path, following links; None if nothing is there."""
        return await asyncio.to_thread(local_files.describe, self.resolve(path))

    async def read_bytes(self, path: str, *, offset: int = 0, max_bytes: int | None = None) -> bytes:
        """Read a file or a slice of it."""
        return await asyncio.to_thread(local_files.read, self.resolve(path), offset, max_bytes)

    async def write_bytes(self, path: str, data: bytes) -> None:
        """Replace a file atomically, keeping its mode and following links; parents are created."""
        await asyncio.to_thread(local_files.write, self.resolve(path), data)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        await asyncio.to_thread(local_files.remove, self.resolve(path))

    async def aclose(self) -> None:
        """End background processes, hang up on what commands left behind, and tidy up."""
        await asyncio.gather(*(self._end(child) for child in self._children))
        if self._endings:
            await asyncio.wait(self._endings)
        for child in self._leftovers:
            await child.hang_up()
            child.close()
        self._leftovers.clear()
        self._guard.close()
        if self._directory is not None:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
            self._directory = self._state = None

    def _start(self, command: Command, files: StateFiles, sink: OutputSink, *, stdin: str) -> Child:
        shell = self._shell or self._find_shell()
        script = build_script(
            self._passable(command.text),
            flavour=shell.flavour,
            cwd=self._cwd if command.cwd is None else self.resolve(command.cwd),
            files=files,
            own_names=command.env,
            is_strict=command.cwd is not None,
            tty=TTY_PLACE if command.pty else None,
        )
        environment = {**self._environment, **command.env}
        if command.pty:
            environment.setdefault("TERM", "xterm-256color")
        child = Child.start(
            (*shell.arguments, "-c", script),
            environment=environment,
            on_output=sink,
            stdin="pty" if stdin == "pty" else "pipe" if stdin == "pipe" else "closed",
        )
        self._children.add(child)
        self._guard.watch(child.pid)
        if self._directory is not None and not self._is_directory_guarded:
            self._is_directory_guarded = True
            self._guard.remove_later(str(self._directory))
        return child

    def _find_shell(self) -> _Shell:
        path = self._environment.get("PATH", os.defpath)
        bash = shutil.which("bash", path=path) or shutil.which("bash", path=os.defpath)
        self._shell = _Shell((bash, "--norc"), "bash") if bash else _Shell(("/bin/sh",), "sh")
        return self._shell

    def _passable(self, text: str) -> str:
        """The text itself, or a line that reads it from a file if it is too long for an argument."""
        if "\0" in text:
            raise ToolError("A command cannot contain a zero byte")
        data = text.encode(errors="surrogateescape")
        if len(data) < _LONGEST_ARGUMENT // 4:
            return text
        path = self._private_directory() / f"command-{self._number}"
        self._number += 1
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(data)
        return f". {path}"

    def _private_directory(self) -> Path:
        if self._directory is None or not _is_ours(self._directory):  # tidied away under a long session
            self._directory = _make_directory(self._environment.get("XDG_RUNTIME_DIR"))
            self._is_directory_guarded = False
            self._state = None
        return self._directory

    def _state_files(self, command: Command) -> StateFiles:
        if not (command.persistent and self._is_persistent):
            return StateFiles()
        self._number += 1
        try:
            new = str(self._private_directory() / f"state-{self._number}")
            for name in (new, f"{new}.cwd"):
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError:  # no space, or a read-only place: commands run all the same, without a memory
            return StateFiles(self._state)
        return StateFiles(self._state, new)

    def _adopt(self, command: Command, files: StateFiles) -> None:
        """Take over what the command left, if it is complete. Whoever ends last wins."""
        if files.new is None:
            return
        new, directory = Path(files.new), Path(f"{files.new}.cwd")
        try:
            cwd = directory.read_bytes().decode(errors="surrogateescape")
            directory.unlink()
            if not cwd:
                new.unlink()
        except OSError:
            return
        if not cwd:
            return
        if self._state is not None:
            with contextlib.suppress(OSError):
                Path(self._state).unlink()
        self._state = files.new
        if cwd.startswith("/") and command.cwd is None:
            self._cwd = cwd

    async def _see_off(self, child: Child) -> None:
        await child.wait()
        await child.drain(DRAIN_SECONDS)
        self._let_go(child)

    def _let_go(self, child: Child) -> None:
        self._children.discard(child)
        if child.is_drained and not child.has_group:
            self._guard.forget(child.pid)
            child.close()
            return
        # Its own children (`server &`) live on until the session ends, and must not block on a full
        # pipe or die of a closed one.
        self._guard.hang_up_later(child.pid)
        child.mute()
        self._leftovers.append(child)

    async def _end(self, child: Child) -> None:
        """End a command whatever happens to us meanwhile."""
        task = asyncio.create_task(child.terminate())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        await asyncio.shield(task)


def _make_directory(runtime: str | None) -> Path:
    """A private directory (mode 0700), in memory if there is such a place: a state is written per command."""
    for parent in (runtime, "/dev/shm"):  # noqa: S108 - mkdtemp makes it safely
        if parent:
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="hermes-", dir=parent))
    return Path(tempfile.mkdtemp(prefix="hermes-"))


def _is_ours(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
