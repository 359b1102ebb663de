"""What can go wrong with a server, in words that the model and people read.

::

    ToolError
    └── McpError                    something with a server
        ├── McpUnavailableError     it cannot be reached, or not now
        ├── McpConnectionLostError  it went away during a call
        ├── McpAuthError            it wants somebody to sign in
        └── McpRequestError         it refused or failed the request; the connection is fine
        └── McpTimeoutError     it did not answer in time; it may hang
"""

from __future__ import annotations

import json

from hermes_agent.core.errors import ToolError
from hermes_agent.core.tool import ToolResult


class McpError(ToolError):
    """Something with a server. `server` is its name in the configuration."""

    def __init__(
        self, server: str, message: str, *, why: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message, why=why, remedy=remedy)
        self.server = server


class McpUnavailableError(McpError):
    """The server cannot be reached, or must not be tried again yet."""


class McpConnectionLostError(McpError):
    """The server went away during a call, which may have had effects."""


class McpAuthError(McpError):
    """The server wants somebody to sign in.

    Raised by a `ServerAuth` too, when it cannot get a token without a person.
    """

    def __init__(self, server: str, why: str | None = None) -> None:
        super().__init__(
            server,
            f"MCP server {server!r} wants you to sign in",
            why=why,
            remedy=f"Type: hermes mcp login {server}, or in a chat: /mcp login {server}",
        )

    def result(self) -> ToolResult:
        """What the model reads: the structured error of the older agent."""
        text = json.dumps(
            {"error": "; ".join(self.lines), "needs_reauth": True, "server": self.server},
            ensure_ascii=False,
        )
        return ToolResult(text, is_error=True, summary="needs a login")


class McpRequestError(McpError):
    """The server refused the request or failed to answer it; the connection is fine.

    `code` is the JSON-RPC error code, 0 if there is none.
    """

    def __init__(self, server: str, message: str, *, code: int = 0, why: str | None = None) -> None:
        super().__init__(server, message, why=why)
        self.code = code


class McpTimeoutError(McpRequestError):
    """The server did not answer in time. It may be slow, or hang."""
