"""`POST /v1/chat/completions` over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from api_serving import KEY, StartApi, parse_events, until

LOOK = [
    {"text": "Let me look.", "tool_calls": [{"name": "terminal", "arguments": {"command": "echo found-it"}}]},
    {"text": "It is there.", "expect": {"tool_result": "found-it"}},
]


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def text_of(events: list[Any]) -> str:
    chunks = [event.json for event in events if not event.name and event.data != "[DONE]"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk.get("choices")]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_a_completion_has_text_usage_and_finish_reason(start_api: StartApi) -> None:
    api = await start_api(
        [{"text": "Hello!", "usage": {"input_tokens": 100, "output_tokens": 7, "cache_read_tokens": 60}}]
    )
    response = await api.chat("hi", model="hermes-agent")
    body = response.json()
    assert content(response) == "Hello!"
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-") and len(body["id"]) == 38
    assert body["model"] == "hermes-agent"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["prompt_tokens"] == 100
    assert body["usage"]["completion_tokens"] == 7
    assert body["usage"]["total_tokens"] == 107
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 60}


async def test_tools_run_on_the_server_and_usage_counts_every_turn(start_api: StartApi) -> None:
    usage = {"usage": {"input_tokens": 10, "output_tokens": 5}}
    api = await start_api([{**LOOK[0], **usage}, {**LOOK[1], **usage}])
    response = await api.chat("is it there?")
    assert content(response) == "Let me look.\n\nIt is there."
    assert response.json()["usage"]["prompt_tokens"] == 20


async def test_a_stream_gives_the_same_text_and_nothing_about_tools(start_api: StartApi) -> None:
    api = await start_api(LOOK)
    events = await api.stream(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "is it there?"}], "stream": True}
    )
    assert text_of(events) == "Let me look.\n\nIt is there."
    assert {event.name for event in events} == {""}
    assert "found-it" not in "".join(event.data for event in events)
    assert events[0].json["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    last = events[-2].json
    assert events[-1].data == "[DONE]"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["usage"]["total_tokens"] > 0


async def test_tool_progress_comes_as_named_events_if_asked_for(start_api: StartApi) -> None:
    api = await start_api(LOOK)
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True}
    events = await api.stream("/v1/chat/completions", body, X_Hermes_Events="tools")
    progress = [event.json for event in events if event.name == "hermes.tool.progress"]
    assert [each["status"] for each in progress] == ["running", "completed"]
    assert progress[0]["tool"] == "terminal"
    assert "echo found-it" in progress[0]["label"]
    assert progress[0]["toolCallId"] == progress[1]["toolCallId"]
    assert text_of(events) == "Let me look.\n\nIt is there."


async def test_usage_comes_in_a_chunk_of_its_own_if_asked_for(start_api: StartApi) -> None:
    api = await start_api(["Hi"])
    events = await api.stream(
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": "hi"}],
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    )
    chunks = [event.json for event in events[:-1]]
    assert [bool(chunk.get("usage")) for chunk in chunks].count(True) == 1
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] > 0


async def test_system_messages_are_layered_over_the_agents_prompt(start_api: StartApi) -> None:
    api = await start_api(
        [{"text": "Arr", "expect": {"system_contains": ["Talk like a pirate.", "How you work"]}}]
    )
    messages = [
        {"role": "system", "content": "Talk like a pirate."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}]},
    ]
    response = await api.post("/v1/chat/completions", {"messages": messages})
    assert content(response) == "Arr"


async def test_history_of_the_client_reaches_the_model_in_order(
    start_api: StartApi, model_server: Any
) -> None:
    server = model_server([{"text": "ok"}])
    api = await start_api(model_url=server.base_url)
    messages = [
        {"role": "user", "content": "one"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "result"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    await api.post("/v1/chat/completions", {"messages": messages})
    sent = server.requests[0].body["messages"][1:]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[-1]["content"] == "three"


async def test_images_are_passed_on(start_api: StartApi, model_server: Any) -> None:
    server = model_server([{"text": "a cat"}])
    api = await start_api(model_url=server.base_url, agent={"image_input_mode": "native"})
    pixel = "iVBORw0KGgo="
    parts = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.jpg"}},
    ]
    response = await api.post("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})
    assert content(response) == "a cat"
    sent = server.requests[0].body["messages"][-1]["content"]
    assert [part["type"] for part in sent] == ["text", "image_url", "image_url"]
    assert sent[1]["image_url"]["url"].endswith(pixel)


async def test_a_wrong_field_is_named(start_api: StartApi) -> None:
    api = await start_api(["never"])
    cases: list[tuple[Any, str, str | None]] = [
        ({}, "messages", None),
        ({"messages": []}, "messages", None),
        ({"messages": "hi"}, "messages", None),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages", None),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages", None),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", None),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", None),
        ({"messages": [{"role": "user", "content": "x"}], "n": 2}, "n", None),
        ({"messages": [{"role": "user", "content": "x"}], "stream": "yes"}, "stream", None),
        (
            {"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "huge"},
            "reasoning_effort",
            None,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0]",
            "unsupported_content_type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc"}]}]},
            "messages[0].content[0].image_url",
            "unsupported_content_type",
        ),
    ]
    for body, param, code in cases:
        response = await api.post("/v1/chat/completions", body)
        error = response.json()["error"]
        assert response.status_code == 400, body
        assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
        assert error["message"]


async def test_a_body_that_is_no_json_object_is_refused(start_api: StartApi) -> None:
    api = await start_api(["never"])
    for body in (b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000):
        response = await api.client.post("/v1/chat/completions", content=body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        ({"status": 429, "message": "slow down"}, 429, "rate_limit_exceeded"),
        ({"status": 401, "message": "bad key"}, 502, "model_auth_failed"),
        ({"status": 500, "message": "boom"}, 502, "model_error"),
        (
            {"status": 400, "message": "too long", "code": "context_length_exceeded"},
            400,
            "context_length_exceeded",
        ),
    ],
)
async def test_a_failing_model_gives_an_error_object(
    start_api: StartApi, failure: dict[str, Any], status: int, code: str
) -> None:
    api = await start_api({"rules": [{"error": failure}]})
    response = await api.chat("hi")
    assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == code
    assert response.headers["x-hermes-completed"] == "false"


async def test_a_failing_stream_ends_with_an_error_and_not_with_stop(start_api: StartApi) -> None:
    api = await start_api([{"text": "This is as far as I", "chunk_size": 4, "cut": 3}])
    events = await api.stream(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    )
    assert text_of(events).startswith("This")
    reasons = [event.json["choices"][0]["finish_reason"] for event in events[:-2]]
    assert reasons[-1] == "error"
    assert events[-2].json["error"]["message"]
    assert events[-1].data == "[DONE]"


async def test_a_failure_after_some_text_is_a_partial_answer(start_api: StartApi) -> None:
    api = await start_api([{"text": "This is as far as I", "chunk_size": 4, "cut": 3}])
    response = await api.chat("hi")
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "agent_incomplete"
    assert "This is" in response.json()["error"]["message"]
    assert response.headers["x-hermes-partial"] == "true"


async def test_an_answer_at_the_output_limit_is_length(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "more ", "finish_reason": "length"}]})
    body = (await api.chat("hi")).json()
    assert body["choices"][0]["finish_reason"] == "length"


async def test_text_is_not_doubled_if_the_request_is_made_again(start_api: StartApi) -> None:
    script = [
        {"text": "One two three.", "chunk_size": 4, "cut": 2},
        {"text": "One two three.", "chunk_size": 5},
    ]
    api = await start_api(script, agent={"api_max_retries": 2})
    events = await api.stream(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "count"}], "stream": True}
    )
    assert text_of(events) == "One two three."


async def test_no_line_of_a_stream_is_longer_than_64_kib(start_api: StartApi) -> None:
    long = '"\u0001é😀' * 50_000
    api = await start_api({"rules": [{"text": long, "chunk_size": 1_000_000}]})
    messages = [{"role": "user", "content": "hi"}]
    for path, body in (
        ("/v1/chat/completions", {"messages": messages, "stream": True}),
        ("/v1/responses", {"input": "hi", "stream": True}),
    ):
        response = await api.client.post(path, json=body)
        assert max(map(len, response.content.split(b"\n"))) <= 64 * 1024
        events = parse_events(response.text)
        if path.endswith("completions"):
            assert text_of(events) == long
        else:
            deltas = [event.json["delta"] for event in events if event.name.endswith("text.delta")]
            assert "".join(deltas) == long
            whole = await api.client.get(f"/v1/responses/{events[0].json['response']['id']}")
            assert whole.json()["output"][0]["content"][0]["text"] == long


async def test_a_silent_model_is_bridged_by_comments(start_api: StartApi) -> None:
    api = await start_api([{"text": "late", "delay_seconds": 0.5}])
    api.server.application.keep_alive_seconds = 0.1
    response = await api.client.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}], "stream": True}
    )
    assert response.text.count(": keep-alive\n\n") >= 3
    assert text_of(parse_events(response.text)) == "late"


async def test_an_unstored_run_is_stopped_when_its_client_leaves(
    start_api: StartApi, model_server: Any
) -> None:
    server = model_server({"rules": [{"text": "word " * 200, "chunk_size": 5, "chunk_delay_seconds": 0.05}]})
    api = await start_api(model_url=server.base_url)
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for piece in response.aiter_bytes():
            if b"word" in piece:
                break
    await until(lambda: server.stats()["disconnects"] == 1)
    await until(lambda: api.server.health().active == 0)
    with pytest.raises(httpx.ReadTimeout):
        await api.client.post("/v1/chat/completions", json={**body, "stream": False}, timeout=0.3)
    await until(lambda: server.stats()["disconnects"] == 2)


async def test_ignored_fields_are_told(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    response = await api.chat("hi", temperature=0.1, tools=[{"type": "function"}])
    assert response.headers["x-hermes-ignored"] == "temperature, tools"


async def test_side_requests_of_front_ends_get_no_tools(start_api: StartApi) -> None:
    api = await start_api([{"text": '{"title": "Cats"}', "expect": {"lacks_tool": "terminal"}}])
    task = "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n…"
    response = await api.chat(task)
    assert content(response) == '{"title": "Cats"}'
    assert response.json()["usage"]["prompt_tokens"] < 200


async def test_the_same_idempotency_key_gets_the_same_answer(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["first", "second", "third"])
    api = await start_api(model_url=server.base_url)
    headers = {"Idempotency-Key": "order-1"}
    one, two = await asyncio.gather(api.chat("hi", headers=headers), api.chat("hi", headers=headers))
    assert one.json() == two.json()
    assert len(server.requests) == 1
    other = await api.chat("something else", headers=headers)
    assert other.status_code == 409
    assert other.json()["error"]["code"] == "idempotency_key_reused"
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    streams = [
        await api.client.post("/v1/chat/completions", json=body, headers={"Idempotency-Key": "order-2"})
        for _ in range(2)
    ]
    assert streams[0].content == streams[1].content
    assert len(server.requests) == 2


async def test_a_conversation_goes_on_by_its_session_id(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["Nice to meet you.", "Ada.", "Still Ada."])
    api = await start_api(model_url=server.base_url)
    first = await api.chat("I am Ada.")
    session_id = first.headers["x-hermes-session-id"]
    second = await api.chat("Who am I?", headers={"X-Hermes-Session-Id": session_id})
    assert content(second) == "Ada."
    assert second.headers["x-hermes-session-id"] == session_id
    third = await api.chat("And now?", headers={"X-Hermes-Session-Id": session_id})
    assert content(third) == "Still Ada."
    roles = [message["content"] for message in server.requests[2].body["messages"][1:]]
    assert roles == ["I am Ada.", "Nice to meet you.", "Who am I?", "Ada.", "And now?"]


async def test_a_session_named_by_the_client_survives_a_restart(
    start_api: StartApi, model_server: Any
) -> None:
    server = model_server(["one", "two", "three"])
    key = {"X-Hermes-Session-Key": "chat-42"}
    api = await start_api(model_url=server.base_url)
    first = await api.chat("a", headers=key)
    store = await api.app.store()
    record = await store.get(first.headers["x-hermes-session-id"])
    assert record.source == "api_server"
    await api.server.application.runs.sessions.aclose()
    second = await api.chat("b", headers=key)
    assert second.headers["x-hermes-session-id"] == first.headers["x-hermes-session-id"]
    assert len(server.requests[1].body["messages"]) == 4


@pytest.mark.parametrize("session_id", ["api-0123456789abcdef", "20260101_000000_abcdef"])
async def test_an_unknown_session_is_not_found(start_api: StartApi, session_id: str) -> None:
    api = await start_api(["never"])
    response = await api.chat("hi", headers={"X-Hermes-Session-Id": session_id})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "session_not_found"


async def test_sessions_of_other_surfaces_and_keys_are_not_found(start_api: StartApi) -> None:
    api = await start_api(["never"])
    store = await api.app.store()
    for source, user in (("cli", None), ("telegram", "7"), ("api_server", "somebody-else")):
        record = await store.create(source=source, user_id=user)
        response = await api.chat("hi", headers={"X-Hermes-Session-Id": record.id})
        assert response.status_code == 404, source


async def test_session_ids_are_random(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "ok"}]})
    ids = {(await api.chat("same words")).headers["x-hermes-session-id"] for _ in range(5)}
    assert len(ids) == 5


async def test_a_busy_session_is_a_conflict(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "slow", "delay_seconds": 1}]})
    headers = {"X-Hermes-Session-Key": "one"}
    first = asyncio.create_task(api.chat("a", headers=headers))
    await until(lambda: api.server.health().active == 1)
    second = await api.chat("b", headers=headers)
    assert second.status_code == 409
    assert second.json()["error"]["code"] == "session_busy"
    assert content(await first) == "slow"


async def test_many_requests_at_once_share_few_connections(start_api: StartApi, model_server: Any) -> None:
    server = model_server({"rules": [{"text": "{{user}}"}]})
    api = await start_api(model_url=server.base_url)
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(
        base_url=api.url, headers={"Authorization": f"Bearer {KEY}"}, limits=limits, timeout=60
    ) as client:

        async def ask(number: int) -> str:
            body = {"messages": [{"role": "user", "content": f"number {number}"}]}
            return content(await client.post("/v1/chat/completions", json=body))

        for _ in range(3):
            answers = await asyncio.gather(*(ask(number) for number in range(40)))
            assert answers == [f"number {number}" for number in range(40)]
    assert server.stats()["connections"] <= 60


async def test_approval_is_denied_unless_the_client_listens(start_api: StartApi) -> None:
    script = [
        {"tool_calls": [{"name": "terminal", "arguments": {"command": "rm -rf build"}}]},
        {"text": "Not done.", "expect": {"tool_result": "nobody can be asked"}},
    ]
    api = await start_api(script)
    (api.workspace / "build").mkdir()
    assert content(await api.chat("clean up")) == "Not done."
    assert (api.workspace / "build").exists()


async def test_a_listening_client_approves_the_exact_action(start_api: StartApi) -> None:
    script = [
        {"tool_calls": [{"name": "terminal", "arguments": {"command": "rm -rf build"}}]},
        {"text": "Done."},
    ]
    api = await start_api(script)
    (api.workspace / "build").mkdir()
    body = {
        "messages": [{"role": "user", "content": "clean up"}],
        "stream": True,
        "hermes_events": ["approvals"],
    }
    text = ""
    async with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            text += f"{line}\n"
            if line.startswith("data: ") and "answer_at" in line:
                asked = json.loads(line.removeprefix("data: "))
                assert "rm -rf build" in asked["action"]
                decided = await api.post(
                    asked["answer_at"], {"request_id": asked["request_id"], "decision": "once"}
                )
                assert decided.status_code == 200
                again = await api.post(asked["answer_at"], {"decision": "once"})
                assert again.status_code == 409
    assert text_of(parse_events(text)) == "Done."
    assert not (api.workspace / "build").exists()
