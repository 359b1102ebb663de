"""Loading: defaults < config.yaml < environment and `.env` < flags."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hermes_agent.config import expansion, migrations, shape, validation, yaml_reader
from hermes_agent.config.environ import Environ
from hermes_agent.config.keys import Key, format_key, parse_key, put_in
from hermes_agent.config.paths import Home
from hermes_agent.config.registry import CONFIG_VERSION, VERSION_KEY
from hermes_agent.config.secret_names import is_secret_setting
from hermes_agent.config.settings import Settings
from hermes_agent.config.variables import VARIABLES
from hermes_agent.config.yaml_reader import YamlDocument
from hermes_agent.core.errors import ConfigError, ConfigFileError, SettingError

_MIN_SECRET_CHARS = 6


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """Everything a start needs to know.

    Attributes:
        home: The state directory.
        settings: Validated.
        environ: Process environment and `.env`.
        warnings: For people: unknown keys, odd lines of `.env`, variables that are not set.
        problems: What was wrong and left out; always empty unless `tolerant` was asked for.
        document: The file as it was read.
        data: The file's values brought up to date and expanded, with variables and flags applied.
        sources: For each key that a variable or flag set: `environment variable NAME`, `.env line 3
            (NAME)`, `the command line`.
    """

    home: Home
    settings: Settings
    environ: Environ
    warnings: tuple[str, ...] = ()
    problems: tuple[ConfigError, ...] = ()
    document: YamlDocument = field(default_factory=lambda: YamlDocument(Path("config.yaml"), exists=False))
    data: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[Key, str] = field(default_factory=dict)

    def secret_values(self) -> frozenset[str]:
        """Secrets of the environment, `.env` and config.yaml, for exact redaction."""
        return self.environ.secret_values() | frozenset(_secrets(self.data, ()))


def load(
    home: Home,
    *,
    overrides: Mapping[str, object] = MappingProxyType({}),
    environ: Environ | None = None,
    tolerant: bool = False,
    project_directory: Path | None = None,
    use_file: bool = True,
) -> LoadedConfig:
    """Read and validate the configuration.

    Args:
        home: The state directory; it need not exist.
        overrides: Dotted keys from flags; None values are not there.
        environ: Instead of reading the process environment and `.env`.
        tolerant: Report what is wrong in `LoadedConfig.problems` and leave it out, instead of raising.
        project_directory: Its `.env` fills gaps in the environment; by default the current directory.
        use_file: False leaves config.yaml aside (`--ignore-user-config`).

    Raises:
        ConfigFileError: config.yaml or `.env` cannot be read.
        SettingError: A value is of the wrong kind; the first one, the others are counted.
    """
    problems: list[ConfigError] = []
    if environ is None:
        environ = _environ(home, project_directory, problems)
    document = YamlDocument(home.config_file, exists=False)
    try:
        if use_file:
            document = yaml_reader.read(home.config_file)
    except ConfigFileError as error:
        problems.append(error)
    if problems and not tolerant:
        raise problems[0]

    data = copy.deepcopy(document.data)
    migrations.upgrade(data)
    warnings = [*environ.warnings, *document.warnings, *_file_warnings(document, data)]
    unresolved: dict[str, Key] = {}
    data = expansion.expand(data, environ, unresolved)
    warnings += [
        f"{format_key(key)} {_where(key, document, {})} uses ${{{name}}}, but {name} is not set in the "
        f"environment or .env"
        for name, key in unresolved.items()
    ]
    sources: dict[Key, str] = {}
    _apply_variables(data, environ, sources)
    _apply_flags(data, overrides, sources)

    valid, wrong = validation.validate(data, lambda key: _where(key, document, sources))
    for problem in wrong:
        if problem.key.endswith(".context_length"):
            warnings.append(f"{problem.message}; it was left out. Write the number of tokens: 256000")
        else:
            problems.append(problem)
    if problems and not tolerant:
        raise _first(problems)
    return LoadedConfig(
        home,
        Settings(valid),
        environ,
        tuple(warnings),
        tuple(problems),
        document,
        MappingProxyType(data),
        MappingProxyType(sources),
    )


def _environ(home: Home, project_directory: Path | None, problems: list[ConfigError]) -> Environ:
    if project_directory is None:
        try:
            project_directory = Path.cwd()
        except OSError:
            project_directory = None  # The current directory was removed.
    try:
        return Environ.load(home, project_directory=project_directory)
    except ConfigFileError as error:
        problems.append(error)
        return Environ.load(Home(Path("/nonexistent")))


def _file_warnings(document: YamlDocument, data: Mapping[str, Any]) -> list[str]:
    warnings = []
    version = data.get(VERSION_KEY)
    if isinstance(version, int) and version > CONFIG_VERSION:
        warnings.append(
            f"{document.path} is of version {version}, newer than this program knows ({CONFIG_VERSION}); "
            f"it is read as well as possible"
        )
    for key in shape.unknown_keys(data):
        near = shape.nearest(key)
        line = document.line_of(key)
        place = f" line {line}" if line is not None else ""
        hint = f"; did you mean {near!r}?" if near else ""
        warnings.append(f"{document.path}{place}: {format_key(key)!r} is not a known setting{hint}")
    return warnings


def _apply_variables(data: dict[str, Any], environ: Environ, sources: dict[Key, str]) -> None:
    for variable in VARIABLES:
        value = variable.value(environ)
        if value is None:
            continue
        key = parse_key(variable.key)
        _put(data, key, value)
        origin = environ.origin(variable.name) or ""
        if origin == "the environment":
            sources[key] = f"environment variable {variable.name}"
        else:
            sources[key] = f"{variable.name} in {origin}"


def _apply_flags(data: dict[str, Any], overrides: Mapping[str, object], sources: dict[Key, str]) -> None:
    for dotted, value in overrides.items():
        if value is None:
            continue
        key = parse_key(dotted)
        if not shape.is_known(key):
            raise SettingError(f"{dotted!r} is not a known setting", key=dotted)
        _put(data, key, value)
        sources[key] = "the command line"


def _put(data: dict[str, Any], key: Key, value: object) -> None:
    """Put a value over what a file says, even where the file has a scalar in place of a map."""
    for depth in range(1, len(key)):
        holder: Any = data
        for part in key[: depth - 1]:
            holder = holder[part]
        if isinstance(holder, dict) and not isinstance(holder.get(key[depth - 1]), dict):
            holder[key[depth - 1]] = {}
    put_in(data, key, value)


def _where(key: Key, document: YamlDocument, sources: Mapping[Key, str]) -> str:
    for depth in range(len(key), 0, -1):
        source = sources.get(key[:depth])
        if source is not None:
            return f"({source})"
    line = document.line_of(key)
    return f"in {document.path} line {line}" if line is not None else f"in {document.path}"


def _first(problems: list[ConfigError]) -> ConfigError:
    first = problems[0]
    if len(problems) > 1 and isinstance(first, SettingError):
        more = len(problems) - 1
        also = f"{more} more {'setting is' if more == 1 else 'settings are'} wrong: hermes config check"
        return SettingError(first.message, key=first.key, why=first.why, remedy=f"{first.remedy}\n{also}")
    return first


def _secrets(value: object, key: Key) -> list[str]:
    if isinstance(value, Mapping):
        return [found for name, item in value.items() for found in _secrets(item, (*key, str(name)))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in _secrets(item, (*key, str(index)))]
    if not isinstance(value, str) or not is_secret_setting(".".join(key)):
        return []
    text = value.strip().removeprefix("Bearer ").strip()
    return [text] if len(text) >= _MIN_SECRET_CHARS and not expansion.has_template(text) else []
