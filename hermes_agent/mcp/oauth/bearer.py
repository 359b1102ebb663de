"""Puts the token into requests, and replaces it once if the server refuses it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx2

from hermes_agent.core.errors import HermesError
from hermes_agent.mcp.oauth.files import origin
from hermes_agent.mcp.oauth.provider import OAuthProvider


class BearerAuth(httpx2.Auth):
    """The credential of one connection.

    Only the first request of a connection raises what is wrong: later ones run inside tasks of the SDK, which
    an error would tear down with everything else that is going on. There the refusal itself is the answer.
    """

    def __init__(self, provider: OAuthProvider) -> None:
        self._provider = provider
        self._is_first = True

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """One request, with at most one repetition."""
        if not self._is_own(request):
            yield request
            return
        token = await self._provider.token()
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401:
            self._provider.note_challenge(response.headers.get("www-authenticate", ""))
            try:
                token = await self._provider.recover(token)
            except HermesError:
                if self._is_first:
                    raise
                return
            request.headers["Authorization"] = f"Bearer {token}"
            response = yield request
            if response.status_code == 401:
                try:
                    await self._provider.recover(token)
                except HermesError:
                    if self._is_first:
                        raise
                return
        self._is_first = False
        if response.status_code < 400:
            self._provider.worked(token)

    def _is_own(self, request: httpx2.Request) -> bool:
        own, asked = origin(self._provider.settings.url), origin(str(request.url))
        is_upgrade = own[0] == "http" and asked[0] == "https" and own[1] == asked[1]
        return own == asked or (is_upgrade and (own[2], asked[2]) == (80, 443))
