"""`ApiServer`: the API as a service of the long-running process."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn

from hermes_agent.api.access import check_key
from hermes_agent.api.application import Application
from hermes_agent.api.ports import ApiPorts
from hermes_agent.config.sections.api_server import ApiServerSettings
from hermes_agent.core.errors import ConfigError, HermesError
from hermes_agent.core.surface import Health

_LOG = logging.getLogger(__name__)

_BACKLOG = 2_048
_STOP_SECONDS = 3.0
_SWITCH_SECONDS = 60.0
"""How long running answers are waited for before it listens anew."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the process and says when it answers."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = started
        self._ending = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    async def main_loop(self) -> None:
        # The original looks ten times a second whether it is to end: most of what a gateway at rest would do.
        await self.on_tick(0)
        await self._ending.wait()

    def end(self) -> None:
        """End in good order: what is being sent may still be sent."""
        self.should_exit = True
        self._ending.set()


async def _nothing() -> None:
    pass


class ApiServer:
    """Serves until it is cancelled. See `core.surface.Service`.

    Args:
        make_ports: Gives the ports with the settings as they are now; called at each start.
        on_end: Releases what the ports hold, after each run.
    """

    name = "api"

    def __init__(
        self,
        make_ports: Callable[[], ApiPorts],
        *,
        on_end: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        self._make_ports = make_ports
        self._on_end = on_end
        self.application: Application | None = None
        """What answers, while it runs."""
        self._health = Health("starting")
        self._warning = ""
        self.address = ""
        """Where it listens: `http://127.0.0.1:8642`."""
        self._settings: ApiServerSettings | None = None
        self._changed = asyncio.Event()

    async def run(self, started: Callable[[], None]) -> None:
        """Listen and answer; with other settings listen anew.

        Raises:
            ConfigError: There is no key, or it is too weak for the address.
            HermesError: The port is taken.
        """
        while True:
            self._changed.clear()
            await self._serve(started)
            if not self._changed.is_set():
                return
            _LOG.info("the API server starts again with its new settings")

    async def _serve(self, started: Callable[[], None]) -> None:
        """Listen and answer until the server ends or the settings have changed."""
        ports = self._make_ports()
        settings = self._settings = ports.settings
        self._warning = check_key(ports.key, settings.host) or ""
        if self._warning:
            _LOG.warning("%s", self._warning)
        listener = listen(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.address = f"http://{host}:{listener.getsockname()[1]}"
        application = self.application = Application(ports)

        def tell() -> None:
            self._health = Health("ok")
            _LOG.info("the API server listens on %s", self.address)
            started()

        server = _Uvicorn(_configured(application), tell)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="api-uvicorn")
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait((serving, changed), return_when=asyncio.FIRST_COMPLETED)
            if self._changed.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SWITCH_SECONDS):
                        await application.runs.drain()
            else:
                serving.result()
        finally:
            changed.cancel()
            self._health = Health("stopped")
            await application.runs.aclose()
            server.end()
            done, _ = await asyncio.wait({serving}, timeout=_STOP_SECONDS)
            if not done:
                server.force_exit = True
                serving.cancel()
            listener.close()
            self.application = None
            await self._on_end()

    async def drain(self) -> None:
        """Refuse new runs and wait for the others."""
        if self.application is not None:
            await self.application.runs.drain()

    async def reload(self) -> None:
        """New runs use the new settings; if its own have changed, it listens anew once running ones end."""
        if self.application is not None and self._make_ports().settings != self._settings:
            self._changed.set()

    def health(self) -> Health:
        """Whether it listens, and how many runs it has."""
        application = self.application
        if application is None or self._health.state != "ok":
            return self._health
        return Health(
            "ok",
            self._warning,
            active=application.runs.count,
            facts={"address": self.address, "open_sessions": application.runs.sessions.count},
        )


def _configured(application: Application) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        loop="asyncio",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=64 * 1024,
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: The address is not one of this machine.
        HermesError: The port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off: 40 ms less per answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if isinstance(error, socket.gaierror) or error.errno not in _TAKEN:
            raise ConfigError(
                f"The API server cannot listen on {host} port {port}",
                why=error.strerror,
                remedy="Set API_SERVER_HOST to an address of this machine: 127.0.0.1, 0.0.0.0, ::1 …",
            ) from error
        raise HermesError(
            f"Port {port} on {host} is taken, so the API server cannot start",
            why="Another program (perhaps another gateway) listens there.",
            remedy=f"Find it with `ss -ltnp 'sport = :{port}'`, or set API_SERVER_PORT to another port.",
        ) from error
    return listener


_TAKEN = frozenset({98, 48})
"""EADDRINUSE on Linux and macOS."""
