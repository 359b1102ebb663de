"""Requests to Discord's REST API, and what their failures mean.

discord.py waits out short rate limits itself (it knows the buckets) and repeats requests that got 500, 502
or 504, which is harmless: every message has a nonce. Longer waits are left to the gateway's outbox.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import discord
from discord.http import HTTPClient, Route

from hermes_agent.core.errors import DeliveryError
from hermes_agent.core.platform import Button, OutgoingFile, OutgoingPart
from hermes_agent.gateway.platforms.discord.formatting import MAX_TEXT, fitting

SHORT_WAIT_SECONDS = 1.0
"""Rate limits up to this are waited out here."""
UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, THREAD_EXISTS, TOO_LARGE = 10003, 10008, 160004, 40005
_WORDS: dict[int, tuple[str, str | None]] = {
    UNKNOWN_CHANNEL: ("There is no such channel or person, or the bot cannot see it", None),
    50001: ("The bot cannot see that channel", "Give it the permission View Channel there"),
    50007: ("They take no direct messages from the bot", "They must share a server with it, and allow them"),
    50013: ("The bot may not write there", "Give it Send Messages, and Send Messages in Threads, there"),
}
_SEND_SECONDS = 60.0
_BANNED_SECONDS = 60.0
_SILENT = 1 << 12
_STYLES = {"plain": 2, "good": 3, "bad": 4}
_ROW_LENGTH, _MAX_ROWS = 5, 5
_NO_PINGS: dict[str, Any] = {"parse": [], "replied_user": False}


class Rest:
    """Sends, edits, types, opens threads. All methods raise `DeliveryError` only."""

    def __init__(self, http: HTTPClient) -> None:
        self._http = http
        # The constructor of discord.py allows no less than 30 s.
        http.max_ratelimit_timeout = SHORT_WAIT_SECONDS

    async def send(self, channel_id: int, part: OutgoingPart, *, nonce: str, reply_to_id: int = 0) -> int:
        """Send a part; returns the message's id. Discord shows a nonce once."""
        body = _body(part)
        body |= {"nonce": nonce, "enforce_nonce": True}
        if part.is_silent:
            body["flags"] = _SILENT
        if reply_to_id:
            body["message_reference"] = {"message_id": str(reply_to_id), "fail_if_not_exists": False}
        route = Route("POST", "/channels/{channel_id}/messages", channel_id=channel_id)
        if part.file is None:
            sent = await self._request(route, json=body)
        else:
            sent = await self._request(route, form=await asyncio.to_thread(_form, body, part.file))
        return int(sent["id"])

    async def edit(self, channel_id: int, message_id: int, part: OutgoingPart) -> None:
        """Replace text and buttons."""
        await self._request(_message_route("PATCH", channel_id, message_id), json=_body(part))

    async def settle(self, channel_id: int, message_id: int, content: str) -> None:
        """Replace a text that stands there already by another, and take its buttons away."""
        body = {"content": content, "components": [], "allowed_mentions": _NO_PINGS}
        await self._request(_message_route("PATCH", channel_id, message_id), json=body)

    async def open_thread(self, channel_id: int, message_id: int, name: str) -> None:
        """Open a thread from a message; it gets the message's id. One that exists is fine."""
        try:
            await self._request(
                _message_route("POST", channel_id, message_id, "/threads"),
                json={"name": name, "auto_archive_duration": 1440},
            )
        except DeliveryError as error:
            if code_of(error) != THREAD_EXISTS:
                raise

    async def open_direct_chat(self, user_id: int) -> int:
        """The channel of the direct chat with somebody."""
        found = await self._request(Route("POST", "/users/@me/channels"), json={"recipient_id": str(user_id)})
        return int(found["id"])

    async def typing(self, channel_id: int) -> None:
        """Show that something is being written, for ten seconds."""
        await self._request(Route("POST", "/channels/{channel_id}/typing", channel_id=channel_id))

    async def message(self, channel_id: int, message_id: int) -> Mapping[str, Any]:
        """A message as it is now, with fresh addresses of its files."""
        found: Mapping[str, Any] = await self._request(_message_route("GET", channel_id, message_id))
        return found

    async def gateway_url(self) -> str:
        """Where to connect.

        Raises:
            DeliveryError: Not now: a bot that begins too many sessions in a day loses its token.
        """
        found = await self._request(Route("GET", "/gateway/bot"))
        limit = found.get("session_start_limit") or {}
        if limit.get("remaining") == 0:
            seconds = float(limit.get("reset_after") or 0) / 1000
            raise DeliveryError("Today's sessions of the bot are used up", retry_after_seconds=seconds)
        return str(found["url"])

    async def register_commands(self, application_id: int, payloads: Sequence[Mapping[str, Any]]) -> None:
        """Replace the bot's slash commands."""
        route = Route("PUT", "/applications/{application_id}/commands", application_id=application_id)
        await self._request(route, json=payloads)

    async def respond(self, interaction: discord.Interaction[Any], text: str) -> None:
        """Answer a slash command, visible to its author only."""
        await self._callback(interaction, {"type": 4, "data": {"content": text, "flags": 64}})

    async def defer(self, interaction: discord.Interaction[Any]) -> None:
        """Say within Discord's three seconds that a press has arrived."""
        await self._callback(interaction, {"type": 5, "data": {"flags": 64}})

    async def finish(self, interaction: discord.Interaction[Any], text: str) -> None:
        """Tell whoever pressed what came of it."""
        route = Route(
            "PATCH",
            "/webhooks/{webhook_id}/{webhook_token}/messages/@original",
            webhook_id=interaction.application_id,
            webhook_token=interaction.token,
        )
        await self._request(route, json={"content": text, "allowed_mentions": _NO_PINGS})

    async def _callback(self, interaction: discord.Interaction[Any], body: Mapping[str, Any]) -> None:
        route = Route(
            "POST",
            "/interactions/{webhook_id}/{webhook_token}/callback",
            webhook_id=interaction.id,
            webhook_token=interaction.token,
        )
        await self._request(route, json=body)

    async def _request(self, route: Route, **arguments: Any) -> Any:
        async with failures_mapped():
            async with asyncio.timeout(_SEND_SECONDS):
                return await self._http.request(route, **arguments)


