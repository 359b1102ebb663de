"""Commands in a container of Docker or Podman."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.environment import OutputSink
from hermes_agent.core.errors import ExecutionError, ToolError
from hermes_agent.core.loading import load
from hermes_agent.environments.children import OutputPump, write_all
from hermes_agent.environments.remote import RemoteEnvironment

if TYPE_CHECKING:
    from hermes_agent.environments.docker_engine import ContainerPlan, Engine

_ENGINE: Final = "hermes_agent.environments.docker_engine:Engine"
_PLAN: Final = "hermes_agent.environments.docker_engine:ContainerPlan"


def open_docker(
    settings: TerminalSettings,
    *,
    child_env: Mapping[str, str],
    session_id: str,
    on_progress: Callable[[str], None],
) -> RemoteEnvironment:
    """Make the `docker` environment; the container is made or found at its first use."""
    return RemoteEnvironment(
        DockerConnection(settings, child_env, session_id, on_progress),
        name="docker",
        is_isolated=True,
        start=settings.cwd,
        session_id=session_id,
        is_persistent=settings.persistent_shell,
    )


class DockerConnection:
    """One container and the channels into it."""

    def __init__(
        self,
        settings: TerminalSettings,
        environment: Mapping[str, str],
        session_id: str,
        on_progress: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._session_id = session_id
        self._on_progress = on_progress
        self._engine: Engine | None = None
        self._container: str | None = None
        self._boots = ""
        self._generation = 0
        self._is_stopped = False

    async def connect(self) -> int:
        """Find the engine, have the image, and see the container running."""
        if self._engine is not None and self._container is not None:
            state = await asyncio.to_thread(self._engine.state, self._container)
            if state is not None and state.get("Running") and not state.get("Paused"):
                if state.get("StartedAt", "") != self._boots:  # somebody started it again
                    self._boots = state.get("StartedAt", "")
                    self._generation += 1
                return self._generation
        loop = asyncio.get_running_loop()

        def tell(line: str) -> None:
            loop.call_soon_threadsafe(self._on_progress, line)

        self._is_stopped = False
        try:
            await asyncio.shield(asyncio.to_thread(self._prepare, tell))
        except asyncio.CancelledError:
            self._is_stopped = True
            raise
        self._generation += 1
        return self._generation

    async def open(
        self, arguments: Sequence[str], *, on_output: OutputSink, on_error: OutputSink, pty: bool
    ) -> DockerChannel:
        """Start a program in the container."""
        if self._engine is None or self._container is None:
            raise ExecutionError("The container is not running")
        stream = await asyncio.to_thread(self._engine.start_program, self._container, arguments, tty=pty)
        if isinstance(stream, ssl.SSLSocket):
            stream = _bridge(stream)
        return DockerChannel(stream, on_output=on_output, on_error=on_error, is_terminal=pty)

    async def explain_loss(self, errors: str) -> ExecutionError:
        """The container was stopped, or the engine was."""
        if self._engine is None or self._container is None:
            return ExecutionError("The container is not running")
        try:
            state = await asyncio.to_thread(self._engine.state_after_loss, self._container)
        except ExecutionError as error:
            return ExecutionError(
                "The container engine stopped while a command was running", why=error.why, remedy=error.remedy
            )
        if state is None:
            what, why = "removed", None
        elif state.get("OOMKilled"):
            what, why = "killed", "It used more memory than terminal.container_memory allows."
        elif not state.get("Running"):
            what, why = "stopped", f"Its exit code was {state.get('ExitCode')}."
        else:
            return ExecutionError(
                "The container engine ended a command without a result", why=errors[-500:] or None
            )
        return ExecutionError(
            f"The container was {what} while a command was running",
            why=why,
            remedy="The next command starts it again."
            if what != "removed"
            else "The next command makes a new one.",
        )

    async def aclose(self) -> None:
        """Remove the container, unless it is persistent."""
        self._is_stopped = True
        engine, self._engine = self._engine, None
        container, self._container = self._container, None
        if engine is None:
            return
        if container is not None and not self._settings.container_persistent:
            with contextlib.suppress(ExecutionError):  # swept up by a later session
                await asyncio.to_thread(engine.remove, container)
        await asyncio.to_thread(engine.close)

    def _prepare(self, tell: Callable[[str], None]) -> None:
        settings = self._settings
        make_engine: type[Engine] = load(_ENGINE)
        make_plan: type[ContainerPlan] = load(_PLAN)
        if self._engine is None:
            self._engine = make_engine(self._environment)
        plan = make_plan(
            image=settings.docker_image,
            volumes=tuple(settings.docker_volumes),
            network=settings.docker_network,
            cpus=settings.container_cpu,
            memory=settings.container_memory,
            disk=settings.container_disk,
        )
        old = self._container
        self._container = None
        if old is not None and not settings.container_persistent:
            self._engine.remove(old)
        self._engine.ensure_image(plan.image, tell, lambda: self._is_stopped)
        container = self._engine.running(
            plan, session_id=self._session_id, is_persistent=settings.container_persistent
        )
        if self._is_stopped and not settings.container_persistent:
            self._engine.remove(container)  # nobody is waiting for it any more
            return
        state = self._engine.state(container) or {}
        if not state.get("Running"):
            raise ExecutionError(
                f"A container of the image {plan.image} ended at once",
                why=f"Its exit code was {state.get('ExitCode')}.",
                remedy="The image needs a POSIX shell (sh) and sleep.",
            )
        self._boots = state.get("StartedAt", "")
        self._container = container


class DockerChannel:
    """The hijacked connection of one program: frames of standard output and error, or a terminal."""

    def __init__(
        self, stream: socket.socket, *, on_output: OutputSink, on_error: OutputSink, is_terminal: bool
    ) -> None:
        self._stream = stream
        self._sinks = {1: on_output, 2: on_error}
        self._rest = bytearray()
        self._left = 0
        self._sink = on_output
        # A descriptor of its own for reading, which the pump closes; the other one is for writing.
        self._pump = OutputPump(socket.dup(stream.fileno()), on_output if is_terminal else self._take)
        self._is_closed = False

    @property
    def exit_code(self) -> int | None:
        """Not known here: programs report it themselves."""
        return None

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the engine has closed the streams."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._pump.ended.wait()
        except TimeoutError:
            return self._pump.ended.is_set()
        return True

    async def write(self, data: bytes) -> None:
        """Write to standard input."""
        if self._is_closed:
            raise ToolError("The process has no open standard input")
        await write_all(self._stream.fileno(), data)

    def close_input(self) -> None:
        """End standard input."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of the connection."""
        if not self._is_closed:
            self._is_closed = True
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_RDWR)
            self._pump.close()
            self._stream.close()

    def _take(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._left:
                part = view[: self._left]
                self._left -= len(part)
                view = view[len(part) :]
                self._sink(bytes(part))
                continue
            missing = 8 - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) == 8:
                kind, self._left = struct.unpack(">BxxxL", self._rest)
                self._sink = self._sinks.get(kind, self._sinks[1])
                self._rest.clear()


def _bridge(secure: ssl.SSLSocket) -> socket.socket:
    """A plain socket in front of an encrypted one, which cannot be waited for by its descriptor."""
    near, far = socket.socketpair()

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    for ends in ((secure, far), (far, secure)):
        threading.Thread(target=carry, args=ends, daemon=True).start()
    return near
