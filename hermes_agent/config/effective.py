"""Effective values key by key: what is in force, where it comes from, what the default is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hermes_agent.config import shape
from hermes_agent.config.keys import Key, format_key, get_in, has
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.registry import CONFIG_VERSION, ROOT_KEYS, VERSION_KEY
from hermes_agent.config.secret_names import masked
from hermes_agent.config.settings import Settings, plain

HEADLINES: tuple[Key, ...] = (
    ("model", "default"),
    ("model", "provider"),
    ("agent", "max_turns"),
    ("toolsets",),
    ("terminal", "backend"),
    ("terminal", "cwd"),
    ("terminal", "timeout"),
    ("approvals", "mode"),
    ("security", "redact_secrets"),
    ("display", "personality"),
    ("display", "tool_progress"),
)
"""Keys that are always worth showing."""


@dataclass(frozen=True, slots=True)
class Value:
    """One effective value.

    Attributes:
        key: Parts of the dotted key.
        value: Masked if it is secret.
        default: None also where there is none.
        source: `default`, `config.yaml line 3`, `environment variable NAME` …
    """

    key: Key
    value: Any
    default: Any
    source: str

    @property
    def is_default(self) -> bool:
        """Whether the value is the built-in one."""
        return bool(self.value == self.default)


class Effective:
    """Reads values out of a loaded configuration; builds only the sections it is asked for."""

    def __init__(self, config: LoadedConfig) -> None:
        self._config = config

    def get(self, key: Key) -> Value:
        """One value; a key may also name a whole section.

        Raises:
            KeyError: There is no such key.
        """
        dotted = ".".join(key)
        default = _default(key)
        value = default
        if key[0] in self._config.data or default is _NONE:
            value = plain(_reach(getattr(self._config.settings, _known(key[0])), key[1:]))
        default = None if default is _NONE else default
        return Value(key, masked(value, dotted), masked(default, dotted), self.source(key))

    def source(self, key: Key) -> str:
        """Which layer gives a value."""
        for depth in range(len(key), 0, -1):
            source = self._config.sources.get(key[:depth])
            if source is not None:
                return source
        wrong = {getattr(problem, "key", None) for problem in self._config.problems}
        if format_key(key) in wrong or not has(self._config.data, key):
            return "default"
        line = self._config.document.line_of(key)
        return f"config.yaml line {line}" if line is not None else "config.yaml"

    def given(self) -> Iterator[Value]:
        """Every value that something other than the defaults sets, in the order people read them."""
        for name in ROOT_KEYS:
            if name in self._config.data:
                for key in leaves((name,), self._config.data[name]):
                    try:
                        yield self.get(key)
                    except KeyError:
                        continue  # wrong and therefore left out

    def all(self) -> Iterator[Value]:
        """Every leaf of every section."""
        for name in ROOT_KEYS:
            for key in leaves((name,), plain(getattr(self._config.settings, name))):
                yield self.get(key)


_NONE = object()


def _known(name: str) -> str:
    if name not in ROOT_KEYS:
        raise KeyError(name)
    return name


def _default(key: Key) -> Any:
    """The default, from the field alone: no section is built for it. `_NONE` if there is none."""
    field = shape.field_of(key)
    if field is None or field.is_required():
        if len(key) == 1 and key[0] in ROOT_KEYS:
            return plain(getattr(Settings(), key[0]))
        return _NONE
    return plain(field.get_default(call_default_factory=True))


def _reach(value: Any, parts: Key) -> Any:
    """What is at a path of fields, names and indices."""
    for part in parts:
        fields = getattr(type(value), "model_fields", None)
        if fields is None:
            value = get_in(value, (part,))
        elif part in fields:
            value = getattr(value, part)
        elif part in (value.model_extra or {}):
            value = value.model_extra[part]
        else:
            raise KeyError(part)
    return value


def leaves(key: Key, value: object) -> Iterator[Key]:
    """Keys of all leaves below; a list and an empty map count as leaves."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from leaves((*key, str(name)), item)
    else:
        yield key


def leaf_keys() -> tuple[str, ...]:
    """Every leaf key that the defaults know, dotted and sorted."""
    defaults = Settings().model_dump()
    found = [format_key(key) for name in ROOT_KEYS for key in leaves((name,), defaults[name])]
    return tuple(sorted([*found, VERSION_KEY]))


def defaults() -> dict[str, Any]:
    """The whole default configuration as plain maps."""
    return {**Settings().model_dump(), VERSION_KEY: CONFIG_VERSION}
