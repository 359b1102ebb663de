"""What the sessions of a serving process have in common: models with their connections, and their turn.

A process of one person opens a model stack for each session. One that serves many people would open
as many connections to the provider as there are conversations, and keep them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from hermes_agent.agent.service import AgentService, SessionOptions
from hermes_agent.agent.session import Session
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelRequest
from hermes_agent.core.session import SessionRecord

OPENINGS: Final = 4
"""Sessions opened at the same time. Opening is work for the processor: after a burst of messages more at
once would only keep the loop from taking in the rest."""


class SharedModel:
    """A model that many sessions use: closing a session leaves its connections open for the next."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._model.info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request and stream its reply."""
        events: Any = self._model.stream(request)
        async with aclosing(events):
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Nothing: the owner closes the model."""

    async def close(self) -> None:
        """Release connections."""
        await self._model.aclose()


class SharedModels:
    """One model stack for each (provider, model).

    Args:
        make: Builds one; raises `ProviderSetupError`.
    """

    def __init__(self, make: Callable[[str | None, str | None], Model]) -> None:
        self._make = make
        self._models: dict[tuple[str | None, str | None], SharedModel] = {}
        self._left: list[SharedModel] = []

    def get(self, provider: str | None = None, name: str | None = None) -> Model:
        """The stack. Raises `ProviderSetupError`."""
        found = self._models.get((provider, name))
        if found is None:
            found = self._models[(provider, name)] = SharedModel(self._make(provider, name))
        return found

    def forget(self) -> None:
        """Settings have changed: new sessions get new ones; open sessions keep theirs."""
        self._left += self._models.values()
        self._models.clear()

    async def aclose(self) -> None:
        """Close all."""
        self.forget()
        while self._left:
            await self._left.pop().close()


class ServingService(AgentService):
    """An `AgentService` that opens few sessions at a time, and none while a burst of messages comes in."""

    calm: Callable[[], Awaitable[None]] | None = None
    """Waits until it is over."""
    _openings: asyncio.Semaphore | None = None

    async def create(self, options: SessionOptions) -> Session:
        """Open a new session, when its turn has come."""
        async with self._turn():
            return await super().create(options)

    async def resume(self, record: SessionRecord, options: SessionOptions) -> Session:
        """Open a stored session, when its turn has come."""
        async with self._turn():
            return await super().resume(record, options)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._openings is None:
            self._openings = asyncio.Semaphore(OPENINGS)
        async with self._openings:
            if self.calm is not None:
                await self.calm()
            yield
