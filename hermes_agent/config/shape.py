"""What the typed sections say about a key: what stands there, and which names are near to a wrong one."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hermes_agent.config.keys import Key, format_key
from hermes_agent.config.registry import ROOT_KEYS, VERSION_KEY
from hermes_agent.core.loading import load


def root_annotation(name: str) -> Any:
    """The type of a top-level key; None if there is no such key."""
    key = ROOT_KEYS.get(name)
    if key is None:
        return None
    model = key.model()
    return model.model_fields[name].annotation if key.is_field else model


def field_of(key: Sequence[str | int]) -> FieldInfo | None:
    """The field that a key names, if it names one of a section."""
    if not key:
        return None
    if len(key) == 1:
        root = ROOT_KEYS.get(str(key[0]))
        return root.model().model_fields[root.name] if root is not None and root.is_field else None
    parent = bare(annotation_of(key[:-1]))
    return parent.model_fields.get(str(key[-1])) if is_model(parent) else None


def annotation_of(key: Sequence[str | int]) -> Any:
    """The type at a key; None if it is unknown or free."""
    annotation: Any = None
    for depth, part in enumerate(key):
        annotation = root_annotation(str(part)) if depth == 0 else _inner(annotation, str(part))
        if annotation is None:
            return None
    return annotation


def _inner(annotation: Any, part: str) -> Any:
    annotation = bare(annotation)
    if is_model(annotation):
        field = annotation.model_fields.get(part)
        return field.annotation if field is not None else None
    origin = get_origin(annotation)
    if origin is dict:
        return get_args(annotation)[1]
    if origin is list and part.isdigit():
        return get_args(annotation)[0]
    return None


def bare(annotation: Any) -> Any:
    """A type without `| None` and without annotations around it."""
    if get_origin(annotation) in {Union, types.UnionType}:
        inner = [item for item in get_args(annotation) if item is not type(None)]
        return bare(inner[0]) if len(inner) == 1 else annotation
    if hasattr(annotation, "__metadata__"):
        return bare(annotation.__origin__)
    return annotation


def is_model(annotation: object) -> bool:
    """Whether a type is a section."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_list(key: Sequence[str | int]) -> bool:
    """Whether a list stands at a key."""
    return get_origin(bare(annotation_of(key))) is list


def is_known(key: Key) -> bool:
    """Whether a key is one of a section, or lies in a free map."""
    if not key or (key[0] not in ROOT_KEYS and key != (VERSION_KEY,)):
        return False
    for depth in range(1, len(key)):
        parent = bare(annotation_of(key[:depth]))
        if parent is None or parent is Any:
            return True
        if is_model(parent):
            if key[depth] not in parent.model_fields:
                return False
        elif get_origin(parent) not in {dict, list}:
            return False
    return True


def unknown_keys(data: Mapping[str, Any]) -> Iterator[Key]:
    """Keys that no section knows, at levels where the names are fixed."""
    for name, value in data.items():
        if name == VERSION_KEY:
            continue
        if name not in ROOT_KEYS:
            yield (name,)
        elif isinstance(value, dict | list):
            yield from _unknown_below((name,), value, root_annotation(name))


def _unknown_below(key: Key, value: object, annotation: Any) -> Iterator[Key]:
    annotation = bare(annotation)
    if isinstance(value, Mapping):
        for name, item in value.items():
            if is_model(annotation) and name not in annotation.model_fields:
                yield (*key, name)
            else:
                yield from _unknown_below((*key, name), item, _inner(annotation, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_below((*key, str(index)), item, _inner(annotation, str(index)))


def close_matches(word: str, words: Iterable[str], cutoff: float) -> list[str]:
    """The word that is nearest, if one is near enough."""
    found: list[str] = load("difflib:get_close_matches")(word, list(words), 1, cutoff)
    return found


@cache
def all_keys() -> tuple[str, ...]:
    """Every key of the sections, maps of sections included, dotted; free maps end where they start."""
    return tuple(format_key(key) for name in ROOT_KEYS for key in _keys_below((name,), root_annotation(name)))


def _keys_below(key: Key, annotation: Any) -> Iterator[Key]:
    yield key
    annotation = bare(annotation)
    if is_model(annotation):
        for name, field in annotation.model_fields.items():
            yield from _keys_below((*key, name), field.annotation)


def nearest(key: Key) -> str | None:
    """The known key that a wrong one was probably meant to be."""
    if len(key) > 1 and key[0] in ROOT_KEYS:
        parent = bare(annotation_of(key[:-1]))
        if is_model(parent):
            near = close_matches(key[-1], [str(name) for name in parent.model_fields], 0.6)
            if near:
                return format_key((*key[:-1], near[0]))
    elif len(key) == 1:
        near = close_matches(key[0], list(ROOT_KEYS), 0.75)
        if near:
            return near[0]
    dotted = format_key(key)
    by_name = [known for known in all_keys() if known.endswith(f".{key[-1]}")]
    if len(by_name) == 1:
        return by_name[0]
    near = close_matches(dotted, all_keys(), 0.8)
    return near[0] if near else None


def choices(annotation: Any) -> tuple[object, ...]:
    """The values of a `Literal`."""
    annotation = bare(annotation)
    return get_args(annotation) if get_origin(annotation) is Literal else ()
