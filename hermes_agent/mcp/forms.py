"""Forms that servers want filled in, as questions for a person, one per field.

Flat objects of simple values are all that the protocol allows; anything else is asked for as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

MAX_CHOICES = 4
"""More do not fit a `Question`; then they are listed in its text."""
SKIP = "-"
"""Takes the default, or leaves a field out: an empty message cannot be sent in most chats."""
_YES = frozenset({"yes", "y", "true", "on", "1", "accept"})
_NO = frozenset({"no", "n", "false", "off", "0"})


_BOUNDS = {"string": ("minLength", "maxLength"), "choices": ("minItems", "maxItems")}


def _address(text: str) -> None:
    name, at, host = text.partition("@")
    if not (name and at and host) or " " in text:
        raise ValueError


def _uri(text: str) -> None:
    parts = urlsplit(text)
    if not parts.scheme or not (parts.netloc or parts.path):
        raise ValueError


_FORMATS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "email": (_address, "An e-mail address"),
    "uri": (_uri, "A whole address, as https://example.org/"),
    "date": (date.fromisoformat, "A date as 2026-01-31"),
    "date-time": (datetime.fromisoformat, "Date and time as 2026-01-31T12:00:00Z"),
}


class Declined(Exception):  # noqa: N818 - a decision, not a failure
    """The person refused, or nobody answered."""


class NotUnderstood(Exception):  # noqa: N818 - asks again
    """The answer does not fit the field; the text says what is expected."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form.

    Attributes:
        kind: `string`, `number`, `integer`, `boolean`, `choice` or `choices`.
        options: Values to choose from, with their titles.
        default: None if there is none.
        limits: Least and most: of a number, of characters, of choices.
        format: What a string must look like, in the words of JSON Schema.
    """

    name: str
    kind: str
    title: str
    description: str = ""
    options: tuple[tuple[Any, str], ...] = ()
    default: Any = None
    is_required: bool = False
    limits: tuple[float | None, float | None] = (None, None)
    format: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """What can be picked, if it is little enough to be offered as buttons."""
        if self.kind == "boolean":
            return ("yes", "no")
        titles = tuple(title for _, title in self.options)
        return titles if self.kind == "choice" and len(titles) <= MAX_CHOICES else ()

    @property
    def question(self) -> str:
        """What to ask."""
        parts = [self.title]
        if self.description:
            parts.append(f": {self.description}")
        if self.options and not self.choices:
            parts.append(f" [{', '.join(title for _, title in self.options)}]")
        if self.kind == "choices":
            parts.append(" (several, with commas between)")
        if self.default is not None:
            parts.append(f" ({SKIP} means {self._worded(self.default)})")
        elif not self.is_required:
            parts.append(f" ({SKIP} leaves it out)")
        return "".join(parts)

    def read(self, answer: str) -> Any:
        """The value an answer means; None leaves the field out.

        Raises:
            NotUnderstood: It does not fit.
        """
        text = answer.strip()
        if text in ("", SKIP):
            if self.default is not None or not self.is_required:
                return self.default
            raise NotUnderstood("An answer is needed here.")
        if self.kind == "boolean":
            return self._boolean(text)
        if self.kind in ("number", "integer"):
            return self._number(text)
        if self.kind == "choice":
            return self._option(text)
        if self.kind == "choices":
            chosen = [self._option(part.strip()) for part in text.split(",") if part.strip()]
            self._check_limits(len(chosen), "of them")
            return chosen
        self._check_limits(len(text), "characters")
        return self._formatted(text)

    def _check_limits(self, value: float, unit: str = "") -> None:
        low, high = self.limits
        if low is not None and value < low:
            raise NotUnderstood(f"At least {low:g} {unit}".strip() + ", please.")
        if high is not None and value > high:
            raise NotUnderstood(f"At most {high:g} {unit}".strip() + ", please.")

    def _formatted(self, text: str) -> str:
        reads, wanted = _FORMATS.get(self.format, (str, ""))
        try:
            reads(text)
        except ValueError:
            raise NotUnderstood(f"{wanted}, please.") from None
        return text

    def _boolean(self, text: str) -> bool:
        if text.lower() in _YES | _NO:
            return text.lower() in _YES
        raise NotUnderstood("Yes or no, please.")

    def _number(self, text: str) -> float | int:
        try:
            value = int(text) if self.kind == "integer" else float(text)
        except ValueError:
            whole = "whole " if self.kind == "integer" else ""
            raise NotUnderstood(f"A {whole}number, please.") from None
        self._check_limits(value)
        return value

    def _option(self, text: str) -> Any:
        for value, title in self.options:
            if text.lower() in (str(value).lower(), title.lower()):
                return value
        if text.isdigit() and 1 <= int(text) <= len(self.options):
            return self.options[int(text) - 1][0]
        raise NotUnderstood(f"One of these, please: {', '.join(title for _, title in self.options)}.")

    def _worded(self, value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list):
            return ", ".join(map(str, value))
        return str(value)


def fields_of(schema: Mapping[str, Any]) -> tuple[Field, ...]:
    """The fields of a form's schema, in its order."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return ()
    required = schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    return tuple(
        _field(str(name), value if isinstance(value, Mapping) else {}, name in needed)
        for name, value in properties.items()
    )


def _field(name: str, schema: Mapping[str, Any], is_required: bool) -> Field:
    kind = schema.get("type", "string")
    options = _options(schema)
    if kind == "array":
        items = schema.get("items")
        options = _options(items) if isinstance(items, Mapping) else ()
        kind = "choices" if options else "string"
    elif options:
        kind = "choice"
    elif kind not in ("number", "integer", "boolean"):
        kind = "string"
    low, high = (schema.get(key) for key in _BOUNDS.get(kind, ("minimum", "maximum")))
    return Field(
        name=name,
        kind=kind,
        title=str(schema.get("title") or name),
        description=str(schema.get("description") or "")[:500],
        options=options,
        default=schema.get("default"),
        is_required=is_required,
        limits=(
            low if isinstance(low, int | float) else None,
            high if isinstance(high, int | float) else None,
        ),
        format=str(schema.get("format") or ""),
    )


def _options(schema: Mapping[str, Any]) -> tuple[tuple[Any, str], ...]:
    values = schema.get("enum")
    if isinstance(values, list) and values:
        names = schema.get("enumNames")
        titles: Sequence[Any] = names if isinstance(names, list) and len(names) == len(values) else values
        return tuple((value, str(title)) for value, title in zip(values, titles, strict=True))
    for key in ("oneOf", "anyOf"):
        listed = schema.get(key)
        if isinstance(listed, list):
            found = [item for item in listed if isinstance(item, Mapping) and "const" in item]
            if found:
                return tuple((item["const"], str(item.get("title") or item["const"])) for item in found)
    return ()
