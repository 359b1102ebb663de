"""The gateway connection: identify, resume, and what closing codes mean.

discord.py's own `Client.connect` retries by itself and logs tracebacks; here a short cut is resumed (Discord
then delivers what was missed), and everything else ends the connection, so that the gateway owns the
retries as for all platforms.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket, ReconnectWebSocket

from hermes_agent.core.errors import AuthFailedError, NotReadyError, PlatformError

_LOG = logging.getLogger(__name__)

PORTAL = "https://discord.com/developers/applications"
_HELLO_SECONDS = 30.0
_MAX_RESUMES = 6
_LONGEST_PAUSE_SECONDS = 20.0
_BROKEN_FRAME = (ValueError, KeyError, TypeError, AttributeError, zlib.error)
_INVALID_TOKEN, _SHARDING, _INVALID_INTENTS, _REFUSED_INTENTS = 4004, 4011, 4013, 4014
_HEARTBEAT_ACK = 11


class BotClient(discord.Client):
    """discord.py's state and REST; events go to `on_event` in order, without a task for each."""

    on_event: Callable[[str, tuple[Any, ...]], None]

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Hand an event over."""
        self.on_event(event, args)

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:  # noqa: ARG002
        """Discord asks for a pause of one to five seconds before a session is begun anew."""
        if not initial:
            await asyncio.sleep(random.uniform(1, 3))  # noqa: S311


class _Socket(DiscordWebSocket):
    """Makes an event of each acknowledged heartbeat."""

    def log_receive(self, data: Any, /) -> None:
        """Called with each frame."""
        if len(data) < 200 and json.loads(data).get("op") == _HEARTBEAT_ACK:  # events are longer
            self._dispatch("heartbeat")


class Connection:
    """Keeps a gateway session.

    Args:
        client: Logged in already.
        url: Of the gateway.
    """

    def __init__(self, client: BotClient, url: str) -> None:
        self.client = client
        self.is_connected = False
        self.resumes = 0
        self._url = yarl.URL(url)

    async def run(self) -> None:
        """Receive until the session cannot be resumed.

        Raises:
            AuthFailedError: The token or the intents are refused.
            NotReadyError: The connection is lost for good.
        """
        parameters: dict[str, Any] = {"initial": True, "gateway": self._url}
        failures, problem = 0, ""
        while True:
            try:
                socket = await self._open(parameters)
                while True:
                    await socket.poll_event()
                    if not self.is_connected or failures:
                        self.is_connected, failures = True, 0
            except ReconnectWebSocket as order:
                is_resumable = order.resume and self.client.ws is not None
            except discord.ConnectionClosed as error:
                raise _closed(error.code, error.reason) from error
            except (OSError, aiohttp.ClientError, TimeoutError) as error:
                if self.client.ws is None or self.client.ws.session_id is None:
                    raise NotReadyError("Discord cannot be reached", why=_reason(error)) from error
                problem = _reason(error)
                _LOG.info("discord: the connection is cut: %s", problem)
                is_resumable = True
            except _BROKEN_FRAME as error:
                raise NotReadyError("Discord sent something unreadable", why=_reason(error)) from error
            self.is_connected = False
            failures += 1
            if failures > _MAX_RESUMES:
                raise NotReadyError("The session could not be resumed", why=problem or None)
            parameters = self._resumption() if is_resumable else {"initial": False, "gateway": self._url}
            self.resumes += is_resumable
            if failures > 1:
                await asyncio.sleep(min(2.0 ** (failures - 2), _LONGEST_PAUSE_SECONDS))

    async def close(self) -> None:
        """Say good-bye."""
        self.is_connected = False
        socket = self.client.ws
        with suppress(OSError, aiohttp.ClientError, TimeoutError, RuntimeError):
            async with asyncio.timeout(2):
                if socket is not None:
                    await socket.close(code=1000)

    async def _open(self, parameters: dict[str, Any]) -> DiscordWebSocket:
        socket = await asyncio.wait_for(
            _Socket.from_client(self.client, **parameters), timeout=_HELLO_SECONDS
        )
        self.client.ws = socket
        return socket

    def _resumption(self) -> dict[str, Any]:
        socket = self.client.ws
        if socket is None or socket.session_id is None:
            return {"initial": False, "gateway": self._url}
        return {
            "initial": False,
            "resume": True,
            "gateway": socket.gateway,
            "session": socket.session_id,
            "sequence": socket.sequence,
        }


def _closed(code: int, reason: str) -> PlatformError:
    if code == _INVALID_TOKEN:
        return refused_token()
    if code in (_REFUSED_INTENTS, _INVALID_INTENTS):
        return AuthFailedError(
            "Discord does not let the bot read messages",
            why="the Message Content Intent is switched off for it (close code 4014)",
            remedy=f"Open {PORTAL}, choose the application, Bot, Privileged Gateway Intents, switch on "
            "MESSAGE CONTENT INTENT, save; then: hermes gateway reload",
        )
    if code == _SHARDING:
        return AuthFailedError(
            "The bot is in too many servers for one connection", why="Discord asks for sharding"
        )
    return NotReadyError(f"Discord closed the connection ({code})", why=reason or None)


def refused_token() -> AuthFailedError:
    """The token is wrong."""
    return AuthFailedError(
        "Discord refuses the bot token",
        remedy=f"Open {PORTAL}, choose the application, Bot, Reset Token, and put the new one into "
        "DISCORD_BOT_TOKEN; then: hermes gateway reload",
    )


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
