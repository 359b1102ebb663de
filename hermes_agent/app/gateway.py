"""The gateway process: services under supervision, signals, systemd, the control socket, the drain.

One asyncio process per home. `FACTORIES` names what it runs; each factory is
`async def make_service(process: GatewayProcess) -> Service | None` (see `core.surface`).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from hermes_agent import __version__
from hermes_agent.app.container import App
from hermes_agent.app.daemon.control import ControlSocket
from hermes_agent.app.daemon.identity import Identity
from hermes_agent.app.daemon.lag import measure_lag
from hermes_agent.app.daemon.supervisor import Supervised, Supervisor
from hermes_agent.app.daemon.systemd import ServiceManager
from hermes_agent.config.loader import load
from hermes_agent.core.errors import ConfigError, HermesError
from hermes_agent.core.loading import load as load_late
from hermes_agent.core.surface import Service

_LOG = logging.getLogger(__name__)

FACTORIES: tuple[str, ...] = (
    "hermes_agent.app.messaging:make_service",
    "hermes_agent.app.api:make_service",
    "hermes_agent.app.cron:make_service",
    "hermes_agent.app.housekeeping:make_service",
)
"""What the process runs, in the order of starting (import strings)."""

EXIT_RESTART = 75
"""The service manager starts the process again (`hermes gateway restart`, `/restart`)."""

GC_THRESHOLDS = (1_000, 10, 10)
"""As `entry.GC_THRESHOLDS`: a collection of ten thousand objects takes a few milliseconds, and nobody is
answered meanwhile."""

_SET_UP = "Set one up: hermes gateway setup"
_MANY_MODULES = 50
_BEAT_SECONDS = 5.0
_STOP_SECONDS = 10.0
"""Beyond the drain: closing connections and the database."""


class GatewayProcess:
    """Everything the running gateway works with.

    Attributes:
        app: Settings, store, sessions. After a reload it has the new settings.
        control: Where services register commands of their own.
    """

    def __init__(self, app: App, on_ready: Callable[[str], None] = lambda _summary: None) -> None:
        self.app = app
        self._on_ready = on_ready
        self.control = ControlSocket(app.home)
        self.started_at = time.time()
        self.supervisor = Supervisor(())
        self._identity = Identity(app.home)
        self._manager = ServiceManager(app.environ)
        self._ending = asyncio.Event()
        self._exit_code = 0
        self._exit_reason = ""
        self._is_hurried = asyncio.Event()
        self._state = "starting"
        self._reloading = asyncio.Lock()
        self._made: set[str] = set()
        self._modules = 0

    async def run(self, *, replace: bool = False) -> int:
        """Work until told to stop; returns the exit code.

        Args:
            replace: Take the place of a gateway that runs.

        Raises:
            GatewayError: Another one runs.
            HermesError: It cannot start.
        """
        self.app.home.ensure()
        await asyncio.to_thread(self._identity.claim, replace=replace)
        try:
            self._write_state()
            with _Signals(self):
                return await self._work()
        except HermesError as error:
            self._exit_reason = error.message
            self._state = "failed"
            raise
        finally:
            self._write_state()
            self._identity.release()

    def end(self, reason: str, *, exit_code: int = 0) -> None:
        """Stop in good order. A second call hurries: what runs is not waited for any longer."""
        if self._ending.is_set():
            self._is_hurried.set()
            return
        self._exit_reason, self._exit_code = reason, exit_code
        self._ending.set()

    def restart(self, reason: str) -> None:
        """Stop in good order and be started again by the service manager."""
        self.end(reason, exit_code=EXIT_RESTART)

    async def reload(self) -> dict[str, Any]:
        """Read configuration and `.env` again and hand them to the services.

        Raises:
            ConfigError: They cannot be used; everything goes on as it was.
        """
        async with self._reloading:
            self._manager.reloading()
            try:
                config = await asyncio.to_thread(load, self.app.home)
                self.app.adopt(config)
                problems = await self.supervisor.reload()
                for service in await self._make_services():
                    self.supervisor.add(service)
            finally:
                self._manager.ready(self._summary())
            _LOG.info("configuration reloaded")
            return {"warnings": list(config.warnings), "problems": problems}

    async def status(self, _request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Everything `hermes gateway status --json` shows."""
        services = {}
        for each in self.supervisor.services:
            health = each.health()
            services[each.service.name] = {
                "state": health.state,
                "detail": health.detail,
                "restarts": each.restarts,
                "since": each.since,
                "active": health.active,
                **health.facts,
            }
        return {
            **self._identity_facts(),
            "gateway_state": self._state,
            "version": __version__,
            "started_at": self.started_at,
            "home": str(self.app.home.root),
            "services": services,
        }

    async def _work(self) -> int:
        self.control.register("status", self.status)
        self.control.register("reload", lambda _request: self.reload())
        self.control.register("stop", self._on_stop)
        self.control.register("restart", self._on_restart)
        self.control.register("lag", measure_lag)
        async with _closing(self.app):
            self.app.serve()
            await self.app.store()  # a database that cannot be used is an error at the start
            self.supervisor = Supervisor(await self._make_services(), self._write_state)
            await self.control.open()
            beat = asyncio.create_task(self._beat(), name="heartbeat")
            try:
                self.supervisor.start()
                if await self._settled():
                    self._state = "running"
                    self._write_state()
                    self._settle_memory()
                    self._manager.ready(self._summary())
                    _LOG.info("ready: %s", self._summary())
                    self._on_ready(self._summary())
                    if not self._has_surface():
                        _LOG.warning("nobody can reach it yet: no platform and no API is set up. %s", _SET_UP)
                    await self.app.mcp.start()
                    await self._ending.wait()
                await self._drain()
            finally:
                beat.cancel()
                await self.supervisor.stop()
                await self.control.aclose()
        self._state = "stopped"
        _LOG.info("stopped: %s", self._exit_reason or "no reason given")
        return self._exit_code

    async def _make_services(self) -> list[Service]:
        """Services that are configured and not made yet."""
        made: list[Service] = []
        for path in [path for path in FACTORIES if path not in self._made]:
            service: Service | None = await load_late(path)(self)
            if service is not None:
                self._made.add(path)
                made.append(service)
        return made

    async def _settled(self) -> bool:
        """Wait until all services have started or failed; False if the end came first."""
        settle = asyncio.create_task(self.supervisor.settle())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait((settle, ending), return_when=asyncio.FIRST_COMPLETED)
            return not self._ending.is_set()
        finally:
            settle.cancel()
            ending.cancel()

    async def _drain(self) -> None:
        self._state = "draining"
        patience = max(0.0, self.app.settings.agent.restart_drain_timeout)
        self._manager.stopping(
            f"waiting for running work ({self._active} running)", extend_seconds=patience + _STOP_SECONDS
        )
        self._write_state()
        drain = asyncio.create_task(self.supervisor.drain(patience))
        hurry = asyncio.create_task(self._is_hurried.wait())
        try:
            await asyncio.wait((drain, hurry), return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            drain.cancel()
            with suppress(asyncio.CancelledError):
                if not await drain:
                    _LOG.warning("some work did not end in time; it goes on after the next start")
        self._manager.stopping("closing", extend_seconds=_STOP_SECONDS)

    async def _beat(self) -> None:
        """Feed the watchdog while all services make progress; end the process if one does not for good."""
        period = self._manager.watchdog_seconds / 3 or _BEAT_SECONDS
        before = ""
        while True:
            await asyncio.sleep(min(period, _BEAT_SECONDS))
            stuck = [each for each in self.supervisor.services if each.health().is_stuck]
            if stuck:
                names = ", ".join(each.service.name for each in stuck)
                _LOG.error("%s: no progress for too long; ending the process", names)
                self.end(f"no progress: {names}", exit_code=1)
                continue
            self._manager.feed()
            if (
                self._state == "running"
                and len(sys.modules) > self._modules + _MANY_MODULES
                and not self._active
            ):
                self._settle_memory()
            if self._state == "running" and (summary := self._summary()) != before:
                before = summary
                self._manager.status(summary)
                self._write_state()

    def _has_surface(self) -> bool:
        return any(
            each.service.name == "api" or each.health().facts.get("platforms")
            for each in self.supervisor.services
        )

    def _settle_memory(self) -> None:
        """Make pauses of the garbage collector short.

        What was loaded stays, so that it need not be looked at again (the first run loads a lot once more);
        new objects are looked at in small numbers.
        """
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        self._modules = len(sys.modules)

    def _summary(self) -> str:
        """One line: every service, how it is, and how much it has to do."""
        return ", ".join(map(_state_of, self.supervisor.services)) or "nothing configured"

    @property
    def _active(self) -> int:
        return sum(each.health().active for each in self.supervisor.services)

    def _identity_facts(self) -> dict[str, Any]:
        return {
            "pid": self._identity.pid,
            "exit_reason": self._exit_reason or None,
            "restart_requested": self._exit_code == EXIT_RESTART,
        }

    def _write_state(self) -> None:
        platforms: dict[str, Any] = {}
        active = 0
        for each in self.supervisor.services:
            health = each.health()
            active += health.active
            platforms |= health.facts.get("platforms", {})
            if each.service.name == "api":
                platforms["api_server"] = {"state": health.state, "error_message": health.detail or None}
        self._identity.write_state(
            self._state,
            exit_reason=self._exit_reason or None,
            restart_requested=self._exit_code == EXIT_RESTART,
            active_agents=active,
            platforms=platforms,
        )

    async def _on_stop(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        self.end("hermes gateway stop")
        return {}

    async def _on_restart(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        self.restart("hermes gateway restart")
        return {}


def _state_of(each: Supervised) -> str:
    health = each.health()
    counts = []
    platforms = health.facts.get("platforms")
    if platforms:
        connected = sum(state.get("state") == "connected" for state in platforms.values())
        counts.append(f"{connected} of {len(platforms)} platforms")
    if health.facts.get("open_sessions"):
        counts.append(f"{health.facts['open_sessions']} open")
    if health.active:
        counts.append(f"{health.active} running")
    told = f" ({', '.join(counts)})" if counts else ""
    return f"{each.service.name} {health.state}{told}"


class _closing:  # noqa: N801 - reads as a statement
    """Close the app, whatever happens."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        await self._app.aclose()


class _Signals:
    """SIGTERM and SIGINT end, SIGHUP and SIGUSR1 reload."""

    def __init__(self, process: GatewayProcess) -> None:
        self._process = process
        self._reloads: set[asyncio.Task[None]] = set()

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._process.end, signal.Signals(number).name)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(number, self._start_reload)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            loop.remove_signal_handler(number)
            if number != signal.SIGINT:
                # The end is near: a second SIGTERM must not turn a good end into a bad one.
                signal.signal(number, signal.SIG_IGN)

    def _start_reload(self) -> None:
        task = asyncio.create_task(self._reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        try:
            await self._process.reload()
        except ConfigError as error:
            _LOG.error("not reloaded: %s", " ".join(error.lines))


async def run_gateway(
    app: App, *, replace: bool = False, on_ready: Callable[[str], None] = lambda _summary: None
) -> int:
    """Be the gateway; returns the exit code. Raises `HermesError` if it cannot start.

    Args:
        replace: Take the place of one that runs.
        on_ready: Told how every service is, once all have started or failed.
    """
    return await GatewayProcess(app, on_ready).run(replace=replace)
