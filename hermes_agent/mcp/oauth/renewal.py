"""Gets a new token without a person: by the refresh token, or by client credentials.

Everything happens under the lock between processes, after reading the files again: whoever comes second
finds what the first one got. A refresh token is used once; what replaces it is on disk before anybody
continues. Nothing is deleted when something fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import HermesError
from hermes_agent.mcp.oauth.challenge import NO_CHALLENGE, Challenge, joined_scopes
from hermes_agent.mcp.oauth.client import OAuthClient, known_client, register_client
from hermes_agent.mcp.oauth.discovery import OWN_KEY, AuthorizationServer, discover, refetch
from hermes_agent.mcp.oauth.endpoint import EndpointMissingError, request_token
from hermes_agent.mcp.oauth.errors import OAuthFlowError, OAuthNonInteractiveError, OAuthTokenError
from hermes_agent.mcp.oauth.files import StoredToken, TokenFiles
from hermes_agent.mcp.oauth.web import Web, open_web

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What to renew, and when it is not needed after all.

    Attributes:
        is_usable: Whether a token found on disk will do.
        is_dead: Whether a refresh token is known to be refused.
        held: A token that could not be written to disk; newer than what is there.
        challenge: What the server said last when it refused us.
        scope: Scopes that are needed beyond those granted (client credentials only).
    """

    server: str
    settings: McpServerSettings
    files: TokenFiles
    is_usable: Callable[[StoredToken], bool]
    is_dead: Callable[[str], bool]
    held: StoredToken | None = None
    challenge: Challenge = NO_CHALLENGE
    scope: str = ""


async def renew(wanted: Renewal) -> tuple[StoredToken, bool]:
    """Get a usable token.

    Returns:
        The token, and whether it is on disk.

    Raises:
        OAuthNonInteractiveError: There is nothing to renew; a person must sign in.
        OAuthTokenError: The authorization server refuses.
        OAuthFlowError: Signing in cannot work like this.
        OAuthUnavailableError: It fails for now.
    """
    async with wanted.files.lock():
        token = wanted.held or wanted.files.load_token()
        if token is not None and not token.is_for(wanted.settings.url):
            token = None
        if token is not None and wanted.is_usable(token):
            return token, wanted.held is None
        is_alone = wanted.settings.oauth.grant_type == "client_credentials"
        if not is_alone:
            _check_refreshable(wanted, token)
        async with open_web(wanted.server, wanted.settings) as web:
            authority = await _authority(web, wanted)
            if is_alone:
                fresh = await _client_credentials(web, wanted, authority, token)
            else:
                assert token is not None
                fresh = await _refresh(web, wanted, authority, token)
                if fresh is token:
                    return fresh, True
        return fresh, await asyncio.to_thread(_save, wanted.files, fresh)


def _check_refreshable(wanted: Renewal, token: StoredToken | None) -> None:
    if token is None:
        raise OAuthNonInteractiveError(wanted.server, "Nobody has signed in yet")
    if not token.refresh_token:
        raise OAuthNonInteractiveError(
            wanted.server, "The token is no longer accepted, and cannot be renewed without signing in"
        )
    if wanted.is_dead(token.refresh_token):
        raise OAuthTokenError(
            wanted.server,
            "The authorization server no longer accepts the refresh token",
            code="invalid_grant",
        )


async def _authority(web: Web, wanted: Renewal) -> AuthorizationServer:
    """The authorization server of the stored token; discovered if an older file does not tell."""
    oauth = wanted.settings.oauth
    known = AuthorizationServer.from_json(wanted.files.load_metadata(), wanted.settings.url)
    if known is not None:
        return known
    client = wanted.files.load_client() or {}
    bound = oauth.issuer or str(client.get("issuer") or "")
    found = await discover(web, wanted.challenge, bound)
    _save_metadata(wanted.files, found)
    return found


async def _refresh(
    web: Web, wanted: Renewal, authority: AuthorizationServer, token: StoredToken
) -> StoredToken:
    client = known_client(wanted.server, authority, wanted.settings.oauth, wanted.files.load_client())
    if client is None:
        raise OAuthNonInteractiveError(wanted.server, "Our registration there is missing or has expired")
    form = {"grant_type": "refresh_token", "refresh_token": token.refresh_token or ""}
    try:
        fresh = await _request(web, wanted, authority, client, form)
    except OAuthTokenError as error:
        # A program without our lock may have been quicker.
        other = wanted.files.load_token()
        if error.code == "invalid_grant" and other is not None and other != token and wanted.is_usable(other):
            return other
        raise
    return replace(
        fresh,
        refresh_token=fresh.refresh_token or token.refresh_token,
        scope=fresh.scope if fresh.scope is not None else token.scope,
        server_url=wanted.settings.url,
        extra={**token.extra, **fresh.extra},
    )


async def _client_credentials(
    web: Web, wanted: Renewal, authority: AuthorizationServer, token: StoredToken | None
) -> StoredToken:
    oauth, files = wanted.settings.oauth, wanted.files
    default = wanted.challenge.scope or " ".join(authority.scopes or ())
    scope = joined_scopes(
        oauth.scope or default, (token.scope if token else "") if wanted.scope else "", wanted.scope
    )
    client = known_client(wanted.server, authority, oauth, files.load_client())
    if client is None:
        client, file = await register_client(web, authority, oauth, "", scope)
        files.save_client(file)
    elif oauth.client_id:
        bind_client(files, oauth.client_id, authority.issuer)
    if client.method == "none":
        raise OAuthFlowError(
            wanted.server,
            "Client credentials need a secret or a key",
            remedy=f"Set mcp_servers.{wanted.server}.oauth.client_id and .client_secret",
        )
    form = {"grant_type": "client_credentials", "scope": scope}
    fresh = await _request(web, wanted, authority, client, form)
    granted = fresh.scope if fresh.scope is not None else scope or None
    return replace(fresh, scope=granted, server_url=wanted.settings.url)


async def _request(
    web: Web, wanted: Renewal, authority: AuthorizationServer, client: OAuthClient, form: Mapping[str, str]
) -> StoredToken:
    try:
        return await request_token(web, authority, client, form)
    except EndpointMissingError:
        now = await refetch(web, authority)
        if now.endpoint("token") == authority.endpoint("token"):
            raise
        _save_metadata(wanted.files, now)
        return await request_token(web, now, client, form)


def bind_client(files: TokenFiles, client_id: str, issuer: str) -> None:
    """Remember at which issuer a configured client was used first; its secret stays in the settings."""
    stored = files.load_client() or {}
    if stored.get("client_id") != client_id or stored.get("issuer") != issuer:
        same = stored if stored.get("client_id") == client_id else {}
        files.save_client({**same, "client_id": client_id, "issuer": issuer})


def _save_metadata(files: TokenFiles, authority: AuthorizationServer) -> None:
    known = files.load_metadata() or {}
    own = known.get(OWN_KEY)
    files.save_metadata(authority.to_json(**({**own, **_own(authority)} if isinstance(own, dict) else {})))


def _own(authority: AuthorizationServer) -> dict[str, Any]:
    scopes = None if authority.scopes is None else list(authority.scopes)
    return {"resource": authority.resource, "scopes": scopes}


def _save(files: TokenFiles, token: StoredToken) -> bool:
    try:
        files.save_token(token)
    except HermesError as error:
        # The old refresh token is used up: what we hold is the only good one.
        _log.error("the new token of MCP server %s is kept in memory only: %s", files.server, error)
        return False
    return True
