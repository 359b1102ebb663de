"""`/v1/responses` over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from api_serving import StartApi, parse_events, until

LOOK = [
    {"text": "Let me look.", "tool_calls": [{"name": "terminal", "arguments": {"command": "echo found-it"}}]},
    {"text": "It is there.", "expect": {"tool_result": "found-it"}},
]


def text_of(body: dict[str, Any]) -> str:
    messages = [item for item in body["output"] if item["type"] == "message"]
    return "\n".join(message["content"][0]["text"] for message in messages)


def said(request: Any) -> list[str]:
    """Texts of the conversation that the model was sent."""
    return [message["content"] for message in request.body["messages"] if message["role"] != "system"]


async def test_a_response_has_items_and_usage(start_api: StartApi) -> None:
    api = await start_api(LOOK)
    body = (await api.post("/v1/responses", {"input": "look", "metadata": {"a": "b"}})).json()
    assert body["id"].startswith("resp_") and len(body["id"]) == 33
    assert body["status"] == "completed"
    assert [item["type"] for item in body["output"]] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]
    call, output = body["output"][1:3]
    assert call["name"] == "terminal"
    assert call["call_id"] == output["call_id"]
    assert "found-it" in output["output"]
    assert text_of(body) == "Let me look.\nIt is there."
    assert body["usage"]["total_tokens"] > 0
    assert body["metadata"] == {"a": "b"}


async def test_events_are_numbered_and_end_with_the_response(start_api: StartApi) -> None:
    api = await start_api(LOOK)
    events = await api.stream("/v1/responses", {"input": "look", "stream": True})
    assert [event.json["sequence_number"] for event in events] == list(range(len(events)))
    assert [event.name for event in events] == [event.json["type"] for event in events]
    names = [event.name for event in events]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] == "response.completed"
    assert names.count("response.output_item.added") == names.count("response.output_item.done") == 4
    assert "response.function_call_arguments.done" in names
    final = events[-1].json["response"]
    stored = await api.client.get(f"/v1/responses/{final['id']}")
    assert stored.json() == final


async def test_a_previous_response_is_gone_on_from(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["one", "two", "three", "four"])
    api = await start_api(model_url=server.base_url)
    first = (await api.post("/v1/responses", {"input": "a", "instructions": "Be odd."})).json()
    second = await api.post("/v1/responses", {"input": "b", "previous_response_id": first["id"]})
    assert text_of(second.json()) == "two"
    assert said(server.requests[1]) == ["a", "one", "b"]
    assert "Be odd." in server.requests[1].body["messages"][0]["content"]
    branch = await api.post("/v1/responses", {"input": "c", "previous_response_id": first["id"]})
    assert text_of(branch.json()) == "three"
    assert said(server.requests[2]) == ["a", "one", "c"]
    assert branch.headers["x-hermes-session-id"] != second.headers["x-hermes-session-id"]
    unstored = {"input": "d", "previous_response_id": second.json()["id"], "store": False}
    await api.post("/v1/responses", unstored)
    assert said(server.requests[3]) == ["a", "one", "b", "two", "d"]


async def test_one_chain_of_responses_is_one_session(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "ok"}]})
    previous, ids = None, set()
    for text in "abc":
        response = await api.post("/v1/responses", {"input": text, "previous_response_id": previous})
        previous = response.json()["id"]
        ids.add(response.headers["x-hermes-session-id"])
    assert len(ids) == 1


async def test_a_chain_goes_on_after_a_restart(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["one", "two"])
    api = await start_api(model_url=server.base_url)
    first = (await api.post("/v1/responses", {"input": "a"})).json()
    again = await start_api(model_url=server.base_url)
    await api.server.application.runs.sessions.aclose()  # the first one lets go of its sessions
    response = await again.post("/v1/responses", {"input": "b", "previous_response_id": first["id"]})
    assert text_of(response.json()) == "two"
    assert said(server.requests[1]) == ["a", "one", "b"]


async def test_a_named_conversation_goes_on(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["one", "two"])
    api = await start_api(model_url=server.base_url)
    await api.post("/v1/responses", {"input": "a", "conversation": "kitchen"})
    await api.post("/v1/responses", {"input": "b", "conversation": {"id": "kitchen"}})
    assert said(server.requests[1]) == ["a", "one", "b"]


async def test_an_explicit_history_wins(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["one", "two"])
    api = await start_api(model_url=server.base_url)
    first = (await api.post("/v1/responses", {"input": "a"})).json()
    history = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    await api.post(
        "/v1/responses",
        {"input": "b", "previous_response_id": first["id"], "conversation_history": history},
    )
    assert said(server.requests[1]) == ["x", "y", "b"]


async def test_truncation_keeps_the_last_hundred_messages(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["ok"])
    api = await start_api(model_url=server.base_url)
    items = [
        {"role": "user" if number % 2 == 0 else "assistant", "content": str(number)} for number in range(301)
    ]
    await api.post("/v1/responses", {"input": items, "truncation": "auto"})
    texts = said(server.requests[0])
    assert texts[-1] == "300"
    assert len(texts) == 101


async def test_a_wrong_field_is_named(start_api: StartApi) -> None:
    api = await start_api(["never"])
    cases: list[tuple[Any, int, str]] = [
        ({}, 400, "input"),
        ({"input": ""}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": [7]}, 400, "input[0]"),
        ({"input": [{"type": "computer_call"}]}, 400, "input[0].type"),
        ({"input": [{"type": "input_file", "file_id": "f"}]}, 400, "input[0]"),
        ({"input": "x", "previous_response_id": "resp_0"}, 404, "previous_response_id"),
        ({"input": "x", "previous_response_id": "resp_0", "conversation": "c"}, 400, "conversation"),
        ({"input": "x", "truncation": "some"}, 400, "truncation"),
        ({"input": "x", "background": True, "store": False}, 400, "store"),
        ({"input": "x", "metadata": {"a": []}}, 400, "metadata"),
    ]
    for body, status, param in cases:
        response = await api.post("/v1/responses", body)
        assert response.status_code == status, response.text
        assert response.json()["error"]["param"].startswith(param)


async def test_unstored_responses_are_not_kept(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "ok"}]})
    body = (await api.post("/v1/responses", {"input": "a", "store": False})).json()
    assert (await api.client.get(f"/v1/responses/{body['id']}")).status_code == 404
    store = await api.app.store()
    assert await store.list() == []


async def test_a_deleted_response_is_gone(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    body = (await api.post("/v1/responses", {"input": "a"})).json()
    deleted = await api.client.delete(f"/v1/responses/{body['id']}")
    assert deleted.json() == {"id": body["id"], "object": "response", "deleted": True}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "?stream=true"), ("POST", "/cancel")):
        response = await api.client.request(method, f"/v1/responses/{body['id']}{path}")
        assert response.status_code == 404


async def test_input_items_are_kept(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    body = (await api.post("/v1/responses", {"input": "hello"})).json()
    items = (await api.client.get(f"/v1/responses/{body['id']}/input_items")).json()
    assert items["data"][0]["content"][0]["text"] == "hello"


async def test_a_stored_response_survives_its_client_and_can_be_read_again(start_api: StartApi) -> None:
    api = await start_api([{"text": "one two three four five", "chunk_size": 4, "chunk_delay_seconds": 0.05}])
    seen = b""
    async with api.client.stream("POST", "/v1/responses", json={"input": "count", "stream": True}) as stream:
        async for piece in stream.aiter_bytes():
            seen += piece
            if b"output_text.delta" in seen:
                break
    first = parse_events(seen.decode().rpartition("\n\n")[0])
    response_id = first[0].json["response"]["id"]
    headers = {"Last-Event-ID": str(first[-1].id)}
    rest = await api.client.get(f"/v1/responses/{response_id}?stream=true", headers=headers)
    events = [*first, *parse_events(rest.text)]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    deltas = [event.json["delta"] for event in events if event.name == "response.output_text.delta"]
    assert "".join(deltas) == "one two three four five"
    assert events[-1].name == "response.completed"
    from_disk = await api.client.get(f"/v1/responses/{response_id}?stream=true&starting_after=0")
    assert parse_events(from_disk.text) == events[1:]


async def test_a_background_response_is_polled(start_api: StartApi) -> None:
    api = await start_api([{"text": "done", "delay_seconds": 0.3}])
    body = (await api.post("/v1/responses", {"input": "work", "background": True})).json()
    assert body["status"] == "queued"
    going_on = (await api.client.get(f"/v1/responses/{body['id']}")).json()
    assert going_on["status"] == "in_progress"
    busy = await api.post("/v1/responses", {"input": "x", "previous_response_id": body["id"]})
    assert busy.status_code == 409
    await until(lambda: api.server.health().active == 0)
    done = (await api.client.get(f"/v1/responses/{body['id']}")).json()
    assert (done["status"], text_of(done)) == ("completed", "done")


async def test_a_cancelled_response_is_incomplete(start_api: StartApi) -> None:
    api = await start_api([{"text": "never", "delay_seconds": 30}])
    body = (await api.post("/v1/responses", {"input": "work", "background": True})).json()
    cancelled = await api.client.post(f"/v1/responses/{body['id']}/cancel")
    assert cancelled.json()["status"] == "incomplete"
    assert cancelled.json()["incomplete_details"] == {"reason": "interrupted"}


async def test_a_failed_response_is_an_error_and_kept_as_failed(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"error": {"status": 500, "message": "boom"}}]})
    response = await api.post("/v1/responses", {"input": "x"})
    assert response.status_code == 502
    events = await api.stream("/v1/responses", {"input": "x", "stream": True})
    failed = events[-1].json["response"]
    assert events[-1].name == "response.failed"
    assert failed["error"]["code"] == "model_error"
    assert (await api.client.get(f"/v1/responses/{failed['id']}")).json()["status"] == "failed"


async def test_what_a_killed_server_left_is_incomplete(start_api: StartApi, model_server: Any) -> None:
    server = model_server([{"text": "never", "delay_seconds": 30}])
    api = await start_api(model_url=server.base_url)
    body = (await api.post("/v1/responses", {"input": "work", "background": True})).json()
    other = await start_api(model_url=server.base_url)  # knows nothing of what the first one does
    left = (await other.client.get(f"/v1/responses/{body['id']}")).json()
    assert left["status"] == "incomplete"


async def test_the_store_keeps_the_hundred_used_last(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "ok"}]})
    ids = []
    for number in range(102):
        response = await api.post("/v1/responses", {"input": str(number)})
        ids.append(response.json()["id"])
        await api.client.get(f"/v1/responses/{ids[0]}")

    async def status(response_id: str) -> int:
        return (await api.client.get(f"/v1/responses/{response_id}")).status_code

    assert await asyncio.gather(*map(status, ids[:4])) == [200, 404, 404, 200]
    assert api.app.home.response_store_db.stat().st_mode & 0o777 == 0o600


async def test_two_requests_from_one_response_do_not_mix(start_api: StartApi, model_server: Any) -> None:
    server = model_server({"rules": [{"text": "about {{user}}", "delay_seconds": 0.1}]})
    api = await start_api(model_url=server.base_url)
    first = (await api.post("/v1/responses", {"input": "a"})).json()

    async def ask(text: str) -> httpx.Response:
        return await api.post("/v1/responses", {"input": text, "previous_response_id": first["id"]})

    answers = await asyncio.gather(ask("b"), ask("c"), ask("d"))
    assert [text_of(answer.json()) for answer in answers] == ["about b", "about c", "about d"]
    assert all(len(said(request)) == 3 for request in server.requests[1:])
