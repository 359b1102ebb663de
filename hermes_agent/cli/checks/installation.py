"""How this program was installed, and which revision it is."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import hermes_agent
from hermes_agent.config.paths import Home

Method = Literal["clone", "nix", "homebrew", "uv tool", "pipx", "container", "pip"]

UPDATES: dict[Method, str] = {
    "clone": "git pull (the next start updates the libraries)",
    "nix": "update the flake input, then nixos-rebuild switch or nix profile upgrade",
    "homebrew": "brew upgrade hermes-agent",
    "uv tool": "uv tool upgrade hermes-agent",
    "pipx": "pipx upgrade hermes-agent",
    "container": "pull the new image",
    "pip": "pip install --upgrade hermes-agent",
}
"""How each kind of installation is brought up to date."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Facts about the running program.

    Attributes:
        revision: Commit, if known; `-dirty` is not looked for.
        location: The clone, or the directory that holds the package.
    """

    version: str
    revision: str | None
    method: Method
    location: Path
    python: str
    executable: str
    system: str
    home: Path


def describe_installation(environ: Mapping[str, str], home: Home) -> Installation:
    """Find out; reads a few small files at most."""
    package = Path(hermes_agent.__file__).resolve().parent
    method = _method(package, environ)
    return Installation(
        version=hermes_agent.__version__,
        revision=environ.get("HERMES_REVISION")
        or (_clone_revision(package.parent) if method == "clone" else None),
        method=method,
        location=package.parent,
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        home=home.root,
    )


def _method(package: Path, environ: Mapping[str, str]) -> Method:
    parts = (*package.parts, *Path(sys.prefix).parts)
    if package.is_relative_to("/nix/store"):
        return "nix"
    if "Cellar" in parts:
        return "homebrew"
    if (package.parent / "pyproject.toml").is_file():
        return "clone"
    if "pipx" in parts:
        return "pipx"
    if _installer() == "uv" and "tools" in Path(sys.prefix).parts:
        return "uv tool"
    if (
        Path("/.dockerenv").exists()
        or Path("/run/.containerenv").exists()
        or "KUBERNETES_SERVICE_HOST" in environ
    ):
        return "container"
    return "pip"


def _installer() -> str:
    with suppress(PackageNotFoundError):
        return (distribution("hermes-agent").read_text("INSTALLER") or "").strip()
    return ""


def _clone_revision(root: Path) -> str | None:
    """The commit of a clone, read from its files: git may not be installed."""
    git = root / ".git"
    with suppress(OSError):
        if git.is_file():  # a worktree: `gitdir: …`
            git = (root / git.read_text(encoding="utf-8").partition(":")[2].strip()).resolve()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head or None
        name = head.removeprefix("ref: ")
        common = git
        with suppress(OSError):
            common = (git / (git / "commondir").read_text(encoding="utf-8").strip()).resolve()
        for directory in (git, common):
            with suppress(OSError):
                return (directory / name).read_text(encoding="utf-8").strip()
        for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines():
            commit, _, packed = line.partition(" ")
            if packed == name:
                return commit
    return None
