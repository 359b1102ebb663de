"""Which layer gives a value: `hermes config explain KEY`."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from hermes_agent.config import expansion, migrations, shape
from hermes_agent.config.docstrings import field_docs, section_doc
from hermes_agent.config.editor_port import variable_for
from hermes_agent.config.effective import Effective, Value
from hermes_agent.config.keys import Key, format_key, get_in, parse_key
from hermes_agent.config.kinds import kind_of
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.registry import ROOT_KEYS
from hermes_agent.config.secret_names import is_secret_variable, mask, masked
from hermes_agent.config.variables import BY_KEY, VARIABLES
from hermes_agent.core.errors import SettingError


@dataclass(frozen=True, slots=True)
class Layer:
    """What one layer says. `name` is for people: `default`, `config.yaml line 3`."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """A key, its value in force, and every layer that has a say, strongest first.

    Secret values are masked. `below` holds, for a section, the values in it that are not default.
    """

    key: str
    value: Any
    source: str
    layers: tuple[Layer, ...]
    kind: str = ""
    description: str = ""
    variable: str = ""
    below: tuple[Value, ...] = ()


def explain(config: LoadedConfig, dotted: str) -> Explanation:
    """Explain a key of config.yaml or a variable of the environment.

    Raises:
        SettingError: There is no such key and nothing sets it.
    """
    variable = variable_for(dotted)
    if variable is not None:
        return _variable(config, variable)
    key = parse_key(dotted)
    effective = Effective(config)
    try:
        value = effective.get(key)
    except KeyError as error:
        raise unknown(key) from error
    is_section = isinstance(value.value, dict) and bool(value.default)
    layers = [] if is_section else _layers(config, key, value)
    bound = BY_KEY.get(".".join(key))
    return Explanation(
        format_key(key),
        value.value,
        value.source,
        tuple(layers),
        kind_of(key),
        _description(key),
        bound.name if bound else "",
        tuple(_below(effective, key)),
    )


def unknown(key: Key) -> SettingError:
    """The error for a key that is nowhere."""
    near = shape.nearest(key)
    return SettingError(
        f"{format_key(key)!r} is not a known setting",
        key=format_key(key),
        remedy=(f"Did you mean {near!r}? " if near else "") + "`hermes config keys` lists all.",
    )


def _variable(config: LoadedConfig, name: str) -> Explanation:
    value = config.environ.get(name)
    sets = next((item for item in VARIABLES if item.name == name), None)
    shown = value
    if value is not None and is_secret_variable(name, value):
        shown = mask(value)
    source = config.environ.origin(name) or "not set"
    note = f"Sets {sets.key}." if sets else ""
    return Explanation(name, shown, source, (Layer(source, shown),), "environment variable", note)


def _layers(config: LoadedConfig, key: Key, value: Value) -> list[Layer]:
    dotted = ".".join(key)
    layers = []
    if key in config.sources:
        layers.append(Layer(config.sources[key], value.value))
        bound = BY_KEY.get(dotted)
        said = bound.value(config.environ) if bound else None
        if bound and said is not None and bound.name not in config.sources[key]:
            layers.append(Layer(f"{bound.name} in {config.environ.origin(bound.name)}", masked(said, dotted)))
    data = copy.deepcopy(config.document.data)
    migrations.upgrade(data)
    try:
        written = get_in(data, key)
    except KeyError:
        pass
    else:
        line = config.document.line_of(key)
        name = f"config.yaml line {line}" if line is not None else "config.yaml"
        if expansion.expand(written, config.environ) != written:
            name = f"{name}, {written if isinstance(written, str) else 'with variables'}"
        wrong = {getattr(problem, "key", None) for problem in config.problems}
        if format_key(key) in wrong:
            name = f"{name} (wrong, not used)"
        layers.append(Layer(name, masked(expansion.expand(written, config.environ), dotted)))
    layers.append(Layer("default", value.default))
    return layers


def _description(key: Key) -> str:
    if len(key) == 1 and not ROOT_KEYS[key[0]].is_field:
        return section_doc(key[0], ROOT_KEYS[key[0]].model())
    model = ROOT_KEYS[key[0]].model() if len(key) == 1 else shape.bare(shape.annotation_of(key[:-1]))
    return field_docs(model).get(key[-1], "") if shape.is_model(model) else ""


def _below(effective: Effective, key: Key) -> list[Value]:
    return [
        value
        for value in effective.given()
        if len(value.key) > len(key) and value.key[: len(key)] == key and not value.is_default
    ]
