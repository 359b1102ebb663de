"""Socket Mode: envelopes over a WebSocket, each acknowledged when its work is done.

slack-sdk's own client reconnects in background tasks for ever and hides why. Here an envelope is
acknowledged only when its message is on disk, a new socket is opened before Slack closes the old one,
and a refused token ends the connection with a reason.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

import aiohttp

from hermes_agent.core.errors import AuthFailedError, DeliveryError, NotReadyError, StoreError
from hermes_agent.gateway.platforms.outside import read_json
from hermes_agent.gateway.platforms.slack.web import APP_TOKEN, APPS, Web, start_error

_LOG = logging.getLogger(__name__)

_CONNECT_SECONDS = 15.0
_DRAIN_SECONDS = 30.0
_MAX_FAILURES = 5
_LONGEST_PAUSE_SECONDS = 20.0
_MISSED_PINGS = 3
_MAX_FRAME = 16 * 1024 * 1024

Handler: TypeAlias = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""Takes an envelope; returns the payload of the acknowledgement. Raises `StoreError`: not acknowledged."""


class _Refreshed(Exception):  # noqa: N818 - a signal
    """Slack will close this connection soon."""


class SocketMode:
    """Keeps a connection.

    Args:
        web: With the app-level token.
        session: For the WebSockets.
        handle: Takes envelopes.
        on_progress: Called for each frame, pongs too.
        on_gap: Called when a connection was opened after one had been lost: events may have been missed.
        ping_seconds: Between two pings.
        proxy: Address of an HTTP proxy.
    """

    def __init__(
        self,
        web: Web,
        session: aiohttp.ClientSession,
        handle: Handler,
        *,
        on_progress: Callable[[], None],
        on_gap: Callable[[], None],
        ping_seconds: float,
        proxy: str = "",
    ) -> None:
        self.is_connected = False
        self.opened = 0
        self._web = web
        self._session = session
        self._handle = handle
        self._on_progress = on_progress
        self._on_gap = on_gap
        self._ping_seconds = ping_seconds
        self._proxy = proxy or None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._draining: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open a socket and wait for its greeting. Raises `AuthFailedError`, `NotReadyError`."""
        try:
            answer = await self._web.call("apps.connections.open")
            socket = await asyncio.wait_for(
                self._session.ws_connect(
                    str(answer["url"]), autoping=False, max_msg_size=_MAX_FRAME, proxy=self._proxy
                ),
                _CONNECT_SECONDS,
            )
        except DeliveryError as error:
            raise start_error(error, APP_TOKEN) from error
        except (aiohttp.ClientError, OSError, TimeoutError, KeyError, ValueError) as error:
            raise NotReadyError("Slack cannot be reached", why=str(error) or type(error).__name__) from error
        self._socket = socket
        self.opened += 1
        self.is_connected = True
        self._on_progress()

    async def run(self) -> None:
        """Read until the connection is lost for good. Raises `AuthFailedError`, `NotReadyError`."""
        failures = 0
        while True:
            socket = self._socket
            assert socket is not None
            try:
                await self._read(socket)
            except _Refreshed:
                with suppress(NotReadyError):  # then the old one is used to its end
                    await self.connect()
                    self._drain(socket)
                continue
            self.is_connected = False
            self._beside(_close(socket))  # a dead one takes seconds
            while not self.is_connected:
                failures += 1
                try:
                    await self.connect()
                except NotReadyError:
                    if failures >= _MAX_FAILURES:
                        raise
                    await asyncio.sleep(min(0.5 * 2.0**failures, _LONGEST_PAUSE_SECONDS))
            failures = 0
            self._on_gap()

    async def close(self) -> None:
        """Let work that is going on end for a moment, then say good-bye."""
        self.is_connected = False
        if self._work:
            await asyncio.wait(self._work, timeout=1)
        for task in (*self._draining, *self._work):
            task.cancel()
        if self._draining or self._work:
            await asyncio.wait((*self._draining, *self._work))
        if self._socket is not None:
            await _close(self._socket)

    def _drain(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Read what still comes on a socket that Slack is about to close."""

        async def drain() -> None:
            with suppress(TimeoutError, _Refreshed, AuthFailedError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self._read(socket, is_last=True)
            await _close(socket)

        self._beside(drain())

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="slack old socket")
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, *, is_last: bool = False) -> None:
        """Take frames until the socket is closed or silent."""
        pinging = asyncio.create_task(self._ping(socket), name="slack ping")
        try:
            while True:
                try:
                    frame = await socket.receive(timeout=_MISSED_PINGS * self._ping_seconds)
                except TimeoutError:
                    _LOG.warning("slack: the connection is silent; opening a new one")
                    return
                if frame.type is aiohttp.WSMsgType.PING:
                    await socket.pong(frame.data)
                elif frame.type is aiohttp.WSMsgType.TEXT:
                    self._take(socket, frame.data, is_last=is_last)
                elif frame.type is not aiohttp.WSMsgType.PONG:
                    _LOG.info("slack: the connection is closed (%s)", frame.type.name)
                    return
                self._on_progress()
        except (aiohttp.ClientError, OSError) as error:
            _LOG.info("slack: the connection is cut: %s", error)
        finally:
            pinging.cancel()

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(aiohttp.ClientError, OSError):
            while not socket.closed:
                await asyncio.sleep(self._ping_seconds)
                await socket.ping()

    def _take(self, socket: aiohttp.ClientWebSocketResponse, text: str, *, is_last: bool) -> None:
        try:
            envelope = read_json(text.encode())
            kind = envelope.get("type")
        except (ValueError, AttributeError, RecursionError):
            _LOG.warning("slack: an unreadable frame of %d characters is skipped", len(text))
            return
        if kind == "disconnect" and not is_last:
            reason = str(envelope.get("reason", ""))
            if reason == "link_disabled":
                raise AuthFailedError(
                    "Socket Mode is switched off for the Slack app",
                    remedy=f"Open {APPS}, choose the app, Socket Mode, switch it on; then: "
                    "hermes gateway reload",
                )
            _LOG.info("slack: the connection is to be renewed (%s)", reason)
            raise _Refreshed
        if isinstance(envelope.get("envelope_id"), str):
            # Tasks start in this order, and wait for each other by channel.
            task = asyncio.create_task(self._answer(socket, envelope), name="slack envelope")
            self._work.add(task)
            task.add_done_callback(self._work.discard)

    async def _answer(self, socket: aiohttp.ClientWebSocketResponse, envelope: dict[str, Any]) -> None:
        try:
            payload = await self._handle(envelope)
        except StoreError as error:
            _LOG.error("slack: an event was not stored, Slack delivers it again: %s", error)
            return
        except Exception:  # noqa: BLE001 - one event must not end the others
            # It would fail in the same way for ever.
            _LOG.exception("slack: an event of type %r cannot be read", envelope.get("type"))
            payload = None
        answer: dict[str, Any] = {"envelope_id": envelope["envelope_id"]}
        if payload and envelope.get("accepts_response_payload"):
            answer["payload"] = payload
        with suppress(aiohttp.ClientError, OSError):  # then it is delivered again, and known
            await socket.send_str(json.dumps(answer))


async def _close(socket: aiohttp.ClientWebSocketResponse) -> None:
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(2):
            await socket.close()
