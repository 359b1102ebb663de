"""Who may call: one key, always required, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping

from hermes_agent.api.errors import ApiError
from hermes_agent.core.errors import ConfigError

MIN_KEY_CHARS = 8

_PLACEHOLDER = re.compile(
    r"""
    (?:your|my|the|some|insert|enter|put|add|replace|example|sample|dummy|fake|test|demo|default)?[-_ .]*
    (?:api|server|secret|access|auth|bearer|hermes)?[-_ .]*(?:server)?[-_ .]*
    (?:key|token|secret|password|passwd|pass)[-_ .]*(?:here|goes[-_ ]here|me|value|123\d*)?
    | change[-_ .]*(?:me|this|it|now).* | replace[-_ .]*(?:me|this).* | (?:placeholder|todo|fixme|none|null)+
    | sk-?(?:x+|\.+|\*+|your.*|test|123\d*)? | <.*> | \$\{?\w+\}?
    | (?:0?123456\d*) | (?:qwert\w*|letmein\w*|abc123\w*)
    | admin\w{0,6} | hermes(?:[-_ ]?agent)?\d{0,4}
    """,
    re.IGNORECASE | re.VERBOSE,
)


class Key:
    """The key that clients must send."""

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()
        self.owner = hashlib.sha256(b"hermes-api-owner\0" + key.encode()).hexdigest()[:16]
        """Stands for the key in the database: sessions, responses and runs belong to it."""

    def check(self, headers: Mapping[str, str]) -> str:
        """The owner.

        Args:
            headers: Names in lower case. `Authorization: Bearer KEY` or `X-Api-Key: KEY`.

        Raises:
            ApiError: 401, no key or a wrong one.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = headers.get("x-api-key", "")
        given = given.strip()
        if not given:
            raise ApiError(
                401,
                "Send the server's key: Authorization: Bearer KEY",
                code="missing_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        found = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
        if not hmac.compare_digest(found, self._digest):
            raise ApiError(
                401,
                "The key is not the one of this server",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return self.owner


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    name = host.strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def weakness(key: str) -> str | None:
    """Why a key is easily guessed, or None."""
    if len(key) < MIN_KEY_CHARS:
        return f"it is shorter than {MIN_KEY_CHARS} characters"
    if len(set(key)) < 4:
        return "it repeats the same few characters"
    if _PLACEHOLDER.fullmatch(key):
        return "it is a placeholder from an example"
    return None


def check_key(key: str, host: str) -> str | None:
    """Whether the server may start with this key.

    Returns:
        A warning for people, or None.

    Raises:
        ConfigError: There is none, or it is weak and other machines can reach the address.
    """
    remedy = "Make one: echo API_SERVER_KEY=$(openssl rand -hex 32) >> ~/.hermes/.env"
    if not key:
        raise ConfigError(
            "The API server needs a key, also on this machine only",
            why="Whoever can call it can run commands here.",
            remedy=remedy,
        )
    reason = weakness(key)
    if reason is None:
        return None
    if not is_loopback(host):
        raise ConfigError(
            f"API_SERVER_KEY is too weak for the address {host}: {reason}",
            why="Other machines can reach this address, and whoever guesses the key can run commands here.",
            remedy=f"{remedy}, or listen on 127.0.0.1",
        )
    return f"API_SERVER_KEY is weak: {reason}"
