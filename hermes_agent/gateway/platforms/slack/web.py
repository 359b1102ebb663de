"""Slack's Web API, and what its failures mean.

slack-sdk's retries are switched off: it would send a message again whose connection was cut, and Slack
does not recognise repeated messages. The gateway's outbox decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_base_client import AsyncBaseClient

from hermes_agent.core.errors import AuthFailedError, DeliveryError, NotReadyError
from hermes_agent.core.platform import OutgoingFile

_LOG = logging.getLogger(__name__)

APPS = "https://api.slack.com/apps"
BOT_TOKEN, APP_TOKEN = "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"
_REQUEST_SECONDS = 20.0
_UPLOAD_SECONDS = 300.0
_RETRY_SECONDS = 30.0
REFUSED = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "not_allowed_token_type",
        "user_removed_from_team",
        "team_access_not_granted",
    }
)
_UNCERTAIN = frozenset({"fatal_error", "internal_error"})
"""Slack says of these that the message may have been posted all the same."""
_PASSING = frozenset(
    {"ratelimited", "rate_limited", "service_unavailable", "request_timeout", "accesslimited"}
)


_WORDS = {
    "channel_not_found": "There is no such channel, or the app is not in it",
    "not_in_channel": "The app is not in that channel",
    "is_archived": "The channel is archived",
    "restricted_action": "The workspace does not let the app write there",
    "messages_tab_disabled": "Direct messages to the app are switched off",
}
_REMEDIES = {
    "channel_not_found": "In Slack: /invite the app into the channel",
    "not_in_channel": "In Slack: /invite the app into the channel",
    "messages_tab_disabled": f"Open {APPS}, choose the app, App Home, allow messages in the Messages tab",
}


class SlackRefusedError(DeliveryError):
    """Slack answered `ok: false`; `code` is its word for the reason."""

    code = ""


class Web:
    """Calls of one token. All methods raise `DeliveryError` only.

    Args:
        token: Of the bot, or of the app.
        api_base: Address of the API.
        session: Used for all requests.
        proxy: Address of an HTTP proxy.
    """

    def __init__(self, token: str, api_base: str, session: aiohttp.ClientSession, proxy: str = "") -> None:
        self._session = session
        self._proxy = proxy or None
        self._client = AsyncBaseClient(
            token, base_url=api_base, timeout=int(_REQUEST_SECONDS), session=session, retry_handlers=[]
        )
        self._client.proxy = self._proxy  # slack-sdk would take one for http addresses too

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method with JSON arguments (empty ones are left out)."""
        given = {key: value for key, value in arguments.items() if value not in ("", None)}
        async with _failures_mapped(method), asyncio.timeout(_REQUEST_SECONDS):
            answer = await self._client.api_call(method, json=given)
            return _object(answer.data)

    async def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a reading method: those take their arguments as a form only."""
        given = {key: value for key, value in arguments.items() if value not in ("", None)}
        async with _failures_mapped(method), asyncio.timeout(_REQUEST_SECONDS):
            answer = await self._client.api_call(method, http_verb="GET", params=given)
            return _object(answer.data)

    async def pages(self, method: str, key: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
        """The objects of a list that comes in pages; waits when Slack asks for patience."""
        cursor = ""
        while True:
            try:
                answer = await self.ask(method, cursor=cursor, **arguments)
            except DeliveryError as error:
                if error.retry_after_seconds is None:
                    raise
                await asyncio.sleep(error.retry_after_seconds)
                continue
            for each in answer.get(key) or ():
                if isinstance(each, dict):
                    yield each
            cursor = str((answer.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                return

    async def upload(self, file: OutgoingFile, *, channel: str, thread: str, comment: str) -> str:
        """Share a file in a channel; returns its id. Only the last of the three steps shows it."""
        data = file.data or await asyncio.to_thread(_read, file.path)
        name = file.name or Path(file.path).name or "file"
        try:
            place = await self.ask("files.getUploadURLExternal", filename=name, length=len(data))
            status = await self._put(str(place.get("upload_url") or ""), data)
        except DeliveryError as error:
            if error.is_unknown:  # nothing is shown yet: it may be done again
                raise DeliveryError(error.message, why=error.why) from error
            raise
        if status != 200:
            raise DeliveryError(f"Slack does not take the file ({status})")
        await self.call(
            "files.completeUploadExternal",
            files=[{"id": place["file_id"], "title": name}],
            channel_id=channel,
            thread_ts=thread,
            initial_comment=comment,
        )
        return str(place["file_id"])

    async def _put(self, url: str, data: bytes) -> int:
        timeout = aiohttp.ClientTimeout(total=_UPLOAD_SECONDS)
        posting = self._session.post(url, data=data, timeout=timeout, proxy=self._proxy)
        async with _failures_mapped("upload"), posting as answer:
            return answer.status


def start_error(error: DeliveryError, variable: str) -> AuthFailedError | NotReadyError:
    """What a failed call means while connecting; `variable` names the token used."""
    code = error.code if isinstance(error, SlackRefusedError) else ""
    if code in REFUSED or code == "missing_scope":
        place = "OAuth & Permissions" if variable == BOT_TOKEN else "Basic Information, App-Level Tokens"
        return AuthFailedError(
            f"Slack refuses {variable}",
            why=error.why or code,
            remedy=f"Open {APPS}, choose the app, {place}, and put the token into {variable} "
            f"({'xoxb-…' if variable == BOT_TOKEN else 'xapp-…, with the scope connections:write'}); "
            "then: hermes gateway reload",
        )
    return NotReadyError(error.message, why=error.why, retry_after_seconds=error.retry_after_seconds)


@asynccontextmanager
async def _failures_mapped(method: str) -> AsyncIterator[None]:
    try:
        yield
    except SlackApiError as error:
        raise _refused(method, error.response) from error
    except aiohttp.ClientConnectorError as error:
        raise DeliveryError("Slack cannot be reached", why=str(error)) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise DeliveryError("Slack cannot be reached", why=str(error)) from error
    except (aiohttp.ClientError, SlackClientError, OSError, TimeoutError, ValueError) as error:
        why = "it took too long" if isinstance(error, TimeoutError) else str(error)
        raise DeliveryError("No answer from Slack", why=why or None, is_unknown=True) from error
    except (AttributeError, TypeError) as error:  # slack-sdk stumbles over answers that are no object
        raise DeliveryError("Slack's answer cannot be read", is_unknown=True) from error


def _refused(method: str, response: Any) -> DeliveryError:
    status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0) or 0)
    headers: Mapping[str, str] = getattr(response, "headers", None) or {}
    data = getattr(response, "data", None)
    code = str(data.get("error") or "") if isinstance(data, dict) else ""
    if status == 429 or code in _PASSING:
        return DeliveryError("Slack asks for patience", why=code or None, retry_after_seconds=_wait(headers))
    if status >= 500 or code in _UNCERTAIN or not code:
        return DeliveryError(f"Slack answers {status or code}", why=code or None, is_unknown=status != 503)
    needed = str(data.get("needed") or "") if isinstance(data, dict) else ""
    remedy = _REMEDIES.get(code)
    if needed:
        remedy = f"Add the scope {needed} at {APPS}, OAuth & Permissions, and install the app again"
    error = SlackRefusedError(
        _WORDS.get(code, f"Slack refuses {method}: {code}"),
        why=f"{method}: {code}" if code in _WORDS else None,
        remedy=remedy,
        is_permanent=code not in REFUSED,
    )
    error.code = code
    return error


def _wait(headers: Mapping[str, str]) -> float:
    try:
        return max(0.1, float(headers.get("Retry-After", "")))
    except ValueError:
        return _RETRY_SECONDS


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise DeliveryError("Slack's answer cannot be read", is_unknown=True)
    return data


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DeliveryError("The file cannot be read", why=error.strerror, is_permanent=True) from error
