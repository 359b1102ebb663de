"""Asks again when a request failed for a reason that may pass."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

from hermes_agent.core.errors import (
    ModelConnectionError,
    ModelError,
    ModelRateLimitError,
    ModelResponseError,
    ModelServerError,
    ModelTimeoutError,
    StreamCutError,
)
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelRequest, ReplyRestarted
from hermes_agent.models.endpoint import is_loopback
from hermes_agent.models.streams import open_stream

Sleep = Callable[[float], Awaitable[None]]

PASSING = (
    ModelRateLimitError,
    ModelServerError,
    ModelConnectionError,
    ModelTimeoutError,
    StreamCutError,
    ModelResponseError,
)
"""Kinds of failure that may not happen again."""
LONGEST_WAIT_SECONDS = 60.0
"""A provider that asks for a longer wait is not waited for."""
FIRST_WAIT_SECONDS = 1.0
MAX_WAIT_SECONDS = 30.0


class RetryModel:
    """Retries `inner` with growing, jittered waits, or the wait that the provider asks for.

    Before every new try it yields `ReplyRestarted`, so that what was streamed can be discarded. A
    request time-out (no answer in `request_timeout_seconds`) counts as a passing failure too.

    Args:
        inner: Asked.
        max_retries: Further tries after the first.
        sleep: Waits; tests pass their own.
        jitter: Gives a number from 0 to 1.
    """

    def __init__(
        self,
        inner: Model,
        *,
        max_retries: int = 3,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._inner = inner
        self._max_retries = max_retries
        self._sleep = sleep
        self._jitter = jitter

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._inner.info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request, again if need be, and stream its reply.

        Raises:
            ModelError: The last failure, or the first that will not pass.
        """
        attempt = 0
        while True:
            try:
                async with open_stream(self._inner, request) as events:
                    async for event in events:
                        yield event
            except PASSING as error:
                attempt += 1
                if attempt > self._tries(error):
                    raise
                delay, reason = self._delay(error, attempt), reason_of(error)
            else:
                return
            yield ReplyRestarted(reason, attempt, delay)
            await self._sleep(delay)

    def _tries(self, error: ModelError) -> int:
        """A server on this machine that does not listen will not in seven seconds either."""
        is_down = isinstance(error, ModelConnectionError) and is_loopback(self.info.base_url)
        return min(1, self._max_retries) if is_down else self._max_retries

    def _delay(self, error: ModelError, attempt: int) -> float:
        asked = error.retry_after_seconds
        if asked is not None:
            if asked > LONGEST_WAIT_SECONDS:
                raise too_long(error, asked) from error
            return asked + self._jitter() * min(1.0, asked / 10 + 0.05)
        longest = min(MAX_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempt - 1))
        return float(longest * (0.5 + self._jitter() / 2))

    async def aclose(self) -> None:
        """Release connections."""
        await self._inner.aclose()


def reason_of(error: ModelError) -> str:
    """One line for people."""
    return f"{error.message}: {error.why}" if error.why else error.message


def too_long(error: ModelError, asked: float) -> ModelError:
    """The same failure, saying how long the provider wants us to wait."""
    return type(error)(
        f"{error.message}; it asks to wait {duration(asked)}",
        status=error.status,
        retry_after_seconds=asked,
        partial_text=error.partial_text,
        diagnostics=error.diagnostics,
        why=error.why,
        remedy="Wait, add another key to .env, or choose another provider: hermes model",
    )


def duration(seconds: float) -> str:
    """A time span for people."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{round(minutes / 60)} h"
