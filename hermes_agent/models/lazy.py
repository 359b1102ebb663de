"""A model that is imported and built with its first request, so that a start pays for no SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelRequest
from hermes_agent.models.streams import open_stream


class LazyModel:
    """Builds the model in a thread when it is first used (importing an SDK takes a while).

    Args:
        info: What the built model will say of itself.
        build: Makes it; may import whatever it needs.
    """

    def __init__(self, info: ModelInfo, build: Callable[[], Model]) -> None:
        self._info = info
        self._build = build
        self._model: Model | None = None
        self._lock = asyncio.Lock()

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request and stream its reply."""
        if self._model is None:
            async with self._lock:
                if self._model is None:
                    self._model = await asyncio.to_thread(self._build)
        async with open_stream(self._model, request) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Release connections, if there are any."""
        if self._model is not None:
            await self._model.aclose()
