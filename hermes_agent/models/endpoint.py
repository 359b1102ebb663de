"""`Endpoint`: everything a dialect must know about whom it asks. A value; nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from hermes_agent.core.model import ModelInfo, ReasoningEffort
from hermes_agent.models.profiles import Profile

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "host.docker.internal"})  # noqa: S104


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one address.

    Attributes:
        info: Provider, model, dialect, address and what the model can do.
        profile: Its habits.
        headers: Sent with every request; may hold secrets, so they go to this address only.
        extra_body: Added to the body of every request.
        request_timeout_seconds: Longest whole request.
        connect_timeout_seconds: Longest wait for a connection.
        stale_timeout_seconds: Longest silence of a running stream; None waits for ever.
        first_byte_timeout_seconds: Longest wait for the start of the answer; None waits for ever.
        max_output_tokens: Asked for if the request names none.
        reasoning_effort: Asked for if the request names none.
        cache_ttl: Life of prompt cache entries where they are marked by us.
        proxy: Proxy to use; None means none.
        key_names: Variables that could hold its key, for error messages.
        key_url: Where to get a key, for error messages.
    """

    info: ModelInfo
    profile: Profile = field(default_factory=Profile)
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    request_timeout_seconds: float = 1800.0
    connect_timeout_seconds: float = 15.0
    stale_timeout_seconds: float | None = 180.0
    first_byte_timeout_seconds: float | None = 300.0
    max_output_tokens: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    cache_ttl: Literal["5m", "1h"] = "5m"
    proxy: str | None = None
    key_names: tuple[str, ...] = ()
    key_url: str = ""

    @property
    def address(self) -> str:
        """`host:port`, for people."""
        parts = urlsplit(self.info.base_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"{parts.hostname or self.info.base_url}:{port}"


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine."""
    host = (urlsplit(url).hostname or "").lower()
    return host in _LOOPBACK or host.endswith(".localhost") or host.startswith("127.")
