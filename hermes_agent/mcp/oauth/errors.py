"""What can go wrong with signing in, and what of it needs a person.

::

    McpError
    ├── McpAuthError                     a person must sign in
    │   ├── OAuthFlowError               signing in cannot work like this (metadata, registration, redirect)
    │   ├── OAuthTokenError              the authorization server refuses the grant
    │   ├── OAuthNonInteractiveError     there is no token, and nobody here to sign in
    │   └── OAuthUnauthorizedError       the server refuses even a fresh token (HTTP 401)
    └── McpUnavailableError
        └── OAuthUnavailableError        the authorization server fails for now; nothing is lost
"""

from __future__ import annotations

from hermes_agent.mcp.errors import McpAuthError, McpUnavailableError


class OAuthFlowError(McpAuthError):
    """Signing in cannot work like this.

    Args:
        server: Its name in the configuration.
        why: What is wrong.
        remedy: Instead of the advice to sign in.
    """

    def __init__(self, server: str, why: str | None = None, *, remedy: str | None = None) -> None:
        super().__init__(server, why)
        self.message = f"Signing in to MCP server {server!r} does not work"
        self.remedy = remedy or self.remedy


class OAuthTokenError(McpAuthError):
    """The authorization server refuses the grant. `code` is its OAuth error code."""

    def __init__(self, server: str, why: str | None = None, *, code: str = "") -> None:
        super().__init__(server, why)
        self.code = code


class OAuthNonInteractiveError(McpAuthError):
    """There is no token, and nobody here who could sign in."""


class OAuthUnauthorizedError(McpAuthError):
    """The server refuses even a fresh token."""


class OAuthUnavailableError(McpUnavailableError):
    """The authorization server fails for now. Nothing is lost; it is tried again later."""
