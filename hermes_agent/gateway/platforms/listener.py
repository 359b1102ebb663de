"""A small HTTP listener for platforms that are called from outside: limits, JSON answers, nothing else."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hermes_agent.core.errors import NotReadyError, SettingError

_LOG = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
_BACKLOG = 256
_TAKEN = frozenset({98, 48})
"""EADDRINUSE on Linux and macOS."""

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Names of headers are in lower case; the body is whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def error(cls, status: int, message: str, **headers: str) -> Answer:
        """`{"error": message}`; names of headers are written with underscores."""
        return cls(
            status, {"error": message}, {name.replace("_", "-"): text for name, text in headers.items()}
        )


class _TooLongError(Exception):
    pass


class _GoneError(Exception):
    pass


class _Protocol(H11Protocol):
    """HTTP for strangers: few connections, and none that dawdles over its headers."""

    header_seconds = 20.0
    max_connections = 200
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._deadline is not None:
            self._deadline.cancel()

    def _watch(self) -> None:
        """A request that has begun to come must have come within the time."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if not is_waiting and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif is_waiting and self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.header_seconds, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the process, and does nothing while nobody asks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        # The original looks ten times a second whether it is to end.
        await self.on_tick(0)
        await self._ending.wait()

    def end(self) -> None:
        """End in good order."""
        self.should_exit = True
        self._ending.set()


class Listener:
    """Listens until stopped.

    Args:
        host: Address to listen on.
        port: 0 takes a free one; see `address`.
        answer: Answers a request; what it raises becomes 500.
        name: For the log.
        max_bytes: Longer bodies get 413.
        admit: Looks at a request before its body is read; an answer refuses it.
        header_seconds: How long the headers of a request may take.
        body_seconds: How long its body may take.
    """

    def __init__(
        self,
        host: str,
        port: int,
        answer: Callable[[Request], Awaitable[Answer]],
        *,
        name: str,
        max_bytes: int = 1024 * 1024,
        admit: Callable[[str, str], Answer | None] = lambda _method, _path: None,
        header_seconds: float = 20.0,
        body_seconds: float = 30.0,
    ) -> None:
        self.name = name
        self.address = ""
        """Where it listens: `http://127.0.0.1:8644`."""
        self._host = host.strip("[]")
        self._port = port
        self._answer = answer
        self._admit = admit
        self._max_bytes = max_bytes
        self._header_seconds = header_seconds
        self._body_seconds = body_seconds
        self._server: _Uvicorn | None = None
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingError: The address is not one of this machine.
            NotReadyError: The port is taken.
        """
        listener = self._socket = self._bind()
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.address = f"http://{host}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            loop="asyncio",
            http=type("Protocol", (_Protocol,), {"header_seconds": self._header_seconds}),
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=64 * 1024,
        )
        server = self._server = _Uvicorn(config)
        self._serving = asyncio.create_task(server.serve(sockets=[listener]), name=f"listener {self.name}")
        _LOG.info("%s listens on %s", self.name, self.address)

    async def stop(self) -> None:
        """Let what is being answered end, then close. Safe to call twice."""
        server, serving, listener = self._server, self._serving, self._socket
        self._server = self._serving = self._socket = None
        if server is not None and serving is not None:
            server.end()
            done, _ = await asyncio.wait({serving}, timeout=_STOP_SECONDS)
            if not done:
                server.force_exit = True
                serving.cancel()
                await asyncio.wait({serving}, timeout=1)
        if listener is not None:
            listener.close()

    @property
    def is_alive(self) -> bool:
        """Whether it still listens."""
        return self._serving is not None and not self._serving.done()

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except OSError as error:
            listener.close()
            if isinstance(error, socket.gaierror) or error.errno not in _TAKEN:
                raise SettingError(
                    f"{self.name} cannot listen on {self._host} port {self._port}",
                    key=f"platforms.{self.name}.extra",
                    why=error.strerror,
                    remedy="Choose an address of this machine: 127.0.0.1, 0.0.0.0, ::1 …",
                ) from error
            raise NotReadyError(
                f"Port {self._port} on {self._host} is taken",
                why="Another program (perhaps another gateway) listens there.",
                remedy=f"Find it with `ss -ltnp 'sport = :{self._port}'`, or choose another port.",
            ) from error
        return listener

    # ASGI.

    async def _serve(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        method, path = scope["method"], scope["path"]
        answer = self._admit(method, path) or self._by_length(headers)
        if answer is None:
            try:
                async with asyncio.timeout(self._body_seconds):
                    body = await self._body(receive)
            except TimeoutError:
                answer = Answer.error(408, "The request came too slowly")
            except _TooLongError:
                answer = self._too_long()
            except _GoneError:
                return
            else:
                query = scope["query_string"].decode("latin-1")
                answer = await self._answered(Request(method, path, headers, body, query))
        data = json.dumps(answer.body, ensure_ascii=False).encode()
        fields = {
            "content-type": "application/json",
            "content-length": str(len(data)),
            "x-content-type-options": "nosniff",
            **answer.headers,
        }
        if answer.status in (408, 413):
            fields["connection"] = "close"
        raw = [(name.encode("latin-1"), text.encode("latin-1")) for name, text in fields.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else data})

    async def _answered(self, request: Request) -> Answer:
        try:
            return await self._answer(request)
        except Exception:  # noqa: BLE001 - one request must not end the others
            _LOG.exception("%s: %s %s failed", self.name, request.method, request.path)
            return Answer.error(500, "Internal error; the log of the gateway says more")

    async def _body(self, receive: _Receive) -> bytes:
        data = bytearray()
        while True:
            event = await receive()
            if event["type"] == "http.disconnect":
                raise _GoneError
            data += event.get("body", b"")
            if len(data) > self._max_bytes:
                raise _TooLongError
            if not event.get("more_body"):
                return bytes(data)

    def _by_length(self, headers: Mapping[str, str]) -> Answer | None:
        length = headers.get("content-length", "0")
        return self._too_long() if length.isdecimal() and int(length) > self._max_bytes else None

    def _too_long(self) -> Answer:
        return Answer.error(413, f"The body is longer than {self._max_bytes:,} bytes")
