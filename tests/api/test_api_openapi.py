"""The OpenAPI document, and requests made from it at random."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
import schemathesis
from api_serving import KEY, StartApi
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hermes_agent.api.openapi import document

OPERATIONS = [(path, method) for path, methods in document("0")["paths"].items() for method in methods]


async def test_the_document_is_served(start_api: StartApi) -> None:
    api = await start_api(["never"])
    served = (await api.client.get("/openapi.json")).json()
    assert served["openapi"] == "3.1.0"
    assert "/v1/chat/completions" in served["paths"]


async def test_no_request_made_from_the_document_breaks_the_server(start_api: StartApi) -> None:
    """Whatever fits the document, or nearly does, gets an answer that is in the document."""
    api = await start_api({"rules": [{"text": "ok"}]})

    def fuzz(path: str, method: str) -> None:
        schema = schemathesis.openapi.from_dict(document("0"))
        schema.config.update(base_url=api.url)
        operation = schema[path][method]
        checks: list[Any] = [
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ]

        @settings(
            max_examples=12,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def attempt(case: Any) -> None:
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {KEY}"}
            case.call_and_validate(checks=checks)

        attempt()

    for path, method in OPERATIONS:
        await asyncio.to_thread(fuzz, path, method)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/runs"])
async def test_bodies_with_a_wrong_type_anywhere_are_answered(start_api: StartApi, path: str) -> None:
    api = await start_api({"rules": [{"text": "ok"}]})
    good: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}], "tool_calls": None}],
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
        "metadata": {"a": "b"},
        "stream_options": {"include_usage": True},
        "response_format": {"type": "json_schema", "json_schema": {"schema": {}}},
        "conversation_history": [{"role": "user", "content": "x"}],
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "text"}},
        "hermes_events": ["tools"],
    }
    wrongs: list[Any] = [None, True, -1, 1.5, "", "\ud800", [], [None], {}, {"a": {}}, [[]], "x" * 3000]

    def variants(value: Any) -> list[Any]:
        found = list(wrongs)
        if isinstance(value, dict):
            found += [{**value, key: wrong} for key, item in value.items() for wrong in variants(item)]
        elif isinstance(value, list) and value:
            found += [[wrong] for wrong in variants(value[0])]
        return found

    statuses = set()
    async with httpx.AsyncClient(base_url=api.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for body in variants(good):
            response = await client.post(path, content=json.dumps(body))
            statuses.add(response.status_code)
            assert response.status_code < 500, (body, response.text)
            if response.status_code >= 400:
                assert response.json()["error"]["message"]
    assert 400 in statuses
