"""Compiling `.env` from declared variables and files of secrets.

Messages name file, line and variable, never a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.config import env_file
from hermes_agent.core.errors import ConfigFileError

_HEADER = (
    "# Written by hermes-agent-activate from the module's environment and environmentFiles;\n"
    "# changes made here are lost.\n"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LINE = re.compile(r" line (\d+)\b")
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class SecretFile:
    """One file of secrets as it was read, or why it was not.

    Attributes:
        path: The file.
        text: Its content; None if it is not there (yet).
    """

    path: Path
    text: str | None


@dataclass(frozen=True, slots=True)
class CompiledEnv:
    """The new `.env`.

    Attributes:
        text: Its content.
        names: The variables in it.
        warnings: Duplicates, malformed lines, missing files, for people.
        missing: Files that were not there.
    """

    text: str
    names: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    missing: tuple[Path, ...] = ()


def read_secret_file(path: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> SecretFile:
    """Read one file; one that is not there is reported by `compile_env`.

    Args:
        path: The file.
        read: Reads it, with the rights it takes.

    Raises:
        ConfigFileError: It cannot be read, is no file, or is larger than 1 MB.
    """
    try:
        if not path.exists():
            return SecretFile(path, None)
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise ConfigFileError(f"{path} is not a file of secrets", path=path, remedy=f"ls -lL {path}")
        data = read(path)
    except OSError as error:
        raise ConfigFileError(
            f"Cannot read the secrets in {path}",
            path=path,
            why=error.strerror,
            remedy="Check the file's owner and mode. Below a directory that others than root may write, it "
            "is read with the service user's rights: keep it in /run/secrets or /var/lib/secrets.",
        ) from error
    return SecretFile(path, data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"))


def compile_env(environment: Mapping[str, str], files: Sequence[SecretFile]) -> CompiledEnv:
    """Put declared variables and files together; of a name that occurs twice the last one counts."""
    warnings: list[str] = []
    missing: list[Path] = []
    origin: dict[str, str] = {}
    value: dict[str, str] = {}
    blocks: list[tuple[str, list[str]]] = []

    def take(name: str, text: str, where: str, block: list[str]) -> None:
        if env_file.is_ignored(name):
            warnings.append(f"{where}: {name} is left out; it would change which programs run")
            return
        if "\0" in text or not _storable(text):
            warnings.append(f"{where}: the value of {name} cannot be stored as text; it is left out")
            return
        if name in origin:
            warnings.append(f"{where}: {name} replaces the one of {origin[name]}")
            for _, names in blocks:
                if name in names:
                    names.remove(name)
        origin[name], value[name] = where, text
        block.append(name)

    declared: list[str] = []
    blocks.append(("environment", declared))
    for name, text in environment.items():
        if _NAME.fullmatch(name) is None:
            warnings.append(f"environment: {name!r} is no name of a variable; it is left out")
        else:
            take(name, text, "environment", declared)
    for file in files:
        block: list[str] = []
        blocks.append((str(file.path), block))
        if file.text is None:
            missing.append(file.path)
            warnings.append(f"{file.path} is not there (yet)")
            continue
        parsed = env_file.parse(file.text, file.path)
        warnings.extend(_line_warnings(file.path, parsed.warnings))
        for item in parsed.assignments:
            take(item.name, item.value, f"{file.path} line {item.line}", block)

    parts = [
        "".join(env_file.format_line(name, value[name]) + "\n" for name in names)
        for _, names in blocks
        if names
    ]
    return CompiledEnv(_HEADER + "\n".join(parts), tuple(origin), tuple(warnings), tuple(missing))


def _storable(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _line_warnings(path: Path, warnings: Sequence[str]) -> list[str]:
    """What the parser noticed, without the words of the line: they may be the secret itself."""
    found = []
    for warning in warnings:
        line = _LINE.search(warning)
        kind = next((text for mark, text in _KINDS.items() if mark in warning), "is malformed")
        found.append(f"{path} line {line.group(1) if line else '?'} {kind}")
    return found


_KINDS = {
    "is not NAME=value": "is not NAME=value; it is left out",
    "is no name of a variable": "does not start with the name of a variable; it is left out",
    "after the closing quote": "has text after the closing quote; that text is left out",
    "never closed": "has a quote that is never closed",
    "newline is missing": "holds two variables; a newline is missing between them",
    "characters that no key contains": "holds characters that no key contains; they are left out",
}
