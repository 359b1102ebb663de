"""Which external memory services there are: a table, and plug-ins of the user's own.

`memory.provider` names one. A plug-in that is switched on (`plugins.enabled`) and has that name goes before
the table: a folder `plugins/<name>/` in the state directory with `plugin.yaml` and `__init__.py`, or an
installed package with an entry point of the group `hermes_agent.plugins`. Its `register(context)` calls
`context.register_memory_provider(factory)`.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import yaml

from hermes_agent.config.extras import missing_extra
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import ConfigError, HermesError, SettingError
from hermes_agent.core.loading import load
from hermes_agent.core.memory import MemoryProvider, ProviderFactory, ProviderSetup

logger = logging.getLogger(__name__)

ENTRY_POINTS: Final = "hermes_agent.plugins"


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """One row of the table.

    Attributes:
        factory: Import string of a `ProviderFactory`.
        extra: The optional dependency it needs.
        package: The module that comes with it.
        variables: What setting it up asks for: variable, question, whether it is secret.
    """

    name: str
    label: str
    factory: str
    extra: str
    package: str
    variables: tuple[tuple[str, str, bool], ...] = ()


PROVIDERS: Final[Mapping[str, ProviderEntry]] = {
    entry.name: entry
    for entry in (
        ProviderEntry(
            "honcho",
            "Honcho",
            "hermes_agent.memory.honcho:HonchoProvider",
            "honcho",
            "honcho",
            (
                ("HONCHO_API_KEY", "API key (none for a server of your own without keys)", True),
                ("HONCHO_URL", "Address of a server of your own (none for api.honcho.dev)", False),
            ),
        ),
    )
}


class PluginContext:
    """What `register(context)` of a plug-in gets; only the memory provider is taken from it here."""

    def __init__(self) -> None:
        self.factory: ProviderFactory | None = None

    def register_memory_provider(self, factory: ProviderFactory) -> None:
        """Offer a memory service."""
        self.factory = factory

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("register_"):
            raise AttributeError(name)
        return lambda *_, **__: None  # what else it offers is none of our business


def label_of(name: str) -> str:
    """The service's name for people."""
    return PROVIDERS[name].label if name in PROVIDERS else name


def make_provider(home: Home, settings: Settings, variable: Callable[[str], str | None]) -> MemoryProvider:
    """Make the provider that `memory.provider` names. Imports its library; connects to nothing.

    Raises:
        ConfigError: There is none of this name, or it is not set up.
        MissingExtraError: Its library is not installed.
    """
    name = settings.memory.provider
    setup = ProviderSetup(settings.memory.provider_options, variable, home.cache / "memory-service" / name)
    factory = _plugged_in(home, settings, name)
    if factory is not None:
        return factory(setup)
    entry = PROVIDERS.get(name)
    if entry is None:
        raise SettingError(
            f"There is no memory provider {name!r}",
            key="memory.provider",
            why=f"Built in: {', '.join(PROVIDERS)}. A plug-in needs {home.plugins / name} and its name in "
            "plugins.enabled.",
            remedy="hermes memory setup, or hermes memory off",
        )
    try:
        made: MemoryProvider = load(entry.factory)(setup)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != entry.package:
            raise
        raise missing_extra(home, entry.extra, f"The memory service {entry.label}") from error
    return made


def _plugged_in(home: Home, settings: Settings, name: str) -> ProviderFactory | None:
    """The factory of an enabled plug-in of this name; None if there is none."""
    plugins = settings.plugins
    if name not in plugins.enabled or name in plugins.disabled:
        return None
    folder = home.plugins / name
    if (folder / "__init__.py").is_file():
        _read_manifest(folder)
        register = getattr(_import(folder), "register", None)
    else:
        found = next(iter(entry_points(group=ENTRY_POINTS, name=name)), None)
        if found is None:
            return None
        loaded = found.load()
        register = getattr(loaded, "register", loaded)
    context = PluginContext()
    if not callable(register):
        raise ConfigError(f"The plug-in {name} has no function register(context)")
    register(context)
    if context.factory is None:
        raise ConfigError(
            f"The plug-in {name} offers no memory provider",
            why="Its register(context) did not call context.register_memory_provider(factory).",
        )
    return context.factory


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / "plugin.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read", why=str(error).splitlines()[0]) from error
    if not isinstance(data, dict) or data.get("name") != folder.name:
        raise ConfigError(f"{path} must have the line: name: {folder.name}")
    return data


def _import(folder: Path) -> ModuleType:
    name = f"hermes_plugin_{folder.name.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ConfigError(f"{folder} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except HermesError:
        raise
    except Exception as error:  # code of others may raise anything
        sys.modules.pop(name, None)
        raise ConfigError(
            f"The plug-in {folder.name} cannot be imported", why=f"{type(error).__name__}: {error}"
        ) from error
    return module
