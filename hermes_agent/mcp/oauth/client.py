"""Who we are at an authorization server.

In this order: the client of the settings, the registration made there before, our client metadata document
if there is one and it takes such, a new registration. A registration is only ever used at the issuer that
made it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mcp.client.auth.utils import is_valid_client_metadata_url, issuers_match

from hermes_agent.config.sections.mcp import McpOAuthSettings
from hermes_agent.mcp.oauth.discovery import AuthorizationServer
from hermes_agent.mcp.oauth.errors import OAuthFlowError
from hermes_agent.mcp.oauth.web import Web, shown

METHODS = (
    "none",
    "client_secret_post",
    "client_secret_basic",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
)


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """A client of an authorization server.

    Attributes:
        method: How it authenticates at the token endpoint; one of `METHODS`.
        private_key: PEM file, for `private_key_jwt`.
        redirect_uris: Where it may be sent back to; empty if that is not known.
    """

    client_id: str
    client_secret: str = field(default="", repr=False)
    method: str = "none"
    private_key: str = ""
    private_key_id: str = ""
    redirect_uris: tuple[str, ...] = ()


def known_client(
    server: str, authority: AuthorizationServer, settings: McpOAuthSettings, stored: Mapping[str, Any] | None
) -> OAuthClient | None:
    """The client to use, without asking anybody; None if one has to be registered.

    Args:
        server: Name of the server in the configuration.
        authority: Where it is to be used.
        settings: May name a client.
        stored: The registration file.

    Raises:
        OAuthFlowError: The configured client belongs to another issuer.
    """
    bound = settings.issuer or _bound_issuer(settings, stored)
    if settings.client_id:
        if bound and not issuers_match(bound, authority.issuer):
            raise OAuthFlowError(
                server,
                f"The configured client belongs to {shown(bound)}, but the server now trusts "
                f"{shown(authority.issuer)}; its secret is not sent there",
                remedy=f"If that is right, set mcp_servers.{server}.oauth.issuer: {authority.issuer}",
            )
        method = settings.token_endpoint_auth_method or _method(authority, settings)
        return OAuthClient(
            settings.client_id, settings.client_secret, method, settings.private_key, settings.private_key_id
        )
    if not stored:
        return None
    issuer = stored.get("issuer")
    if isinstance(issuer, str) and not issuers_match(issuer, authority.issuer):
        return None
    expires_at = stored.get("client_secret_expires_at")
    if isinstance(expires_at, int | float) and 0 < expires_at <= time.time():
        return None
    return _from_registration(server, stored)


def _bound_issuer(settings: McpOAuthSettings, stored: Mapping[str, Any] | None) -> str:
    """The issuer that a configured client was used at first."""
    if stored and stored.get("client_id") == settings.client_id:
        return str(stored.get("issuer") or "")
    return ""


def _method(authority: AuthorizationServer, settings: McpOAuthSettings) -> str:
    if settings.private_key:
        return "private_key_jwt"
    if not settings.client_secret:
        return "none"
    supported = authority.supports("token_endpoint_auth_methods_supported")
    wanted = ("client_secret_post", "client_secret_basic", "client_secret_jwt")
    return next((each for each in wanted if supported and each in supported), "client_secret_post")


async def register_client(
    web: Web, authority: AuthorizationServer, settings: McpOAuthSettings, redirect_uri: str, scope: str
) -> tuple[OAuthClient, dict[str, Any]]:
    """Become a client: by our metadata document, or by registration (RFC 7591).

    Returns:
        The client, and its file.

    Raises:
        OAuthFlowError: It is refused, or there is no way to register.
        OAuthUnavailableError: It cannot be reached.
    """
    document = settings.client_metadata_url
    if document and authority.metadata.get("client_id_metadata_document_supported") is True:
        if not is_valid_client_metadata_url(document):
            raise OAuthFlowError(
                web.server,
                "The address of the client metadata document must be https with a path",
                remedy=f"Correct mcp_servers.{web.server}.oauth.client_metadata_url",
            )
        file = {
            "client_id": document,
            "token_endpoint_auth_method": "none",
            "redirect_uris": [redirect_uri],
            "issuer": authority.issuer,
        }
        return _from_registration(web.server, file), file
    endpoint = authority.endpoint("registration")
    if not endpoint:
        raise OAuthFlowError(
            web.server,
            f"{shown(authority.issuer)} does not register clients",
            remedy=f"Register one there, with the redirect address http://127.0.0.1:PORT/callback, and set "
            f"mcp_servers.{web.server}.oauth.client_id and .redirect_port",
        )
    answer = await web.post(endpoint, body=_request(authority, settings, redirect_uri, scope))
    if answer.status not in (200, 201) or not answer.is_json:
        said = str(
            answer.data.get("error_description") or answer.data.get("error") or f"HTTP {answer.status}"
        )
        raise OAuthFlowError(
            web.server,
            f"{shown(endpoint)} refuses to register us: {said[:300]}",
            remedy=f"Register a client there by hand and set mcp_servers.{web.server}.oauth.client_id",
        )
    # The issuer is our own note; what the wire says of it is worth nothing.
    file = {key: value for key, value in answer.data.items() if value is not None and value != ""}
    file.setdefault("redirect_uris", [redirect_uri])
    file["issuer"] = authority.issuer
    return _from_registration(web.server, file), file


def _request(
    authority: AuthorizationServer, settings: McpOAuthSettings, redirect_uri: str, scope: str
) -> dict[str, Any]:
    supported = authority.supports("token_endpoint_auth_methods_supported")
    usable = ("none", "client_secret_post", "client_secret_basic")
    method: str = settings.token_endpoint_auth_method or next(
        (each for each in usable if supported and each in supported), "none"
    )
    grants = ["authorization_code", "refresh_token"]
    if settings.grant_type == "client_credentials":
        grants = ["client_credentials"]
        method = method if method != "none" else "client_secret_post"
    values = {
        "client_name": settings.client_name,
        "redirect_uris": [redirect_uri] if redirect_uri else [],
        "grant_types": grants,
        "response_types": ["code"] if redirect_uri else [],
        "token_endpoint_auth_method": method,
        "application_type": "native",
        "scope": scope,
    }
    return {key: value for key, value in values.items() if value}


def _from_registration(server: str, file: Mapping[str, Any]) -> OAuthClient:
    client_id, secret = file.get("client_id"), file.get("client_secret")
    if not isinstance(client_id, str) or not client_id:
        raise OAuthFlowError(server, "The registration gave no client id")
    secret = secret if isinstance(secret, str) else ""
    method = str(file.get("token_endpoint_auth_method") or ("client_secret_post" if secret else "none"))
    if method not in METHODS or (method.startswith("client_secret") and not secret):
        raise OAuthFlowError(
            server, f"The registration wants {method!r}, which cannot be done with what it gave"
        )
    uris = file.get("redirect_uris")
    return OAuthClient(
        client_id, secret, method, redirect_uris=tuple(map(str, uris)) if isinstance(uris, list) else ()
    )
