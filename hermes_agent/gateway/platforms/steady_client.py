"""An HTTP client whose pool of connections survives cancelled requests."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx


class SteadyClient(httpx.AsyncClient):
    """`httpx.AsyncClient` in which a cancelled caller leaves its request to end by itself.

    httpcore 1.0 loses a place of its pool for good when a request is cancelled after it was given a new
    connection and before it used it. A gateway cancels often (it shows that it is typing until the answer
    is there), so after some thousand messages every place was lost and nothing could be sent any more.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._abandoned: set[asyncio.Task[None]] = set()

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; takes what `httpx.AsyncClient.send` takes, and raises what it raises."""
        sending = asyncio.ensure_future(super().send(request, **options))
        try:
            return await asyncio.shield(sending)
        except asyncio.CancelledError:
            if not sending.cancelled():
                ending = asyncio.create_task(_see_off(sending))
                self._abandoned.add(ending)
                ending.add_done_callback(self._abandoned.discard)
            raise


async def _see_off(sending: asyncio.Future[httpx.Response]) -> None:
    """Wait for a response that nobody wants any more, and let go of its connection."""
    try:
        response = await sending
        await response.aclose()
    except httpx.HTTPError:
        return
