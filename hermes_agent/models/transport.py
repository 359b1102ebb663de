"""Sends a request body and streams the bytes of the reply, over an SDK's HTTP client.

Both SDKs are used for what they are good at (URLs, connections, status errors); bodies go in and
events come out as bytes, because building their typed objects for every token costs more than
everything else. What they would add on their own (organisation and platform headers, values from
their own environment variables, redirects, retries) is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeAlias

import httpx2

from hermes_agent.core.errors import ModelError, ModelRequestError, ProviderSetupError
from hermes_agent.models import errors
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.sse import EventDecoder, ServerEvent

KEEP_ALIVE_SECONDS = 120.0
"""Tools may run for a while between two requests; a TLS handshake costs more than an idle socket."""
MAX_ERROR_BYTES = 64 * 1024
DRAIN_SECONDS = 0.1
"""How long the end of a body is waited for after the end marker, so that the connection can be used again."""


Post: TypeAlias = Callable[[str, bytes, httpx2.Timeout], Awaitable[httpx2.Response]]
"""Sends a body to a path and returns the response, its body not yet read."""


def sdk_post(
    post: Callable[..., Awaitable[object]], stream_class: type, headers: Mapping[str, object]
) -> Post:
    """A `Post` by an SDK client's own `post`: the body goes out as it is, the response comes back unread.

    Args:
        post: The client's method.
        stream_class: The SDK's type for streams; only that one makes it hand the response through.
        headers: For each request; the SDK's `Omit()` keeps one of its own from being sent.
    """

    async def send(path: str, body: bytes, timeout: httpx2.Timeout) -> httpx2.Response:
        return await post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"timeout": timeout, "follow_redirects": False, "headers": headers},
            stream=True,
            stream_cls=stream_class,
        )  # type: ignore[return-value]  # what it was asked to cast to

    return send


def http_client(endpoint: Endpoint) -> httpx2.AsyncClient:
    """The HTTP client for one endpoint: keeps connections, follows no redirect, uses no other proxy.

    Raises:
        ProviderSetupError: The proxy is of a kind that cannot be used.
    """
    # No limit: a server may have hundreds of slow streams, and one more must not wait for another to end.
    limits = httpx2.Limits(
        max_connections=None, max_keepalive_connections=40, keepalive_expiry=KEEP_ALIVE_SECONDS
    )
    # Loading certificates takes longer than everything else here, and plain HTTP never leads to TLS.
    needs_tls = not endpoint.info.base_url.lower().startswith("http://")
    try:
        transport = httpx2.AsyncHTTPTransport(verify=needs_tls, limits=limits, proxy=endpoint.proxy)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        raise ProviderSetupError(
            f"The proxy for {endpoint.address} cannot be used",
            why=errors.scrub(str(error)),
            remedy="Name an http or https proxy in HTTPS_PROXY, or except this host with NO_PROXY.",
        ) from error
    return httpx2.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)


class Reply:
    """A reply that has begun.

    Attributes:
        headers: Response headers, names in lower case.
        content_type: Media type without parameters.
        opening: First bytes of the body, kept while no event has come.
    """

    def __init__(self, endpoint: Endpoint, response: httpx2.Response, deadline: float) -> None:
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._endpoint = endpoint
        self._bytes = response.aiter_bytes()
        self._deadline = deadline
        self.opening = b""

    @property
    def is_json(self) -> bool:
        """Whether the whole body is one JSON value, as its media type says."""
        return self.content_type.endswith(("/json", "+json"))

    async def events(self) -> AsyncIterator[tuple[list[ServerEvent], bool]]:
        """Batches of events; the flag is False for those that an abrupt end may have cut.

        Raises:
            ModelTimeoutError: No event for `stale_timeout_seconds`, or the request takes too long.
        """
        decoder = EventDecoder()
        clock = asyncio.get_running_loop().time
        stale = self._endpoint.stale_timeout_seconds
        last_event = clock()
        saw_event = False
        async for chunk in self._chunks():
            events = decoder.feed(chunk)
            if not saw_event and len(self.opening) < MAX_ERROR_BYTES:
                self.opening += chunk
                saw_event = bool(events)
            now = clock()
            if events:
                last_event = now
                yield events, True
            elif stale is not None and now - last_event > stale:  # keep-alive comments only
                raise errors.timed_out(self._endpoint, "stream", stale)
            if now > self._deadline:
                raise errors.timed_out(self._endpoint, "request", self._endpoint.request_timeout_seconds)
        rest = decoder.finish()
        if rest:
            yield rest, False

    async def drain(self) -> None:
        """Read the little that may follow the end marker."""
        with contextlib.suppress(TimeoutError, httpx2.HTTPError, httpx2.StreamError):
            async with asyncio.timeout(DRAIN_SECONDS):
                async for _ in self._bytes:
                    pass

    async def body(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self._chunks()])

    async def _chunks(self) -> AsyncIterator[bytes]:
        endpoint = self._endpoint
        stale = endpoint.stale_timeout_seconds
        try:
            while True:
                async with asyncio.timeout(stale):
                    chunk = await anext(self._bytes)
                yield chunk
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise errors.timed_out(endpoint, "stream", stale or 0) from error
        except httpx2.DecodingError as error:
            raise errors.not_understood(endpoint, f"undecodable body: {error}") from error
        except (httpx2.TransportError, httpx2.StreamError):
            return  # the connection broke; whether the answer was complete is for the dialect to say


class Transport:
    """Opens replies at one endpoint with one key."""

    def __init__(
        self, endpoint: Endpoint, key: str, post: Post, aclose: Callable[[], Awaitable[None]]
    ) -> None:
        self._endpoint = endpoint
        self._secrets = tuple(filter(None, (key, *endpoint.headers.values())))
        self._post = post
        self._aclose = aclose

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must not appear in errors."""
        return self._secrets

    @contextlib.asynccontextmanager
    async def open(self, path: str, body: bytes) -> AsyncIterator[Reply]:
        """Send a request; the reply's connection is closed at the end, or goes back to the pool.

        Raises:
            ModelError: Every kind, for what happens before the first byte of the answer.
        """
        endpoint = self._endpoint
        deadline = asyncio.get_running_loop().time() + endpoint.request_timeout_seconds
        response = await self._send(path, body)
        try:
            yield Reply(endpoint, response, deadline)
        finally:
            await response.aclose()

    async def _send(self, path: str, body: bytes) -> httpx2.Response:
        endpoint = self._endpoint
        limit = min(
            endpoint.first_byte_timeout_seconds or endpoint.request_timeout_seconds,
            endpoint.request_timeout_seconds,
        )
        timeout = httpx2.Timeout(None, connect=endpoint.connect_timeout_seconds, write=60, pool=30)
        try:
            async with asyncio.timeout(limit):
                return await self._post(path, body, timeout)
        except TimeoutError as error:
            raise errors.timed_out(endpoint, "answer", limit) from error
        except Exception as error:
            mapped = await self._map(error, limit)
            if mapped is None:
                raise
            raise mapped from error

    async def _map(self, error: Exception, limit: float) -> ModelError | None:
        response = getattr(error, "response", None)
        if isinstance(response, httpx2.Response):
            return await self._status_error(response)
        chain = _chain(error)
        if any(isinstance(each, UnicodeError | httpx2.LocalProtocolError) for each in chain):
            return ModelRequestError(
                f"The request to {self._endpoint.address} cannot be written",
                why=errors.scrub(str(chain[-1]), self._secrets),
                remedy="Check model.default_headers and the key for characters that headers cannot carry.",
            )
        causes = [each for each in chain if isinstance(each, httpx2.HTTPError | httpx2.InvalidURL)]
        if not causes:
            return None
        endpoint = self._endpoint
        for each in causes:
            if isinstance(each, httpx2.ConnectTimeout | httpx2.PoolTimeout):
                return errors.timed_out(endpoint, "connect", endpoint.connect_timeout_seconds)
            if isinstance(each, httpx2.TimeoutException):
                return errors.timed_out(endpoint, "answer", limit)
            if isinstance(
                each, httpx2.ConnectError | httpx2.ProxyError | httpx2.InvalidURL | httpx2.UnsupportedProtocol
            ):
                return errors.unreachable(endpoint, each)
        return errors.connection_lost(endpoint, causes[0])

    async def _status_error(self, response: httpx2.Response) -> ModelError:
        try:
            body = (await response.aread())[:MAX_ERROR_BYTES].decode("utf-8", "replace")
        except (httpx2.HTTPError, httpx2.StreamError, RuntimeError):
            body = ""
        text, code = errors.provider_text(body)
        headers = {name.lower(): value for name, value in response.headers.items()}
        if 300 <= response.status_code < 400:
            text = f"It points to {headers.get('location', 'nowhere')}."
        return errors.status_error(
            self._endpoint, response.status_code, text, code, headers=headers, secrets=self._secrets
        )

    async def aclose(self) -> None:
        """Close all connections. Safe to call twice."""
        await self._aclose()


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def quiet_headers(endpoint: Endpoint, authorization: Mapping[str, str]) -> dict[str, str]:
    """All headers of a request: what the endpoint wants, the key, and nothing about this machine."""
    return {
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
        "User-Agent": "hermes-agent",
        **authorization,
        **endpoint.headers,
    }
