"""Optional dependencies: whether an extra of pyproject.toml is installed, and how to get it here."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

from hermes_agent.config.managed import detect
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import MissingExtraError
from hermes_agent.core.loading import load

_DISTRIBUTION = "hermes-agent"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def missing_extra(home: Home, extra: str, what: str) -> MissingExtraError:
    """The error for a library that is not installed.

    Args:
        home: Says who manages this installation.
        extra: Name in pyproject.toml.
        what: What needs it, as the beginning of a sentence: `The memory service Honcho`.
    """
    absent = missing_distributions(extra)
    return MissingExtraError(
        f"{what} needs the extra {extra!r}, which is not installed",
        extra=extra,
        why=f"Missing: {', '.join(absent)}" if absent else None,
        remedy=remedy(home, extra),
    )


def require_extra(home: Home, extra: str, what: str) -> None:
    """Refuse to go on without an extra; an empty one needs nothing.

    Raises:
        MissingExtraError: A distribution of it is not installed.
    """
    if extra and missing_distributions(extra):
        raise missing_extra(home, extra, what)


def missing_distributions(extra: str) -> tuple[str, ...]:
    """Distributions of an extra that are not installed; empty too for an extra nobody knows."""
    metadata = load("importlib.metadata")  # late: it is slow, and only needed for extras
    try:
        requirements = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return ()  # run from a source tree without metadata: the import will tell
    wanted = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    names = [
        match[0]
        for text in requirements
        if wanted.search(text) and (match := _NAME.match(text)) and match[0] != _DISTRIBUTION
    ]
    return tuple(name for name in names if not _is_installed(name))


def remedy(home: Home, extra: str) -> str:
    """How to get an extra here: a command to type, or an option of whatever manages the installation."""
    manager = detect(home)
    if manager is not None and manager.name == "NixOS":
        line = f'services.hermes-agent.extraDependencyGroups = [ "{extra}" ];'
        return f"Add to configuration.nix:\n    {line}\nthen run: sudo nixos-rebuild switch"
    if manager is not None:
        return f"Install hermes-agent with its extra {extra!r} through {manager.name}."
    root = Path(__file__).parents[2]
    is_clone = (root / "pyproject.toml").is_file()
    what = f"-e '{root}[{extra}]'" if is_clone else f"'{_DISTRIBUTION}[{extra}]'"
    if importlib.util.find_spec("pip") is not None:
        return f"Install it: {sys.executable} -m pip install {what}"
    uv = Path(sys.executable).with_name("uv")
    return f"Install it: {uv if uv.exists() else 'uv'} pip install --python {sys.executable} {what}"


def _is_installed(name: str) -> bool:
    metadata = load("importlib.metadata")
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
