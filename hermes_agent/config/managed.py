"""Managed mode: one gate for every writer of config, secrets or service state.

An installation is managed when something else (the NixOS module, Homebrew) writes its files. The
environment variable `HERMES_MANAGED` says so (`true`, `1` and `yes` mean NixOS, any other text is
the manager's name, `false`, `0` and `no` mean not managed), or else the file `.managed` in the home:
its first line names the manager (empty: NixOS), a line `allow=model.default,display` names the
settings people may still change here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ManagedError

OPTION_PREFIX = "services.hermes-agent.settings."
"""The NixOS option under which config.yaml keys stand."""

_NAMES = {
    "": "NixOS",
    "true": "NixOS",
    "1": "NixOS",
    "yes": "NixOS",
    "on": "NixOS",
    "nix": "NixOS",
    "nixos": "NixOS",
    "brew": "Homebrew",
    "homebrew": "Homebrew",
}
_NOT_MANAGED = frozenset({"false", "0", "no", "off"})
_MARKER_LIMIT = 4096


class _AnnouncedManagedError(ManagedError):
    """The refusal for callers that asked not to see it as a failure (`HERMES_MANAGED_EXIT_ZERO=1`)."""

    exit_code = 0


@dataclass(frozen=True, slots=True)
class Manager:
    """Who manages this installation, and which config.yaml keys it leaves to people."""

    name: str
    allowed: tuple[str, ...] = ()

    def allows(self, option: str | None) -> bool:
        """Whether a settings option (`services.hermes-agent.settings.…`) may be changed here."""
        if option is None or not option.startswith(OPTION_PREFIX):
            return False
        key = option.removeprefix(OPTION_PREFIX)
        return any(key == allowed or key.startswith(f"{allowed}.") for allowed in self.allowed)


def detect(home: Home) -> Manager | None:
    """Who manages this installation; None if nobody does. The environment beats the marker file."""
    named = os.environ.get("HERMES_MANAGED", "").strip()
    marker = _read_marker(home)
    if named:
        if named.lower() in _NOT_MANAGED:
            return None
        allowed = marker.allowed if marker else ()
        return Manager(_NAMES.get(named.lower(), named), allowed)
    return marker


def _read_marker(home: Home) -> Manager | None:
    marker = home.managed_marker
    if not os.path.lexists(marker):
        return None
    try:
        with marker.open("rb") as file:
            text = file.read(_MARKER_LIMIT).decode("utf-8", "replace")
    except OSError:
        text = ""  # A marker we cannot read is a marker all the same.
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    allowed = tuple(
        key.strip()
        for line in lines
        if line.startswith("allow=")
        for key in line.removeprefix("allow=").split(",")
        if key.strip()
    )
    name = next((line for line in lines if "=" not in line), "")
    return Manager(_NAMES.get(name.lower(), name), allowed)


def require_unmanaged(
    home: Home, action: str, option: str | None = None, *, nix_line: str | None = None
) -> None:
    """Refuse to write what something else manages. Every writer calls this first.

    Args:
        home: The state directory.
        action: What was to be done, as it was typed or in few words: `hermes config set`.
        option: The option to change instead: `services.hermes-agent.settings.model.default`.
        nix_line: The line to write in configuration.nix, if it is known.

    Raises:
        ManagedError: The installation is managed. Its exit code is 7, or 0 if
            `HERMES_MANAGED_EXIT_ZERO=1`.
    """
    manager = detect(home)
    if manager is None or manager.allows(option):
        return
    quiet = os.environ.get("HERMES_MANAGED_EXIT_ZERO", "").strip().lower() in {"1", "true", "yes"}
    kind = _AnnouncedManagedError if quiet else ManagedError
    raise kind(
        f"Cannot run {action!r}: this installation is managed by {manager.name}",
        why=f"{manager.name} writes the configuration in {home.root}; changes made here would be lost.",
        remedy=_remedy(manager, option, nix_line),
    )


def _remedy(manager: Manager, option: str | None, nix_line: str | None) -> str:
    if manager.name == "NixOS":
        what = f"the option {option}" if option else "services.hermes-agent"
        line = f":\n    {nix_line}\n" if nix_line else ", "
        return f"Change {what} in configuration.nix{line}then run: sudo nixos-rebuild switch"
    if manager.name == "Homebrew":
        return "Change it in the formula's configuration, then run: brew upgrade hermes-agent"
    return f"Change it where {manager.name} keeps it."
