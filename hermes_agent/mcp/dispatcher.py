"""The SDK's dispatcher, which matches answers to requests, with two changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mcp_types as types
from mcp.shared.dispatcher import CallOptions
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher

from hermes_agent.mcp.listing import Rejected, sift, sift_content
from hermes_agent.mcp.transports import Link


class SiftingDispatcher(JSONRPCDispatcher):
    """Takes out of lists and results what does not fit the protocol, and tells when the stream ended."""

    def __init__(
        self, link: Link, rejected: Rejected, version: Callable[[], str | None], on_end: Callable[[], None]
    ) -> None:
        super().__init__(link.read_stream, link.write_stream)
        self._version = version
        self._rejected = rejected
        self._on_end = on_end

    async def run(self, *args: Any, **kwargs: Any) -> None:
        """Read until the stream ends."""
        try:
            await super().run(*args, **kwargs)
        finally:
            self._on_end()

    async def send_raw_request(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        opts: CallOptions | None = None,
        *,
        _related_request_id: types.RequestId | None = None,
    ) -> dict[str, Any]:
        """Send a request; the result without what nobody could read."""
        raw = await super().send_raw_request(method, params, opts, _related_request_id=_related_request_id)
        if method == "tools/list":
            return sift(raw, self._rejected, self._version() or "")
        return sift_content(raw) if method == "tools/call" else raw
