"""Who sent it: how services sign webhooks. Pure functions; every comparison takes constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from hermes_agent.gateway.platforms.webhook.settings import Scheme

_HEADERS: Final[tuple[tuple[str, Scheme], ...]] = (
    ("x-hub-signature-256", "github"),
    ("x-gitlab-token", "gitlab"),
    ("webhook-signature", "standard"),
    ("svix-signature", "standard"),
    ("stripe-signature", "stripe"),
    ("x-slack-signature", "slack"),
    ("x-webhook-signature", "generic"),
)


class SignatureError(Exception):
    """The signature is missing, wrong or too old; the text may be told to the sender."""


def verify(
    scheme: Scheme,
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    *,
    now: float,
    tolerance_seconds: float = 300.0,
) -> Scheme:
    """Check a request; returns how it was signed.

    Args:
        scheme: How it must be signed; `auto` goes by the header.
        headers: Names in lower case.
        body: As it came.
        secret: Shared with the sender.
        now: Unix time.
        tolerance_seconds: How old a signed time may be.

    Raises:
        SignatureError: It does not prove that the sender knows the secret.
    """
    if scheme == "auto":
        scheme = next((way for name, way in _HEADERS if name in headers), "auto")
    if scheme == "auto":
        names = ", ".join(name for name, _ in _HEADERS)
        raise SignatureError(f"The request is not signed (one of these headers is needed: {names})")
    given, wanted, moment = _compared(scheme, headers, body, secret)
    if not any(hmac.compare_digest(each.encode("utf-8", "replace"), wanted.encode()) for each in given):
        raise SignatureError("The signature is wrong: the secrets differ, or the body was changed on its way")
    if moment is not None and abs(now - moment) > tolerance_seconds:
        raise SignatureError("The signed time is too far from now: an old request, or a clock that is wrong")
    return scheme


def sign(scheme: Scheme, body: bytes, secret: str, *, now: float, delivery_id: str) -> dict[str, str]:
    """Headers that a sender of this kind adds; `auto` signs in the generic way."""
    moment = f"{now:.0f}"
    if scheme == "github":
        return {"X-Hub-Signature-256": f"sha256={_hex(secret, body)}", "X-GitHub-Delivery": delivery_id}
    if scheme == "gitlab":
        return {"X-Gitlab-Token": secret, "X-Request-ID": delivery_id}
    if scheme == "standard":
        signature = _base64(_standard_key(secret), f"{delivery_id}.{moment}.".encode() + body)
        return {
            "webhook-id": delivery_id,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{signature}",
        }
    if scheme == "stripe":
        signature = _hex(secret, f"{moment}.".encode() + body)
        return {"Stripe-Signature": f"t={moment},v1={signature}", "X-Request-ID": delivery_id}
    if scheme == "slack":
        signature = _hex(secret, f"v0:{moment}:".encode() + body)
        return {
            "X-Slack-Signature": f"v0={signature}",
            "X-Slack-Request-Timestamp": moment,
            "X-Request-ID": delivery_id,
        }
    return {"X-Webhook-Signature": _hex(secret, body), "X-Request-ID": delivery_id}


def _compared(
    scheme: Scheme, headers: Mapping[str, str], body: bytes, secret: str
) -> tuple[list[str], str, float | None]:
    """What was given, what is right, and the signed time if there is one."""
    if scheme == "github":
        return [headers.get("x-hub-signature-256", "")], f"sha256={_hex(secret, body)}", None
    if scheme == "gitlab":  # no signature: the secret itself; digests hide its length
        given = hashlib.sha256(headers.get("x-gitlab-token", "").encode("utf-8", "replace")).hexdigest()
        return [given], hashlib.sha256(secret.encode()).hexdigest(), None
    if scheme == "standard":
        prefix = "webhook" if "webhook-signature" in headers else "svix"
        moment = headers.get(f"{prefix}-timestamp", "")
        content = f"{headers.get(f'{prefix}-id', '')}.{moment}.".encode("utf-8", "replace") + body
        given_all = headers.get(f"{prefix}-signature", "").split()
        return given_all, f"v1,{_base64(_standard_key(secret), content)}", _time(moment)
    if scheme == "stripe":
        pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
        moment = next((value for name, _, value in pairs if name == "t"), "")
        given_all = [value for name, _, value in pairs if name == "v1"]
        return given_all, _hex(secret, f"{moment}.".encode("utf-8", "replace") + body), _time(moment)
    if scheme == "slack":
        moment = headers.get("x-slack-request-timestamp", "")
        wanted = _hex(secret, f"v0:{moment}:".encode("utf-8", "replace") + body)
        return [headers.get("x-slack-signature", "")], f"v0={wanted}", _time(moment)
    given_one = headers.get("x-webhook-signature", "").strip().removeprefix("sha256=").lower()
    if stamp := headers.get("x-webhook-timestamp", ""):
        return [given_one], _hex(secret, f"{stamp}.".encode("utf-8", "replace") + body), _time(stamp)
    return [given_one], _hex(secret, body), None


def _time(text: str) -> float:
    if not text.isdecimal() or len(text) > 15:
        raise SignatureError("The signed time is missing or no number")
    return float(text)


def _hex(secret: str, content: bytes) -> str:
    return hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def _base64(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def _standard_key(secret: str) -> bytes:
    """`whsec_` and base64; a secret without the prefix is taken as it is."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()
