"""JSON that comes from outside."""

from __future__ import annotations

import json
from typing import Any


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
