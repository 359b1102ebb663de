"""Installing the gateway as a service, and starting and stopping it there."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.app.daemon import units
from hermes_agent.config.files import replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError

_LINGER = Path("/var/lib/systemd/linger")
_COMMAND_SECONDS = 300


@dataclass(frozen=True, slots=True)
class InstalledService:
    """The gateway of one home as the service manager knows it.

    Attributes:
        is_system: A unit of the machine, not of the user.
    """

    home: Home
    is_system: bool = False
    user_home: Path = Path()

    @property
    def is_launchd(self) -> bool:
        """macOS."""
        return sys.platform == "darwin"

    @property
    def name(self) -> str:
        """Of the unit."""
        if self.is_launchd:
            return units.launchd_label(self.home, self.user_home)
        return units.unit_name(self.home, self.user_home)

    @property
    def path(self) -> Path:
        """Of the unit file."""
        if self.is_launchd:
            agents = (
                Path("/Library/LaunchDaemons") if self.is_system else self.user_home / "Library/LaunchAgents"
            )
            return agents / f"{self.name}.plist"
        if self.is_system:
            return units.SYSTEM_UNITS / self.name
        return self.user_home / ".config/systemd/user" / self.name

    @property
    def is_installed(self) -> bool:
        """The unit file is there."""
        return self.path.exists()

    @classmethod
    def find(cls, home: Home, *, is_system: bool) -> InstalledService:
        """The service that a command is about.

        Without `is_system` units of the machine count too, if the user has none for this home. With it, and
        the default home, any unit of the machine counts: it may be for another account's home.
        """
        own = cls(home, False, Path.home())
        if own.is_launchd:
            return cls(home, is_system, Path.home())
        if not is_system and own.is_installed:
            return own
        found = list(_system_services())
        for each in found:
            if each.home.root == home.root:
                return each
        if is_system and found and home.root == Path.home() / ".hermes":
            return found[0]
        return cls(home, True, home_of(_owner(home))) if is_system else own

    def install(self, plan: units.ServicePlan) -> list[str]:
        """Write the unit, enable and start it; returns advice for people.

        Raises:
            GatewayError: The service manager refuses.
            StoreUnwritableError: The unit cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = units.launchd_plist(plan) if self.is_launchd else units.systemd_unit(plan)
        replace_atomically(self.path, text.encode(), mode=0o644)
        if self.is_launchd:
            self._run("launchctl", "load", "-w", str(self.path))
            return []
        self._systemctl("daemon-reload")
        self._systemctl("enable", self.name)
        self._systemctl("restart", self.name)
        return self._advice()

    def uninstall(self) -> None:
        """Stop it and remove the unit. Raises `GatewayError`."""
        if not self.is_installed:
            raise GatewayError(f"{self.name} is not installed", why=f"There is no {self.path}")
        if self.is_launchd:
            self._run("launchctl", "unload", "-w", str(self.path))
        else:
            self._systemctl("disable", "--now", self.name)
        self.path.unlink(missing_ok=True)
        if not self.is_launchd:
            self._systemctl("daemon-reload")

    def control(self, verb: str) -> None:
        """`start`, `stop` or `restart`. Raises `GatewayError`."""
        if not self.is_launchd:
            self._systemctl(verb, self.name)
            return
        if verb in ("stop", "restart"):
            self._run("launchctl", "stop", self.name)
        if verb in ("start", "restart"):
            self._run("launchctl", "start", self.name)

    def state(self) -> str:
        """`active`, `inactive`, `failed` …; empty if it cannot be asked."""
        if self.is_launchd or shutil.which("systemctl") is None:
            return ""
        scope = () if self.is_system else ("--user",)
        try:
            done = subprocess.run(
                ["systemctl", *scope, "is-active", self.name],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip()

    def _advice(self) -> list[str]:
        found = []
        other = InstalledService(self.home, not self.is_system, self.user_home)
        if other.is_installed:
            removal = (
                "sudo hermes gateway uninstall --system"
                if other.is_system
                else f"hermes gateway uninstall (as {self.user_home.name})"
            )
            found.append(
                f"There is also {other.path}: both would start a gateway for this home. Remove one: {removal}"
            )
        if not self.is_system and not (_LINGER / getpass.getuser()).exists():
            found.append(
                f"It stops when you log out. To keep it running: loginctl enable-linger {getpass.getuser()}"
            )
        return found

    def _systemctl(self, *arguments: str) -> None:
        self._run("systemctl", *(() if self.is_system else ("--user",)), *arguments)

    def _run(self, *command: str) -> None:
        text = " ".join(command)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
            )
        except FileNotFoundError as error:
            raise GatewayError(
                f"{command[0]} is not here, so there is no service manager to ask",
                remedy="Run the gateway in the foreground: hermes gateway run",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise GatewayError(f"{text} did not end within {_COMMAND_SECONDS} s") from error
        if done.returncode:
            why = (done.stderr or done.stdout).strip().splitlines()
            remedy = (
                "Units of the machine need root: sudo hermes gateway … --system"
                if self.is_system and os.geteuid()
                else f"Look: journalctl {'' if self.is_system else '--user '}-u {self.name}"
            )
            raise GatewayError(f"{text} failed", why=why[0] if why else None, remedy=remedy)


def _system_services() -> Iterator[InstalledService]:
    """What our units of the machine start."""
    for path in sorted(units.SYSTEM_UNITS.glob(f"{units.UNIT}*.service")):
        if (facts := units.read_unit(path)) is None:
            continue
        with suppress(GatewayError):
            service = InstalledService(facts.home, True, home_of(facts.user))
            if service.path == path:
                yield service


def home_of(user: str) -> Path:
    """Home directory of an account; of this process' for an empty name.

    Raises:
        GatewayError: There is no such account.
    """
    if not user:
        return Path.home()
    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except KeyError as error:
        raise GatewayError(f"There is no user {user!r}", remedy="Name one: --run-as-user NAME") from error


def _owner(home: Home) -> str:
    try:
        return home.root.owner()
    except (OSError, KeyError):
        return ""
