"""The openai SDK as a byte transport; both OpenAI dialects use it."""

from __future__ import annotations

from collections.abc import Mapping

from openai import AsyncOpenAI, AsyncStream, Omit
from typing_extensions import override

from hermes_agent.models.endpoint import Endpoint
from hermes_agent.models.transport import Transport, http_client, quiet_headers, sdk_post


class _Client(AsyncOpenAI):
    """The SDK's client with our headers only.

    By itself it would add the organisation, project and custom headers of its own environment
    variables to requests for any host.
    """

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
        http_client=http_client(endpoint),
    )
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    client.own_headers = quiet_headers(endpoint, authorization)
    is_authorized = any(name.lower() == "authorization" for name in client.own_headers)
    per_request = _NO_SDK_HEADERS if is_authorized else {**_NO_SDK_HEADERS, "Authorization": Omit()}

    return Transport(endpoint, key, sdk_post(client.post, AsyncStream[object], per_request), client.close)


_NO_SDK_HEADERS: dict[str, str | Omit] = {
    "x-stainless-retry-count": Omit(),
    "x-stainless-read-timeout": Omit(),
    "OpenAI-Organization": Omit(),
    "OpenAI-Project": Omit(),
}
