"""Writing `mcp_servers` and the secrets that belong to it, for `hermes mcp`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hermes_agent.config.expansion import has_template
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.config.secret_names import is_secret_variable
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key"})


def check_name(name: str) -> None:
    """A server's name becomes part of tool and file names.

    Raises:
        UsageError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a server", remedy="Letters, digits, - and _; at most 64 of them."
        )


def require_writable(home: Home, action: str, name: str) -> None:
    """Raises `ManagedError` if the configuration is managed from outside."""
    require_unmanaged(home, action, f"{OPTION_PREFIX}mcp_servers.{name}")


def pairs(values: Iterable[str], option: str) -> dict[str, str]:
    """`NAME=VALUE` texts as a dict.

    Raises:
        UsageError: One has no `=`.
    """
    found = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} wants NAME=VALUE, not {text.split('=')[0]!r}")
        found[name.strip()] = value
    return found


def split_secrets(name: str, entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Take the secrets out of an entry: they go to `.env`, the entry names them.

    Returns:
        The entry for config.yaml, and variables for `.env`.
    """
    stored, secrets = dict(entry), {}
    for key in ("env", "headers"):
        values = dict(entry.get(key, {}))
        for each, value in values.items():
            is_secret = is_secret_variable(each.replace("-", "_").upper(), value) or (
                key == "headers" and each.lower() in _SECRET_HEADERS
            )
            if is_secret and not has_template(value):
                variable = _variable(name, each)
                secrets[variable] = value
                values[each] = f"${{{variable}}}"
        if values:
            stored[key] = values
    return stored, secrets


def save_server(home: Home, name: str, entry: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Write secrets to `.env`, then the entry to config.yaml."""
    for variable, value in secrets.items():
        load("hermes_agent.config.env_file:set_variable")(home, variable, value)
    load("hermes_agent.config.editor:set_value")(home, f"mcp_servers.{name}", dict(entry))


def remove_server(home: Home, name: str, settings: McpServerSettings) -> list[str]:
    """Take a server out of config.yaml, and its own variables out of `.env`; gives their names."""
    load("hermes_agent.config.editor:unset")(home, f"mcp_servers.{name}")
    mine = [_variable(name, each) for each in (*settings.env, *settings.headers)]
    unset = load("hermes_agent.config.env_file:unset_variable")
    return [variable for variable in mine if unset(home, variable)]


def _variable(server: str, key: str) -> str:
    return "MCP_" + re.sub(r"[^A-Za-z0-9]", "_", f"{server}_{key}").upper()
