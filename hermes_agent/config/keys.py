"""Dotted keys: `model.default`, `fallback_providers.0.model`, `providers.x.models."gpt-4.1".max_tokens`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

from hermes_agent.core.errors import SettingError

Key = tuple[str, ...]

_PART = re.compile(r'"((?:[^"\\]|\\.)*)"|\[(\d+)\]|([^.\["]+)')


def parse_key(text: str) -> Key:
    """Split a dotted key. A part that contains a dot is written in double quotes; `[0]` is `.0`.

    Raises:
        SettingError: A part is empty or a quote is not closed.
    """
    parts: list[str] = []
    at = 0
    stripped = text.strip()
    while at < len(stripped):
        found = _PART.match(stripped, at)
        if found is None:
            break
        quoted, index, bare = found.groups()
        parts.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else index or bare)
        at = found.end()
        if at < len(stripped) and stripped[at] == ".":
            at += 1
            if at == len(stripped):
                break
        elif at < len(stripped) and stripped[at] != "[":
            break
    else:
        if parts:
            return tuple(parts)
    raise SettingError(
        f"{text!r} is no key of config.yaml",
        key=text,
        remedy="Write it with dots, like model.default; `hermes config keys` lists all.",
    )


def format_key(parts: Iterable[str | int]) -> str:
    """The opposite of `parse_key`."""
    shown = []
    for part in parts:
        text = str(part)
        if _PART.fullmatch(text) is None or text.startswith("[") or not text or text != text.strip():
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            text = f'"{escaped}"'
        shown.append(text)
    return ".".join(shown)


def get_in(data: object, key: Sequence[str | int]) -> Any:
    """The value at a key.

    Raises:
        KeyError: Nothing is there.
    """
    for part in key:
        data = _step(data, part)
    return data


def _step(data: object, part: str | int) -> object:
    if isinstance(data, Mapping) and part in data:
        return data[part]
    text = str(part)
    if isinstance(data, list | tuple) and text.isdigit() and int(text) < len(data):
        return data[int(text)]
    raise KeyError(part)


def has(data: object, key: Sequence[str | int]) -> bool:
    """Whether something is at a key."""
    try:
        get_in(data, key)
    except KeyError:
        return False
    return True


def put_in(
    data: MutableMapping[str, Any],
    key: Sequence[str],
    value: object,
    *,
    is_list: Callable[[Key], bool] = lambda _key: False,
) -> None:
    """Put a value at a key, making maps on the way. A list index may name an element or the next one.

    `is_list` says where a list is made instead of a map.

    Raises:
        KeyError: A scalar, or a list without such an element, is in the way.
    """
    target: Any = data
    for depth, part in enumerate(key[:-1]):
        if isinstance(target, MutableMapping):
            if not isinstance(target.get(part), MutableMapping | MutableSequence):
                if target.get(part) is not None:
                    raise KeyError(part)
                target[part] = [] if is_list(tuple(key[: depth + 1])) else {}
            target = target[part]
        elif isinstance(target, MutableSequence) and part.isdigit() and int(part) == len(target):
            target.append([] if is_list(tuple(key[: depth + 1])) else {})
            target = target[-1]
        else:
            target = _element(target, part)
    last = key[-1]
    if isinstance(target, MutableMapping):
        target[last] = value
    elif isinstance(target, MutableSequence) and last.isdigit() and int(last) == len(target):
        target.append(value)
    else:
        _element(target, last)
        target[int(last)] = value


def _element(target: object, part: str) -> Any:
    if isinstance(target, MutableSequence) and part.isdigit() and int(part) < len(target):
        return target[int(part)]
    raise KeyError(part)


def remove_from(data: MutableMapping[str, Any], key: Sequence[str | int]) -> bool:
    """Remove what is at a key; False if nothing is there."""
    try:
        parent = get_in(data, key[:-1])
        _step(parent, key[-1])
    except KeyError:
        return False
    del parent[key[-1] if isinstance(parent, Mapping) else int(key[-1])]
    return True
