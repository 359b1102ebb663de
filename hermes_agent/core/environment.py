"""The `Environment` port: where commands run and files live (this machine, a container, another host).

Paths are POSIX strings as the environment sees them, because a container's path is not a path here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

OutputSink: TypeAlias = Callable[[bytes], None]
"""Called on the event loop with raw output as it arrives."""


@dataclass(frozen=True, slots=True)
class Command:
    """A shell command.

    Attributes:
        text: Handed to `bash -c` (or the environment's shell).
        cwd: Where to start; None is the session's current directory (persistent shell state).
        timeout_seconds: SIGTERM to the whole process group, SIGKILL one second later.
        pty: Give it a terminal.
        env: Added to the child's (already cleaned) environment.
        max_output_bytes: Rolling bound of what is kept; the middle is dropped and counted.
        persistent: Read and write the session's shell state (directory, exported variables).
    """

    text: str
    cwd: str | None = None
    timeout_seconds: float | None = None
    pty: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    max_output_bytes: int = 1_000_000
    persistent: bool = True


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended.

    Attributes:
        output: stdout and stderr interleaved, invalid UTF-8 replaced, at most `max_output_bytes`:
            the first 40 % and the last 60 % with a line between that says how much is missing.
        exit_code: None if it was killed by a time-out; 128 + n for signal n.
        dropped_bytes: Output that was not kept.
        cwd: The session's current directory afterwards.
    """

    output: str
    exit_code: int | None
    timed_out: bool = False
    dropped_bytes: int = 0
    duration_seconds: float = 0.0
    cwd: str = ""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What `stat` says; `mtime_ns` may have second resolution in remote environments."""

    path: str
    kind: Literal["file", "directory", "other"]
    size: int
    mtime_ns: int
    mode: int


class BackgroundProcess(Protocol):
    """A command that goes on while the agent does. Output is kept in a rolling buffer of 200 KB."""

    @property
    def id(self) -> str:
        """`proc_` and 12 hex digits."""
        ...

    @property
    def command(self) -> str:
        """The command text."""
        ...

    @property
    def pid(self) -> int | None:
        """Process id in the environment, if known."""
        ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        ...

    @property
    def started_at(self) -> float:
        """Unix time."""
        ...

    def output(self) -> str:
        """The rolling buffer, decoded."""
        ...

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the end; False if the time-out came first."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to standard input.

        Raises:
            ToolError: The process has ended or has no standard input.
        """
        ...

    async def close_stdin(self) -> None:
        """Close standard input."""
        ...

    async def kill(self) -> None:
        """SIGTERM to the group, SIGKILL after one second."""
        ...


class Environment(Protocol):
    """Runs commands and gives access to files in one place.

    `is_isolated` environments (containers) need no approval for dangerous commands.
    All methods raise `ExecutionError` if the place itself is unavailable.
    """

    @property
    def name(self) -> str:
        """`local`, `docker`, `ssh` …"""
        ...

    @property
    def is_isolated(self) -> bool:
        """True if damage stays inside a sandbox."""
        ...

    @property
    def cwd(self) -> str:
        """The session's current directory."""
        ...

    async def execute(self, command: Command, on_output: OutputSink | None = None) -> CommandResult:
        """Run a command to its end. Cancellation sends SIGTERM, SIGKILL after one second, and re-raises."""
        ...

    async def spawn(self, command: Command, on_output: OutputSink | None = None) -> BackgroundProcess:
        """Start a command in the background."""
        ...

    def resolve(self, path: str) -> str:
        """Make a path absolute: `~`, relative to the current directory, `.` and `..` removed."""
        ...

    async def stat(self, path: str) -> FileInfo | None:
        """Describe a path, following links; None if nothing is there."""
        ...

    async def read_bytes(self, path: str, *, offset: int = 0, max_bytes: int | None = None) -> bytes:
        """Read a file or a slice of it. Raises `ToolError` (missing, a directory, no permission)."""
        ...

    async def write_bytes(self, path: str, data: bytes) -> None:
        """Replace a file atomically, keeping its mode and following links; parents are created.

        Raises:
            ToolError: No permission, no space, a directory is in the way.
        """
        ...

    async def remove(self, path: str) -> None:
        """Remove one file."""
        ...

    async def aclose(self) -> None:
        """Stop background processes and release the place. Safe to call twice."""
        ...
