"""Turns what providers answer and what sockets raise into errors for people.

The vendor SDKs' exceptions are sorted out in `transport`; here are only status, headers and text.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from hermes_agent.core.errors import (
    ContextOverflowError,
    ModelAuthError,
    ModelConnectionError,
    ModelError,
    ModelNotFoundError,
    ModelQuotaError,
    ModelRateLimitError,
    ModelRequestError,
    ModelResponseError,
    ModelServerError,
    ModelTimeoutError,
)
from hermes_agent.core.redaction import MASK, Redactor
from hermes_agent.models.endpoint import Endpoint, is_loopback

MAX_TEXT = 600
"""Characters of a provider's words that are shown."""

DIAGNOSTIC_HEADERS = (
    "x-request-id",
    "request-id",
    "cf-ray",
    "x-openrouter-provider",
    "x-generation-id",
    "x-ratelimit-reset",
    "x-ratelimit-remaining",
    "x-amzn-requestid",
    "x-ms-request-id",
    "x-goog-request-id",
    "x-trace-id",
    "server",
    "via",
)

_OVERFLOW = re.compile(
    r"context[ _](length|window|size)|maximum context|context_length_exceeded|too many (input )?tokens"
    r"|prompt is too long|input is too long"
    r"|exceeds? the (maximum|max|available context|model'?s)[^.]{0,40}(token|context|length)"
    r"|maximum (number of )?(input )?tokens|max[_ ]?prompt[_ ]?tokens|reduce the length|input token count"
    r"|request too large for model|n_ctx|exceed_context_size|tokens? (limit )?exceed|超出|上下文",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"insufficient[_ ](quota|balance|credit|funds)|credit balance is too low"
    r"|payment required|billing[_ ]hard[_ ]limit|out of credits|no credits|余额不足|arrears",
    re.IGNORECASE,
)
_TOO_BUSY = re.compile(
    r"overloaded|capacity|temporarily unavailable|try again later|server is busy", re.IGNORECASE
)
_NO_TOOLS = re.compile(
    r"does not support (tools|function)|tool use is not supported|no endpoints found that support tool",
    re.IGNORECASE,
)
_KEY_LIKE = re.compile(
    r"\b(sk|pk|rk|key|gsk|xai|hf|AIza|ghp|gho|nvapi)[-_][A-Za-z0-9_\-*]{8,}|\bAIza[\w-]{20,}"
)
_BAD_KEY = re.compile(r"api[ _]key not valid|api_key_invalid|(invalid|incorrect) api[ _]key", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model_not_found|unknown model|not a valid model|no such model"
    r"|model [^.]{0,80}(not found|does not exist)",
    re.IGNORECASE,
)
_WEB_PAGE = re.compile(
    r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype|html|head|body)", re.IGNORECASE | re.DOTALL
)
_BEARER = re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}")


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without keys, control characters and excess length."""
    known = [secret for secret in secrets if secret]
    text = Redactor(known).redact(text)
    for secret in known:
        text = text.replace(secret, MASK)
    text = _BEARER.sub(rf"\1{MASK}", _KEY_LIKE.sub(MASK, text))
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"


def diagnostics(headers: Mapping[str, str]) -> dict[str, str]:
    """The response headers worth reporting."""
    return {name: headers[name][:200] for name in DIAGNOSTIC_HEADERS if name in headers}


def retry_after_seconds(headers: Mapping[str, str], *, now: float | None = None) -> float | None:
    """What `retry-after-ms` or `Retry-After` (seconds or an HTTP date) asks for; None if nothing sensible."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or not text:
        return seconds
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def provider_text(body: str) -> tuple[str, str]:
    """What a provider says in an error body: its words, and its code or type (either may be empty)."""
    try:
        value = json.loads(body)
    except ValueError:
        if _WEB_PAGE.match(body):
            title = re.search(r"<title[^>]*>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
            return (f"a web page titled {' '.join(title[1].split())!r}" if title else "a web page"), ""
        return body, ""
    return error_text(value)


def error_text(value: Any) -> tuple[str, str]:
    """The words and the code in a decoded error, wherever the provider put them."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return (value if isinstance(value, str) else json.dumps(value)), ""
    error = value.get("error", value)
    if isinstance(error, str):
        return error, str(value.get("code") or value.get("type") or "")
    if not isinstance(error, dict):
        error = value
    text = next((error[key] for key in ("message", "detail", "msg", "error") if error.get(key)), "")
    if not isinstance(text, str):
        text = json.dumps(text, ensure_ascii=False)
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw and raw not in text:  # OpenRouter: the words of the provider behind it
        text = f"{text}: {provider_text(raw)[0]}"
    code = next((error[key] for key in ("code", "type", "status") if error.get(key)), "")
    return text or json.dumps(value, ensure_ascii=False), str(code)


def status_error(
    endpoint: Endpoint,
    status: int,
    text: str,
    code: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    partial_text: str = "",
) -> ModelError:
    """The error for an HTTP status (or for a status told inside a stream).

    Args:
        endpoint: Who answered.
        status: HTTP status.
        text: The provider's words, not yet scrubbed.
        code: The provider's error code or type.
        headers: Response headers, names in lower case.
        secrets: Keys to remove from everything shown.
        partial_text: Text that had arrived before.
    """
    headers, secrets = headers or {}, tuple(secrets)
    kind, message, remedy = _classify(endpoint, status, f"{code} {text}")
    if status == 401 and not secrets:
        message = f"{endpoint.info.provider} at {endpoint.address} wants a key and got none (HTTP 401)"
        remedy = "Put NAME=… into .env and `api_key: ${NAME}` beside the base_url in config.yaml."
    return kind(
        message,
        status=status or None,
        why=scrub(text, secrets) or None,
        remedy=remedy,
        retry_after_seconds=retry_after_seconds(headers),
        partial_text=partial_text,
        diagnostics=diagnostics(headers),
    )


def _classify(  # noqa: PLR0911 - one return per row of a table
    endpoint: Endpoint, status: int, text: str
) -> tuple[type[ModelError], str, str | None]:
    info = endpoint.info
    keys = " or ".join(endpoint.key_names[:2])
    has_credit = not _NO_CREDIT.search(text)
    if status == 401 or (status == 403 and has_credit) or (status == 400 and _BAD_KEY.search(text)):
        where = f" Get a key at {endpoint.key_url}." if endpoint.key_url else ""
        fix = f"Check {keys} in your .env." if keys else "Check the key of this endpoint."
        if status == 403:
            fix = f"{fix} The key may lack access to {info.model!r}."
        return ModelAuthError, f"{info.provider} refused the key (HTTP {status})", fix + where
    if status == 402 or not has_credit:
        return (
            ModelQuotaError,
            f"The {info.provider} account has no credit left (HTTP {status})",
            "Add credit, add another key, or choose another provider: hermes model",
        )
    if status == 429:
        return (
            ModelRateLimitError,
            f"{info.provider} has had too many requests (HTTP 429)",
            "Wait a little, add another key, or set fallback_providers.",
        )
    if status == 413 or (status in (0, 400, 404, 422, 500) and _OVERFLOW.search(text)):
        return (
            ContextOverflowError,
            f"The conversation does not fit the context window of {info.model!r}",
            "Start anew with /new, shorten it with /compress, or choose a model with a larger window.",
        )
    if status == 404 or (status == 400 and _NO_MODEL.search(text)):
        return (
            ModelNotFoundError,
            f"{info.provider} does not know the model {info.model!r} or the path (HTTP {status})",
            f"Choose a model with: hermes model (asked at {info.base_url})",
        )
    if 300 <= status < 400:
        return (
            ModelRequestError,
            f"{endpoint.address} redirects elsewhere (HTTP {status}); keys are never sent along",
            "Set the base_url to the final address.",
        )
    if status in (408, 504, 524):
        return ModelTimeoutError, f"{info.provider} took too long (HTTP {status})", None
    if status == 409 or status >= 500 or (not status and _TOO_BUSY.search(text)):
        number = f" (HTTP {status})" if status else ""
        return ModelServerError, f"{info.provider} failed{number}", "Try again, or set fallback_providers."
    remedy = "Choose a model that can use tools: hermes model" if _NO_TOOLS.search(text) else None
    number = f" (HTTP {status})" if status else ""
    return ModelRequestError, f"{info.provider} refused the request{number}", remedy


_STATUS_OF_CODE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "context_length_exceeded": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "internal_error": 500,
    "overloaded_error": 529,
    "timeout_error": 504,
}


def stream_error(
    endpoint: Endpoint,
    value: Any,
    *,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    partial_text: str = "",
) -> ModelError:
    """The error for an `error` frame inside a stream that began well."""
    text, code = error_text(value)
    status = int(code) if code.isdigit() and 100 <= int(code) <= 599 else _STATUS_OF_CODE.get(code.lower(), 0)
    if not status:
        status = 0 if _OVERFLOW.search(f"{code} {text}") or _NO_CREDIT.search(text) else 500
    return status_error(
        endpoint, status, text, code, headers=headers, secrets=secrets, partial_text=partial_text
    )


_LOCAL_START = {
    "ollama": "Start it with: ollama serve",
    "lmstudio": "Start its server: lms server start, or Developer > Start Server in the application",
    "llamacpp": "Start it with: llama-server -m MODEL.gguf --jinja --port 8080",
    "vllm": "Start it with: vllm serve MODEL",
}
_BY_PORT = {"11434": "ollama", "1234": "lmstudio", "8080": "llamacpp", "8000": "vllm"}


def unreachable(endpoint: Endpoint, cause: BaseException) -> ModelConnectionError:
    """The error for an endpoint that gives no connection."""
    reason = _root_words(cause)
    provider = endpoint.info.provider
    if reason and "certificate verify failed" in reason.lower():
        remedy = "If your network or server has its own authority, set SSL_CERT_FILE to its certificates."
    elif reason and re.search("wrong.version.number|record layer", reason, re.IGNORECASE):
        remedy = "The server speaks plain HTTP there: write http:// instead of https:// in the base_url."
    elif is_loopback(endpoint.info.base_url):
        program = provider if provider in _LOCAL_START else _BY_PORT.get(endpoint.address.rpartition(":")[2])
        remedy = _LOCAL_START.get(program or "", "Start the server, or correct the base_url.")
    elif endpoint.proxy:
        remedy = "Check the network and the proxy settings (HTTPS_PROXY, NO_PROXY)."
    else:
        remedy = "Check the network, the address and, if you need one, HTTPS_PROXY."
    return ModelConnectionError(f"Cannot reach {provider} at {endpoint.address}", why=reason, remedy=remedy)


def connection_lost(endpoint: Endpoint, cause: BaseException) -> ModelConnectionError:
    """The error for a connection that broke before an answer began."""
    return ModelConnectionError(
        f"{endpoint.address} closed the connection without an answer",
        why=_root_words(cause),
        remedy="Try again; check that the address speaks HTTP the way the base_url says (http or https).",
    )


def timed_out(endpoint: Endpoint, what: str, seconds: float, *, partial_text: str = "") -> ModelTimeoutError:
    """The error for silence. `what` is `connect`, `answer`, `stream` or `request`."""
    texts = {
        "connect": f"{endpoint.address} did not accept a connection within {seconds:g} s",
        "answer": f"{endpoint.info.label} did not begin to answer within {seconds:g} s",
        "stream": f"{endpoint.info.label} stopped sending for {seconds:g} s in the middle of its answer",
        "request": f"{endpoint.info.label} was not done within {seconds:g} s",
    }
    key = "request_timeout_seconds" if what == "request" else "stale_timeout_seconds"
    remedy = (
        None if what == "connect" else f"Raise providers.{endpoint.info.provider}.{key} if it needs longer."
    )
    return ModelTimeoutError(texts[what], remedy=remedy, partial_text=partial_text)


def not_understood(
    endpoint: Endpoint, body: str, secrets: Iterable[str] = (), *, partial_text: str = ""
) -> ModelError:
    """The error for a reply that is not what the dialect promises: a web page, or garbage that may pass."""
    text, _ = provider_text(body)
    kind = ModelNotFoundError if _WEB_PAGE.match(body) else ModelResponseError
    return kind(
        f"{endpoint.info.provider} sent something that is not a model's answer",
        why=scrub(text, secrets)[:200] or "The body was empty.",
        remedy=f"Check the base_url; it is {endpoint.info.base_url} (most end in /v1).",
        partial_text=partial_text,
    )


def _root_words(error: BaseException) -> str | None:
    """The words of the innermost cause."""
    seen = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    text = getattr(seen, "strerror", None) or str(seen) or str(error)
    return scrub(text) or None
