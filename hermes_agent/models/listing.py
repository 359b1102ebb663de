"""Which models an endpoint offers: its `/models` list. Asked only when a person wants to see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping

import httpx2

from hermes_agent.models import errors
from hermes_agent.models.resolve import Target
from hermes_agent.models.transport import Transport, http_client, quiet_headers

LIST_SECONDS = 20.0
_ANTHROPIC = "anthropic_messages"
_SIGN_IN_TOKEN = "sk-ant-oat"  # noqa: S105 - a prefix


async def list_models(target: Target) -> tuple[str, ...]:
    """Names of models, sorted, as the endpoint spells them.

    Args:
        target: From `resolve_target`; its model name does not matter.

    Raises:
        ModelError: The endpoint refuses, cannot be reached, or does not answer with a list.
    """
    endpoint = target.endpoint
    if endpoint.info.is_demo:
        return target.provider.models
    key = target.credentials[0].secret
    path = "/v1/models?limit=1000" if endpoint.info.dialect == _ANTHROPIC else "/models"
    client = http_client(endpoint)
    headers = quiet_headers(endpoint, _authorization(endpoint.info.dialect, key))

    async def get(where: str, _body: bytes, timeout: httpx2.Timeout) -> httpx2.Response:
        request = client.build_request(
            "GET", endpoint.info.base_url.rstrip("/") + where, headers=headers, timeout=timeout
        )
        response = await client.send(request, stream=True)
        if response.status_code >= 300:
            raise httpx2.HTTPStatusError("refused", request=request, response=response)
        return response

    transport = Transport(endpoint, key, get, client.aclose)
    try:
        async with asyncio.timeout(LIST_SECONDS), transport.open(path, b"") as reply:
            body = await reply.body()
    except TimeoutError as error:
        raise errors.timed_out(endpoint, "answer", LIST_SECONDS) from error
    finally:
        await transport.aclose()
    names = _names(body)
    if names is None:
        raise errors.not_understood(endpoint, "the answer is not a list of models")
    return tuple(sorted(names))


def _authorization(dialect: str, key: str) -> Mapping[str, str]:
    version = {"anthropic-version": "2023-06-01"} if dialect == _ANTHROPIC else {}
    if not key:
        return version
    if dialect == _ANTHROPIC and not key.startswith(_SIGN_IN_TOKEN):
        return {**version, "x-api-key": key}
    return {**version, "Authorization": f"Bearer {key}"}


def _names(body: bytes) -> list[str] | None:
    """Ids of `{"data": [{"id": …}]}`, or of the same list under `models` or bare."""
    value: object = None
    with contextlib.suppress(ValueError):
        value = json.loads(body)
    if isinstance(value, dict):
        value = value.get("data", value.get("models"))
    if not isinstance(value, list):
        return None
    found = [(each.get("id") or each.get("name")) if isinstance(each, dict) else each for each in value]
    return [name for name in dict.fromkeys(found) if isinstance(name, str) and name]