def _message_route(method: str, channel_id: int, message_id: int, more: str = "") -> Route:
    path = "/channels/{channel_id}/messages/{message_id}" + more
    return Route(method, path, channel_id=channel_id, message_id=message_id)


def code_of(error: DeliveryError) -> int:
    """Discord's own error code; 0 if it gave none."""
    cause = error.__cause__
    return cause.code if isinstance(cause, discord.HTTPException) else 0


@asynccontextmanager
async def failures_mapped() -> AsyncIterator[None]:
    """Turn failures of a request into `DeliveryError`."""
    try:
        yield
    except discord.RateLimited as error:
        raise DeliveryError("Discord asks for patience", retry_after_seconds=error.retry_after) from error
    except discord.HTTPException as error:
        raise _refused(error) from error
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise DeliveryError("Discord cannot be reached", why=str(error)) from error
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:  # the request had left
        why = "it took too long" if isinstance(error, TimeoutError) else str(error)
        raise DeliveryError("No answer from Discord", why=why or None, is_unknown=True) from error


def _refused(error: discord.HTTPException) -> DeliveryError:
    if error.status == 429:  # a ban of the address: no bucket, and often no JSON
        wait = error.response.headers.get("Retry-After", "")
        seconds = float(wait) if wait.replace(".", "", 1).isdigit() else _BANNED_SECONDS
        return DeliveryError("Discord asks for patience", retry_after_seconds=seconds)
    if error.status >= 500:
        return DeliveryError(f"Discord answers {error.status}", is_unknown=True)
    if error.code == TOO_LARGE or error.status == 413:
        return DeliveryError("The file is too large for Discord", is_permanent=True)
    if error.status == 401:
        return DeliveryError("Discord refuses the bot token")
    message, remedy = _WORDS.get(error.code, (f"Discord refuses it ({error.status})", None))
    return DeliveryError(message, why=error.text[:300] or None, remedy=remedy, is_permanent=True)


def _body(part: OutgoingPart) -> dict[str, Any]:
    text = part.text if part.file is None else part.file.caption
    content = fitting(text)
    if len(content) > MAX_TEXT:
        content = content[: MAX_TEXT - 1] + "…"
    return {
        "content": content,
        "allowed_mentions": _NO_PINGS,
        "components": _rows(part.buttons),
    }


def _rows(buttons: Sequence[Button]) -> list[dict[str, Any]]:
    shown = [
        {"type": 2, "style": _STYLES[each.style], "label": each.label[:80], "custom_id": each.value}
        for each in buttons[: _ROW_LENGTH * _MAX_ROWS]
    ]
    rows = [shown[start : start + _ROW_LENGTH] for start in range(0, len(shown), _ROW_LENGTH)]
    return [{"type": 1, "components": row} for row in rows]


def _form(body: Mapping[str, Any], file: OutgoingFile) -> list[dict[str, Any]]:
    """A multipart request; the bytes are read here, so that each try sends them anew."""
    try:
        data = file.data or Path(file.path).read_bytes()
    except OSError as error:
        raise DeliveryError("The file cannot be read", why=error.strerror, is_permanent=True) from error
    name = file.name or Path(file.path).name or "file"
    described = {**body, "attachments": [{"id": 0, "filename": name}]}
    return [
        {"name": "payload_json", "value": json.dumps(described), "content_type": "application/json"},
        {
            "name": "files[0]",
            "value": data,
            "filename": name,
            "content_type": "application/octet-stream",
        },
    ]
