"""`Call`: one HTTP request, and the ways to answer it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from hermes_agent.api.errors import ApiError, bad_request
from hermes_agent.api.wire import dumps, new_id

MAX_BODY_BYTES: Final = 10 * 1024 * 1024
KEEP_ALIVE_SECONDS: Final = 30.0

_MOST_DISCARDED: Final = 64 * 1024 * 1024
_DISCARD_SECONDS: Final = 10.0

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)

_STREAM_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would collect the pieces otherwise
)


class Call:
    """One request.

    Attributes:
        headers: Names in lower case, values as text.
        owner: Fingerprint of the key; empty on routes that need none.
        extra_headers: Sent with every answer (CORS, ids).
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.owner = ""
        self.id = new_id("req_", 24)
        self.extra_headers: list[tuple[bytes, bytes]] = []
        self.is_answered = False
        self.status = 0
        self.max_body_bytes = MAX_BODY_BYTES
        self.keep_alive_seconds = KEEP_ALIVE_SECONDS
        self._receive = receive
        self._send = send
        self._is_gone = False

    @property
    def path_params(self) -> Mapping[str, str]:
        """Parts of the path that the route names."""
        params: Mapping[str, str] = self.scope.get("path_params", {})
        return params

    @property
    def query(self) -> str:
        """What follows the question mark."""
        raw: bytes = self.scope.get("query_string", b"")
        return raw.decode("latin-1")

    def set_header(self, name: str, value: str) -> None:
        """Send this header with the answer."""
        self.extra_headers.append((name.lower().encode("latin-1"), value.encode("latin-1", "replace")))

    async def read(self) -> bytes:
        """The body.

        Raises:
            ApiError: 413, it is too long.
        """
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.max_body_bytes:
            await self._discard(int(declared))
            raise self._too_large()
        pieces: list[bytes] = []
        size = 0
        while True:
            piece, is_last = await self._receive_piece()
            size += len(piece)
            if size > self.max_body_bytes:
                if not is_last:
                    pieces.clear()
                    await self._discard(size)
                raise self._too_large()
            pieces.append(piece)
            if is_last:
                return b"".join(pieces)

    async def _receive_piece(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._is_gone = True
            raise ApiError(499, "The client left before its request was complete", code="client_closed")
        return message.get("body", b""), not message.get("more_body", False)

    async def _discard(self, size: int) -> None:
        """Read on for a while: a client that is still sending does not see the answer otherwise."""
        if size > _MOST_DISCARDED or "expect" in self.headers:
            return
        discarded, is_last = 0, False
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while not is_last and discarded < _MOST_DISCARDED:
                    piece, is_last = await self._receive_piece()
                    discarded += len(piece)

    async def read_json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            ApiError: 400, it is none; 413, it is too long.
        """
        return parse_object(await self.read())

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"The body is longer than {self.max_body_bytes} bytes",
            code="body_too_large",
            headers={"Connection": "close"},
        )

    async def answer(
        self, value: object, status: int = 200, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with JSON."""
        await self.answer_bytes(dumps(value).encode(), b"application/json", status, headers=headers)

    async def answer_bytes(
        self,
        body: bytes,
        media_type: bytes,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a whole body."""
        more = [(b"content-type", media_type), (b"content-length", str(len(body)).encode())]
        for name, value in (headers or {}).items():
            more.append((name.lower().encode("latin-1"), value.encode("latin-1", "replace")))
        await self._start(status, more)
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error, unless an answer has begun."""
        if not self.is_answered:
            await self.answer(error.body, error.status, headers=error.headers)

    async def stream(self, frames: AsyncIterator[bytes], on_gone: Callable[[], None]) -> None:
        """Answer with server-sent events, and comments while there are none.

        Args:
            frames: Whole events.
            on_gone: Called once if the client leaves; `frames` should then end soon.
        """
        await self._start(200, list(_STREAM_HEADERS))
        pulse = _Pulse()
        guard = asyncio.create_task(self._keep_alive(pulse, on_gone))
        try:
            async for frame in frames:
                pulse.beats += 1
                if not self._is_gone:
                    await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        finally:
            guard.cancel()
        await self._send({"type": "http.response.body", "body": b""})

    async def _keep_alive(self, pulse: _Pulse, on_gone: Callable[[], None]) -> None:
        while True:
            before = pulse.beats
            try:
                async with asyncio.timeout(self.keep_alive_seconds):
                    message = await self._receive()
            except TimeoutError:
                if pulse.beats == before:
                    comment: Message = {
                        "type": "http.response.body",
                        "body": b": keep-alive\n\n",
                        "more_body": True,
                    }
                    await self._send(comment)
                continue
            if message["type"] == "http.disconnect":
                self._is_gone = True
                on_gone()
                return

    async def watch(self, on_gone: Callable[[], None]) -> None:
        """Wait until the client leaves, then call back; cancel when the answer is ready."""
        while not self._is_gone:
            if (await self._receive())["type"] == "http.disconnect":
                self._is_gone = True
        on_gone()

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.is_answered = True
        self.status = status
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    *headers,
                    *SECURITY_HEADERS,
                    (b"x-request-id", self.id.encode()),
                    *self.extra_headers,
                ],
            }
        )


def parse_object(raw: bytes) -> dict[str, Any]:
    """A body as a JSON object. Raises `ApiError`."""
    try:
        value = json.loads(raw, parse_constant=no_constant)
    except RecursionError:
        raise bad_request("The body is nested too deeply", code="invalid_json") from None
    except ValueError as error:
        raise bad_request(f"The body is not valid JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise bad_request("The body must be a JSON object", code="invalid_json")
    return value


class _Pulse:
    """Counts frames, so that comments are sent only while there are none."""

    def __init__(self) -> None:
        self.beats = 0


def no_constant(name: str) -> Any:
    """`NaN` and `Infinity` are no JSON."""
    raise ValueError(f"{name} is not JSON")
