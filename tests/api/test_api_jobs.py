"""Scheduled jobs over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from api_serving import StartApi


async def test_a_job_is_made_changed_paused_and_deleted(start_api: StartApi) -> None:
    api = await start_api()
    made = await api.post("/api/jobs", {"schedule": "every 2h", "prompt": "look around", "deliver": "local"})
    assert made.status_code == 201, made.text
    job = made.json()["job"]
    path = f"/api/jobs/{job['id']}"
    assert job["schedule"]["minutes"] == 120
    assert [each["id"] for each in (await api.client.get("/api/jobs")).json()["jobs"]] == [job["id"]]
    changed = await api.client.patch(path, json={"name": "rounds", "max_tokens": 500, "prompt": None})
    assert changed.json()["job"]["name"] == "rounds"
    assert changed.json()["job"]["prompt"] == "look around"
    assert (await api.client.post(f"{path}/pause")).json()["job"]["state"] == "paused"
    assert (await api.client.post(f"{path}/resume")).json()["job"]["state"] == "scheduled"
    run = await api.client.post(f"{path}/run")
    assert run.status_code == 202
    assert run.json()["job"]["run_now_at"]
    assert (await api.client.get(path)).json()["job"]["max_tokens"] == 500
    assert (await api.client.delete(path)).json() == {"id": job["id"], "deleted": True}
    gone = await api.client.get(path)
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "job_not_found"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"prompt": "x"}, "schedule"),
        ({"schedule": "sometimes", "prompt": "x"}, "not a schedule"),
        ({"schedule": "every 1h"}, "prompt"),
        ({"schedule": "every 1h", "prompt": 5}, "prompt"),
        ({"schedule": "every 1h", "prompt": "x", "skills": [1]}, "skills"),
        ({"schedule": "every 1h", "prompt": "x", "repeat": True}, "repeat"),
        ({"schedule": "every 1h", "prompt": "x", "origin": {}}, "origin"),
    ],
)
async def test_what_is_no_job_is_refused(start_api: StartApi, body: Any, told: str) -> None:
    api = await start_api()
    refused = await api.post("/api/jobs", body)
    assert refused.status_code == 400
    assert told in refused.json()["error"]["message"]
    assert (await api.client.get("/api/jobs")).json() == {"jobs": []}


async def test_jobs_need_the_key(start_api: StartApi) -> None:
    api = await start_api()
    assert (await api.client.get("/api/jobs", headers={"Authorization": "Bearer no"})).status_code == 401
