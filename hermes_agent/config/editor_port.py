"""The editor for callers that must start fast: the YAML library that keeps comments loads at first use."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hermes_agent.config.paths import Home
from hermes_agent.core.loading import load

_EDITOR = "hermes_agent.config.editor:"
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_SECRET_ENDINGS = ("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD")


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


def variable_for(key: str) -> str | None:
    """The `.env` variable that a name on the command line means; None for a key of config.yaml.

    Names in capitals are variables, and so are names without a dot that end like a secret.
    """
    name = key.strip()
    if _VARIABLE.fullmatch(name):
        return name
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and name.upper().endswith(_SECRET_ENDINGS):
        return name.upper()
    return None
