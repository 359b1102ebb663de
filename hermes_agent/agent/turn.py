"""One model request: stream it, store what is shown before it is shown, assemble the reply."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from hermes_agent.agent.run import Run
from hermes_agent.core.events import Notice, ReasoningDelta, TextDelta, TurnRestarted
from hermes_agent.core.messages import AssistantMessage, FinishReason
from hermes_agent.core.model import (
    Model,
    ModelEvent,
    ModelInfo,
    ModelReply,
    ModelRequest,
    ReasoningChunk,
    ReplyRestarted,
    TextChunk,
    Usage,
)
from hermes_agent.core.session import DraftKind

logger = logging.getLogger(__name__)

SaveDraft = Callable[[DraftKind, str], Awaitable[None]]
DiscardDraft = Callable[[], Awaitable[None]]

MAX_BUFFERED_EVENTS = 512
"""Chunks read ahead while a draft is written; then the provider's stream waits (back-pressure)."""


@dataclass(frozen=True, slots=True)
class TurnResult:
    """A whole reply, or as much of it as came before an interrupt (`is_interrupted`)."""

    message: AssistantMessage
    usage: Usage
    info: ModelInfo
    is_interrupted: bool = False


class Turn:
    """Streams one request.

    Deltas are joined while the previous ones are being stored, so the cost of storing does not grow
    with the speed of the stream, and a killed process never has shown more than it kept.
    """

    def __init__(
        self,
        model: Model,
        run: Run,
        *,
        save_draft: SaveDraft | None,
        discard_draft: DiscardDraft,
        session_id: str,
    ) -> None:
        self._model = model
        self._run = run
        self._session_id = session_id
        self._save_draft = save_draft
        self._discard_draft = discard_draft
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._events: deque[ModelEvent] = deque()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    async def stream(self, request: ModelRequest) -> TurnResult:
        """Send the request and show the reply as it comes.

        Raises:
            ModelError: The request failed for good (retries and fallback are inside the model).
        """
        pump = asyncio.create_task(self._pump(request))
        pump.add_done_callback(lambda _task: self._wake.set())
        try:
            return await self._consume(pump)
        except asyncio.CancelledError:
            await _cancelled(pump)
            if not self._run.is_interrupted:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            message = self.partial("interrupted")
            return TurnResult(message, Usage(requests=1), self._model.info, is_interrupted=True)
        except BaseException:
            await _cancelled(pump)
            raise

    async def _pump(self, request: ModelRequest) -> None:
        async with contextlib.aclosing(_as_generator(self._model, request)) as events:
            async for event in events:
                self._events.append(event)
                self._wake.set()
                if len(self._events) >= MAX_BUFFERED_EVENTS:
                    self._room.clear()
                    await self._room.wait()

    async def _consume(self, pump: asyncio.Task[None]) -> TurnResult:
        while True:
            if not self._events:
                if pump.done():
                    pump.result()
                    raise AssertionError("a model's stream must end with ModelReply")
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = list(self._events)
            self._events.clear()
            self._room.set()
            reply = await self._show(batch)
            if reply is not None:
                await pump
                return TurnResult(reply.message, reply.usage, reply.info)

    async def _show(self, batch: list[ModelEvent]) -> ModelReply | None:
        pending: list[TextChunk | ReasoningChunk] = []
        for event in batch:
            if isinstance(event, TextChunk | ReasoningChunk):
                if pending and type(pending[-1]) is not type(event):
                    await self._flush(pending)
                pending.append(event)
                continue
            await self._flush(pending)
            if isinstance(event, ModelReply):
                return event
            if isinstance(event, ReplyRestarted):
                await self._restart(event)
        await self._flush(pending)
        return None

    async def _flush(self, pending: list[TextChunk | ReasoningChunk]) -> None:
        if not pending:
            return
        text = "".join(chunk.text for chunk in pending)
        is_reasoning = isinstance(pending[0], ReasoningChunk)
        pending.clear()
        if not text:
            return
        if self._save_draft is not None:
            await self._save_draft("reasoning" if is_reasoning else "text", text)
        if is_reasoning:
            self._reasoning.append(text)
            self._run.emit(ReasoningDelta(text))
        else:
            self._text.append(text)
            self._run.emit(TextDelta(text))

    async def _restart(self, event: ReplyRestarted) -> None:
        self._text.clear()
        self._reasoning.clear()
        if self._save_draft is not None:
            await self._discard_draft()
        logger.info("%s; asking again", event.reason, extra={"session_id": self._session_id})
        self._run.emit(TurnRestarted(event.reason, event.delay_seconds))
        if event.info is not None:
            self._run.emit(Notice(f"{event.reason}; {event.info.label} answers instead", "warning"))

    def partial(self, finish_reason: FinishReason) -> AssistantMessage:
        """What was shown of an answer that did not come to its end."""
        return AssistantMessage(
            text="".join(self._text),
            reasoning="".join(self._reasoning) or None,
            finish_reason=finish_reason,
        )


async def _as_generator(model: Model, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    """A closable generator around any async iterator, so that an interrupt closes the connection."""
    stream = model.stream(request)
    try:
        async for event in stream:
            yield event
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
