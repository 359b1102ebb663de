"""Every platform, as data. A new one is a folder and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.platform import Platform

Variable: TypeAlias = Callable[[str], str | None]
"""Reads an environment variable or a line of `.env`."""

AdapterFactory: TypeAlias = Callable[[PlatformSettings, Variable], Platform]
"""`make_adapter(settings, variable)`: no I/O; raises `ConfigError` for what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class PlatformEntry:
    """One platform.

    Attributes:
        name: As in `platforms.<name>` and in session keys.
        path: Import string of its `AdapterFactory`.
        credentials: Variables that switch it on when they are set (unless `enabled: false`).
        extra: The extra of pyproject.toml that brings its library; empty if it needs none.
    """

    name: str
    path: str
    credentials: tuple[str, ...] = ()
    extra: str = ""


_HERE = "hermes_agent.gateway.platforms"

PLATFORMS: tuple[PlatformEntry, ...] = (PlatformEntry("loopback", f"{_HERE}.loopback.adapter:make_adapter"),)


def is_enabled(entry: PlatformEntry, settings: PlatformSettings | None, variable: Variable) -> bool:
    """Whether a platform is to be connected."""
    if settings is not None and settings.enabled is not None:
        return settings.enabled
    if settings is not None and (settings.token or settings.api_key):
        return True
    return bool(entry.credentials) and all(variable(name) for name in entry.credentials)
