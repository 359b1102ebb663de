"""The Bot API as HTTP calls: one method, errors by kind, and a token that appears in none of them.

The token is part of every address, so addresses are kept out of errors here and masked in the log
records of the HTTP library.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import httpx

from hermes_agent.core.errors import (
    AuthFailedError,
    DeliveryError,
    NotReadyError,
    PlatformError,
    SettingError,
)
from hermes_agent.core.redaction import MASK
from hermes_agent.gateway.platforms.outside import read_json
from hermes_agent.gateway.platforms.steady_client import SteadyClient

Upload: TypeAlias = tuple[str, bytes]
"""Name and content of a file."""

TOKEN_FORM: Final = re.compile(r"\d+:[A-Za-z0-9_-]+")
_IN_ADDRESS: Final = re.compile(r"(?<=bot)\d+(?::|%3A)[A-Za-z0-9_-]+")
_LOGGERS: Final = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks")

REQUEST_SECONDS: Final = 20.0
UPLOAD_SECONDS: Final = 120.0


class ApiError(PlatformError):
    """Telegram answered that it will not do it.

    Args:
        code: HTTP status, which is also Telegram's `error_code`.
        description: Telegram's words.
        parameters: Its `ResponseParameters`: `retry_after`, `migrate_to_chat_id`.
    """

    def __init__(self, code: int, description: str, parameters: Mapping[str, Any]) -> None:
        super().__init__(f"Telegram answers {code}: {description}")
        self.code = code
        self.description = description
        self.parameters = parameters

    def says(self, *words: str) -> bool:
        """Whether one of these is in the description, letter case aside."""
        text = self.description.lower()
        return any(word.lower() in text for word in words)

    @property
    def retry_after_seconds(self) -> float | None:
        """How long Telegram asks to wait."""
        value = self.parameters.get("retry_after")
        return float(value) if isinstance(value, int | float) and value >= 0 else None


class NoAnswerError(PlatformError):
    """No answer came. `has_left`: the request may have arrived."""

    def __init__(self, why: str, *, has_left: bool) -> None:
        super().__init__("No answer from Telegram" if has_left else "Telegram cannot be reached", why=why)
        self.has_left = has_left


class BotApi:
    """Calls methods of the Bot API.

    Args:
        token: Of the bot.
        base_url: `https://api.telegram.org`, or a server of one's own.
        proxy: Address of a proxy; empty uses the environment's.

    Raises:
        SettingError: The proxy cannot be used.
    """

    def __init__(self, token: str, base_url: str, proxy: str = "") -> None:
        self._token = token
        self.base_url = base_url.rstrip("/").removesuffix("/bot")
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(_hide_token)
        is_local = httpx.URL(self.base_url).host in ("127.0.0.1", "localhost", "::1")
        try:
            self._client = SteadyClient(
                timeout=httpx.Timeout(REQUEST_SECONDS, connect=10.0),
                proxy=proxy or None,
                trust_env=not proxy and not is_local,
                headers={"User-Agent": "hermes-agent"},
            )
        except ImportError as error:
            raise SettingError(
                "A SOCKS proxy needs one more package",
                key="platforms.telegram.extra.proxy",
                remedy="Install it (pip install socksio), or use an http:// proxy.",
            ) from error
        except (ValueError, httpx.InvalidURL) as error:
            raise SettingError(
                f"The proxy cannot be used: {error}", key="platforms.telegram.extra.proxy"
            ) from error

    async def call(
        self,
        method: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        upload: tuple[str, Upload] | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Call a method; returns its `result`.

        Args:
            method: `sendMessage` …
            parameters: JSON-compatible; None values are left out.
            upload: Field name and file.
            timeout_seconds: For the answer.

        Raises:
            ApiError: Telegram refuses.
            NoAnswerError: No answer, or none that can be read.
        """
        body = {name: value for name, value in (parameters or {}).items() if value is not None}
        seconds = timeout_seconds or (UPLOAD_SECONDS if upload else REQUEST_SECONDS)
        timeout = httpx.Timeout(seconds, connect=10.0)
        address = f"{self.base_url}/bot{self._token}/{method}"
        try:
            if upload is None:
                response = await self._client.post(address, json=body, timeout=timeout)
            else:
                field, file = upload
                fields = {name: _as_field(value) for name, value in body.items()}
                response = await self._client.post(address, data=fields, files={field: file}, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise NoAnswerError(self._words(error), has_left=False) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(self._words(error), has_left=True) from None
        return _result(response)

    async def download(self, file_path: str, *, max_bytes: int) -> bytes:
        """A file that `getFile` named.

        Raises:
            ApiError: It is gone or too large.
            NoAnswerError: The connection broke.
        """
        address = f"{self.base_url}/file/bot{self._token}/{file_path}"
        try:
            async with self._client.stream("GET", address, timeout=UPLOAD_SECONDS) as response:
                if response.status_code != 200:
                    raise ApiError(response.status_code, "the file cannot be downloaded", {})
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > max_bytes:
                        raise ApiError(413, f"the file is larger than {max_bytes:,} bytes", {})
                return bytes(data)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoAnswerError(self._words(error), has_left=True) from None

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    def _words(self, error: Exception) -> str:
        return (str(error) or type(error).__name__).replace(self._token, MASK)


def readiness(error: ApiError | NoAnswerError) -> NotReadyError | AuthFailedError:
    """What an error of a poll or a check means for the connection."""
    if isinstance(error, NoAnswerError):
        return NotReadyError(error.message, why=error.why)
    if error.code in (401, 404):
        return AuthFailedError(
            "Telegram does not know this bot token",
            why=f"It answers {error.code}: {error.description}",
            remedy="Copy the token from @BotFather (/mybots, API Token) into TELEGRAM_BOT_TOKEN in .env, "
            "then: hermes gateway reload",
        )
    if error.code == 409:
        return NotReadyError(
            "Another program receives this bot's messages",
            why=f"Telegram says: {error.description}",
            remedy="Only one gateway may use a bot: stop the other one, or give this one a bot of its own.",
        )
    return NotReadyError(error.message, retry_after_seconds=error.retry_after_seconds)


def delivery(error: ApiError | NoAnswerError) -> DeliveryError:
    """What an error of a send means for the message."""
    if isinstance(error, NoAnswerError):
        return DeliveryError(error.message, why=error.why, is_unknown=error.has_left)
    if error.code in (401, 404):  # nothing is wrong with the message; it waits for a token that works
        return DeliveryError("Telegram refuses the bot token", why=error.description)
    is_unknown_chat = error.says("chat not found", "bot can't initiate conversation")
    return DeliveryError(
        error.message,
        why="Bots cannot begin a conversation: the person must write to the bot first."
        if is_unknown_chat
        else None,
        is_permanent=400 <= error.code < 500 and error.code not in (408, 429),
        is_unknown=error.code in (500, 502, 504),
        retry_after_seconds=error.retry_after_seconds,
    )


def _result(response: httpx.Response) -> Any:
    try:
        answer = read_json(response.content)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and answer.get("ok") is True and "result" in answer:
        return answer["result"]
    if isinstance(answer, dict) and answer.get("ok") is False:
        parameters = answer.get("parameters")
        code = answer.get("error_code")
        raise ApiError(
            code if isinstance(code, int) else response.status_code,
            str(answer.get("description") or response.reason_phrase),
            parameters if isinstance(parameters, dict) else {},
        )
    if response.status_code == 200:
        raise NoAnswerError("What came is no answer of the Bot API", has_left=True)
    if response.status_code in (401, 403, 404):  # of something that stands in between, or in its place
        raise ApiError(503, f"what answers with {response.status_code} is no Bot API", {})
    raise ApiError(response.status_code, response.reason_phrase or "no reason given", {})


def _as_field(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _hide_token(record: logging.LogRecord) -> bool:
    """A filter of log records: masks tokens in addresses."""
    text = record.getMessage()
    hidden = _IN_ADDRESS.sub(MASK, text)
    if hidden != text:
        record.msg, record.args = hidden, None
    return True
