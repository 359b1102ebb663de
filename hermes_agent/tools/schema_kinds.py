"""Kinds of values that tool parameters have: their JSON Schema, and how a model's JSON becomes one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hermes_agent.core.errors import ToolArgumentsError

MISSING: Any = object()
"""Stands for `no default`."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Bounds of a number, for use in `Annotated`."""

    minimum: float | None = None
    maximum: float | None = None


class MismatchError(ToolArgumentsError):
    """A value does not fit its type. `place` is a path such as `todos[0].status`."""

    def __init__(self, place: str, expected: str, got: Any) -> None:
        super().__init__(f"{place}: expected {expected}, got {describe(got)}")


def describe(value: Any) -> str:
    """A value in the words of JSON, shortened: `string 'abc'`, `null`, `array of 3`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"number {value}"
    if isinstance(value, str):
        return f"string {value if len(value) <= 60 else value[:57] + '...'!r}"
    if isinstance(value, Mapping):
        return "object"
    return f"array of {len(value)}" if isinstance(value, Sequence) else type(value).__name__


class Kind(Protocol):
    """One type of value."""

    @property
    def label(self) -> str:
        """What people call it: `integer`, `array of string`."""
        ...

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        ...

    def parse(self, value: Any, place: str) -> Any:
        """Check and convert. Raises `MismatchError`."""
        ...


@dataclass(frozen=True, slots=True)
class AnyKind:
    """Any JSON value."""

    label: str = "any value"

    def schema(self) -> dict[str, Any]:
        """Nothing to say."""
        return {}

    def parse(self, value: Any, place: str) -> Any:  # noqa: ARG002 - the port's signature
        """As it is."""
        return value


@dataclass(frozen=True, slots=True)
class StringKind:
    """Text; a number is taken as its digits."""

    label: str = "string"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        return {"type": "string"}

    def parse(self, value: Any, place: str) -> str:
        """Check and convert."""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        raise MismatchError(place, self.label, value)


@dataclass(frozen=True, slots=True)
class ChoiceKind:
    """One of a few words; case and surrounding blanks are forgiven."""

    choices: tuple[str, ...]

    @property
    def label(self) -> str:
        """The words."""
        return "one of " + ", ".join(self.choices)

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        return {"type": "string", "enum": list(self.choices)}

    def parse(self, value: Any, place: str) -> str:
        """Check and convert."""
        if isinstance(value, str):
            if value in self.choices:
                return value
            folded = value.strip().casefold()
            for choice in self.choices:
                if choice.casefold() == folded:
                    return choice
        raise MismatchError(place, self.label, value)


@dataclass(frozen=True, slots=True)
class NumberKind:
    """A number, whole or not; numerals in a string are taken."""

    whole: bool
    limit: Limit = Limit()

    @property
    def label(self) -> str:
        """The name with its bounds."""
        name = "integer" if self.whole else "number"
        low, high = self.limit.minimum, self.limit.maximum
        if low is not None and high is not None:
            return f"{name} from {low:g} to {high:g}"
        if low is not None:
            return f"{name} of at least {low:g}"
        return f"{name} of at most {high:g}" if high is not None else name

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        schema: dict[str, Any] = {"type": "integer" if self.whole else "number"}
        if self.limit.minimum is not None:
            schema["minimum"] = self.limit.minimum
        if self.limit.maximum is not None:
            schema["maximum"] = self.limit.maximum
        return schema

    def parse(self, value: Any, place: str) -> int | float:
        """Check and convert."""
        number = self._number(value)
        if number is None:
            raise MismatchError(place, self.label, value)
        low, high = self.limit.minimum, self.limit.maximum
        if (low is not None and number < low) or (high is not None and number > high):
            raise MismatchError(place, self.label, value)
        return number

    def _number(self, value: Any) -> int | float | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, str):
            value = _numeral(value)
        if isinstance(value, float) and self.whole:
            return int(value) if value.is_integer() else None
        if isinstance(value, int):
            return value if self.whole else float(value)
        return value if isinstance(value, float) and value - value == 0 else None


def _numeral(text: str) -> int | float | None:
    stripped = text.strip()
    if len(stripped) > 30:
        return None
    try:
        return int(stripped)
    except ValueError:
        pass
    try:
        return float(stripped)
    except ValueError:
        return None


_TRUE = {"true", "yes", "1", "on"}
_FALSE = {"false", "no", "0", "off", ""}


@dataclass(frozen=True, slots=True)
class BooleanKind:
    """True or false; the usual words and 1/0 are taken."""

    label: str = "boolean"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        return {"type": "boolean"}

    def parse(self, value: Any, place: str) -> bool:
        """Check and convert."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str | int):
            word = str(value).strip().casefold()
            if word in _TRUE:
                return True
            if word in _FALSE:
                return False
        raise MismatchError(place, self.label, value)


