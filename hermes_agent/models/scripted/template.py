r"""`{{…}}` in a script's texts: values of the request, with a few filters.

{{user}}  {{tool_result}}  {{tool_result.session_id}}  {{match.1}}  {{tool_result | find:proc_\w+}}
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_HEAD = re.compile(r"[a-z_]+(\.[\w-]+)*\Z")

NAMES = (
    "user",
    "first_user",
    "tool_result",
    "tool_results",
    "tool",
    "match",
    "model",
    "session",
    "request",
    "round",
    "messages",
)
"""What may stand first in an expression."""


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    if not found:
        return ""
    return found.group(1) if found.re.groups else found.group(0)


_FILTERS: Mapping[str, tuple[bool, Callable[[str, str], str]]] = {
    "json": (False, lambda text, _argument: json.dumps(text, ensure_ascii=False)),
    "line": (False, lambda text, _argument: text.strip().split("\n", 1)[0]),
    "lines": (False, lambda text, _argument: str(len(text.splitlines()))),
    "trim": (False, lambda text, _argument: text.strip()),
    "upper": (False, lambda text, _argument: text.upper()),
    "lower": (False, lambda text, _argument: text.lower()),
    "first": (True, lambda text, argument: text[: int(argument)]),
    "last": (True, lambda text, argument: text[-int(argument) :]),
    "find": (True, _find),
}


def _parse(expression: str) -> tuple[list[str], list[tuple[str, str]]]:
    head, *filters = (part.strip() for part in expression.split("|"))
    if not _HEAD.match(head) or head.split(".")[0] not in NAMES:
        raise ValueError(f"unknown name in {{{{{expression}}}}}; known are {', '.join(NAMES)}")
    parsed = []
    for item in filters:
        name, _, argument = item.partition(":")
        if name not in _FILTERS:
            raise ValueError(f"unknown filter {name!r} in {{{{{expression}}}}}; known: {', '.join(_FILTERS)}")
        needs_argument = _FILTERS[name][0]
        if needs_argument != bool(argument):
            raise ValueError(f"filter {name!r} needs {'a value' if needs_argument else 'no value'}")
        if name in ("first", "last") and not argument.isdecimal():
            raise ValueError(f"filter {name!r} needs a number, not {argument!r}")
        if name == "find":
            try:
                re.compile(argument)
            except re.error as error:
                raise ValueError(f"filter 'find': {error}") from error
        parsed.append((name, argument))
    return head.split("."), parsed


def check_templates(text: str) -> str:
    """Return the text if all its expressions are understood.

    Raises:
        ValueError: One is not.
    """
    for expression in _EXPRESSION.findall(text):
        _parse(expression)
    return text


def check_value(value: Any) -> None:
    """Check all texts in a JSON value.

    Raises:
        ValueError: An expression is not understood.
    """
    if isinstance(value, str):
        check_templates(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            check_value(item)
    elif isinstance(value, list | tuple):
        for item in value:
            check_value(item)


def _look_up(path: list[str], values: Mapping[str, Any]) -> str:
    value: Any = values.get(path[0], "")
    if len(path) > 1 and isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return ""
    for name in path[1:]:
        if isinstance(value, Mapping):
            value = value.get(name, "")
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return ""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def render(text: str, values: Mapping[str, Any]) -> str:
    """Replace the expressions; a value that is not there becomes nothing."""
    if "{{" not in text:
        return text

    def replace(found: re.Match[str]) -> str:
        path, filters = _parse(found.group(1))
        value = _look_up(path, values)
        for name, argument in filters:
            value = _FILTERS[name][1](value, argument)
        return value

    return _EXPRESSION.sub(replace, text)


def render_value(value: Any, values: Mapping[str, Any]) -> Any:
    """Render all texts in a JSON value; a text that is one expression giving a number becomes it."""
    if isinstance(value, str):
        rendered = render(value, values)
        is_one = _EXPRESSION.fullmatch(value.strip()) is not None
        is_number = is_one and re.fullmatch(r"-?(0|[1-9]\d{0,17})", rendered) is not None
        return int(rendered) if is_number else rendered
    if isinstance(value, Mapping):
        return {key: render_value(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render_value(item, values) for item in value]
    return value
