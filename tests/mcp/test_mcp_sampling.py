"""Model requests of servers: what reaches the model, what comes back, and every limit."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import mcp_types as types
import pytest
from mcp_bench import Bench, data, raw

from hermes_agent.config.sections.mcp import McpSamplingSettings
from hermes_agent.core.errors import ModelError
from hermes_agent.core.messages import (
    AssistantMessage,
    ImagePart,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelReply, ModelRequest, Usage
from hermes_agent.mcp.sampling import Sampler


class Scripted:
    """A model with a row of answers; an exception is raised, None is waited for in vain."""

    def __init__(self, *answers: AssistantMessage | Exception | None, name: str = "small") -> None:
        self.info = ModelInfo("test", name, "test")
        self.answers = list(answers)
        self.requests: list[ModelRequest] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else AssistantMessage("fine")
        if answer is None:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, AssistantMessage)
        yield ModelReply(answer, Usage(output_tokens=3), self.info)

    async def aclose(self) -> None:
        pass


LOOK_UP = {
    "name": "look_up",
    "description": "Looks a word up",
    "inputSchema": {"type": "object", "properties": {"word": {"type": "string"}}},
}


def asked(*messages: dict[str, Any], **fields: Any) -> types.CreateMessageRequestParams:
    said = messages or ({"role": "user", "content": {"type": "text", "text": "hello"}},)
    return types.CreateMessageRequestParams.model_validate({"messages": said, "maxTokens": 100, **fields})


def sampler(model: Model | None = None, /, **settings: Any) -> Sampler:
    return Sampler("a", McpSamplingSettings(**settings), lambda _name: model or Scripted())


def used(identifier: str, word: str) -> dict[str, Any]:
    block = {"type": "tool_use", "id": identifier, "name": "look_up", "input": {"word": word}}
    return {"role": "assistant", "content": [block]}


def found(identifier: str, text: str, **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    block = {"type": "tool_result", "toolUseId": identifier, "content": content, **fields}
    return {"role": "user", "content": [block]}


async def test_rounds_of_tools_go_through_the_server_and_back(bench: Bench) -> None:
    """Over the wire, with a server that runs the tools itself."""
    call = ToolCall("c1", "look_up", '{"word": "tea"}')
    model = Scripted(
        AssistantMessage("Let me see.", (call,), finish_reason="tool_calls"), AssistantMessage("A hot drink.")
    )
    manager = bench.manager(ports={"model_for": lambda _name: model}, a=raw(more=1))
    question = {"role": "user", "content": {"type": "text", "text": "What is tea?"}}
    params = {"messages": [question], "maxTokens": 50, "tools": [LOOK_UP], "systemPrompt": "Be brief."}

    first = data(await bench.call(manager, "mcp_a_ask", method="sampling/createMessage", params=params))

    assert first["stopReason"] == "toolUse"
    assert first["content"] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "c1", "name": "look_up", "input": {"word": "tea"}},
    ]
    params["messages"] = [
        question,
        {"role": "assistant", "content": first["content"]},
        found("c1", "leaves in water"),
    ]
    second = data(await bench.call(manager, "mcp_a_ask", method="sampling/createMessage", params=params))

    assert second["stopReason"] == "endTurn"
    assert second["content"] == [{"type": "text", "text": "A hot drink."}]
    request = model.requests[-1]
    assert request.system == "Be brief."
    assert [tool.name for tool in request.tools] == ["look_up"]
    assert request.messages == (
        UserMessage.of("What is tea?"),
        AssistantMessage("Let me see.", (call,)),
        ToolMessage("c1", "look_up", "leaves in water"),
    )


async def test_the_rounds_of_tools_are_limited() -> None:
    model = Scripted()
    limited = sampler(model, max_tool_rounds=2)
    messages = [asked().messages[0].model_dump(by_alias=True, exclude_none=True)]
    for number in range(2):
        messages += [used(f"c{number}", "tea"), found(f"c{number}", "x", isError=True)]
    fine = await limited.answer(asked(*messages, tools=[LOOK_UP]), None)
    assert isinstance(fine, types.CreateMessageResultWithTools)
    assert [m.is_error for m in model.requests[0].messages if isinstance(m, ToolMessage)] == [True, True]
    messages += [used("c9", "tea"), found("c9", "x")]
    refused = await limited.answer(asked(*messages, tools=[LOOK_UP]), None)
    assert isinstance(refused, types.ErrorData)
    assert refused.message == "Refused: more than 2 rounds of tools in one request"
    assert len(model.requests) == 1


async def test_a_server_that_wants_no_tools_now_gets_none() -> None:
    model = Scripted()
    await sampler(model).answer(asked(tools=[LOOK_UP], toolChoice={"mode": "none"}), None)
    assert model.requests[0].tools == ()


@pytest.mark.parametrize(
    ("settings", "hints", "chosen"),
    [
        ({}, ["anything"], ""),
        ({"model": "big"}, ["small"], "big"),
        ({"allowed_models": ["small", "big"]}, [], "small"),
        ({"allowed_models": ["small", "big"]}, ["big"], "big"),
        ({"allowed_models": ["small", "big"]}, ["huge", "bi"], "big"),
        ({"allowed_models": ["small", "big"]}, ["huge"], "small"),
        ({"allowed_models": ["small", "big"], "model": "big"}, ["huge"], "big"),
        ({"allowed_models": ["small"], "model": "big"}, ["small"], "small"),
    ],
)
async def test_a_server_chooses_among_the_allowed_models_only(
    settings: dict[str, Any], hints: list[str], chosen: str
) -> None:
    names: list[str] = []

    def model_for(name: str) -> Model:
        names.append(name)
        return Scripted(name=name)

    limited = Sampler("a", McpSamplingSettings(**settings), model_for)
    preferences = {"hints": [{"name": hint} for hint in hints]}
    await limited.answer(asked(modelPreferences=preferences), None)
    assert names == [chosen]


async def test_a_model_outside_the_list_is_refused() -> None:
    model = Scripted()
    refused = await sampler(model, model="big", allowed_models=["small"]).answer(asked(), None)
    assert isinstance(refused, types.ErrorData)
    assert "'big' is not among sampling.allowed_models" in refused.message
    assert model.requests == []


async def test_the_rate_limit_counts_requests_and_lets_others_through_later() -> None:
    now = [1000.0]
    model = Scripted()
    limited = Sampler("a", McpSamplingSettings(max_rpm=2), lambda _name: model, clock=lambda: now[0])
    assert not isinstance(await limited.answer(asked(), None), types.ErrorData)
    now[0] += 30
    assert not isinstance(await limited.answer(asked(), None), types.ErrorData)
    refused = await limited.answer(asked(), None)
    assert isinstance(refused, types.ErrorData)
    assert refused.message == "Refused: more than 2 model requests in a minute"
    now[0] += 31  # the first is more than a minute ago
    assert not isinstance(await limited.answer(asked(), None), types.ErrorData)
    assert isinstance(await limited.answer(asked(), None), types.ErrorData)
    assert len(model.requests) == 3


@pytest.mark.parametrize(("wanted", "given"), [(10, 10), (4096, 4096), (1_000_000, 4096)])
async def test_the_length_of_answers_is_capped(wanted: int, given: int) -> None:
    model = Scripted()
    await sampler(model).answer(asked(maxTokens=wanted), None)
    assert model.requests[0].max_output_tokens == given


@pytest.mark.parametrize(
    ("answer", "settings", "problem"),
    [
        (None, {"timeout": 0.05}, "no answer within 0.05 s"),
        (ModelError("The model is overloaded"), {}, "The model is overloaded"),
        (AssistantMessage("x"), {"enabled": False}, "model requests by this server are switched off"),
    ],
)
async def test_what_goes_wrong_is_told_to_server_and_person(
    bench: Bench, answer: Any, settings: dict[str, Any], problem: str
) -> None:
    refused = await sampler(Scripted(answer), **settings).answer(asked(), bench.person.context())
    assert isinstance(refused, types.ErrorData)
    assert refused.message == f"Refused: {problem}"
    assert bench.person.reports[-1] == f"[MCP server 'a' asked a model and was refused: {problem}]\n"


async def test_a_request_without_messages_is_refused() -> None:
    params = asked().model_copy(update={"messages": []})
    assert isinstance(await sampler().answer(params, None), types.ErrorData)


async def test_images_are_shown_to_the_model_and_sounds_are_named() -> None:
    model = Scripted(AssistantMessage("cut off he", finish_reason="length"))
    blocks = [
        {"type": "text", "text": "what is this"},
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
        {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
    ]
    result = await sampler(model).answer(asked({"role": "user", "content": blocks}), None)
    assert isinstance(result, types.CreateMessageResult)
    assert result.stop_reason == "maxTokens"
    assert result.model == "small"
    (message,) = model.requests[0].messages
    assert isinstance(message, UserMessage)
    assert message.parts == (
        TextPart("what is this"),
        ImagePart("image/png", "AAAA"),
        TextPart("[audio, which cannot be heard here]"),
    )


async def test_arguments_that_are_no_object_do_not_break_the_answer() -> None:
    calls = (ToolCall("", "look_up", "not json"), ToolCall("c2", "look_up", "[1]"))
    model = Scripted(AssistantMessage("", calls, finish_reason="tool_calls"))
    result = await sampler(model).answer(asked(tools=[LOOK_UP]), None)
    assert isinstance(result, types.CreateMessageResultWithTools)
    first, second = result.content_as_list
    assert isinstance(first, types.ToolUseContent)
    assert isinstance(second, types.ToolUseContent)
    assert (first.input, second.input) == ({}, {})
    assert first.id.startswith("call_")


@pytest.fixture
def lines() -> Iterator[list[tuple[int, str]]]:
    """What the sampling module logs."""
    found: list[tuple[int, str]] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((record.levelno, record.getMessage()))

    logger, handler = logging.getLogger("hermes_agent.mcp.sampling"), Keeper()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


@pytest.mark.parametrize(("level", "number"), [("debug", 10), ("info", 20), ("warning", 30)])
async def test_requests_are_logged_as_loudly_as_configured(
    lines: list[tuple[int, str]], level: str, number: int
) -> None:
    await sampler(log_level=level).answer(asked(), None)
    assert lines == [
        (number, "MCP server 'a' asks test:small for up to 100 tokens"),
        (number, "MCP server 'a' got 3 tokens from test:small"),
    ]
    assert "hello" not in json.dumps(lines)
