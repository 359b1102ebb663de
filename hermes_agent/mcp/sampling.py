"""Model requests that a server makes through us: limited, logged and shown to the person."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence

import mcp_types as types

from hermes_agent.config.sections.mcp import McpSamplingSettings
from hermes_agent.core.errors import HermesError
from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from hermes_agent.core.model import Model, ModelReply, ModelRequest, ToolDefinition
from hermes_agent.core.tool import ToolContext
from hermes_agent.mcp.texts import whole

_log = logging.getLogger(__name__)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}
_WINDOW_SECONDS = 60.0
_REFUSED = -1
"""The code that the protocol uses for `the user rejected it`."""

Answer = types.CreateMessageResult | types.CreateMessageResultWithTools | types.ErrorData


class Refused(Exception):  # noqa: N818 - a decision, not a failure
    """The request is against the limits; the text says which."""


class Sampler:
    """Answers one server's model requests."""

    def __init__(
        self,
        name: str,
        settings: McpSamplingSettings,
        model_for: Callable[[str], Model] | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._name = name
        self._settings = settings
        self._model_for = model_for
        self._models: dict[str, Model] = {}
        self._asked: deque[float] = deque()

    async def answer(self, params: types.CreateMessageRequestParams, context: ToolContext | None) -> Answer:
        """Make the request, or say why not. Never raises, apart from cancellation."""
        try:
            self._check(params)
            model = self._model(params)
        except (Refused, HermesError) as error:
            return self._refuse(str(error), context)
        limit = min(params.max_tokens, self._settings.max_tokens_cap)
        self._say(f"asks {model.info.label} for up to {limit} tokens", context)
        request = ModelRequest(
            system=params.system_prompt or "",
            messages=_messages(params.messages),
            tools=_tools(params),
            max_output_tokens=limit,
        )
        try:
            async with asyncio.timeout(self._settings.timeout):
                reply = await _reply(model, request)
        except TimeoutError:
            return self._refuse(f"no answer within {self._settings.timeout:g} s", context)
        except HermesError as error:
            return self._refuse(error.message, context)
        self._say(f"got {reply.usage.output_tokens} tokens from {model.info.label}", context)
        return _result(reply, params)

    def _check(self, params: types.CreateMessageRequestParams) -> None:
        settings = self._settings
        if not settings.enabled or self._model_for is None:
            raise Refused("model requests by this server are switched off")
        now = self._clock()
        while self._asked and now - self._asked[0] > _WINDOW_SECONDS:
            self._asked.popleft()
        if len(self._asked) >= settings.max_rpm:
            raise Refused(f"more than {settings.max_rpm} model requests in a minute")
        if _tool_rounds(params.messages) > settings.max_tool_rounds:
            raise Refused(f"more than {settings.max_tool_rounds} rounds of tools in one request")
        if not params.messages:
            raise Refused("a model request without messages")
        self._asked.append(now)

    def _model(self, params: types.CreateMessageRequestParams) -> Model:
        """The configured model, or the first hint that is allowed by name."""
        assert self._model_for is not None
        name = self._settings.model
        allowed = self._settings.allowed_models
        hints = params.model_preferences.hints if params.model_preferences else None
        for hint in hints or ():
            found = next((model for model in allowed if hint.name and hint.name in model), None)
            if found is not None:
                name = found
                break
        if allowed and not name:
            name = allowed[0]
        if allowed and name not in allowed:
            raise Refused(f"model {name!r} is not among sampling.allowed_models")
        if name not in self._models:
            self._models[name] = self._model_for(name)
        return self._models[name]

    def _refuse(self, why: str, context: ToolContext | None) -> types.ErrorData:
        self._say(f"asked a model and was refused: {why}", context)
        return types.ErrorData(code=_REFUSED, message=f"Refused: {why}")

    def _say(self, text: str, context: ToolContext | None) -> None:
        line = f"MCP server {self._name!r} {text}"
        _log.log(_LEVELS[self._settings.log_level], "%s", line)
        if context is not None:
            context.report(f"[{line}]\n")


async def _reply(model: Model, request: ModelRequest) -> ModelReply:
    async for event in model.stream(request):
        if isinstance(event, ModelReply):
            return event
    raise HermesError("The model gave no answer")


def _tool_rounds(messages: Sequence[types.SamplingMessage]) -> int:
    """How many times tools answered already."""
    return sum(
        any(isinstance(block, types.ToolResultContent) for block in message.content_as_list)
        for message in messages
    )


def _tools(params: types.CreateMessageRequestParams) -> tuple[ToolDefinition, ...]:
    choice = params.tool_choice
    if choice is not None and choice.mode == "none":
        return ()
    return tuple(
        ToolDefinition(tool.name, tool.description or "", dict(tool.input_schema))
        for tool in params.tools or ()
    )


def _messages(sampled: Sequence[types.SamplingMessage]) -> tuple[Message, ...]:
    messages: list[Message] = []
    names: dict[str, str] = {}
    for item in sampled:
        blocks = item.content_as_list
        if item.role == "assistant":
            calls = tuple(
                ToolCall(block.id, block.name, json.dumps(block.input))
                for block in blocks
                if isinstance(block, types.ToolUseContent)
            )
            names.update((call.id, call.name) for call in calls)
            messages.append(AssistantMessage(_text(blocks), calls))
            continue
        messages += (
            ToolMessage(
                block.tool_use_id,
                names.get(block.tool_use_id, "tool"),
                _text(block.content),
                is_error=bool(block.is_error),
            )
            for block in blocks
            if isinstance(block, types.ToolResultContent)
        )
        parts = tuple(part for block in blocks if (part := _part(block)) is not None)
        if parts:
            messages.append(UserMessage(parts))
    return tuple(messages)


def _part(block: object) -> Part | None:
    if isinstance(block, types.TextContent):
        return TextPart(block.text)
    if isinstance(block, types.ImageContent):
        return ImagePart(block.mime_type, block.data)
    if isinstance(block, types.AudioContent):
        return TextPart("[audio, which cannot be heard here]")
    return None


def _text(blocks: Sequence[object]) -> str:
    return "\n".join(block.text for block in blocks if isinstance(block, types.TextContent))


def _result(
    reply: ModelReply, params: types.CreateMessageRequestParams
) -> types.CreateMessageResult | types.CreateMessageResultWithTools:
    message = reply.message
    reason = "maxTokens" if message.finish_reason == "length" else "endTurn"
    if not params.tools:
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(type="text", text=whole(message.text)),
            model=reply.info.model,
            stop_reason=reason,
        )
    blocks: list[types.SamplingMessageContentBlock] = []
    if message.text:
        blocks.append(types.TextContent(type="text", text=whole(message.text)))
    for call in message.tool_calls:
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = {}
        blocks.append(
            types.ToolUseContent(
                type="tool_use",
                id=call.id or f"call_{secrets.token_hex(6)}",
                name=call.name,
                input=whole(arguments) if isinstance(arguments, dict) else {},
            )
        )
    if message.tool_calls:
        reason = "toolUse"
    return types.CreateMessageResultWithTools(
        role="assistant", content=blocks, model=reply.info.model, stop_reason=reason
    )
