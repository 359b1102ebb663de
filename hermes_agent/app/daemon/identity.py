"""One gateway per home: the lock that says so, and the files that tell other programs about it.

`gateway.pid` is `{pid, kind, argv, start_time}`; `gateway_state.json` the same plus `gateway_state`,
`exit_reason`, `restart_requested`, `active_agents`, `platforms` and `updated_at`. Only the lock decides
whether a gateway runs: the files may be left over from a killed one.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hermes_agent.config.files import replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError, StoreUnwritableError

KIND = "hermes-gateway"
_POLL_SECONDS = 0.05


class Identity:
    """This process as the gateway of a home. Close it with `release`."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._descriptor: int | None = None
        self._facts: dict[str, Any] = {
            "pid": os.getpid(),
            "kind": KIND,
            "argv": sys.argv,
            "start_time": start_time(os.getpid()),
        }

    @property
    def pid(self) -> int:
        """This process."""
        return os.getpid()

    def claim(self, *, replace: bool = False, timeout_seconds: float = 30.0) -> None:
        """Become the gateway.

        Args:
            replace: End the one that runs, and wait for it.
            timeout_seconds: How long to wait; then it is killed.

        Raises:
            GatewayError: Another one runs.
        """
        self._home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._home.gateway_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(descriptor):
                self._take_over(descriptor, timeout_seconds if replace else 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        replace_atomically(self._home.gateway_pid, _json(self._facts), mode=0o600)

    def _take_over(self, descriptor: int, timeout_seconds: float) -> None:
        if not timeout_seconds:
            raise already_running(self._home)
        for number, patience in ((signal.SIGTERM, timeout_seconds), (signal.SIGKILL, 5.0)):
            pid = running_pid(self._home)
            if pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline:
                if _lock(descriptor):
                    return
                time.sleep(_POLL_SECONDS)
        raise already_running(self._home)

    def write_state(self, state: str, **values: Any) -> None:
        """Say how the gateway is. What cannot be written is left: it is only for others to read."""
        facts = {
            **self._facts,
            "gateway_state": state,
            "exit_reason": None,
            "restart_requested": False,
            "active_agents": 0,
            "platforms": {},
            **values,
            "updated_at": datetime.now(UTC).isoformat(),
        }
        with suppress(StoreUnwritableError):
            replace_atomically(self._home.gateway_state, _json(facts), mode=0o600)

    def release(self) -> None:
        """Stop being the gateway. Safe to call twice."""
        if self._descriptor is None:
            return
        self._home.gateway_pid.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None


def running_pid(home: Home) -> int | None:
    """Process id of the gateway of this home; None if none runs."""
    try:
        descriptor = os.open(home.gateway_lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 40, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)
    return None


def already_running(home: Home) -> GatewayError:
    """The error for a second gateway."""
    pid = running_pid(home)
    return GatewayError(
        f"A gateway is running already{f' (process {pid})' if pid else ''}",
        why=f"There can be one for each home ({home.root})",
        remedy="hermes gateway status shows it, hermes gateway run --replace takes its place.",
    )


def start_time(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot: tells it from a later one of the same id."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return int(fields.split()[19])
    except (OSError, ValueError, IndexError):
        return None


def read_state(home: Home) -> dict[str, Any]:
    """What the gateway wrote last; empty if nothing readable."""
    try:
        found = json.loads(home.gateway_state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode()
