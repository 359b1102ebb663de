"""Commands on another host, through the system's `ssh` client.

One master connection per session; every command is a channel of it, so only the first one pays for
the handshake. Keys, agents, jump hosts and aliases are those of the user's own ssh configuration, and
so is host key checking: an unknown or changed key is refused, never accepted silently.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Final

from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.environment import OutputSink
from hermes_agent.core.errors import ExecutionError
from hermes_agent.environments.children import Child
from hermes_agent.environments.guard import Guard
from hermes_agent.environments.remote import RemoteEnvironment

CONNECT_SECONDS: Final = 20
_READY = b"hermes-connected"
_OPTIONS: Final = (
    "BatchMode=yes",  # never ask: nobody could answer
    f"ConnectTimeout={CONNECT_SECONDS}",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
)


def open_ssh(
    settings: TerminalSettings,
    *,
    child_env: Mapping[str, str],
    session_id: str,
    on_progress: Callable[[str], None],
) -> RemoteEnvironment:
    """Make the `ssh` environment; it connects at its first use.

    Raises:
        ExecutionError: No host is configured.
    """
    if not settings.ssh_host:
        raise ExecutionError(
            "The ssh backend has no host",
            remedy="Set terminal.ssh_host (and ssh_user, ssh_port, ssh_key as needed).",
        )
    if settings.ssh_host.startswith("-") or settings.ssh_user.startswith("-"):
        raise ExecutionError("terminal.ssh_host and terminal.ssh_user cannot begin with '-'")
    return RemoteEnvironment(
        SshConnection(settings, child_env, on_progress),
        name="ssh",
        is_isolated=False,
        start=settings.cwd,
        session_id=session_id,
        is_persistent=settings.persistent_shell,
    )


class SshConnection:
    """One master connection and its channels."""

    def __init__(
        self, settings: TerminalSettings, environment: Mapping[str, str], on_progress: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._on_progress = on_progress
        self._directory: Path | None = None
        self._master: Child | None = None
        self._master_errors = bytearray()
        self._generation = 0
        self._guard = Guard()
        self._clients: set[Child] = set()

    @property
    def _target(self) -> str:
        user, host = self._settings.ssh_user, self._settings.ssh_host
        return f"{user}@{host}" if user else host

    async def connect(self) -> int:
        """Open the master connection, if there is none."""
        if self._master is not None and self._master.exit_code is None:
            return self._generation
        self._drop_master()
        program = self._program()
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="hermes-ssh-"))  # mode 0700
        self._on_progress(f"Connecting to {self._target} ...")
        said, errors = bytearray(), bytearray()
        ready = asyncio.Event()

        def hear(data: bytes) -> None:
            said.extend(data)
            if _READY in said:
                ready.set()

        master = Child.start(
            (
                *(program, *self._arguments(), "-M", "-N"),
                # Said when the connection stands: no guessing by the clock.
                *("-o", "PermitLocalCommand=yes", "-o", f"LocalCommand=echo {_READY.decode()}"),
                *("--", self._target),
            ),
            environment=self._environment,
            on_output=hear,
            on_error=errors.extend,
        )
        self._guard.watch(master.pid)
        try:
            await _first(ready.wait(), master.wait(), timeout_seconds=CONNECT_SECONDS + 10)
        except asyncio.CancelledError:
            await master.terminate()
            master.close()
            raise
        if not ready.is_set():
            await master.terminate()
            await master.drain(0.2)
            master.close()
            self._guard.forget(master.pid)
            raise self._refusal(errors.decode("utf-8", "replace"))
        self._master, self._master_errors = master, errors
        self._generation += 1
        return self._generation

    async def open(
        self, arguments: Sequence[str], *, on_output: OutputSink, on_error: OutputSink, pty: bool
    ) -> SshChannel:
        """Start a program on a channel of the master connection."""
        self._clients = {client for client in self._clients if client.exit_code is None}
        child = Child.start(
            (
                *(self._program(), *self._arguments(), "-o", "ControlMaster=no", "-tt" if pty else "-T"),
                *("--", self._target, " ".join(map(quote, arguments))),
            ),
            environment=self._environment,
            on_output=on_output,
            on_error=on_error,
            stdin="pipe",
        )
        self._guard.watch(child.pid)
        self._clients.add(child)
        return SshChannel(child, self._guard)

    async def explain_loss(self, errors: str) -> ExecutionError:
        """The master connection died, or the host refused the channel."""
        said = errors.strip() or self._master_errors.decode("utf-8", "replace").strip()
        return ExecutionError(
            f"The connection to {self._target} broke off",
            why=said[-500:] or "The host closed it.",
            remedy="The next command connects again; what was running there may have been ended.",
        )

    async def aclose(self) -> None:
        """Close the master connection."""
        if self._master is not None:
            await self._master.terminate()
        self._drop_master()
        for client in self._clients:
            client.abandon()
            await client.wait(1)
        self._clients.clear()
        self._guard.close()
        if self._directory is not None:
            directory, self._directory = self._directory, None
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _program(self) -> str:
        program = shutil.which("ssh", path=self._environment.get("PATH"))
        if program is None:
            raise ExecutionError(
                "The ssh program is not installed",
                why="The ssh backend uses the system's OpenSSH client.",
                remedy="Install it (openssh-client, openssh), or choose another terminal.backend.",
            )
        return program

    def _arguments(self) -> list[str]:
        arguments = ["-S", f"{self._directory}/master", "-p", str(self._settings.ssh_port)]
        if self._settings.ssh_key:
            arguments += ["-i", str(Path(self._settings.ssh_key).expanduser())]
        for option in _OPTIONS:
            arguments += ["-o", option]
        return arguments

    def _drop_master(self) -> None:
        if self._master is not None:
            self._guard.forget(self._master.pid)
            self._master.close()
            self._master = None

    def _refusal(self, said: str) -> ExecutionError:
        text = said.strip()
        port = f" -p {self._settings.ssh_port}" if self._settings.ssh_port != 22 else ""
        by_hand = f"ssh{port} {self._target}"
        if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
            return ExecutionError(
                f"The host key of {self._settings.ssh_host} has changed",
                why="Somebody may be listening in, or the host was installed anew.",
                remedy=f"If you know why: ssh-keygen -R '{self._known_name()}', then once by hand: {by_hand}",
            )
        if "Host key verification failed" in text:
            return ExecutionError(
                f"The host key of {self._settings.ssh_host} is not known yet",
                remedy=f"Connect once by hand and check the fingerprint: {by_hand}",
            )
        if "Permission denied" in text or "Too many authentication failures" in text:
            return ExecutionError(
                f"{self._settings.ssh_host} refused the login as {self._settings.ssh_user or 'this user'}",
                why=text.splitlines()[-1],
                remedy=f"Set terminal.ssh_user and terminal.ssh_key so that this works without a password: "
                f"{by_hand}",
            )
        return ExecutionError(
            f"Cannot connect to {self._target} over ssh",
            why=text[-500:] or f"No answer within {CONNECT_SECONDS} seconds.",
            remedy=f"Check terminal.ssh_host and terminal.ssh_port; this must work: {by_hand}",
        )

    def _known_name(self) -> str:
        host, port = self._settings.ssh_host, self._settings.ssh_port
        return host if port == 22 else f"[{host}]:{port}"


class SshChannel:
    """A client process that talks through the master connection."""

    def __init__(self, child: Child, guard: Guard) -> None:
        self._child = child
        self._guard = guard

    @property
    def exit_code(self) -> int | None:
        """The program's exit code; None while it runs and if the connection broke."""
        return None if self._child.exit_code == 255 else self._child.exit_code

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the client has ended and its output was read."""
        return await self._child.wait(timeout_seconds) and await self._child.drain(1.0)

    async def write(self, data: bytes) -> None:
        """Write to standard input."""
        await self._child.write(data)

    def close_input(self) -> None:
        """End standard input."""
        self._child.close_stdin_now()

    def close(self) -> None:
        """Let go; a client that still runs is ended by the closing of its pipes and a signal."""
        self._guard.forget(self._child.pid)
        self._child.abandon()


async def _first(*waits: Coroutine[None, None, bool], timeout_seconds: float) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
