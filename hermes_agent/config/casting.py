"""What a person typed as the value of a setting, as the value it stands for."""

from __future__ import annotations

import json
import re
from typing import Any, get_args, get_origin

from hermes_agent.config import shape
from hermes_agent.config.keys import Key

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None}
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


def cast(text: str, key: Key) -> Any:
    """The value of a text for a key.

    Where the key's type is known it decides: `on` is true for a switch and text for a text, `a, b` is a
    list for a list. Elsewhere `true`, `false`, `null`, whole numbers, decimals and JSON lists and maps
    are what they look like, and all else is text.
    """
    stripped = text.strip()
    annotation = shape.annotation_of(key)
    kind = shape.bare(annotation) if annotation is not None else None
    if stripped.lower() in {"null", "~"} and kind is not str:
        return None
    if kind is bool and stripped.lower() in _YES | _NO:
        return stripped.lower() in _YES
    if kind is str or shape.choices(annotation):
        return text
    is_list = get_origin(kind) is list
    parsed = _json(stripped)
    if parsed is not None:
        return parsed
    if is_list and get_args(kind) == (str,):
        return [item.strip() for item in stripped.split(",") if item.strip()]
    return _scalar(text, stripped)


def _json(text: str) -> Any:
    """A JSON list or map, or a list in the short form `[a, b]`; None if it is neither."""
    if not text.startswith(("[", "{")) or not text.endswith(("]", "}")):
        return None
    try:
        return json.loads(text)
    except ValueError:
        if text.startswith("[") and not re.search(r"[\[{\"']", text[1:]):
            return [_scalar(item, item.strip()) for item in text[1:-1].split(",") if item.strip()]
        return None


def _scalar(text: str, stripped: str) -> Any:
    if stripped.lower() in _WORDS:
        return _WORDS[stripped.lower()]
    if _INT.fullmatch(stripped):
        return int(stripped)
    if _FLOAT.fullmatch(stripped):
        return float(stripped)
    return text


def nix_value(value: object) -> str:
    """A value as a Nix expression."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = json.dumps(value)
        return text if value >= 0 else f"({text})"
    if isinstance(value, list | tuple):
        return "[ " + "".join(f"{nix_value(item)} " for item in value) + "]"
    if isinstance(value, dict):
        inner = "".join(f"{nix_name(str(name))} = {nix_value(item)}; " for name, item in value.items())
        return "{ " + inner + "}"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${").replace("\n", "\\n")
    return f'"{text}"'


def nix_name(name: str) -> str:
    """An attribute name of Nix, quoted if need be."""
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_'-]*", name) else nix_value(name)