@dataclass(frozen=True, slots=True)
class ArrayKind:
    """A list; a JSON list in a string is taken, and so is a lone value where text is wanted."""

    item: Kind

    @property
    def label(self) -> str:
        """With its items."""
        return f"array of {self.item.label}"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        return {"type": "array", "items": self.item.schema()}

    def parse(self, value: Any, place: str) -> list[Any]:
        """Check and convert."""
        if isinstance(value, str):
            decoded = _decoded(value, list)
            if decoded is not None:
                value = decoded
            elif isinstance(self.item, StringKind | ChoiceKind):
                value = [value]
        elif isinstance(value, Mapping) and isinstance(self.item, ObjectKind):
            value = [value]
        if not isinstance(value, list | tuple):
            raise MismatchError(place, self.label, value)
        return [self.item.parse(element, f"{place}[{index}]") for index, element in enumerate(value)]


@dataclass(frozen=True, slots=True)
class MapKind:
    """An object with any keys."""

    value: Kind

    @property
    def label(self) -> str:
        """With its values."""
        return f"object of {self.value.label}"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        inner = self.value.schema()
        return {"type": "object", "additionalProperties": inner} if inner else {"type": "object"}

    def parse(self, value: Any, place: str) -> dict[str, Any]:
        """Check and convert."""
        if isinstance(value, str) and (decoded := _decoded(value, dict)) is not None:
            value = decoded
        if not isinstance(value, Mapping):
            raise MismatchError(place, self.label, value)
        return {str(key): self.value.parse(inner, f"{place}.{key}") for key, inner in value.items()}


def _decoded(text: str, kind: type[Any]) -> Any:
    """The JSON value in a string if it is of the kind, else None."""
    if not text.lstrip().startswith("[" if kind is list else "{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, kind) else None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named value of an object or call."""

    name: str
    kind: Kind
    description: str = ""
    default: Any = MISSING
    nullable: bool = False

    @property
    def is_required(self) -> bool:
        """It has no default."""
        return self.default is MISSING

    def schema(self) -> dict[str, Any]:
        """The JSON Schema, with description and a default worth telling."""
        schema = self.kind.schema()
        if self.description:
            schema["description"] = self.description
        if not self.is_required and self.default not in (None, "", False, (), [], {}):
            schema["default"] = self.default
        return schema

    def parse(self, value: Any, place: str) -> Any:
        """Check and convert; null, or an empty string where no text is wanted, means the default."""
        is_blank = value == "" and not isinstance(self.kind, StringKind)
        if value is None or (is_blank and not self.is_required):
            if not self.is_required:
                return self.default
            if self.nullable:
                return None
        return self.kind.parse(value, place)


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """An object with known keys: a `TypedDict`, or the arguments of a call."""

    parameters: tuple[Parameter, ...]
    label: str = "object"
    _by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {parameter.name: parameter for parameter in self.parameters})

    def schema(self) -> dict[str, Any]:
        """The JSON Schema."""
        required = [parameter.name for parameter in self.parameters if parameter.is_required]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {parameter.name: parameter.schema() for parameter in self.parameters},
        }
        return {**schema, "required": required} if required else schema

    def parse(self, value: Any, place: str) -> dict[str, Any]:
        """Check and convert."""
        if isinstance(value, str) and (decoded := _decoded(value, dict)) is not None:
            value = decoded
        if not isinstance(value, Mapping):
            raise MismatchError(place, self.label, value)
        values, problems = self.collect(value, f"{place}.")
        if problems:
            raise ToolArgumentsError("\n".join(problems))
        return values

    def collect(self, value: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[str]]:
        """All values (absent optional ones only if they have a default) and all problems, one line each."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for parameter in self.parameters:
            place = prefix + parameter.name
            if parameter.name not in value:
                if parameter.is_required:
                    problems.append(f"{place}: missing, expected {parameter.kind.label}")
                else:
                    values[parameter.name] = parameter.default
                continue
            try:
                values[parameter.name] = parameter.parse(value[parameter.name], place)
            except ToolArgumentsError as error:
                problems.append(error.message)
        problems += [
            self._unknown(name, prefix, value)
            for name, given in value.items()
            if name not in self._by_name and given is not None
        ]
        return values, problems

    def _unknown(self, name: str, prefix: str, given: Mapping[str, Any]) -> str:
        free = [parameter for parameter in self._by_name if parameter not in given]
        near = difflib.get_close_matches(str(name), free, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{prefix}{name}: unknown argument{hint}"
