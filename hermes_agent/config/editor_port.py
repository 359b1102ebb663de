"""The editor for callers that must start fast: the YAML library that keeps comments loads at first use."""

from __future__ import annotations

from collections.abc import Iterable

from hermes_agent.config.paths import Home
from hermes_agent.core.loading import load

_EDITOR = "hermes_agent.config.editor:"


def remember_rules(home: Home, rules: Iterable[str]) -> None:
    """Add rules to `command_allowlist` for good; those that are there already are left alone.

    Raises:
        ManagedError: The installation is managed; the rules are not stored.
        ConfigFileError: config.yaml is broken.
        StoreUnwritableError: It cannot be written.
    """
    load(_EDITOR + "append_missing")(home, "command_allowlist", list(rules))


def set_value(home: Home, key: str, value: object) -> None:
    """Set one key of config.yaml; see `config.editor.set_value`."""
    load(_EDITOR + "set_value")(home, key, value)
