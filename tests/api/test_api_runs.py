"""`/v1/runs` over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_serving import Api, ServerEvent, StartApi, parse_events, until

from hermes_agent.store.responses import ApiDatabase

REMOVE = [
    {"tool_calls": [{"name": "terminal", "arguments": {"command": "rm -rf build"}}]},
    {"text": "The end: {{tool_result | first:200}}"},
]


async def events_of(api: Api, run_id: str, after: int = 0) -> list[ServerEvent]:
    headers = {"Last-Event-ID": str(after)} if after else {}
    response = await api.client.get(f"/v1/runs/{run_id}/events", headers=headers)
    assert response.status_code == 200, response.text
    return parse_events(response.text)


async def test_a_run_is_started_watched_and_asked_for_its_result(start_api: StartApi) -> None:
    api = await start_api(
        [{"tool_calls": [{"name": "terminal", "arguments": {"command": "echo hello"}}]}, {"text": "Done."}]
    )
    response = await api.post("/v1/runs", {"input": "go"})
    assert response.status_code == 202
    run_id = response.json()["run_id"]
    events = await events_of(api, run_id)
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    names = [event.name for event in events]
    assert names[0] == "run.started"
    assert names[-1] == "run.completed"
    assert names.index("tool.started") < names.index("tool.completed") < names.index("message.delta")
    assert events[-1].json["output"] == "Done."
    result = (await api.client.get(f"/v1/runs/{run_id}")).json()
    assert (result["status"], result["output"]) == ("completed", "Done.")
    assert result["usage"]["total_tokens"] > 0


async def test_events_are_replayed_from_any_point_also_from_disk(start_api: StartApi) -> None:
    api = await start_api([{"text": "a b c d e f", "chunk_size": 2, "chunk_delay_seconds": 0.03}])
    run_id = (await api.post("/v1/runs", {"input": "go"})).json()["run_id"]
    whole, late = await asyncio.gather(events_of(api, run_id), events_of(api, run_id, after=2))
    assert late == whole[2:]
    await until(lambda: api.server.health().active == 0)
    assert await events_of(api, run_id) == whole
    assert await events_of(api, run_id, after=3) == whole[3:]
    other = await start_api(["x"])
    assert await events_of(other, run_id) == whole


async def test_a_run_can_be_stopped(start_api: StartApi) -> None:
    api = await start_api([{"text": "never", "delay_seconds": 30}])
    run_id = (await api.post("/v1/runs", {"input": "go"})).json()["run_id"]
    assert (await api.client.post(f"/v1/runs/{run_id}/stop")).json()["status"] == "stopping"
    events = await events_of(api, run_id)
    assert events[-1].name == "run.cancelled"
    assert (await api.client.post(f"/v1/runs/{run_id}/stop")).json()["status"] == "ended"


@pytest.mark.parametrize(("decision", "is_there"), [("once", False), ("deny", True)])
async def test_approvals_are_asked_and_answered(start_api: StartApi, decision: str, is_there: bool) -> None:
    api = await start_api(REMOVE)
    (api.workspace / "build").mkdir()
    run_id = (await api.post("/v1/runs", {"input": "go"})).json()["run_id"]
    waiting: dict[str, Any] = {}
    async with asyncio.timeout(60):
        while waiting.get("status") != "waiting_for_approval":
            waiting = (await api.client.get(f"/v1/runs/{run_id}")).json()
    wrong = await api.post(f"/v1/runs/{run_id}/approval", {"decision": "once", "request_id": "other"})
    assert wrong.status_code == 409
    response = await api.post(f"/v1/runs/{run_id}/approval", {"decision": decision})
    assert response.status_code == 200
    events = await events_of(api, run_id)
    asked = next(event.json for event in events if event.name == "approval.request")
    assert "rm -rf build" in asked["action"]
    resolved = next(event.json for event in events if event.name == "approval.resolved")
    assert resolved["decision"] == decision
    assert (api.workspace / "build").exists() is is_there


async def test_a_run_hears_what_is_said_meanwhile(start_api: StartApi) -> None:
    api = await start_api(
        [
            {"tool_calls": [{"name": "terminal", "arguments": {"command": "echo x"}}], "delay_seconds": 0.3},
            {"text": "ok", "expect": {"tool_result": "and be quick"}},
        ]
    )
    run_id = (await api.post("/v1/runs", {"input": "go"})).json()["run_id"]
    assert (await api.post(f"/v1/runs/{run_id}/steer", {"text": "and be quick"})).status_code == 200
    assert (await events_of(api, run_id))[-1].json["output"] == "ok"
    late = await api.post(f"/v1/runs/{run_id}/steer", {"text": "too late"})
    assert late.status_code == 409


async def test_runs_go_on_in_one_session(start_api: StartApi, model_server: Any) -> None:
    server = model_server(["one", "two"])
    api = await start_api(model_url=server.base_url)
    first = (await api.post("/v1/runs", {"input": "a"})).json()
    await events_of(api, first["run_id"])
    second = (await api.post("/v1/runs", {"input": "b", "session_id": first["session_id"]})).json()
    await events_of(api, second["run_id"])
    assert len(server.requests[1].body["messages"]) == 4


async def test_the_eleventh_run_at_once_is_refused(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "never", "delay_seconds": 30}]})
    started = [await api.post("/v1/runs", {"input": "go"}) for _ in range(10)]
    assert all(response.status_code == 202 for response in started)
    refused = await api.post("/v1/runs", {"input": "go"})
    assert refused.status_code == 429
    assert refused.headers["retry-after"]


async def test_a_repeated_start_is_one_run(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "ok"}]})
    headers = {"Idempotency-Key": "k"}
    first = await api.client.post("/v1/runs", json={"input": "go"}, headers=headers)
    second = await api.client.post("/v1/runs", json={"input": "go"}, headers=headers)
    assert first.json() == second.json()
    assert second.status_code == 202


async def test_unknown_runs_are_not_found(start_api: StartApi) -> None:
    api = await start_api(["x"])
    for path in ("", "/events", "/stop", "/steer", "/approval"):
        body = None if path in ("", "/events") else {"decision": "deny", "text": "x"}
        method = "GET" if body is None else "POST"
        response = await api.client.request(method, f"/v1/runs/run_0{path}", json=body)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "run_not_found"


async def test_a_chat_run_can_be_stopped_by_its_id(start_api: StartApi) -> None:
    api = await start_api([{"text": "one two three", "chunk_size": 3, "chunk_delay_seconds": 5}])
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    text = ""
    async with api.client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for piece in response.aiter_text():
            text += piece
            if "one" in text and "finish" in text and "error" not in text:
                await api.client.post(f"/v1/runs/{response.headers['x-hermes-run-id']}/stop")
    events = parse_events(text)
    assert events[-2].json["error"]["code"] == "run_interrupted"


async def test_runs_of_the_last_hour_only_are_kept(start_api: StartApi) -> None:
    api = await start_api(["ok"])
    run_id = (await api.post("/v1/runs", {"input": "go"})).json()["run_id"]
    await events_of(api, run_id)
    store = ApiDatabase(api.app.home.response_store_db)
    assert await store.purge(before=0) == 0
    assert await store.purge(before=4e9) == 1
    await store.aclose()
    assert (await api.client.get(f"/v1/runs/{run_id}")).status_code == 404
