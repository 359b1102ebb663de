"""Our MCP server over Streamable HTTP: a token for every request, own hosts and origins only."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hermes_agent.mcp.server.token import check_token

PATH = "/mcp"


class RequireToken:
    """Refuses every request without the token, before anything reads it."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._is_allowed(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            body = {"error": "unauthorized", "error_description": "A bearer token is required"}
            refusal = JSONResponse(body, 401, {"WWW-Authenticate": 'Bearer realm="hermes"'})
            await refusal(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if len(given) != 1:
            return False
        kind, _, token = given[0].partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


def build_app(
    server: MCPServer,
    *,
    token: str,
    host: str,
    port: int,
    extra_hosts: Iterable[str] = (),
    extra_origins: Iterable[str] = (),
) -> ASGIApp:
    """The ASGI application.

    Args:
        server: See `application.build_server`.
        token: What clients must send as a bearer token.
        host: Where it listens.
        port: Where it listens.
        extra_hosts: Further names it is reached by (`agent.example.org`, behind a proxy).
        extra_origins: Web pages that may use it (`https://app.example.org`).

    Raises:
        ConfigError: The token is weak.
    """
    names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host} - {"0.0.0.0", "[::]"}  # noqa: S104
    hosts = [f"{name}:{port}" for name in sorted(names)]
    security = TransportSecuritySettings(
        allowed_hosts=[*hosts, *extra_hosts],
        allowed_origins=[*(f"http://{each}" for each in hosts), *extra_origins],
    )
    app = server.streamable_http_app(streamable_http_path=PATH, host=host, transport_security=security)
    return RequireToken(app, check_token(token))
