"""Validating what files, variables and flags say, one section at a time.

A wrong value is taken out and reported; everything else keeps its effect.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hermes_agent.config import shape
from hermes_agent.config.keys import Key, format_key, has, remove_from
from hermes_agent.config.registry import ROOT_KEYS
from hermes_agent.config.secret_names import MASK, masked
from hermes_agent.core.errors import SettingError

Where = Callable[[Key], str]
"""Says where the value of a key comes from: `in config.yaml line 3`."""

_KINDS = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "mapping_type": "a map",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "of at most"),
}


def validate(data: Mapping[str, Any], where: Where) -> tuple[dict[str, Any], list[SettingError]]:
    """Check every known top-level key.

    Args:
        data: Plain maps and lists; not changed.
        where: For messages.

    Returns:
        The data with sections in place of maps and without the wrong values, and what was wrong.
    """
    result: dict[str, Any] = {}
    problems: list[SettingError] = []
    for name, value in data.items():
        if name in ROOT_KEYS and value is not None:
            result[name] = _section(name, copy.deepcopy(value), where, problems)
        elif name not in ROOT_KEYS:
            result[name] = value
    return {name: value for name, value in result.items() if value is not None}, problems


def _section(name: str, value: Any, where: Where, problems: list[SettingError]) -> Any:
    """The validated section or field; None if nothing of it can be used."""
    root = ROOT_KEYS[name]
    model = root.model()
    holder = {name: value}
    seen: set[Key] = set()
    while name in holder:
        try:
            if root.is_field:
                return getattr(model.model_validate(holder), name)
            return model.model_validate(holder[name])
        except ValidationError as error:
            before = len(seen)
            wrong = []
            for details in error.errors(include_url=False):
                key = _key(name, root.is_field, details)
                if key not in seen:
                    seen.add(key)
                    problems.append(_problem(key, details, where))
                wrong.append(key)
            for key in reversed(wrong):  # From the end, so that list indices stay true.
                _take_out(holder, key)
            if len(seen) == before:  # Nothing new was found: give up on the whole.
                return None
    return None


def _key(name: str, is_field: bool, details: ErrorDetails) -> Key:
    parts = tuple(str(part) for part in details["loc"] if part != "[key]")
    return parts if is_field else (name, *parts)


def _take_out(holder: dict[str, Any], key: Key) -> None:
    """Remove a wrong value; a missing one takes the map around it along."""
    while key and not has(holder, key):
        key = key[:-1]
    if key:
        remove_from(holder, key)


def _problem(key: Key, details: ErrorDetails, where: Where) -> SettingError:
    dotted = format_key(key)
    if details["type"] == "missing":
        return SettingError(
            " ".join(word for word in (format_key(key[:-1]), where(key), f"lacks {key[-1]!r}") if word),
            key=dotted,
            remedy=f"Add `{key[-1]}: …` there: hermes config edit",
        )
    value = masked(details["input"], dotted)
    shown = _shown(value)
    kind = expected_kind(details)
    why = None
    place = where(key)
    in_file = place.startswith("in ")
    remedy = (
        f"Correct it with: hermes config set {dotted} VALUE" if in_file else "Correct or remove it there."
    )
    if isinstance(details["input"], str) and "${" in details["input"]:
        why = "The variable is not set in the environment or .env."
    expected = details.get("ctx", {}).get("expected")
    if isinstance(expected, str) and isinstance(details["input"], str):
        names = [name.strip("'") for name in expected.replace(" or ", ", ").split(", ")]
        near = shape.close_matches(details["input"].lower(), names, 0.6)
        if near:
            remedy = (
                f"Did you mean {near[0]!r}? hermes config set {dotted} {near[0]}"
                if in_file
                else f"Did you mean {near[0]!r}?"
            )
    name = f"{dotted} {place}" if place else dotted
    return SettingError(f"{name} must be {kind}, not {shown}", key=dotted, why=why, remedy=remedy)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    if value == MASK:
        return MASK
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:79] + MASK


def expected_kind(details: ErrorDetails) -> str:
    """What would have been right, in words."""
    kind = details["type"]
    context = details.get("ctx", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"a number {words} {context[name]:g}"
    if kind == "literal_error":
        return "one of " + str(context["expected"]).replace("'", "").replace(" or ", ", ")
    if kind == "value_error":
        return str(context.get("error", details["msg"]))
    return details["msg"][:1].lower() + details["msg"][1:]
