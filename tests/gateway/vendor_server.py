"""What the loopback servers of platforms share: an aiohttp application on a thread, and waiting."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

from aiohttp import web


class VendorServer:
    """Use as a context manager.

    Attributes:
        requests: Method and path of each request, in order.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.url = ""
        self.news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._runner = threading.Thread(target=self._run, daemon=True)

    def routes(self) -> list[web.RouteDef]:
        raise NotImplementedError

    def on_started(self) -> None:
        """The address is known."""

    def __enter__(self) -> Self:
        self._runner.start()
        assert self._started.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._runner.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[self._count])
        app.add_routes(self.routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.on_started()
        self._started.set()
        await self._stopping.wait()
        await runner.cleanup()

    @web.middleware
    async def _count(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        answer: web.StreamResponse = await handler(request)
        self.tell()
        return answer

    def count(self, method: str, ending: str) -> int:
        return sum(1 for verb, path in self.requests if verb == method and path.endswith(ending))

    def tell(self) -> None:
        with self.news:
            self.news.notify_all()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def wait_for(self, condition: Callable[[], Any], timeout: float = 60.0) -> None:
        """Wait until a condition holds; it is looked at whenever something happens."""
        deadline = time.monotonic() + timeout
        with self.news:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"it did not happen; {self.summary()}")
                self.news.wait(min(left, 0.05))

    def summary(self) -> str:
        return f"last requests: {self.requests[-10:]}"


def drop(request: web.Request) -> None:
    """Cut the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
