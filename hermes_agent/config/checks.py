"""Advice about a configuration that works: what could be better, and how."""

from __future__ import annotations

import copy
import re
import stat

from hermes_agent.config import migrations
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.registry import CONFIG_VERSION
from hermes_agent.config.secret_names import is_secret_setting


def advice(config: LoadedConfig) -> list[str]:
    """Lines for people, each with a remedy; empty if all is well."""
    notes = []
    data = copy.deepcopy(config.document.data)
    version = migrations.version_of(data)
    changes = migrations.upgrade(data)
    if changes:
        notes.append(
            f"{config.document.path} is of version {version} ({CONFIG_VERSION} is current): "
            f"{'; '.join(changes)}. Write it down with: hermes config migrate"
        )
    env_file = config.home.env_file
    try:
        mode = stat.S_IMODE(env_file.stat().st_mode)
    except OSError:
        mode = 0
    if mode & 0o007:
        notes.append(f"{env_file} can be read by everybody. Close it with: chmod o-rwx '{env_file}'")
    notes += [
        f"{config.document.path} holds a secret in {key}. Keep it in .env instead: "
        f"hermes config set {variable_name(key)}, then write ${{{variable_name(key)}}} there"
        for key in _literal_secrets(config.document.data, ())
    ]
    return notes


def variable_name(key: str) -> str:
    """A good name for the variable that could hold the secret of a key."""
    parts = [part for part in key.split(".") if not part.isdigit()]
    last = re.sub(r"[^A-Za-z0-9]", "_", parts[-1])
    if last.isupper():
        return last
    return re.sub(r"[^A-Z0-9]+", "_", "_".join(parts[-2:]).upper())


def _literal_secrets(value: object, key: tuple[str, ...]) -> list[str]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in _literal_secrets(item, (*key, str(name)))]
    if isinstance(value, list):
        return [
            found for index, item in enumerate(value) for found in _literal_secrets(item, (*key, str(index)))
        ]
    if isinstance(value, str) and value.strip() and "${" not in value and is_secret_setting(".".join(key)):
        return [".".join(key)]
    return []
