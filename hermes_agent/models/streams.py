"""Closing a model's stream for certain, at once, wherever its consumer stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hermes_agent.core.model import Model, ModelEvent, ModelRequest


@asynccontextmanager
async def open_stream(model: Model, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
    """The stream of one request; on leaving, its connection is released."""
    events = model.stream(request)
    try:
        yield events
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            await aclose()
