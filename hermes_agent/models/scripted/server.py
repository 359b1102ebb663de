"""`ScriptedServer`: the scripted model as an HTTP server on a thread of its own.

The thread makes it usable from tests of every kind (also those that start processes and wait for them)
and keeps its event loop apart from the one under test.
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any, Self

import uvicorn

from hermes_agent.core.errors import UsageError
from hermes_agent.models.scripted.application import Application
from hermes_agent.models.scripted.seen import SeenRequest
from hermes_agent.models.scripted.source import ScriptSource, load_script

START_SECONDS = 10.0


class _Uvicorn(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class ScriptedServer:
    """An OpenAI- and Anthropic-compatible server that follows a script. A context manager.

    Args:
        script: See `ScriptSource`; None lets the model's name decide (`echo`, `tools-3` …).
        host: Where to listen.
        port: 0 takes a free one.
        record_limit: How many requests are kept in `requests`; None keeps all.

    Raises:
        ConfigFileError: The script is wrong.
        UsageError: The address cannot be used.
    """

    def __init__(
        self,
        script: ScriptSource | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        record_limit: int | None = None,
    ) -> None:
        loaded = None if script is None else load_script(script)
        self._application = Application(loaded, record_limit=record_limit)
        self._socket = _listen(host, port)
        self._host = host
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._application.asgi,
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            loop="asyncio",
            server_header=False,
            date_header=False,
            timeout_keep_alive=3600,
        )
        self._uvicorn = _Uvicorn(config)
        self._thread = threading.Thread(target=self._run, name="scripted-model", daemon=True)

    def _run(self) -> None:
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._uvicorn.ready.set()

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What OpenAI clients call their base URL. Anthropic clients take `url`."""
        return f"{self.url}/v1"

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """What was asked so far."""
        return tuple(self._application.player.requests)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went otherwise than written, and the steps that are still unused."""
        player = self._application.player
        return (*player.problems, *player.unused)

    def stats(self) -> dict[str, Any]:
        """What `/stats` shows."""
        return self._application.stats()

    def assert_complete(self) -> None:
        """Check that all steps were used and all expectations held.

        Raises:
            AssertionError: Otherwise; the message lists what is wrong.
        """
        self._application.player.assert_complete()

    def wait_until_played(self, timeout_seconds: float | None = None) -> bool:
        """Wait until every step (or, without steps, anything) was answered; False if it took too long."""
        return self._application.played.wait(timeout_seconds)

    def start(self) -> Self:
        """Listen; returns when requests are answered.

        Raises:
            UsageError: The server did not start.
        """
        self._thread.start()
        if not self._uvicorn.ready.wait(START_SECONDS) or not self._uvicorn.started:
            self.stop()
            raise UsageError("The scripted model server did not start")
        return self

    def stop(self) -> None:
        """Ask the server to end; returns at once."""
        self._uvicorn.force_exit = True
        self._uvicorn.should_exit = True

    def close(self) -> None:
        """End the server and wait for it. Safe to call twice."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(START_SECONDS)
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off: 40 ms less per answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"Cannot listen on {host} port {port}",
            why=why,
            remedy="Choose another --port; 0 takes a free one.",
        ) from error
    return listener
