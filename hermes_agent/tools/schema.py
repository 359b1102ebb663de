"""From a typed signature to a JSON Schema, and from a model's JSON back to typed values.

The walk knows the few types that tool parameters need: `str`, `int`, `float`, `bool`, `Literal`,
`list[T]`, `dict[str, T]`, `TypedDict`, `T | None`, `Any`. Schemas are terse (no titles, no null types)
and their keys stand in one fixed order, because they are part of every request's byte-stable prefix.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from hermes_agent.tools.schema_kinds import (
    MISSING,
    AnyKind,
    ArrayKind,
    BooleanKind,
    ChoiceKind,
    Kind,
    Limit,
    MapKind,
    NumberKind,
    ObjectKind,
    Parameter,
    StringKind,
)

_SIMPLE: dict[Any, Kind] = {
    str: StringKind(),
    int: NumberKind(whole=True),
    float: NumberKind(whole=False),
    bool: BooleanKind(),
    Any: AnyKind(),
    object: AnyKind(),
    dict: MapKind(AnyKind()),
    list: ArrayKind(AnyKind()),
}


def parameter(name: str, hint: Any, default: Any = MISSING) -> Parameter:
    """Build a parameter from a type hint.

    Strings in `Annotated` are the description, a `Limit` bounds a number.

    Raises:
        TypeError: The type is not one a tool parameter can have.
    """
    description = ""
    limit: Limit | None = None
    if typing.get_origin(hint) is typing.Annotated:
        hint, *notes = typing.get_args(hint)
        description = " ".join(note for note in notes if isinstance(note, str))
        limit = next((note for note in notes if isinstance(note, Limit)), None)
    nullable = False
    if typing.get_origin(hint) in (Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        nullable = len(members) < len(typing.get_args(hint))
        if len(members) != 1:
            raise TypeError(f"parameter {name!r}: unions of several types are not supported")
        hint = members[0]
    kind = kind_of(hint, name)
    if limit and isinstance(kind, NumberKind):
        kind = NumberKind(kind.whole, limit)
    return Parameter(name, kind, description, default, nullable)


def kind_of(hint: Any, name: str) -> Kind:
    """The kind for a plain type (no `Annotated`, no `None`). Raises `TypeError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ChoiceKind(tuple(str(argument) for argument in arguments))
    if origin in (list, Sequence):
        return ArrayKind(parameter(name, arguments[0]).kind)
    if origin in (dict, Mapping):
        return MapKind(parameter(name, arguments[1]).kind)
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        return ObjectKind(tuple(_member(hint, key, inner) for key, inner in hints.items()))
    try:
        return _SIMPLE[hint]
    except (KeyError, TypeError):
        raise TypeError(f"parameter {name!r}: {hint!r} is not supported") from None


def _member(owner: Any, key: str, hint: Any) -> Parameter:
    # not __required_keys__: with postponed annotations it cannot see Required and NotRequired
    is_required = bool(owner.__total__)
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired):
        is_required = origin is typing.Required
        hint = typing.get_args(hint)[0]
    return parameter(key, hint, MISSING if is_required else None)
