"""Webhook mode: Telegram delivers updates; each is answered when it is on disk."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hermes_agent.core.errors import HermesError
from hermes_agent.gateway.platforms.listener import Answer, Listener, Request
from hermes_agent.gateway.platforms.outside import read_json

_LOG = logging.getLogger(__name__)

_MAX_BYTES = 1_000_000


class WebhookListener:
    """Listens for Telegram.

    Args:
        host: Address to listen on.
        port: 0 takes a free one.
        secret: What Telegram was told with `setWebhook`.
        take: Stores updates.
    """

    def __init__(
        self,
        host: str,
        port: int,
        secret: str,
        take: Callable[[list[Mapping[str, Any]]], Awaitable[None]],
    ) -> None:
        self._secret = secret.encode()
        self._take = take
        self._listener = Listener(host, port, self._answer, name="telegram", max_bytes=_MAX_BYTES)

    async def start(self) -> None:
        """Listen. Raises `NotReadyError`, `ConfigError`."""
        await self._listener.start()

    async def stop(self) -> None:
        """Listen no longer."""
        await self._listener.stop()

    async def _answer(self, request: Request) -> Answer:
        if request.method != "POST":
            return Answer.error(405, "Telegram delivers with POST")
        given = request.headers.get("x-telegram-bot-api-secret-token", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._secret):
            _LOG.warning("a delivery without the right secret was refused")
            return Answer.error(401, "The secret is wrong")
        try:
            update = read_json(request.body)
        except (ValueError, RecursionError):
            update = None
        if not isinstance(update, Mapping):
            return Answer.error(400, "This is no update")
        try:
            await self._take([update])
        except HermesError as error:
            _LOG.error("not stored, Telegram will deliver it again: %s", error)
            return Answer.error(503, "Not stored; deliver it again")
        return Answer(200, {"ok": True})
