"""What comes from outside: JSON of strangers, settings that are wrong."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError


def _listed(value: object) -> object:
    if isinstance(value, str | int):
        return [part.strip() for part in str(value).split(",") if part.strip()]
    return value


Ids = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""Ids in settings: a list, or a text with commas."""


def read_json(data: bytes) -> Any:
    """Parse it; halves of surrogate pairs become `?`, because nothing can store or send them on.

    Raises:
        ValueError: It is not JSON in UTF-8.
        RecursionError: It is nested too deeply.
    """
    value = json.loads(data.decode("utf-8"))
    if b"\\u" in data:
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def whole(text: str) -> str:
    """Halves of surrogate pairs become `?`, for texts that a library has parsed."""
    return text.encode("utf-8", "replace").decode("utf-8")


def complaints(error: ValidationError) -> str:
    """What is wrong with settings: keys and reasons, without the values, which may be secrets."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found[:3])
