"""Honcho: a service that reasons about the people an agent talks to (a dialectic user model).

Each principal is a peer that Honcho observes; the agent is one that it does not. An exchange is two messages
in a session of the same id. What it concluded comes back as a peer's representation and card, and questions
are answered by its dialectic endpoint.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final, TypeVar
from urllib.parse import urlsplit

from honcho import Honcho, HonchoError, MessageCreateParams, Session  # type: ignore[import-untyped]
from honcho.api_types import SessionPeerConfig  # type: ignore[import-untyped]
from pydantic import ValidationError

from hermes_agent.core.errors import ConfigError, MemoryServiceError
from hermes_agent.core.memory import OWNER, Exchange, ProviderSetup

ResultT = TypeVar("ResultT")

REQUEST_SECONDS: Final = 20.0
WORKSPACE: Final = "hermes"
USER_PEER: Final = "user"
AGENT_PEER: Final = "hermes"
EXCHANGE_KEY: Final = "hermes_exchange"
OPTIONS: Final = frozenset({"url", "workspace", "peer", "agent_peer", "reasoning_level"})
LEVELS: Final = ("minimal", "low", "medium", "high", "max")
_NEAR: Final = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
REFUSALS: Final = frozenset({400, 413, 422})
"""Answers that a second try of the same exchange would get again."""


class HonchoProvider:
    """See `core.memory.MemoryProvider`."""

    def __init__(self, setup: ProviderSetup) -> None:
        options = setup.options
        if unknown := sorted(set(options) - OPTIONS):
            raise ConfigError(
                f"memory.provider_options has keys that Honcho does not know: {', '.join(unknown)}",
                why=f"It knows {', '.join(sorted(OPTIONS))}.",
            )
        key = setup.variable("HONCHO_API_KEY")
        url = str(options.get("url") or setup.variable("HONCHO_URL") or "") or None
        if key is None and url is None:
            raise ConfigError(
                "Honcho has neither a key nor an address",
                remedy="hermes memory setup honcho, or set HONCHO_API_KEY (or HONCHO_URL) in .env",
            )
        if url is not None:
            _require_safe(url)
        self._level = options.get("reasoning_level", "low")
        if self._level not in LEVELS:
            raise ConfigError(f"reasoning_level of memory.provider_options is one of {', '.join(LEVELS)}")
        self._user = str(options.get("peer") or USER_PEER)
        self._agent = str(options.get("agent_peer") or AGENT_PEER)
        self._client = Honcho(
            api_key=key,
            base_url=url,
            environment=None if url else "production",
            workspace_id=str(options.get("workspace") or setup.variable("HONCHO_WORKSPACE_ID") or WORKSPACE),
            timeout=REQUEST_SECONDS,
            max_retries=0,  # the queue tries again, and callers that wait would rather go on
        )
        self._sessions: dict[tuple[str, str], Session] = {}

    async def profile(self, principal: str) -> str:
        """The card and the representation of a peer. Raises `MemoryServiceError`."""
        peer = await _asked(self._client.aio.peer(self._peer(principal)))
        known = await _asked(peer.aio.context())
        card = "\n".join(f"- {line}" for line in known.peer_card or ())
        return "\n\n".join(part.strip() for part in (card, known.representation or "") if part.strip())

    async def recall(self, query: str, *, principal: str) -> str:
        """What the dialectic endpoint answers. Raises `MemoryServiceError`."""
        peer = await _asked(self._client.aio.peer(self._peer(principal)))
        answer = await _asked(peer.aio.chat(query, reasoning_level=self._level))
        return str(answer or "")

    async def observe(self, exchange: Exchange) -> None:
        """Add the two messages, unless an earlier try did. Raises `MemoryServiceError`."""
        user = self._peer(exchange.principal)
        session = await self._session(_identifier(exchange.session_id), user)
        metadata = {EXCHANGE_KEY: exchange.id}
        if exchange.is_retry:
            page = await _asked(session.aio.messages(filters={"metadata": metadata}, size=1))
            if page.items:
                return
        moment = datetime.fromtimestamp(exchange.at, UTC)
        said = ((user, exchange.said), (self._agent, exchange.answered))
        messages = [
            MessageCreateParams(peer_id=peer, content=text, metadata=metadata, created_at=moment)
            for peer, text in said
            if text.strip()
        ]
        await _asked(session.aio.add_messages(messages))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client._async_http_client.close()  # there is no public way

    async def _session(self, identifier: str, user: str) -> Session:
        known = self._sessions.get((identifier, user))
        if known is None:
            peers = [(user, SessionPeerConfig(observe_me=True)), (self._agent, _UNOBSERVED)]
            known = await _asked(self._client.aio.session(identifier, peers=peers))
            self._sessions[identifier, user] = known
        return known

    def _peer(self, principal: str) -> str:
        return self._user if principal in ("", OWNER) else _identifier(principal)


_UNOBSERVED: Final = SessionPeerConfig(observe_me=False)


def _require_safe(url: str) -> None:
    """Conversations go unencrypted to this machine and the local network only. Raises `ConfigError`."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{url!r} is not an address of a Honcho server", remedy="HONCHO_URL=https://…")
    try:
        is_near = not ipaddress.ip_address(host).is_global
    except ValueError:
        is_near = "." not in host or host.endswith(_NEAR)
    if parts.scheme == "http" and not is_near:
        raise ConfigError(
            f"{url} is not encrypted, and not in the local network",
            why="Conversations would be readable on the way.",
            remedy="Use https, or a tunnel to the server.",
        )


def _identifier(name: str) -> str:
    """A name that Honcho takes: letters, digits, `_` and `-`; different names stay different."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    if readable == name:
        return name
    return f"{readable or 'x'}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:12]}"


async def _asked(request: Awaitable[ResultT]) -> ResultT:
    try:
        return await request
    except HonchoError as error:
        status = getattr(error, "status", 0) or 0
        remedy = "Check HONCHO_API_KEY: hermes memory setup honcho" if status in (401, 403) else None
        raise MemoryServiceError(
            "Honcho did not do what was asked",
            why=f"{error.message}{f' (status {status})' if status else ''}"[:300],
            remedy=remedy,
            is_final=status in REFUSALS,
        ) from error
    except ValidationError as error:
        raise MemoryServiceError("Honcho's answer cannot be understood", why=str(error)[:300]) from error
