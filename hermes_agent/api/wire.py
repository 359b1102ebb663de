"""JSON on the wire, and ids."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any, Final

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode

MAX_LINE_BYTES: Final = 64 * 1024
"""No line of an event stream is longer: several clients give up on longer ones."""


def dumps(value: object) -> str:
    """JSON text without spaces, without lone surrogates."""
    text = _encode(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def new_id(prefix: str, digits: int) -> str:
    """A random id: the prefix and hexadecimal digits."""
    return prefix + secrets.token_hex(digits // 2 + 1)[:digits]


def digest(*texts: str) -> str:
    """16 hexadecimal digits that depend on all texts."""
    joined = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()[:16]


def fitting(value: Any, max_bytes: int) -> str:
    """JSON text of at most so many bytes: if need be, long texts in the value are cut and say so.

    The value itself stays as it is. What was cut can be had elsewhere (the deltas before, `GET`).
    """
    text = dumps(value)
    limit = max_bytes // 4
    while len(text) > max_bytes // 4 and len(text.encode()) > max_bytes:
        text = dumps(_shortened(value, limit))
        limit //= 2
        if limit < 16:
            return dumps({"type": value.get("type", "error"), "truncated": True})
    return text


def _shortened(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}… [{len(value) - limit} characters cut]"
    if isinstance(value, dict):
        return {key: _shortened(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) > max(limit, 16):
            return [_shortened(item, limit) for item in value[-max(limit, 16) :]]
        return [_shortened(item, limit) for item in value]
    return value
