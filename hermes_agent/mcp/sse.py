"""The older HTTP transport: a stream of events for what the server says, a POST for all that we say.

Own code instead of the SDK's `sse_client`, because that one ends the session at a message of more than
1 MB, and lets calls wait for nothing when a POST was refused.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import anyio
import httpx2
import mcp_types as types
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest
from pydantic import ValidationError

from hermes_agent.mcp.errors import McpUnavailableError
from hermes_agent.mcp.wire import MAX_MESSAGE_BYTES, Incoming, Messages, Streams, parse

SESSION_GONE = "Session terminated"
"""The SDK's words for a session that the server does not know (any more)."""
REFUSED = "Server returned an error response"
"""The SDK's words for any other HTTP error."""
POST_SECONDS = 30.0
"""A server takes a message at once; what it answers comes as an event."""
MAX_REDIRECTS = 5
_EVENT_STREAM = {"Accept": "text/event-stream", "Cache-Control": "no-store"}

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_sse(name: str, url: str, client: httpx2.AsyncClient) -> AsyncGenerator[Streams]:
    """Connect, and leave the stream in the end. Yields the message streams.

    Raises:
        McpUnavailableError: What answers is no such server.
        httpx2.HTTPError: It cannot be reached, or refused.
    """
    incoming, read_stream = anyio.create_memory_object_stream[Messages](0)
    write_stream, outgoing = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with _stream(client, url) as response, anyio.create_task_group() as group:
            endpoint = await group.start(_read, name, url, response, incoming)
            group.start_soon(_write, client, endpoint, outgoing, incoming)
            try:
                yield read_stream, write_stream
            finally:
                group.cancel_scope.cancel()
    finally:
        for stream in (incoming, read_stream, write_stream, outgoing):
            stream.close()


@asynccontextmanager
async def _stream(client: httpx2.AsyncClient, url: str) -> AsyncIterator[httpx2.Response]:
    """Open the stream of events; redirects are followed within the origin only."""
    request = client.build_request("GET", url, headers=_EVENT_STREAM)
    for _ in range(MAX_REDIRECTS):
        response = await client.send(request, stream=True, follow_redirects=False)
        after = response.next_request
        if after is None or not _is_same_origin(request.url, after.url):
            break
        await response.aclose()
        request = after
    try:
        response.raise_for_status()
        yield response
    finally:
        await response.aclose()


async def _read(
    name: str, url: str, response: httpx2.Response, incoming: Incoming, *, task_status: TaskStatus[str]
) -> None:
    """Pass on what the server says; the first event names the address for POSTs."""
    has_started = False
    async with incoming:
        try:
            async for event in httpx2.EventSource(response, max_event_size=MAX_MESSAGE_BYTES):
                if event.event == "endpoint" and not has_started:
                    has_started = True
                    task_status.started(_endpoint(name, url, event.data))
                elif event.event == "message" and event.data:
                    await _pass_on(name, event.data, incoming)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return
        except httpx2.HTTPError as error:
            if not has_started:
                raise
            _log.debug("mcp server %s: the stream of events broke: %s", name, error)
    if not has_started:
        raise McpUnavailableError(
            name, f"MCP server {name!r} does not follow the protocol", why="It named no address for messages"
        )


async def _pass_on(name: str, data: str, incoming: Incoming) -> None:
    try:
        message = await parse(data)
    except ValidationError as error:
        _log.debug("mcp server %s sent something that is no message: %s", name, error)
        return
    await incoming.send(message)


def _endpoint(name: str, url: str, text: str) -> str:
    endpoint = urljoin(url, text.strip())
    if not _is_same_origin(httpx2.URL(url), httpx2.URL(endpoint)):
        raise McpUnavailableError(
            name,
            f"MCP server {name!r} wants messages sent to another origin",
            why="Its credentials are for this one only",
        )
    return endpoint


def _is_same_origin(one: httpx2.URL, other: httpx2.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


async def _write(
    client: httpx2.AsyncClient,
    endpoint: str,
    outgoing: MemoryObjectReceiveStream[SessionMessage],
    incoming: Incoming,
) -> None:
    async for item in outgoing:
        problem = await _post(client, endpoint, item)
        if problem is not None and isinstance(item.message, JSONRPCRequest):
            answer = JSONRPCError(jsonrpc="2.0", id=item.message.id, error=problem)
            try:
                await incoming.send(SessionMessage(answer))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return


async def _post(client: httpx2.AsyncClient, endpoint: str, item: SessionMessage) -> types.ErrorData | None:
    """Send a message; what went wrong, if anything did."""
    content = item.message.model_dump_json(by_alias=True, exclude_unset=True)
    timeout = httpx2.Timeout(POST_SECONDS)
    headers = {"Content-Type": "application/json"}
    try:
        response = await client.post(endpoint, content=content, headers=headers, timeout=timeout)
    except httpx2.HTTPError as error:
        return types.ErrorData(code=types.CONNECTION_CLOSED, message=str(error) or type(error).__name__)
    if response.is_success:
        return None
    if response.status_code in (404, 410):
        return types.ErrorData(code=types.INVALID_REQUEST, message=SESSION_GONE)
    return types.ErrorData(code=types.INTERNAL_ERROR, message=REFUSED)
