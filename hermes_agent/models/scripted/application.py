"""The ASGI application of the scripted server: three dialects, one player."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hermes_agent.models.scripted.answer import Answer, Fault, HttpFailure
from hermes_agent.models.scripted.builtin import NAMES
from hermes_agent.models.scripted.player import Player
from hermes_agent.models.scripted.prefix_cache import PrefixCache
from hermes_agent.models.scripted.script import Script
from hermes_agent.models.scripted.seen import SeenDialect, SeenRequest
from hermes_agent.models.scripted.stats import ServerStats
from hermes_agent.models.scripted.wire import CREATED, Decoded, Dialect, Encoder, WireError
from hermes_agent.models.scripted.wire_chat import ChatCompletions
from hermes_agent.models.scripted.wire_messages import AnthropicMessages
from hermes_agent.models.scripted.wire_responses import Responses

MAX_BODY_BYTES = 256 * 1024 * 1024
_FLUSH_EVENTS = 64
_JSON = (b"content-type", b"application/json")
_SSE = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request being answered."""

    answer: Answer
    encoder: Encoder
    dialect: Dialect
    receive: Receive
    send: Send
    request_id: bytes

    async def start(self, status: int, *headers: tuple[bytes, bytes]) -> None:
        """Send the response's head."""
        named = [*headers, (b"x-request-id", self.request_id)]
        await self.send({"type": "http.response.start", "status": status, "headers": named})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a part of the response."""
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def is_gone(self, seconds: float | None) -> bool:
        """Wait; True as soon as the client hangs up."""
        try:
            message = await asyncio.wait_for(self.receive(), seconds)
        except TimeoutError:
            return False
        return bool(message["type"] == "http.disconnect")


class Application:
    """Answers HTTP requests as a script says.

    Args:
        script: What to follow; None lets the model's name decide.
        record_limit: How many requests are kept; None keeps all.
    """

    def __init__(self, script: Script | None = None, *, record_limit: int | None = None) -> None:
        self.player = Player(script, record_limit=record_limit)
        self.played = threading.Event()
        self._number = 0
        self._cache = PrefixCache()
        self._stats = ServerStats()
        self.asgi = Starlette(
            routes=[
                *self._model_routes("/chat/completions", "chat_completions", ChatCompletions()),
                *self._model_routes("/responses", "responses", Responses()),
                *self._model_routes("/messages", "anthropic_messages", AnthropicMessages()),
                Route("/v1/models", self._models),
                Route("/models", self._models),
                Route("/v1/models/{name:path}", self._model),
                Route("/health", self._health),
                Route("/stats", self._show_stats),
                Route("/reset", self._reset, methods=["POST"]),
            ]
        )

    def _model_routes(self, path: str, name: SeenDialect, dialect: Dialect) -> list[Route]:
        async def handle(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await self._handle(name, dialect, scope, receive, send)
            except Exception as error:  # an error of ours must not pass for a scripted one
                self.player.problems.append(f"the server itself failed: {type(error).__name__}: {error}")
                raise

        endpoint = _Endpoint(handle)
        return [Route(f"{prefix}{path}", endpoint, methods=["POST"]) for prefix in ("/v1", "")]

    def stats(self) -> dict[str, Any]:
        """What `/stats` shows."""
        player = self.player
        return {
            **self._stats.to_json(),
            "complete": player.is_complete,
            "problems": list(player.problems),
            "unused": list(player.unused),
        }

    async def _handle(
        self, name: SeenDialect, dialect: Dialect, scope: Scope, receive: Receive, send: Send
    ) -> None:
        client = scope.get("client")
        self._stats.arrive(scope["path"], tuple(client) if client else None)
        self._number += 1
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        number = self._number
        try:
            body = await _read(receive)
            self._check_key(headers)
            content = _parse(body)
            decoded = dialect.decode(content)
        except _Refused as refused:
            await self._refuse(dialect, refused.failure, receive, send, number)
            return
        except WireError as error:
            await self._refuse(dialect, HttpFailure(400, str(error)), receive, send, number)
            return
        seen = self._see(name, decoded, headers, content, len(body))
        answer = self.player.answer(seen)
        exchange = _Exchange(
            answer, dialect.encoder(answer, decoded, number), dialect, receive, send, _request_id(number)
        )
        is_disconnected = await _respond(exchange, stream=decoded.stream)
        self._stats.answered(is_disconnected=is_disconnected)
        if not self.player.unused:
            self.played.set()

    def _see(
        self,
        name: SeenDialect,
        decoded: Decoded,
        headers: Mapping[str, str],
        content: Mapping[str, Any],
        size: int,
    ) -> SeenRequest:
        use = self._cache.measure(decoded.request.session_id, decoded.pieces, decoded.cacheable)
        seen = SeenRequest(
            number=self._number,
            request=decoded.request,
            model=decoded.model,
            dialect=name,
            stream=decoded.stream,
            headers=headers,
            body=content,
            body_bytes=size,
            prompt_tokens=use.prompt_tokens,
            cached_tokens=use.read_tokens,
            cache_write_tokens=use.write_tokens if name == "anthropic_messages" else 0,
        )
        self._stats.understand(seen)
        return seen

    def _check_key(self, headers: Mapping[str, str]) -> None:
        wanted = self.player.script.api_key if self.player.script else None
        given = (headers.get("authorization", "").removeprefix("Bearer "), headers.get("x-api-key"))
        if wanted is not None and wanted not in given:
            raise _Refused(HttpFailure(401, "Incorrect API key provided.", code="invalid_api_key"))

    async def _refuse(
        self, dialect: Dialect, failure: HttpFailure, receive: Receive, send: Send, number: int
    ) -> None:
        answer = Answer(error=failure)
        encoder = _NoEncoder()
        await _respond(_Exchange(answer, encoder, dialect, receive, send, _request_id(number)), stream=False)
        self._stats.answered(is_disconnected=False)

    def _listed(self, name: str) -> dict[str, Any]:
        script = self.player.script
        window = script.context_window if script else 128_000
        return {
            "id": name,
            "object": "model",
            "type": "model",
            "created": CREATED,
            "created_at": "2023-11-14T22:13:20Z",
            "display_name": name,
            "owned_by": "hermes-scripted",
            "context_length": window,
            "max_model_len": window,
        }

    async def _models(self, _request: Request) -> Response:
        names = (self.player.script.model,) if self.player.script else NAMES
        data = [self._listed(name) for name in names]
        paging = {"has_more": False, "first_id": names[0], "last_id": names[-1]}
        return JSONResponse({"object": "list", "data": data, **paging})

    async def _model(self, request: Request) -> Response:
        return JSONResponse(self._listed(request.path_params["name"]))

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _show_stats(self, _request: Request) -> Response:
        return JSONResponse(self.stats())

    async def _reset(self, _request: Request) -> Response:
        self.player.reset()
        self._cache = PrefixCache()
        self._stats = ServerStats()
        self.played.clear()
        return JSONResponse({"status": "reset"})


class _Endpoint:
    """Starlette takes objects (not functions) for ASGI applications."""

    def __init__(self, handle: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._handle = handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._handle(scope, receive, send)


class _Refused(Exception):  # noqa: N818 - an answer, not a failure of ours
    """The request gets an HTTP error before the script sees it."""

    def __init__(self, failure: HttpFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _NoEncoder:
    """Stands where an error leaves nothing to write."""

    def whole(self) -> Mapping[str, Any]:
        return {}

    def opening(self) -> Any:
        return iter(())

    def beat(self, _beat: object) -> Any:
        return iter(())

    def closing(self) -> Any:
        return iter(())


def _request_id(number: int) -> bytes:
    return f"req_{number:06d}".encode()


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(HttpFailure(400, "the client hung up"))
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _Refused(HttpFailure(413, f"the body is larger than {MAX_BODY_BYTES} bytes"))
        if not message.get("more_body"):
            return bytes(body)


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WireError("the body must be a JSON object")
    return value


async def _respond(exchange: _Exchange, *, stream: bool) -> bool:
    """Send the answer. Returns whether the client hung up before its end."""
    answer = exchange.answer
    if answer.delay_seconds and await exchange.is_gone(answer.delay_seconds):
        return True
    if answer.error is not None:
        await _send_error(exchange, answer.error)
        return False
    if answer.fault is not None and answer.fault.after_events is None:
        return await exchange.is_gone(None)
    if stream:
        return await _send_stream(exchange)
    return await _send_whole(exchange)


async def _send_error(exchange: _Exchange, failure: HttpFailure) -> None:
    extra = {name.lower(): value for name, value in failure.headers.items()}
    if isinstance(failure.body, str):
        body, kind = failure.body.encode(), b"text/plain; charset=utf-8"
    else:
        content = exchange.dialect.error(failure) if failure.body is None else failure.body
        body, kind = json.dumps(content).encode(), _JSON[1]
    headers = {"content-type": kind.decode(), "content-length": str(len(body)), **extra}
    encoded = [
        (name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()
    ]
    await exchange.start(failure.status, *encoded)
    await exchange.write(body, more=False)


async def _send_whole(exchange: _Exchange) -> bool:
    fault = exchange.answer.fault
    body = json.dumps(exchange.encoder.whole()).encode()
    if fault is not None and fault.kind == "garbage":
        body = fault.data
    length = (b"content-length", str(len(body)).encode())
    if fault is not None and fault.kind == "cut" and fault.is_clean:
        length = (b"content-length", str(len(body) // 2).encode())
    await exchange.start(200, _JSON, length)
    if fault is None or fault.kind == "garbage":
        await exchange.write(body, more=False)
        return False
    await exchange.write(body[: len(body) // 2], more=not fault.is_clean)
    return await exchange.is_gone(None) if fault.kind == "hang" else False


async def _send_stream(exchange: _Exchange) -> bool:
    answer, encoder = exchange.answer, exchange.encoder
    await exchange.start(200, *_SSE)
    pending = list(encoder.opening())
    fault = answer.fault
    for sent, beat in enumerate(answer.beats()):
        if fault is not None and sent == fault.after_events:
            return await _break(exchange, fault, b"".join(pending))
        if sent and answer.chunk_delay_seconds:
            await exchange.write(b"".join(pending))
            pending.clear()
            if await exchange.is_gone(answer.chunk_delay_seconds):
                return True
        pending += encoder.beat(beat)
        if len(pending) >= _FLUSH_EVENTS:
            await exchange.write(b"".join(pending))
            pending.clear()
            await asyncio.sleep(0)
    if fault is not None:
        return await _break(exchange, fault, b"".join(pending))
    pending += encoder.closing()
    await exchange.write(b"".join(pending), more=False)
    return False


async def _break(exchange: _Exchange, fault: Fault, pending: bytes) -> bool:
    """Go wrong in the middle of a stream."""
    if fault.kind == "garbage":
        await exchange.write(pending + fault.data, more=False)
        return False
    await exchange.write(pending, more=not fault.is_clean)
    # A cut that is not clean simply returns: the server then closes the connection without an end.
    return await exchange.is_gone(None) if fault.kind == "hang" else False
