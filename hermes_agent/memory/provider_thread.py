"""An event loop of its own for code of others: a provider that blocks holds up nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from hermes_agent.core.errors import HermesError, MemoryServiceError
from hermes_agent.core.memory import MemoryProvider

ResultT = TypeVar("ResultT")

CLOSE_SECONDS: Final = 1.0


class ProviderThread:
    """Makes a provider at the first call, in a daemon thread, and calls it there.

    Args:
        label: The service's name, for people.
        make: Makes the provider; may import slowly, block, or fail in any way.
    """

    def __init__(self, label: str, make: Callable[[], MemoryProvider]) -> None:
        self._label = label
        self._make = make
        self._provider: MemoryProvider | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    async def call(
        self, work: Callable[[MemoryProvider], Awaitable[ResultT]], *, timeout_seconds: float
    ) -> ResultT:
        """Call the provider.

        Raises:
            HermesError: It failed, in whatever way, or gave no answer in time.
        """
        if self._is_closed:
            raise MemoryServiceError(f"{self._label} is being left")
        future = asyncio.run_coroutine_threadsafe(self._guarded(work), self._running())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_seconds)
        except TimeoutError as error:
            raise MemoryServiceError(
                f"{self._label} gave no answer within {timeout_seconds:g} seconds"
            ) from error

    async def aclose(self) -> None:
        """Close the provider, and leave the thread alone if it does not come back. Safe to call twice."""
        if self._is_closed:
            return
        if self._provider is not None:
            with contextlib.suppress(HermesError):
                await self.call(lambda provider: provider.aclose(), timeout_seconds=CLOSE_SECONDS)
        self._is_closed = True
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    async def _guarded(self, work: Callable[[MemoryProvider], Awaitable[ResultT]]) -> ResultT:
        try:
            if self._provider is None:
                self._provider = self._make()
            return await work(self._provider)
        except HermesError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # code of others may raise anything
            raise MemoryServiceError(
                f"The memory provider {self._label} failed", why=f"{type(error).__name__}: {error}"
            ) from error

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(loop,), name="memory-provider", daemon=True)
            self._thread.start()
        return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    left: set[asyncio.Task[Any]] = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    waiting: Coroutine[Any, Any, Any] = _ended(left)
    loop.run_until_complete(waiting)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
