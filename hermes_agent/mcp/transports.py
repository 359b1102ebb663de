"""Opens the way to a server: a program, Streamable HTTP, or the older SSE.

A `Link` is a pair of message streams and what is known of the way they took. Redirects stay within the
server's origin, and nothing is sent to any other address (the SDK and `sse` see to both).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import httpx2
from mcp.client.streamable_http import streamable_http_client

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.errors import McpUnavailableError
from hermes_agent.mcp.ports import McpPorts, ServerAuth
from hermes_agent.mcp.sse import open_sse
from hermes_agent.mcp.stdio import Program, ServerProcess, open_stdio, server_environment
from hermes_agent.mcp.tls import make_context
from hermes_agent.mcp.wire import MAX_MESSAGE_BYTES

SECONDS_BETWEEN_BYTES = 300.0
"""A stream of events may be silent this long."""

TransportName: TypeAlias = Literal["stdio", "http", "sse"]


@dataclass
class Refusal:
    """The newest answer of a remote server that was an error.

    Attributes:
        count: How many there were; tells whether one came since.
    """

    status: int = 0
    challenge: str = ""
    count: int = 0


@dataclass
class Link:
    """Streams to a server.

    Attributes:
        refusal: Filled while the link is used.
        process: The server, if it is a program.
    """

    read_stream: Any
    write_stream: Any
    refusal: Refusal
    process: ServerProcess | None = None

    @property
    def is_alive(self) -> bool:
        """False if its program has ended, whether that was noticed or not."""
        return self.process is None or self.process.is_alive

    @property
    def last_words(self) -> str | None:
        """How its program ended and what it said; None if there is none."""
        return None if self.process is None else self.process.exit_text


def transport_names(settings: McpServerSettings) -> tuple[TransportName, ...]:
    """Ways to try, in order."""
    if not settings.url:
        return ("stdio",)
    if settings.transport:
        return (settings.transport,)
    if urlsplit(settings.url).path.rstrip("/").endswith("/sse"):
        return ("sse", "http")
    return ("http", "sse")


@asynccontextmanager
async def open_link(
    name: str,
    settings: McpServerSettings,
    ports: McpPorts,
    transport: TransportName,
    auth: ServerAuth | None,
    refusal: Refusal,
) -> AsyncGenerator[Link]:
    """Open one way to a server.

    Raises:
        McpUnavailableError: The program cannot be started, or the settings cannot be used.
    """
    if transport == "stdio":
        program = Program(
            settings.command,
            tuple(settings.args),
            server_environment(ports.child_environment, _texts(settings.env)),
            _directory(settings.cwd) or str(ports.cwd),
        )
        async with open_stdio(name, program, ports) as (streams, process):
            yield Link(*streams, refusal, process)
        return

    async with await _http_client(name, settings, auth, refusal) as client:
        if transport == "sse":
            async with open_sse(name, settings.url, client) as sse_streams:
                yield Link(*sse_streams, refusal)
            return
        async with streamable_http_client(
            settings.url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
        ) as http_streams:
            yield Link(*http_streams, refusal)


async def _http_client(
    name: str, settings: McpServerSettings, auth: ServerAuth | None, refusal: Refusal
) -> httpx2.AsyncClient:
    async def note(response: httpx2.Response) -> None:
        if response.status_code >= 400:
            refusal.status = response.status_code
            refusal.challenge = response.headers.get("www-authenticate", "")
            refusal.count += 1

    http_auth = cast("httpx2.Auth | None", auth.http_auth() if auth is not None else None)
    try:
        # Also for plain HTTP: a redirect may lead to the same host with TLS.
        verify = await asyncio.to_thread(make_context, settings)
        return httpx2.AsyncClient(
            headers=_texts(settings.headers),
            auth=http_auth,
            verify=verify,
            timeout=httpx2.Timeout(min(30.0, settings.connect_timeout), read=SECONDS_BETWEEN_BYTES),
            event_hooks={"response": [note]},
        )
    except (OSError, ValueError) as error:
        raise McpUnavailableError(
            name, f"MCP server {name!r}: its TLS settings cannot be used", why=str(error)
        ) from error


def _directory(text: str) -> str:
    return str(Path(text).expanduser()) if text else ""


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}
