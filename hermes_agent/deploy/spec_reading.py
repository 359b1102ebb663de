"""Reads the JSON documents that the Nix side writes, and says what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hermes_agent.core.errors import ConfigError, ConfigFileError

VERSION = 1
"""Version of the formats. A document of another version is refused."""

SpecT = TypeVar("SpecT", bound=BaseModel)


def read_spec(path: Path, kind: type[SpecT], name: str) -> SpecT:
    """Read a document from a file.

    Args:
        path: The file.
        kind: What it has to be.
        name: What people call it, with its article: `an activation spec`.

    Raises:
        ConfigFileError: The file cannot be read or is not JSON.
        ConfigError: It is not such a document, or one of another version.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        plain = name.partition(" ")[2]
        raise ConfigFileError(f"Cannot read the {plain} {path}", path=path, why=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise ConfigFileError(f"{path} is not JSON", path=path, why=str(error)) from error
    return check_spec(data, kind, name, str(path))


def check_spec(data: object, kind: type[SpecT], name: str, where: str) -> SpecT:
    """Check a document.

    Raises:
        ConfigError: A part is missing, unknown or wrong; all of them are named, no value is.
    """
    if isinstance(data, Mapping) and data.get("version") not in (None, VERSION):
        raise ConfigError(
            f"{where} is of version {data['version']!r}, this program reads version {VERSION}",
            remedy="Take module and package from the same revision of the flake.",
        )
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'spec'}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False, include_url=False)
        ]
        raise ConfigError(f"{where} is not {name}", why="; ".join(problems)) from error
