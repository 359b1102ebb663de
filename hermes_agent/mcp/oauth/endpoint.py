"""Requests to the token endpoint: every way to authenticate, and what each answer means."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hermes_agent.mcp.oauth.client import OAuthClient
from hermes_agent.mcp.oauth.discovery import AuthorizationServer
from hermes_agent.mcp.oauth.errors import OAuthFlowError, OAuthTokenError, OAuthUnavailableError
from hermes_agent.mcp.oauth.files import StoredToken
from hermes_agent.mcp.oauth.web import Answer, Web, shown

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FOR_NOW = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
_MISSING = frozenset({404, 405, 410})


class EndpointMissingError(OAuthUnavailableError):
    """There is no token endpoint where the metadata said (it may have moved)."""


async def request_token(
    web: Web, authority: AuthorizationServer, client: OAuthClient, form: Mapping[str, str]
) -> StoredToken:
    """Ask for a token.

    Args:
        web: Speaks for the server.
        authority: Whose token endpoint.
        client: Who asks.
        form: The grant; client and resource are added.

    Raises:
        OAuthTokenError: The grant, or the client, is refused.
        EndpointMissingError: The endpoint is not there.
        OAuthUnavailableError: It fails for now.
        OAuthFlowError: The address must not be called, or we cannot authenticate.
    """
    endpoint = authority.endpoint("token")
    values, headers = authenticated(web.server, authority, client)
    asked = {**form, **values}
    if authority.resource:
        asked["resource"] = authority.resource
    now = time.time()
    answer = await web.post(
        endpoint, form={key: value for key, value in asked.items() if value}, headers=headers
    )
    return _token(web, endpoint, answer, now)


def _token(web: Web, endpoint: str, answer: Answer, asked_at: float) -> StoredToken:
    code = str(answer.data.get("error") or "")
    if answer.status == 200 and not code:
        if str(answer.data.get("token_type") or "Bearer").lower() != "bearer":
            raise OAuthFlowError(web.server, f"{shown(endpoint)} gives tokens of another kind than Bearer")
        data = {key: value for key, value in answer.data.items() if key not in ("expires_at", "server_url")}
        token = StoredToken.from_json(data, written_at=asked_at)
        if token is not None:
            return token
    where = f"{shown(endpoint)} (MCP server {web.server!r} signs in there)"
    if answer.status in _MISSING:
        raise EndpointMissingError(web.server, f"{where} is not there", why=f"HTTP {answer.status}")
    if code and code not in _FOR_NOW and (answer.status in (200, 400, 401, 403)):
        said = str(answer.data.get("error_description") or "")[:300]
        raise OAuthTokenError(
            web.server, f"{shown(endpoint)}: {code}{f' ({said})' if said else ''}", code=code
        )
    raise OAuthUnavailableError(
        web.server,
        f"{where} gave no token",
        why=f"It answered with HTTP {answer.status}{f', {code}' if code else ''}",
    )


def authenticated(
    server: str, authority: AuthorizationServer, client: OAuthClient
) -> tuple[dict[str, str], dict[str, str]]:
    """Form fields and headers that say who we are. Raises `OAuthFlowError`."""
    if client.method == "client_secret_basic":
        pair = f"{quote(client.client_id, safe='')}:{quote(client.client_secret, safe='')}"
        return {}, {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    if client.method == "client_secret_post":
        return {"client_id": client.client_id, "client_secret": client.client_secret}, {}
    if client.method in ("client_secret_jwt", "private_key_jwt"):
        return {
            "client_id": client.client_id,
            "client_assertion_type": _ASSERTION,
            "client_assertion": _assertion(server, authority, client),
        }, {}
    return {"client_id": client.client_id}, {}  # none, and TLS certificates, which travel below


def _assertion(server: str, authority: AuthorizationServer, client: OAuthClient) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": authority.issuer,
        "jti": secrets.token_urlsafe(16),
        "iat": now,
        "exp": now + 60,
    }
    if client.method == "client_secret_jwt":
        return jwt.encode(claims, client.client_secret, algorithm="HS256")
    try:
        key = load_pem_private_key(Path(client.private_key).expanduser().read_bytes(), None)
        headers = {"kid": client.private_key_id} if client.private_key_id else None
        return jwt.encode(claims, cast("Any", key), algorithm=_algorithm(key), headers=headers)
    except (OSError, ValueError, TypeError, jwt.PyJWTError) as error:
        raise OAuthFlowError(
            server,
            f"The private key {client.private_key!r} cannot be used: {error}",
            remedy=f"Correct mcp_servers.{server}.oauth.private_key",
        ) from error


def _algorithm(key: PrivateKeyTypes) -> str:
    if isinstance(key, EllipticCurvePrivateKey):
        return {256: "ES256", 384: "ES384"}.get(key.curve.key_size, "ES512")
    return "EdDSA" if isinstance(key, Ed25519PrivateKey) else "RS256"
