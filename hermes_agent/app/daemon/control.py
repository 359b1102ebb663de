"""The control socket: how commands ask the running gateway (`$HERMES_HOME/run/gateway.sock`).

One JSON object on one line each way. A request is `{"command": NAME, …}`; the answer
`{"ok": true, …}` or `{"ok": false, "error": [what, why, what next]}`. Only the user that runs the gateway
(and root) is answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError, HermesError

_LOG = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]

_MAX_LINE = 1_000_000
_LONGEST_ADDRESS = 100


class ControlSocket:
    """The gateway's side."""

    def __init__(self, home: Home) -> None:
        self._path = home.gateway_socket
        self._handlers: dict[str, Handler] = {}
        self._server: asyncio.Server | None = None

    def register(self, command: str, handler: Handler) -> None:
        """Answer a command. The handler's dict is the answer; a `HermesError` is told to the asker."""
        self._handlers[command] = handler

    async def open(self) -> None:
        """Listen. A socket left by a killed gateway is replaced (the caller holds the gateway's lock)."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(self._path) as address:
                before = os.umask(0o177)
                try:
                    listening.bind(address)
                finally:
                    os.umask(before)
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=_MAX_LINE)
        except BaseException:
            listening.close()
            raise

    async def aclose(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _is_permitted(writer.get_extra_info("socket")):
                return
            while line := await reader.readline():
                answer = await self._answer(line)
                writer.write(json.dumps(answer, ensure_ascii=False, default=str).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the asker went away, or sent a line without an end
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except ValueError:
            return {"ok": False, "error": ["A request is one line of JSON"]}
        if not isinstance(request, dict):
            return {"ok": False, "error": ["A request is a JSON object"]}
        handler = self._handlers.get(str(request.get("command")))
        if handler is None:
            return {"ok": False, "error": [f"There is no control command {request.get('command')!r}"]}
        try:
            return {"ok": True, **await handler(request)}
        except HermesError as error:
            return {"ok": False, "error": list(error.lines)}
        except Exception as error:  # noqa: BLE001 - the asker is told, the socket lives on
            _LOG.exception("a control command failed")
            return {"ok": False, "error": [f"Internal error: {type(error).__name__}: {error}"]}


def ask_gateway(home: Home, command: str, *, timeout_seconds: float = 10.0, **values: Any) -> dict[str, Any]:
    """Ask the running gateway (blocking); returns its answer.

    Raises:
        GatewayError: None runs, it does not answer, or it refuses.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(timeout_seconds)
            with _short(home.gateway_socket) as address:
                asking.connect(address)
            asking.sendall(json.dumps({"command": command, **values}).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n"):
                data = asking.recv(65_536)
                if not data:
                    break
                received += data
        answer = json.loads(received) if received else {}
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise GatewayError(
            "No gateway is running", remedy="Start it: hermes gateway start (or: hermes gateway run)"
        ) from error
    except TimeoutError as error:
        raise GatewayError(f"The gateway did not answer within {timeout_seconds:g} s") from error
    except PermissionError as error:
        raise GatewayError(
            "The gateway's control socket belongs to another user", why=str(home.gateway_socket)
        ) from error
    except (OSError, ValueError) as error:
        raise GatewayError("The gateway's answer cannot be read", why=str(error)) from error
    if not answer.get("ok"):
        lines = [*answer.get("error", ()), None, None, None]
        raise GatewayError(lines[0] or "The gateway closed the connection", why=lines[1], remedy=lines[2])
    found: dict[str, Any] = answer
    return found


def _is_permitted(connection: Any) -> bool:
    """Whether the peer is this user or root. Where the system cannot tell, the file's mode decides."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _pid, uid, _gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, 12))
    return uid in (0, os.geteuid())


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """An address for a socket file; the system allows 108 bytes only."""
    if len(os.fsencode(path)) < _LONGEST_ADDRESS:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
