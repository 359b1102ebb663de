"""How a script calls tools: one line of JSON in, one out, one call per connection, one at a time.

A request is `{"tool", "arguments"}`, an answer `{"result"}` or `{"error"}`. On this machine they come over a
Unix socket; in containers and on other hosts a relay (`code_relay`) carries them over its standard streams.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from shlex import quote
from typing import Any, Final

from hermes_agent.core.environment import BackgroundProcess, Command, Environment
from hermes_agent.core.errors import ExecutionError, HermesError
from hermes_agent.core.tool import ToolResult

REQUEST_BYTES: Final = 8_000_000
READ_SECONDS: Final = 30.0
RELAY_SECONDS: Final = 20.0
INLINE_BYTES: Final = 4_096
"""Longer answers go to the relay as files: standard input of a place elsewhere is slow."""

_NO_CALL: Final = {"error": "this is not a call of hermes_tools, or it is too long"}

Invoke = Callable[[str, Mapping[str, Any]], Awaitable[ToolResult]]


class ToolCalls:
    """Answers the calls of one script.

    Args:
        allowed: Names of the tools it may call.
        invoke: Calls one, past the approval gate.
        max_calls: Further calls get an error.
        report: Told about every call, for people.
    """

    def __init__(
        self, allowed: frozenset[str], invoke: Invoke, *, max_calls: int, report: Callable[[str], None]
    ) -> None:
        self._allowed = allowed
        self._invoke = invoke
        self._max_calls = max_calls
        self._report = report
        self._turn = asyncio.Lock()
        self.count = 0
        """How many were wanted."""

    async def answer(self, line: bytes) -> bytes:
        """The answer to one request."""
        answer = await self._answer(line)
        return json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name, arguments = request["tool"], dict(request["arguments"])
        except (ValueError, KeyError, TypeError):
            return _NO_CALL
        self.count += 1
        if self.count > self._max_calls:
            return {"error": f"the limit of {self._max_calls} tool calls per script is reached"}
        if name not in self._allowed:
            return {"error": f"scripts cannot call {name!r}; they have: {', '.join(sorted(self._allowed))}"}
        async with self._turn:
            self._report(f"→ {name} {_short(arguments)}\n")
            try:
                result = await self._invoke(name, arguments)
            except HermesError as error:
                return {"error": "\n".join(error.lines)}
        return {"result": _value(result.text)}


class SocketServer:
    """Takes calls over a Unix socket in a private directory, as long as its script lives."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen at this path (at most about 100 characters long)."""
        self._server = await asyncio.start_unix_server(self._accept, path=str(path), limit=REQUEST_BYTES)

    async def aclose(self) -> None:
        """Stop listening and drop calls that are going on."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            try:
                line = await asyncio.wait_for(reader.readline(), READ_SECONDS)
            except (TimeoutError, ValueError):
                line = b""
            writer.write(await self._calls.answer(line))
            await writer.drain()
        except asyncio.CancelledError:
            pass  # the script has ended; nobody reads this answer
        except OSError:
            pass  # likewise
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class RelayServer:
    """Takes calls through a relay that runs beside the script.

    Args:
        environment: Where both run.
        calls: Answers.
    """

    def __init__(self, environment: Environment, calls: ToolCalls) -> None:
        self._environment = environment
        self._calls = calls
        self._process: BackgroundProcess | None = None
        self._directory = ""
        self._rest = b""
        self._is_ready = asyncio.Event()
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, python: str, relay: str, path: str) -> None:
        """Start the relay (a program at this path) and wait until it listens.

        Raises:
            ExecutionError: It does not start.
        """
        self._directory = posixpath.dirname(path)
        text = f"exec {quote(python)} -I -S {quote(relay)} {quote(path)} 2>/dev/null"
        command = Command(text, cwd="/", persistent=False)
        self._process = await self._environment.spawn(command, self._take)
        ready = asyncio.create_task(self._is_ready.wait())
        ended = asyncio.create_task(self._process.wait(RELAY_SECONDS))
        await asyncio.wait((ready, ended), return_when=asyncio.FIRST_COMPLETED, timeout=RELAY_SECONDS)
        for task in (ready, ended):
            task.cancel()
        if not self._is_ready.is_set():
            raise ExecutionError(
                f"Tool calls cannot be carried out of the {self._environment.name} environment",
                why=f"The relay did not start: {self._process.output().strip()[-300:] or 'it said nothing'}",
                remedy="It needs Unix sockets in /tmp.",
            )

    async def aclose(self) -> None:
        """Drop calls that are going on and end the relay."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._process is not None:
            await self._process.kill()

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, number, request = [*line.split(b" ", 2), b"", b""][:3]
            if word != b"hermes-rpc" or not number.isdigit():
                continue  # what the place says to everybody who comes in
            if number == b"0":
                self._is_ready.set()
                continue
            task = asyncio.create_task(self._serve(number, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: bytes, request: bytes) -> None:
        answer = await self._calls.answer(request)
        assert self._process is not None
        with contextlib.suppress(HermesError):  # the script has ended, and the relay with it
            if len(answer) > INLINE_BYTES:
                path = f"{self._directory}/answer-{number.decode()}"
                await self._environment.write_bytes(path, answer)
                answer = f"@{path}".encode()
            async with self._writing:
                await self._process.write(b"%s %s\n" % (number, answer))


def _value(text: str) -> Any:
    """JSON objects as such (`terminal` answers with one), everything else as text."""
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text


def _short(arguments: Mapping[str, Any]) -> str:
    first = next((str(value) for value in arguments.values()), "")
    line = " ".join(first[:400].split())
    return line if len(line) <= 80 else line[:79] + "…"
