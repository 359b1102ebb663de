"""Stored conversations over HTTP."""

from __future__ import annotations

from typing import Any

from api_serving import StartApi

from hermes_agent.core.messages import UserMessage


async def test_a_conversation_is_listed_read_renamed_copied_and_deleted(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "You said {{user}}"}]})
    first = await api.chat("hello there", store=True)
    session_id = first.headers["x-hermes-session-id"]
    path = f"/api/sessions/{session_id}"
    (listed,) = (await api.client.get("/api/sessions")).json()["sessions"]
    assert (listed["id"], listed["message_count"]) == (session_id, 2)
    whole = (await api.client.get(path)).json()
    assert [each["role"] for each in whole["messages"]] == ["user", "assistant"]
    assert whole["messages"][1]["content"] == "You said hello there"
    renamed = await api.client.patch(path, json={"title": "Greetings"})
    assert renamed.json()["session"]["title"] == "Greetings"
    copied = await api.client.post(f"{path}/fork")
    assert copied.status_code == 201, copied.text
    other = copied.json()["session"]["id"]
    taken = await api.client.patch(f"/api/sessions/{other}", json={"title": "Greetings"})
    assert taken.status_code == 409
    gone_on = await api.chat("and again", headers={"X-Hermes-Session-Id": other})
    assert gone_on.status_code == 200, gone_on.text
    assert len((await api.client.get(f"/api/sessions/{other}")).json()["messages"]) == 4
    assert len((await api.client.get(path)).json()["messages"]) == 2
    assert (await api.client.delete(path)).json() == {"id": session_id, "deleted": True}
    assert (await api.client.get(path)).status_code == 404
    gone = await api.chat("still there?", headers={"X-Hermes-Session-Id": session_id})
    assert gone.status_code == 404


async def test_conversations_of_others_are_not_there(start_api: StartApi) -> None:
    api = await start_api({"rules": [{"text": "ok"}]})
    store = await api.app.store()
    terminal = await store.create(source="cli")
    other_key = await store.create(source="api_server", user_id="another key")
    for record in (terminal, other_key):
        await store.append(record.id, [UserMessage.of("secret")])
        path = f"/api/sessions/{record.id}"
        assert (await api.client.get(path)).status_code == 404
        assert (await api.client.delete(path)).status_code == 404
        assert (await api.client.patch(path, json={"title": "x"})).status_code == 404
        assert (await api.client.post(f"{path}/fork")).status_code == 404
    assert (await api.client.get("/api/sessions")).json()["sessions"] == []


async def test_a_working_conversation_is_not_deleted(start_api: StartApi) -> None:
    slow: Any = {"rules": [{"text": "one two three", "chunk_size": 3, "chunk_delay_seconds": 0.5}]}
    api = await start_api(slow)
    run = await api.post("/v1/runs", {"input": "begin"})
    session_id = run.json().get("session_id") or run.headers["x-hermes-session-id"]
    refused = await api.client.delete(f"/api/sessions/{session_id}")
    assert refused.status_code == 409
    assert (await api.client.get("/api/sessions?limit=x")).status_code == 400
