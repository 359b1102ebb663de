"""The anthropic SDK as a byte transport."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from anthropic import AsyncAnthropic, AsyncStream, Omit
from typing_extensions import override

from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.transport import Transport, http_client, quiet_headers, sdk_post

API_VERSION = "2023-06-01"
_SIGN_IN_TOKEN = "sk-ant-oat"  # noqa: S105 - a prefix


class _Client(AsyncAnthropic):
    """The SDK's client with our headers only, whatever its environment variables say."""

    own_headers: Mapping[str, str | Omit]

    @property
    @override
    def default_headers(self) -> dict[str, str | Omit]:
        return dict(self.own_headers)


def open_transport(endpoint: Endpoint, key: str) -> Transport:
    """A transport for one endpoint and one key (empty: none is sent). Opens no connection yet."""
    client = _Client(
        api_key=key or "none",
        base_url=endpoint.info.base_url,
        max_retries=0,
        open_telemetry=False,
        http_client=http_client(endpoint),
    )
    client._custom_headers = {}  # what ANTHROPIC_CUSTOM_HEADERS would send to any host
    headers = quiet_headers(endpoint, {"anthropic-version": API_VERSION, **_authorization(endpoint, key)})
    client.own_headers = headers
    per_request = dict(_NO_SDK_HEADERS)
    names = {name.lower() for name in headers}
    per_request.update({name: Omit() for name in ("x-api-key", "authorization") if name not in names})

    return Transport(endpoint, key, sdk_post(client.post, AsyncStream[object], per_request), client.close)


def _authorization(endpoint: Endpoint, key: str) -> dict[str, str]:
    if not key:
        return {}
    if key.startswith(_SIGN_IN_TOKEN):
        return {"Authorization": f"Bearer {key}", "anthropic-beta": "oauth-2025-04-20"}
    if urlsplit(endpoint.info.base_url).hostname == "api.anthropic.com":
        return {"x-api-key": key}
    return {"x-api-key": key, "Authorization": f"Bearer {key}"}  # compatible servers read one or the other


_NO_SDK_HEADERS: dict[str, str | Omit] = {
    "x-stainless-retry-count": Omit(),
    "x-stainless-read-timeout": Omit(),
    "x-stainless-timeout": Omit(),
}
