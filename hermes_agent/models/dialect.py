"""What all dialects share as models: one endpoint, one writer of requests, one transport, one exchange."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

from hermes_agent.core.model import ModelEvent, ModelInfo, ModelRequest
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.reading import ReplyReader, exchange
from hermes_agent.models.transport import Transport


class BodyWriter(Protocol):
    """Writes the bodies of requests."""

    def write(self, request: ModelRequest) -> bytes:
        """The body of a request."""
        ...


class DialectModel(ABC):
    """`core.model.Model` over one path of one endpoint. A dialect says how replies are read.

    Args:
        endpoint: Where requests go.
        transport: Sends them.
        path: Appended to the endpoint's address.
        writer: Writes their bodies.
    """

    def __init__(self, endpoint: Endpoint, transport: Transport, path: str, writer: BodyWriter) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._path = path
        self._writer = writer

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._endpoint.info

    @abstractmethod
    def _reader(self, request: ModelRequest) -> ReplyReader:
        """Reads the reply to one request."""

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Send one request and stream its reply. Raises every kind of `ModelError`."""
        async with aclosing(self._exchange(request, self._reader(request))) as events:
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Release connections."""
        await self._transport.aclose()

    def _exchange(self, request: ModelRequest, reader: ReplyReader) -> AsyncGenerator[ModelEvent, None]:
        return exchange(self._transport, self._path, self._writer.write(request), reader)
