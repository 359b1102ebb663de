"""A server that is a program: started, spoken to over its standard input and output, and always ended.

Own code instead of the SDK's `stdio_client`, because that one does not tell the process id (which the
guard needs against `kill -9`), takes any environment variable that it finds, and can be left with a
living process by a cancelled task.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from hermes_agent.mcp.errors import McpUnavailableError
from hermes_agent.mcp.ports import McpPorts
from hermes_agent.mcp.wire import MAX_MESSAGE_BYTES, Incoming, Messages, Streams, parse

_SAFE = """
PATH HOME USER LOGNAME SHELL TERM LANG LANGUAGE TZ TMPDIR TEMP TMP HOSTNAME DISPLAY WAYLAND_DISPLAY
XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_STATE_HOME DBUS_SESSION_BUS_ADDRESS
SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS NIX_SSL_CERT_FILE NIX_PATH
HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
VIRTUAL_ENV NVM_DIR NPM_CONFIG_CACHE npm_config_cache UV_CACHE_DIR UV_PYTHON DOCKER_HOST
"""
SAFE_VARIABLES = frozenset(_SAFE.split())
"""What of our environment a server gets besides `LC_*` and its own `env`."""

EXIT_MOMENT_SECONDS = 0.03
EXIT_SECONDS = 1.0
"""How long a server may take to end by itself once its input is closed; then SIGTERM …"""
KILL_SECONDS = 1.0
"""… and SIGKILL this much later."""
DRAIN_SECONDS = 0.3
"""How long output may still come after the server itself is gone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """What to start."""

    command: str
    args: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str


