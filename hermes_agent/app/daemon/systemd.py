"""Talking to the service manager: READY, STATUS, RELOADING, STOPPING, the watchdog."""

from __future__ import annotations

import time
from typing import Any

from hermes_agent.config.environ import Environ
from hermes_agent.core.loading import load


class ServiceManager:
    """The service manager that started this process; without one all of this does nothing.

    Args:
        environ: Names the notification socket and the watchdog's period.
    """

    def __init__(self, environ: Environ) -> None:
        self._notifier: Any = load("sdnotify:SystemdNotifier") if environ.get("NOTIFY_SOCKET") else None
        period = environ.get("WATCHDOG_USEC") or ""
        self.watchdog_seconds = int(period) / 1_000_000 if period.isdecimal() else 0.0
        """Period within which `feed` must be called; 0 if nobody watches."""

    @property
    def is_present(self) -> bool:
        """Whether somebody listens."""
        return self._notifier is not None

    def ready(self, status: str) -> None:
        """Everything that can work does."""
        self._tell(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._tell(f"STATUS={status}")

    def feed(self) -> None:
        """The process makes progress."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """Settings are read anew; `ready` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, *, extend_seconds: float = 0) -> None:
        """The process is ending, and needs this much longer."""
        extend = f"\nEXTEND_TIMEOUT_USEC={int(extend_seconds * 1_000_000)}" if extend_seconds else ""
        self._tell(f"STOPPING=1\nSTATUS={status}{extend}")

    def _tell(self, text: str) -> None:
        if self._notifier is None:
            return
        # Connected anew each time: whoever listens (the supervisor of a container) may have been replaced.
        notifier = self._notifier()
        # The library encodes to Latin-1 and swallows what does not fit.
        notifier.notify(text.encode("ascii", "replace").decode("ascii"))
        if notifier.socket is not None:
            notifier.socket.close()
