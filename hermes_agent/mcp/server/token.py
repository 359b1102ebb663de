"""The token that clients of our MCP server must have over HTTP."""

from __future__ import annotations

from hermes_agent.core.errors import ConfigError

TOKEN_VARIABLE = "HERMES_MCP_SERVER_TOKEN"  # noqa: S105 - a name
MIN_TOKEN_CHARS = 24


def check_token(token: str) -> str:
    """The token.

    Raises:
        ConfigError: It is missing, short, or cannot be sent in a header.
    """
    if len(token) >= MIN_TOKEN_CHARS and token.isascii() and token.isprintable() and " " not in token:
        return token
    problem = (
        "is not set" if not token else f"must have at least {MIN_TOKEN_CHARS} characters, without spaces"
    )
    raise ConfigError(
        f"{TOKEN_VARIABLE} {problem}",
        why="Over HTTP the server shows every conversation to whoever has the token.",
        remedy=f'Make one: echo "{TOKEN_VARIABLE}=$(openssl rand -hex 32)" >> "$HERMES_HOME/.env"',
    )
