"""The three-way merge of declared settings into config.yaml.

Three parties: `current`, the file as it is; `wanted`, what the module declares now; `before`, what it
declared last time. Declared values win. Keys that only the file has stay. A key that the declaration had
before and has no longer leaves the file, unless its value was changed since. Maps merge key by key,
everything else (lists too) is replaced. Comments and order survive, and doing it twice changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_agent.config import yaml_reader
from hermes_agent.config.keys import format_key
from hermes_agent.core.errors import ConfigError, ConfigFileError
from hermes_agent.core.loading import load

_EDIT_BYTES = "hermes_agent.config.editor:edit_bytes"
_WRITE_NEW = "hermes_agent.config.editor:new_bytes"


def prepare_merge() -> None:
    """Load the YAML editor now: later this process may have no right to read it."""
    load(_EDIT_BYTES)
    load(_WRITE_NEW)({"a": [1, "x"]})


@dataclass(frozen=True, slots=True)
class Merged:
    """The outcome for one file.

    Attributes:
        data: The file's new bytes.
        set_keys: Dotted keys that got another value.
        removed_keys: Dotted keys that left with the declaration.
        kept_keys: Dotted keys that left the declaration and stay, because somebody changed them.
        problem: Why the old file could not be edited (it is to be set aside); empty if it could.
    """

    data: bytes
    set_keys: tuple[str, ...] = ()
    removed_keys: tuple[str, ...] = ()
    kept_keys: tuple[str, ...] = ()
    problem: str = ""


def merge_maps(
    current: MutableMapping[str, Any],
    wanted: Mapping[str, Any],
    before: Iterable[Mapping[str, Any]] = (),
) -> tuple[list[str], list[str], list[str]]:
    """Merge in place.

    Args:
        current: The file's content; changed.
        wanted: What is declared now.
        before: What was declared earlier: the last activation, and one that did not finish.

    Returns:
        Dotted keys that were set, that were removed, and that were kept because they had been changed.
    """
    removed: list[str] = []
    kept: list[str] = []
    for declared in before:
        _drop(current, declared, wanted, (), removed, kept)
    changed: list[str] = []
    _overlay(current, wanted, (), changed)
    still_there = [key for key in dict.fromkeys(kept) if key not in removed]
    return changed, list(dict.fromkeys(removed)), still_there


def _drop(
    current: MutableMapping[str, Any],
    before: Mapping[str, Any],
    wanted: Mapping[str, Any],
    path: tuple[str, ...],
    removed: list[str],
    kept: list[str],
) -> None:
    for name, old in before.items():
        if name not in current:
            continue
        value = current[name]
        key = (*path, name)
        declared = wanted.get(name)
        if isinstance(old, Mapping) and isinstance(value, MutableMapping):
            if name in wanted and not isinstance(declared, Mapping):
                continue  # It is replaced as a whole.
            had_something = bool(value)
            _drop(value, old, declared if isinstance(declared, Mapping) else {}, key, removed, kept)
            if name not in wanted and not value:
                del current[name]
                if not had_something:
                    removed.append(format_key(key))
        elif name not in wanted:
            if same(value, old):
                del current[name]
                removed.append(format_key(key))
            else:
                kept.append(format_key(key))


def _overlay(
    current: MutableMapping[str, Any], wanted: Mapping[str, Any], path: tuple[str, ...], changed: list[str]
) -> None:
    for name, value in wanted.items():
        key = (*path, name)
        known = current.get(name)
        if isinstance(value, Mapping) and isinstance(known, MutableMapping):
            _overlay(known, value, key, changed)
        elif name not in current or not same(known, value):
            current[name] = copy.deepcopy(value)
            changed.append(format_key(key))


def same(left: object, right: object) -> bool:
    """Equal values of equal kinds: `1`, `1.0` and `true` differ."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right and _kind(left) is _kind(right)


def _kind(value: object) -> type:
    return next(
        (kind for kind in (bool, int, float, str, dict, list) if isinstance(value, kind)), type(value)
    )


def merge_file(
    raw: bytes,
    wanted: Mapping[str, Any],
    before: Iterable[Mapping[str, Any]] = (),
    *,
    path: Path = Path("config.yaml"),
) -> Merged:
    """Merge into the bytes of a config.yaml.

    A file that is no YAML, or that uses YAML no edit survives, is not touched: the result is a new file,
    and `problem` says that the old one has to be kept elsewhere.
    """
    earlier = tuple(before)
    lists: tuple[list[str], list[str], list[str]] = ([], [], [])

    def edit(data: Any) -> None:
        outcome = merge_maps(data, wanted, earlier)
        for target, found in zip(lists, outcome, strict=True):
            target[:] = found

    try:
        plain = yaml_reader.parse(raw, path).data
    except ConfigFileError as error:
        return Merged(load(_WRITE_NEW)(wanted), tuple(wanted), problem=" ".join(error.lines))
    target = copy.deepcopy(plain)
    edit(target)
    changed, removed, kept = (tuple(found) for found in lists)
    if same(target, plain):
        return Merged(raw, kept_keys=kept)
    try:
        data: bytes = load(_EDIT_BYTES)(raw, edit, path)
    except ConfigError as error:
        return Merged(load(_WRITE_NEW)(target), changed, removed, kept, problem=" ".join(error.lines))
    return Merged(data, changed, removed, kept)
