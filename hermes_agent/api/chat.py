"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
from typing import Any

from hermes_agent.api.active import ActiveRun
from hermes_agent.api.answer import chat_usage
from hermes_agent.api.call import Call, no_constant, parse_object
from hermes_agent.api.chat_request import ChatRequest, read_chat_request
from hermes_agent.api.conduct import Conductor
from hermes_agent.api.content import MessageCache
from hermes_agent.api.conversation_reader import Body, ConversationReader
from hermes_agent.api.errors import ApiError
from hermes_agent.api.frames import ChatFrames
from hermes_agent.api.idempotency import Idempotency
from hermes_agent.api.wire import new_id


class ChatCompletions:
    """Answers chat completions.

    Args:
        conductor: Runs the agent.
        idempotency: Remembers answers by `Idempotency-Key`.
        model_name: Echoed when the client names none.
    """

    def __init__(self, conductor: Conductor, idempotency: Idempotency, model_name: str) -> None:
        self._conductor = conductor
        self._idempotency = idempotency
        self._model_name = model_name
        self._cache = MessageCache()
        self._reader = ConversationReader(parse_object, no_constant, self._cache)

    async def create(self, call: Call) -> None:
        """Make a completion, whole or as a stream."""
        raw = await call.read()
        # To recognise a request that is sent again, all of it counts.
        read = Body(parse_object(raw)) if "idempotency-key" in call.headers else self._reader.read(raw)
        body = read.fields
        request = read_chat_request(body, call.headers, self._cache, read.conversation)
        if request.ask.ignored:
            call.set_header("X-Hermes-Ignored", ", ".join(request.ask.ignored))
        key = self._idempotency.key(call, body)
        if request.ask.is_streamed:
            if key is not None:
                await self._idempotency.follow(
                    call, key, self._conductor, lambda: self._record(call, request)
                )
            elif request.ask.is_stored:
                await self._conductor.follow(call, await self._record(call, request), call.owner)
            else:
                await self._stream(call, request)
        elif key is not None:
            await self._idempotency.answer(call, key, self._conductor, lambda: self._detached(call, request))
        elif request.ask.is_stored:
            headers, value = await self._conductor.survive(call, self._detached(call, request))
            await call.answer(value, headers=headers)
        else:
            active = await self._conductor.runs.start(request.ask, call.owner)
            await self._conductor.collect(call, active)
            await call.answer(self._whole(request, active), headers=session_headers(active))

    async def _stream(self, call: Call, request: ChatRequest) -> None:
        active = await self._conductor.runs.start(request.ask, call.owner)
        for name, value in session_headers(active).items():
            call.set_header(name, value)
        await self._conductor.stream(call, active, self._frames(request))

    def _frames(self, request: ChatRequest) -> ChatFrames:
        return ChatFrames(
            new_id("chatcmpl-", 29),
            int(time.time()),
            request.ask.model or self._model_name,
            has_usage_chunk=request.has_usage_chunk,
        )

    async def _record(self, call: Call, request: ChatRequest) -> str:
        """Start a run that survives its client; returns the id of its log."""
        active = await self._conductor.runs.start(request.ask, call.owner)
        for name, value in session_headers(active).items():
            call.set_header(name, value)
        await self._conductor.record(
            active, self._frames(request), active.run.id, {"session_id": active.session.id}, _facts
        )
        return active.run.id

    async def _detached(self, call: Call, request: ChatRequest) -> tuple[dict[str, str], dict[str, Any]]:
        """The whole answer, without regard to the connection."""
        active = await self._conductor.runs.start(request.ask, call.owner)
        try:
            async for event in active.run:
                active.take(event)
        finally:
            await self._conductor.runs.end(active)
        return session_headers(active), self._whole(request, active)

    def _whole(self, request: ChatRequest, active: ActiveRun) -> dict[str, Any]:
        answer = active.answer
        if (error := answer.error) is not None:
            raise incomplete(error, active)
        return {
            "id": new_id("chatcmpl-", 29),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request.ask.model or self._model_name,
            "system_fingerprint": None,
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": answer.text,
                        "refusal": None,
                        "annotations": [],
                    },
                    "logprobs": None,
                    "finish_reason": answer.finish_reason,
                }
            ],
            "usage": chat_usage(answer.usage),
        }


def session_headers(active: ActiveRun) -> dict[str, str]:
    """Where the conversation can be gone on with, and the run be stopped."""
    return {"X-Hermes-Session-Id": active.session.id, "X-Hermes-Run-Id": active.run.id}


def incomplete(error: ApiError, active: ActiveRun) -> ApiError:
    """The error of a run without a whole answer; one that got somewhere is `agent_incomplete`."""
    text = active.answer.text
    headers = {
        **session_headers(active),
        **error.headers,
        "X-Hermes-Completed": "false",
        "X-Hermes-Partial": "true" if text else "false",
    }
    if not text:
        return ApiError(
            error.status, error.message, code=error.code, kind=error.kind, param=error.param, headers=headers
        )
    return ApiError(
        502,
        f"{error.message}\nWhat the agent had said so far: {text[-2_000:]}",
        code="agent_incomplete",
        headers=headers,
    )


async def _facts(active: ActiveRun) -> dict[str, Any]:
    return {"session_id": active.session.id, "text": active.answer.text[-100_000:]}
