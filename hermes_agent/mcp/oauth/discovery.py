"""Which authorization server a server trusts, and what that one offers.

RFC 9728 (protected resource metadata: from the challenge, by path, at the root), then RFC 8414 and OpenID
Connect discovery with their path variants. Metadata must name the issuer it was asked for. Where nothing is
published, nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mcp.client.auth.utils import (
    build_oauth_authorization_server_metadata_discovery_urls,
    build_protected_resource_metadata_discovery_urls,
    issuers_match,
)
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from pydantic import ValidationError

from hermes_agent.mcp.oauth.challenge import Challenge
from hermes_agent.mcp.oauth.errors import OAuthFlowError, OAuthUnavailableError
from hermes_agent.mcp.oauth.web import Answer, Web, shown

OWN_KEY = "hermes"
"""Where our own facts are in the metadata file."""

_VERSION = {"MCP-Protocol-Version": "2025-11-25"}


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """An authorization server, as its metadata describes it.

    Attributes:
        metadata: RFC 8414, as received.
        resource: What tokens are asked for (RFC 8707).
        scopes: What the server says that can be asked for; None if it does not say.
    """

    issuer: str
    metadata: Mapping[str, Any] = field(hash=False)
    resource: str = ""
    scopes: tuple[str, ...] | None = None

    def endpoint(self, name: str) -> str:
        """An endpoint's address; empty if there is none."""
        value = self.metadata.get(f"{name}_endpoint")
        return value if isinstance(value, str) else ""

    def supports(self, key: str) -> tuple[str, ...] | None:
        """A list of the metadata; None if it does not say."""
        value = self.metadata.get(key)
        return tuple(map(str, value)) if isinstance(value, list) else None

    def to_json(self, **facts: object) -> dict[str, Any]:
        """For the metadata file."""
        own = {
            "resource": self.resource,
            "scopes": None if self.scopes is None else list(self.scopes),
            **facts,
        }
        return {**self.metadata, OWN_KEY: {key: value for key, value in own.items() if value is not None}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None, server_url: str) -> AuthorizationServer | None:
        """From the metadata file; None if it does not tell enough, or tells of another server."""
        if (
            not data
            or not isinstance(data.get("issuer"), str)
            or not isinstance(data.get("token_endpoint"), str)
        ):
            return None
        own = data.get(OWN_KEY)
        own = own if isinstance(own, dict) else {}
        resource = own.get("resource")
        canonical = resource_url_from_server_url(server_url)
        if not isinstance(resource, str):
            resource = canonical
        elif resource and not check_resource_allowed(canonical, resource):
            return None
        scopes = own.get("scopes")
        return cls(
            data["issuer"],
            {key: value for key, value in data.items() if key != OWN_KEY},
            resource,
            tuple(map(str, scopes)) if isinstance(scopes, list) else None,
        )


async def discover(web: Web, challenge: Challenge, issuer: str = "") -> AuthorizationServer:
    """Find the authorization server.

    Args:
        web: Speaks for the server.
        challenge: What the server said when it refused us.
        issuer: The only one that will do; empty takes the server's word.

    Raises:
        OAuthFlowError: There is none, or what is published contradicts itself.
        OAuthUnavailableError: It cannot be reached now.
    """
    resource = await _resource(web, challenge)
    canonical = resource_url_from_server_url(web.server_url)
    if resource is not None:
        advertised = [str(each) for each in resource["authorization_servers"]]
        chosen = next((each for each in advertised if issuer and issuers_match(each, issuer)), "")
        if issuer and not chosen:
            raise OAuthFlowError(
                web.server,
                f"The server trusts {', '.join(map(shown, advertised))}, not {shown(issuer)}",
                remedy=f"Correct mcp_servers.{web.server}.oauth.issuer",
            )
        chosen = chosen or advertised[0]
        target = str(resource["resource"])
        scopes = resource.get("scopes_supported")
    else:
        parts = urlsplit(web.server_url)
        chosen = issuer or f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        target, scopes = canonical, None
    metadata = await _metadata(web, chosen)
    return AuthorizationServer(
        str(metadata["issuer"]),
        metadata,
        target,
        tuple(map(str, scopes)) if isinstance(scopes, list) else None,
    )


async def refetch(web: Web, known: AuthorizationServer) -> AuthorizationServer:
    """The same authorization server with its metadata of now. Raises as `discover`."""
    metadata = await _metadata(web, known.issuer)
    return AuthorizationServer(str(metadata["issuer"]), metadata, known.resource, known.scopes)


async def _resource(web: Web, challenge: Challenge) -> dict[str, Any] | None:
    urls = build_protected_resource_metadata_discovery_urls(
        challenge.resource_metadata or None, _without_user(web.server_url)
    )
    failed: Answer | None = None
    for url in urls:
        answer = await web.get(url, _VERSION)
        if answer.status >= 500 or answer.status == 429:
            failed = answer
        if answer.status != 200 or not answer.is_json:
            continue
        try:
            ProtectedResourceMetadata.model_validate(answer.data)
        except ValidationError:
            continue
        # The name must be that of the server we were told to use: otherwise a server could have us
        # fetch tokens for somebody else.
        if not check_resource_allowed(
            resource_url_from_server_url(_without_user(web.server_url)), str(answer.data["resource"])
        ):
            raise OAuthFlowError(
                web.server,
                f"{shown(url)} speaks of {shown(str(answer.data['resource']))}, which is another server",
            )
        return answer.data
    if failed is not None:
        # A failing server says nothing about what it publishes.
        raise OAuthUnavailableError(
            web.server,
            f"MCP server {web.server!r} does not say where to sign in",
            why=f"It answered with HTTP {failed.status}",
        )
    return None


async def _metadata(web: Web, issuer: str) -> dict[str, Any]:
    failed: Answer | None = None
    for url in build_oauth_authorization_server_metadata_discovery_urls(issuer, web.server_url):
        answer = await web.get(url, _VERSION)
        if answer.status >= 500 or answer.status == 429:
            failed = answer
        if answer.status != 200 or not answer.is_json:
            continue
        try:
            OAuthMetadata.model_validate(answer.data)
        except ValidationError:
            continue
        if not issuers_match(str(answer.data["issuer"]), issuer):
            raise OAuthFlowError(
                web.server,
                f"{shown(url)} claims to be {shown(str(answer.data['issuer']))}, not {shown(issuer)}",
            )
        return answer.data
    if failed is not None:
        raise OAuthUnavailableError(
            web.server,
            f"{shown(issuer)} does not say how to sign in",
            why=f"It answered with HTTP {failed.status}",
        )
    raise OAuthFlowError(
        web.server,
        f"{shown(issuer)} publishes no metadata to sign in with, and endpoints are never guessed",
        remedy=f"If it wants a fixed key, set mcp_servers.{web.server}.headers.Authorization instead",
    )


def _without_user(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url)
