"""Makes a server's input schema one that every provider takes, or says why it cannot be offered.

One refused schema fails a whole model request, so every tool is looked at alone. As little as possible
is changed: what providers refuse is exactly combinators at the top, foreign references, odd property
names, and schemas that are no objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 65_536
MAX_DEPTH = 40
_COMBINATORS = ("oneOf", "anyOf", "allOf", "not", "if", "then", "else", "enum", "const")
_IDENTITY = ("$schema", "$id", "$comment")
_PROPERTY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class UnusableSchemaError(ValueError):
    """The schema cannot be offered to a model; the text says why."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """A schema for models.

    Attributes:
        renamed: Names for models to the server's own names, of properties that had to be renamed.
        note: What the schema no longer says; belongs in the description.
    """

    parameters: dict[str, Any] = field(hash=False)
    renamed: Mapping[str, str] = field(default_factory=dict, hash=False)
    note: str = ""


def adapt(schema: Mapping[str, Any]) -> Adapted:
    """Adapt an input schema.

    Raises:
        UnusableSchemaError: Says why.
    """
    _check(schema)
    result = {key: value for key, value in schema.items() if key not in (*_COMBINATORS, *_IDENTITY)}
    kind = result.get("type", "object")
    if kind != "object" and "object" not in (kind if isinstance(kind, list) else ()):
        raise UnusableSchemaError(f"its arguments are of type {kind!r}, not an object")
    result["type"] = "object"
    properties = dict(_properties(schema))
    for branch in _branches(schema):
        for name, value in _properties(branch).items():
            properties.setdefault(name, value)
    names = {name: _usable(name, properties) for name in properties}
    result["properties"] = {names[name]: value for name, value in properties.items()}
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise UnusableSchemaError("'required' is not a list of names")
    required = [names[name] for name in required if name in names]
    if required or "required" in result:
        result["required"] = required
    constraints = {key: schema[key] for key in _COMBINATORS if key in schema}
    note = (
        f"Arguments must also satisfy: {json.dumps(constraints, ensure_ascii=False)}" if constraints else ""
    )
    return Adapted(result, {new: old for old, new in names.items() if new != old}, note[:2000])


def _check(schema: Any) -> None:
    if not isinstance(schema, Mapping):
        raise UnusableSchemaError("its input schema is not an object")
    try:
        size = len(json.dumps(schema))
    except (TypeError, ValueError, RecursionError) as error:
        raise UnusableSchemaError("its input schema is not JSON") from error
    if size > MAX_BYTES:
        raise UnusableSchemaError(f"its input schema is too large ({size:,} bytes)")
    for reference in _references(schema, 0):
        if not _resolves(reference, schema):
            raise UnusableSchemaError(f"its input schema refers to {reference!r}, which is not in it")


def _references(value: Any, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise UnusableSchemaError("its input schema is nested too deeply")
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference
        for item in value.values():
            yield from _references(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item, depth + 1)


def _resolves(reference: str, schema: Mapping[str, Any]) -> bool:
    if reference == "#":
        return True
    if not reference.startswith("#/"):
        return False
    found: Any = schema
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        else:
            return False
    return True


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        raise UnusableSchemaError("'properties' is not an object")
    for name, value in properties.items():
        if not isinstance(value, Mapping | bool):
            raise UnusableSchemaError(f"the schema of {name!r} is not an object")
    # Providers take no `true` for "anything"; an empty schema means the same.
    return {name: {} if isinstance(value, bool) else value for name, value in properties.items()}


def _branches(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for key in ("allOf", "oneOf", "anyOf"):
        branches = schema.get(key, [])
        if isinstance(branches, list):
            yield from (branch for branch in branches if isinstance(branch, Mapping))


def _usable(name: str, known: Mapping[str, Any]) -> str:
    if _PROPERTY.fullmatch(name):
        return name
    usable = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:60] or "_"
    while usable in known:
        usable += "_"
    return usable
