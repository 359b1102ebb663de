"""The scripted server as the official clients see it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import anthropic
import openai
import pytest

from hermes_agent.models.scripted.server import ScriptedServer

StartServer = Callable[..., ScriptedServer]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "read_file",
            "description": "Read",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}},
                "required": ["path"],
            },
        },
    }
]
CALL = """
- reasoning: [I should, " read it."]
  text: Let me look.
  chunk_size: 5
  tool_calls:
    - {name: read_file, arguments: {path: a.txt}, id: call_a}
    - {name: read_file, arguments: {path: b.txt}}
- text: "It says {{tool_result}}."
  expect: {tool_result: "hello", has_tool: read_file, messages: 4}
"""


@pytest.fixture
async def clients() -> AsyncIterator[list[openai.AsyncOpenAI | anthropic.AsyncAnthropic]]:
    made: list[openai.AsyncOpenAI | anthropic.AsyncAnthropic] = []
    yield made
    for client in made:
        await client.close()


async def test_chat_completions_stream_reasoning_text_and_calls_and_see_the_results(
    model_server: StartServer, clients: list
) -> None:
    server = model_server(CALL)
    client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0)
    clients.append(client)
    messages: list = [{"role": "user", "content": "read"}]
    text, reasoning, calls, usage, finish = "", "", {}, None, None
    stream = await client.chat.completions.create(
        model="m", messages=messages, tools=TOOLS, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            text += choice.delta.content or ""
            reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            for call in choice.delta.tool_calls or ():
                slot = calls.setdefault(call.index, {"id": call.id, "name": "", "arguments": ""})
                slot["name"] += call.function.name or ""
                slot["arguments"] += call.function.arguments or ""
    assert (text, reasoning, finish) == ("Let me look.", "I should read it.", "tool_calls")
    assert calls[0] == {"id": "call_a", "name": "read_file", "arguments": '{"path": "a.txt"}'}
    assert json.loads(calls[1]["arguments"]) == {"path": "b.txt"}
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens_details.reasoning_tokens == 5

    sent = [
        {"id": c["id"], "type": "function", "function": {k: c[k] for k in ("name", "arguments")}}
        for c in calls.values()
    ]
    messages.append({"role": "assistant", "content": text, "tool_calls": sent})
    messages += [{"role": "tool", "tool_call_id": c["id"], "content": "hello"} for c in calls.values()]
    reply = await client.chat.completions.create(model="m", messages=messages, tools=TOOLS)
    assert reply.choices[0].message.content == "It says hello."
    assert reply.usage.prompt_tokens_details.cached_tokens > 0
    server.assert_complete()


async def test_responses_stream_the_events_that_the_client_understands(
    model_server: StartServer, clients: list
) -> None:
    server = model_server(CALL)
    client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0)
    clients.append(client)
    tools = [{"type": "function", **TOOLS[0]["function"], "strict": False}]  # type: ignore[dict-item]
    items: list = [{"role": "user", "content": "read"}]
    async with client.responses.stream(
        model="m", input=items, tools=tools, instructions="Be brief"
    ) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert final.output_text == "Let me look."
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output[0].summary[0].text == "I should read it."
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens == 5

    items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in final.output]
    items += [
        {"type": "function_call_output", "call_id": item.call_id, "output": "hello"}
        for item in final.output
        if item.type == "function_call"
    ]
    reply = await client.responses.create(model="m", input=items, tools=tools, instructions="Be brief")
    assert reply.output_text == "It says hello."
    assert reply.usage.input_tokens_details.cached_tokens > 0
    server.assert_complete()


async def test_messages_stream_blocks_that_the_client_accumulates(
    model_server: StartServer, clients: list
) -> None:
    server = model_server(CALL)
    client = anthropic.AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0)
    clients.append(client)
    function = TOOLS[0]["function"]
    tools = [{"name": function["name"], "description": "Read", "input_schema": function["parameters"]}]  # type: ignore[index]
    mark = {"cache_control": {"type": "ephemeral"}}
    messages: list = [{"role": "user", "content": [{"type": "text", "text": "read", **mark}]}]
    async with client.messages.stream(model="m", max_tokens=99, messages=messages, tools=tools) as stream:
        async for _event in stream:
            pass
        final = await stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert final.content[2].input == {"path": "a.txt"}
    assert final.stop_reason == "tool_use"
    assert final.usage.cache_creation_input_tokens > 0
    assert final.usage.input_tokens == 0

    messages[0]["content"][0].pop("cache_control")
    messages.append(
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in final.content]}
    )
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "hello"} for block in final.content[2:]
    ]
    results[-1] = {**results[-1], **mark}
    messages.append({"role": "user", "content": results})
    reply = await client.messages.create(model="m", max_tokens=99, messages=messages, tools=tools)
    assert reply.content[0].text == "It says hello."
    assert reply.usage.cache_read_input_tokens == final.usage.cache_creation_input_tokens
    server.assert_complete()


@pytest.mark.parametrize(
    ("status", "openai_error", "anthropic_error"),
    [
        (401, openai.AuthenticationError, anthropic.AuthenticationError),
        (404, openai.NotFoundError, anthropic.NotFoundError),
        (429, openai.RateLimitError, anthropic.RateLimitError),
        (503, openai.InternalServerError, anthropic.APIStatusError),
    ],
)
async def test_http_errors_become_the_errors_of_the_client(
    status: int, openai_error: type, anthropic_error: type, model_server: StartServer, clients: list
) -> None:
    server = model_server([{"error": {"status": status, "headers": {"Retry-After": 7}}, "times": 3}])
    client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0)
    other = anthropic.AsyncAnthropic(base_url=server.url, api_key="k", max_retries=0)
    clients += [client, other]
    message: list = [{"role": "user", "content": "x"}]
    with pytest.raises(openai_error) as caught:
        await client.chat.completions.create(model="m", messages=message, stream=True)
    assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai_error):
        await client.responses.create(model="m", input="x")
    with pytest.raises(anthropic_error):
        await other.messages.create(model="m", max_tokens=9, messages=message)
    server.assert_complete()


@pytest.mark.parametrize("clean", [True, False])
async def test_a_cut_ends_the_stream_without_a_finish_reason(
    clean: bool, model_server: StartServer, clients: list
) -> None:
    server = model_server([{"text": ["one ", "two ", "three"], "cut": {"after_events": 2, "clean": clean}}])
    client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0)
    clients.append(client)
    seen, finish = "", None
    try:
        async for chunk in await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "x"}], stream=True
        ):
            seen += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason
    except Exception as error:  # noqa: BLE001 - the client lets its transport's error through
        assert not clean, error
    else:
        assert clean
    assert (seen, finish) == ("one two ", None)


async def test_models_are_listed_for_both_clients(model_server: StartServer, clients: list) -> None:
    server = model_server("{model: my-model, context_window: 4096, steps: [hi]}")
    client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k")
    other = anthropic.AsyncAnthropic(base_url=server.url, api_key="k")
    clients += [client, other]
    listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == ["my-model"]
    assert listed[0].max_model_len == 4096  # type: ignore[attr-defined]
    assert [model.id async for model in other.models.list()] == ["my-model"]
    assert (await client.models.retrieve("org/other")).id == "org/other"
