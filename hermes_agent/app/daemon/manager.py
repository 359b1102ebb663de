"""Installing the gateway as a service, and starting and stopping it there."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
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
            found.append(
                f"There is also {other.path}: both would start a gateway for this home. Remove one: "
                f"hermes gateway uninstall{' --system' if other.is_system else ''}"
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
                "Use sudo for system units." if self.is_system else f"Look: journalctl --user -u {self.name}"
            )
            raise GatewayError(f"{text} failed", why=why[-1] if why else None, remedy=remedy)
