"""The `Service` port: something the long-running process keeps alive (a surface, a scheduler).

How to plug one in: write a class with these five members in your package (`api`, `scheduler`, …), a
factory `async def make_service(process: GatewayProcess) -> Service | None` in `hermes_agent.app`, and one
line in `hermes_agent.app.gateway.FACTORIES`. None means: not configured, nothing to run.

The process starts every service as a task of its own. One that raises is shown as `degraded`, and
started again after a growing pause, while the others go on. The process says READY to systemd when every
service has called `started` or has failed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

HealthState: TypeAlias = Literal["starting", "ok", "degraded", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Health:
    """How a service is, as far as it knows itself.

    Attributes:
        state: `degraded` works in part; `failed` does not work but may again.
        detail: One line for people; empty if all is well.
        active: Runs going on now.
        is_stuck: It makes no progress although it should: systemd's watchdog is not fed any more, so
            that the whole process is restarted. Set it only when a rebuild within the service did not help.
        facts: Further JSON-compatible values for `hermes gateway status --json`.
    """

    state: HealthState = "ok"
    detail: str = ""
    active: int = 0
    is_stuck: bool = False
    facts: dict[str, Any] = field(default_factory=dict, hash=False)


class Service(Protocol):
    """Runs as long as the process does."""

    @property
    def name(self) -> str:
        """Short and constant: `messaging`, `api`, `cron`."""
        ...

    async def run(self, started: Callable[[], None]) -> None:
        """Work until cancelled; called again after a failure, so it must build everything anew.

        Args:
            started: Call it once, when the service does its work (the socket listens).

        Raises:
            ConfigError: It cannot work with these settings; it is not tried again before a reload.
            HermesError: Any other failure; it is started again after a pause.
        """
        ...

    async def drain(self) -> None:
        """Take no new work and wait for what is going on; cancelled when the time is up.

        `run` goes on meanwhile and is cancelled afterwards.
        """
        ...

    async def reload(self) -> None:
        """Settings have changed (SIGHUP); `process.app` has the new ones. Raises `HermesError`."""
        ...

    def health(self) -> Health:
        """How it is. No I/O, never raises."""
        ...
