"""One real request to a model, to see that it answers."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hermes_agent.core.messages import UserMessage
from hermes_agent.core.model import Model, ModelInfo, ModelReply, ModelRequest, TextChunk, Usage

SYSTEM = "You are being tested. Answer in one short sentence."
QUESTION = "Say hello and name the model you are."


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model answered. Times in seconds; `first_seconds` is until the first visible text."""

    info: ModelInfo
    text: str
    first_seconds: float
    total_seconds: float
    usage: Usage


async def try_model(model: Model) -> Trial:
    """Ask a short question and close the model.

    Raises:
        ModelError: It did not answer.
    """
    request = ModelRequest(SYSTEM, (UserMessage.of(QUESTION),))
    began = time.perf_counter()
    first: float | None = None
    reply: ModelReply | None = None
    try:
        async for event in model.stream(request):
            if isinstance(event, TextChunk) and first is None:
                first = time.perf_counter() - began
            elif isinstance(event, ModelReply):
                reply = event
    finally:
        await model.aclose()
    total = time.perf_counter() - began
    assert reply is not None, "a model's stream ends with a reply or an error"
    return Trial(reply.info, reply.message.text.strip(), first or total, total, reply.usage)
