"""Telling the authorization server that a grant is over (RFC 7009)."""

from __future__ import annotations

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import HermesError
from hermes_agent.mcp.oauth.client import known_client
from hermes_agent.mcp.oauth.discovery import AuthorizationServer
from hermes_agent.mcp.oauth.endpoint import authenticated
from hermes_agent.mcp.oauth.files import TokenFiles
from hermes_agent.mcp.oauth.web import open_web


async def revoke(server: str, settings: McpServerSettings, files: TokenFiles) -> str:
    """Revoke what is stored; returns why that did not work, empty if it did or cannot be done."""
    token = files.load_token()
    authority = AuthorizationServer.from_json(files.load_metadata(), settings.url)
    if token is None or authority is None or not token.is_for(settings.url):
        return ""
    endpoint = authority.endpoint("revocation")
    if not endpoint:
        return ""
    kind, value = (
        ("refresh_token", token.refresh_token)
        if token.refresh_token
        else ("access_token", token.access_token)
    )
    try:
        client = known_client(server, authority, settings.oauth, files.load_client())
        if client is None:
            return ""
        values, headers = authenticated(server, authority, client)
        async with open_web(server, settings) as web:
            form = {**values, "token": value or "", "token_type_hint": kind}
            answer = await web.post(endpoint, form=form, headers=headers)
    except HermesError as error:
        return "; ".join(error.lines[:2])
    return "" if answer.status < 400 else f"HTTP {answer.status}"
