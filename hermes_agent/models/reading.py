"""What reading a reply has in common in all dialects: framing, garbage, errors inside a stream, the end."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any

from hermes_agent.core.errors import ModelError
from hermes_agent.core.model import ModelEvent, ModelRequest
from hermes_agent.models import errors
from hermes_agent.models.assembly import ReplyAssembler
from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.sse import ServerEvent
from hermes_agent.models.transport import Reply, Transport


class ReplyReader(ABC):
    """Reads one reply. A dialect says what a chunk means (`chunk`) and what a whole body means (`whole`)."""

    def __init__(self, endpoint: Endpoint, request: ModelRequest, secrets: Iterable[str] = ()) -> None:
        self.endpoint = endpoint
        self.assembler = ReplyAssembler(endpoint, request)
        self.is_done = False
        self.headers: Mapping[str, str] = {}
        self._secrets = tuple(secrets)

    @abstractmethod
    def chunk(self, chunk: dict[str, Any]) -> list[ModelEvent]:
        """Take one decoded event."""

    @abstractmethod
    def whole(self, body: dict[str, Any]) -> list[ModelEvent]:
        """Take a reply that came in one piece although a stream was asked for."""

    def before_end(self) -> None:  # noqa: B027 - a hook that most dialects do not need
        """Last chance to tell the assembler something."""

    def frame(self, frame: ServerEvent, *, is_whole: bool = True) -> list[ModelEvent]:
        """Take one server-sent event; give what it adds to the stream.

        Args:
            frame: The event.
            is_whole: False for what is left at the end of a stream, which may be half an event.

        Raises:
            ModelError: The provider reports an error, or the event makes no sense.
        """
        data = frame.data
        if data == b"[DONE]":
            self.is_done = True
            return []
        try:
            chunk = json.loads(data)
        except ValueError as error:
            if not is_whole:
                return []
            raise self.garbage(data) from error
        if isinstance(chunk, dict):
            self.check(chunk, frame.name)
            return self.chunk(chunk)
        if chunk is None or chunk == "[DONE]":
            return []
        raise self.garbage(data)

    def body(self, body: bytes) -> list[ModelEvent]:
        """Take a body that is one JSON value.

        Raises:
            ModelError: The provider reports an error, or the body makes no sense.
        """
        try:
            value = json.loads(body)
        except ValueError as error:
            raise self.garbage(body) from error
        if not isinstance(value, dict):
            raise self.garbage(body)
        self.check(value)
        events = self.whole(value)
        if self.assembler.is_empty and self.assembler.finish_reason is None:
            raise self.garbage(body)
        self.is_done = True
        return events

    def check(self, chunk: Mapping[str, Any], name: str = "") -> None:
        """Raise the error that a chunk reports, if it does."""
        if chunk.get("error") or name == "error" or chunk.get("type") == "error":
            raise self.error(chunk)

    def error(self, value: Any) -> Exception:
        """The error that the provider reports."""
        return errors.stream_error(
            self.endpoint,
            value,
            headers=self.headers,
            secrets=self._secrets,
            partial_text=self.assembler.partial_text,
        )

    def scrub(self, text: str) -> str:
        """The text without keys."""
        return errors.scrub(text, self._secrets)

    def garbage(self, data: bytes) -> ModelError:
        """The error for something that is no answer."""
        return errors.not_understood(
            self.endpoint,
            data[:4096].decode("utf-8", "replace"),
            self._secrets,
            partial_text=self.assembler.partial_text,
        )

    def finish(self) -> list[ModelEvent]:
        """The last events; the reply is the very last.

        Raises:
            ModelResponseError: An empty answer.
            StreamCutError: The stream ended too early.
        """
        self.before_end()
        return [*self.assembler.flush(), self.assembler.finish(is_complete=self.is_done)]


async def exchange(
    transport: Transport, path: str, body: bytes, reader: ReplyReader
) -> AsyncGenerator[ModelEvent, None]:
    """Send a body and stream what comes back, read by `reader`. Raises every kind of `ModelError`."""
    async with transport.open(path, body) as reply:
        reader.headers = reply.headers
        if reply.is_json:
            for event in reader.body(await reply.body()):
                yield event
        else:
            async for event in _events(reply, reader):
                yield event
    for event in reader.finish():
        yield event


async def _events(reply: Reply, reader: ReplyReader) -> AsyncIterator[ModelEvent]:
    saw_event = False
    async for batch, is_whole in reply.events():
        saw_event = saw_event or bool(batch)
        for frame in batch:
            for event in reader.frame(frame, is_whole=is_whole):
                yield event
        if reader.is_done:
            await reply.drain()
            return
    if not saw_event and reply.opening.strip():  # no server-sent events at all
        if reply.opening.lstrip().startswith(b"{"):
            for event in reader.body(reply.opening):
                yield event
        else:
            raise reader.garbage(reply.opening)
