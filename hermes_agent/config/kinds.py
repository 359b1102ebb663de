"""Types of settings in words."""

from __future__ import annotations

from typing import Any, Literal, Union, get_args, get_origin

from hermes_agent.config import shape
from hermes_agent.config.keys import Key

_WORDS: dict[object, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Any: "anything",
}


def kind_of(key: Key) -> str:
    """What kind of value a key takes: `whole number`, `one of a, b`, `list of text`."""
    return kind_of_type(shape.annotation_of(key))


def kind_of_type(annotation: Any) -> str:
    """The same for a type."""
    bare = shape.bare(annotation)
    suffix = " or null" if bare is not annotation and type(None) in get_args(annotation) else ""
    if bare is None:
        return "anything"
    origin = get_origin(bare)
    if origin is Literal:
        words = ", ".join(repr(item) if item == "" else str(item) for item in get_args(bare))
        return f"one of {words}{suffix}"
    if origin is list:
        return f"list of {_plural(kind_of_type(get_args(bare)[0]))}"
    if origin is dict:
        return f"map to {kind_of_type(get_args(bare)[1])}"
    if origin is Union:
        return " or ".join(kind_of_type(item) for item in get_args(bare))
    if shape.is_model(bare):
        return "map"
    return _WORDS.get(bare, str(bare)) + suffix


def _plural(word: str) -> str:
    return "maps" if word == "map" else word