def server_environment(inherited: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a server: harmless variables of ours, and its `env`."""
    safe = {
        name: value
        for name, value in inherited.items()
        if (name in SAFE_VARIABLES or name.startswith("LC_")) and not value.startswith("()")
    }
    return {**safe, **own}


class ServerProcess:
    """A running server. Ends with everything that it started."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], ports: McpPorts) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._ports = ports
        self.exited = asyncio.Event()
        self.last_lines: deque[str] = deque(maxlen=20)
        """The newest lines of its standard error, and of its output that were no messages."""
        ports.guard.watch(self.pid)
        self._watch()

    @classmethod
    def start(cls, name: str, program: Program, ports: McpPorts) -> ServerProcess:
        """Start it in a session of its own.

        Raises:
            McpUnavailableError: The program does not exist or cannot be run.
        """
        path = shutil.which(program.command, path=program.environment.get("PATH", os.defpath))
        if path is None and (os.sep not in program.command or not Path(program.command).exists()):
            raise McpUnavailableError(
                name,
                f"MCP server {name!r} cannot start: there is no program {program.command!r}",
                remedy=f"Install it, or correct mcp_servers.{name}.command",
            )
        try:
            process = subprocess.Popen(
                [path or program.command, *program.args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(program.environment),
                cwd=program.cwd,
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise McpUnavailableError(name, f"MCP server {name!r} cannot start", why=why) from error
        return cls(name, process, ports)

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        """Standard input, output and error."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        return process.stdin, process.stdout, process.stderr

    @property
    def exit_text(self) -> str:
        """How it ended, or that it runs; with its last words."""
        # Its output ends a moment before it does; the moment is shorter than anybody notices.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_MOMENT_SECONDS)
        code = self._process.returncode
        if code is None:
            how = "It still runs."
        elif code < 0:
            how = f"It was ended by signal {-code}."
        else:
            how = f"It ended with exit code {code}."
        words = "\n".join(self.last_lines).strip()
        return f"{how} Its last words:\n{words[-1500:]}" if words else how

    async def end(self) -> None:
        """End it and all that it started. Its input must be closed by now."""
        try:
            if not await _happens(self.exited, EXIT_SECONDS) or await self._has_family():
                await self._signal(signal.SIGTERM)
                loop = asyncio.get_running_loop()
                deadline = loop.time() + KILL_SECONDS
                # Its children are not ours: they die without an event.
                while loop.time() < deadline and await self._has_family():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                if await self._has_family():
                    await self._signal(signal.SIGKILL)
                    await _happens(self.exited, KILL_SECONDS)
        finally:
            self._process.poll()
            self._ports.guard.forget(self.pid)

    @property
    def is_alive(self) -> bool:
        """It runs, as far as the system says right now."""
        return self._process.poll() is None

    async def _has_family(self) -> bool:
        if not self.exited.is_set():
            return True
        if self._ports.family is not None:
            return bool(await asyncio.to_thread(self._ports.family, self.pid))
        try:
            os.killpg(self.pid, 0)
        except PermissionError:
            return True
        except ProcessLookupError:
            return False
        return True

    async def _signal(self, number: signal.Signals) -> None:
        family: frozenset[int] = frozenset()
        if self._ports.family is not None:
            family = await asyncio.to_thread(self._ports.family, self.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for pid in family:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        descriptor = -1
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # old kernels and strict sandboxes
                descriptor = os.pidfd_open(self.pid)
        if descriptor < 0:
            waiting = asyncio.ensure_future(asyncio.to_thread(self._process.wait))
            waiting.add_done_callback(lambda _future: self.exited.set())
            return

        def on_exit() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._process.poll()
            self.exited.set()

        loop.add_reader(descriptor, on_exit)


@asynccontextmanager
async def open_stdio(
    name: str, program: Program, ports: McpPorts
) -> AsyncGenerator[tuple[Streams, ServerProcess]]:
    """Start a server and speak with it; on leaving, nothing of it is left.

    Yields the streams and the process.

    Raises:
        McpUnavailableError: It cannot be started, or ended while it was connecting.
    """
    process = ServerProcess.start(name, program, ports)
    incoming, read_stream = anyio.create_memory_object_stream[Messages](0)
    write_stream, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    pipes = _Pipes(process)
    try:
        async with anyio.create_task_group() as group:
            await pipes.open()
            group.start_soon(_read, process, pipes.output, incoming)
            group.start_soon(_keep_errors, process, pipes.errors)
            group.start_soon(_write, pipes.input, outgoing, incoming)
            group.start_soon(_close_after_exit, process, incoming)
            try:
                yield (read_stream, write_stream), process
            finally:
                group.cancel_scope.cancel()
    finally:
        for stream in (incoming, read_stream, write_stream, outgoing):
            stream.close()
        pipes.close()
        await finish(asyncio.create_task(process.end(), name=f"mcp-end-{name}"))


async def finish(task: asyncio.Task[None]) -> None:
    """Wait for a task that must not be left undone, even if we are cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                break
            cancelled = error
    if cancelled is not None:
        raise cancelled


class _Pipes:
    """The three pipes as asyncio streams."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        self._transports: list[asyncio.BaseTransport] = []
        self.output = asyncio.StreamReader(limit=MAX_MESSAGE_BYTES)
        self.errors = asyncio.StreamReader(limit=65_536)
        self.input: asyncio.StreamWriter

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        stdin, stdout, stderr = self._process.pipes
        for pipe, reader in ((stdout, self.output), (stderr, self.errors)):
            transport, _ = await loop.connect_read_pipe(
                lambda reader=reader: asyncio.StreamReaderProtocol(reader),  # type: ignore[misc]
                pipe,
            )
            self._transports.append(transport)
        input_transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop),
            stdin,
        )
        self.input = asyncio.StreamWriter(input_transport, protocol, None, loop)
        self._transports.append(input_transport)

    def close(self) -> None:
        for transport in self._transports:
            if transport.is_closing():
                continue  # the other end went away first
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
            else:
                transport.close()
        for pipe in self._process.pipes:
            with contextlib.suppress(OSError):
                pipe.close()


async def _read(process: ServerProcess, reader: asyncio.StreamReader, incoming: Incoming) -> None:
    async with incoming:
        while True:
            try:
                line = await reader.readuntil()
            except asyncio.IncompleteReadError as error:
                if error.partial.strip():
                    process.last_lines.append(_shown(error.partial))
                return
            except asyncio.LimitOverrunError:
                process.last_lines.append(f"(a line of more than {MAX_MESSAGE_BYTES >> 20} MB)")
                return
            if not line.strip():
                continue
            try:
                message = await parse(line)
            except ValidationError:
                # Many servers print greetings to the wrong channel; the next line may be fine.
                process.last_lines.append(_shown(line))
                _log.debug("mcp server %s wrote something that is no message: %s", process.name, _shown(line))
                continue
            try:
                await incoming.send(message)
            except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                return


async def _keep_errors(process: ServerProcess, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(65_536):
        for line in data.splitlines():
            if line.strip():
                process.last_lines.append(_shown(line))
                _log.debug("mcp server %s: %s", process.name, _shown(line))


async def _write(
    writer: asyncio.StreamWriter,
    outgoing: MemoryObjectReceiveStream[SessionMessage],
    incoming: Incoming,
) -> None:
    try:
        async for item in outgoing:
            writer.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await writer.drain()
    except (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
        incoming.close()  # nobody can answer any more


async def _close_after_exit(process: ServerProcess, incoming: Incoming) -> None:
    """A child of the server may hold its output open; the server's own end counts."""
    await process.exited.wait()
    await asyncio.sleep(DRAIN_SECONDS)
    incoming.close()


def _shown(line: bytes) -> str:
    return line[:500].decode(errors="replace").strip()


async def _happens(event: asyncio.Event, timeout_seconds: float) -> bool:
    try:
        async with asyncio.timeout(timeout_seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
