"""Servers that answer anything but what the protocol says: a clear error, soon, and nobody else is hit."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import mcp_types as types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_bench import Bench, raw
from pydantic import ValidationError

from hermes_agent.mcp.content import from_call
from hermes_agent.mcp.errors import McpError
from hermes_agent.mcp.listing import sift_content

GARBAGE = [
    "",
    "null",
    "5",
    "[]",
    "{}",
    "not json at all",
    "\x00\xff\xfe binary",
    "{" * 5_000,
    "[" * 200_000,
    '{"jsonrpc": "2.0", "id": {id}}',
    '{"jsonrpc": "2.0", "id": {id}, "result": null}',
    '{"jsonrpc": "2.0", "id": {id}, "result": 5}',
    '{"jsonrpc": "2.0", "id": {id}, "result": []}',
    '{"jsonrpc": "2.0", "id": {id}, "result": {}}',
    '{"jsonrpc": "2.0", "id": {id}, "result": {"content": 5, "tools": 5, "protocolVersion": 5}}',
    '{"jsonrpc": "2.0", "id": {id}, "result": {"content": [null, 7, {"type": "text"}], "tools": [null, 7]}}',
    '{"jsonrpc": "2.0", "id": {id}, "error": "broken"}',
    '{"jsonrpc": "2.0", "id": {id}, "error": {"code": "x", "message": null}}',
    '{"jsonrpc": "2.0", "id": {id}, "error": {"code": -32603, "message": "broken \\u0000 inside"}}',
    '{"jsonrpc": "2.0", "id": "another", "result": {}}',
    '{"jsonrpc": "1.0", "id": {id}, "result": {}}',
    '[{"jsonrpc": "2.0", "id": {id}, "result": {}}]',
    '{"jsonrpc": "2.0", "id": {id}, "result": {"protocolVersion": "1999-01-01", "capabilities": {}, '
    '"serverInfo": {"name": "old", "version": "0"}}}',
    '{"jsonrpc": "2.0", "method": "exit"}',
    '{"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {"messages": 5}}',
    '{"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": {"requestedSchema": []}}',
    '{"jsonrpc": "2.0", "id": 7, "method": "no/such/method"}',
    '{"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": {}}}',
    '{"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {}}',
]


def broken(method: str, answer: str) -> Any:
    seconds = 20 if method == "tools/call" else 3
    return raw(answers=json.dumps({method: answer}), settings={"timeout": 0.4, "connect_timeout": seconds})


@pytest.mark.parametrize("method", ["initialize", "tools/list", "tools/call"])
async def test_whatever_a_server_answers_is_an_error_or_a_result(bench: Bench, method: str) -> None:
    names = [f"s{number}" for number in range(len(GARBAGE))]
    servers = {name: broken(method, answer) for name, answer in zip(names, GARBAGE, strict=True)}
    manager = bench.manager(**servers, fine=raw())

    async def attempt(name: str) -> None:
        try:
            client = await manager.connection(name).client()
            await client.call_tool("echo", {"text": "x"}, bench.person.context())
        except McpError as error:
            assert error.server == name
            assert error.lines
            assert "Traceback" not in " ".join(error.lines)

    async with asyncio.timeout(30):
        await asyncio.gather(*map(attempt, names))
    assert (await bench.call(manager, "mcp_fine_echo", text="still here")).text == "still here"
    for status in manager.statuses():
        assert status.line


@pytest.mark.parametrize("text", ["cut \\ud83d", "\\ude00 cut", "bytes \xff\xfe", "null \\u0000"])
async def test_half_a_character_does_not_lose_the_answer(bench: Bench, text: str) -> None:
    """Programs in JavaScript that shorten texts in the middle of an emoji send such."""
    result = '{"content": [{"type": "text", "text": "before TEXT after"}]}'.replace("TEXT", text)
    answer = '{"jsonrpc": "2.0", "id": {id}, "result": ' + result + "}"
    said = await bench.call(bench.manager(a=broken("tools/call", answer)), "mcp_a_echo", text="x")
    assert said.text.startswith("before ")
    assert said.text.endswith(" after")
    said.text.encode()


async def test_halves_of_characters_of_models_and_people_do_not_end_a_session(bench: Bench) -> None:
    manager = bench.manager(a=raw(more=1))
    pid = (await bench.call(manager, "mcp_a_pid")).text
    assert (await bench.call(manager, "mcp_a_echo", text="a\ud83d")).text == "a?"
    await bench.call(manager, "mcp_a_echo", **{"\udc00": ["\udc00"]})
    bench.person.answers[:] = ["half \ud83d"]
    form = {"type": "object", "properties": {"name": {"type": "string"}}}
    params = {"message": "Who?", "requestedSchema": form}
    answer = await bench.call(manager, "mcp_a_ask", method="elicitation/create", params=params)
    assert json.loads(answer.text)["content"] == {"name": "half ?"}
    assert (await bench.call(manager, "mcp_a_pid")).text == pid


KEYS = st.sampled_from(["content", "type", "text", "isError", "structuredContent", "resource", "data"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)


@given(JSON)
def test_any_result_of_a_call_is_shown_or_refused(result: Any) -> None:
    sifted = sift_content(result) if isinstance(result, dict) else {}
    try:
        parsed = types.CallToolResult.model_validate(sifted, by_name=False)
    except ValidationError:
        return
    assert isinstance(from_call(parsed).text, str)
