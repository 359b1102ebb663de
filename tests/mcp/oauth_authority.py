"""An OAuth authorization server on loopback, made with Authlib, and an MCP server that trusts it.

Rotating refresh tokens with reuse detection: a refresh token that is used twice ends the whole grant.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import (
    AuthorizationCodeMixin,
    AuthorizationServer,
    ClientMixin,
    InvalidClientError,
    InvalidGrantError,
    JsonRequest,
    OAuth2Request,
    TokenMixin,
    grants,
)
from authlib.oauth2.rfc6749.errors import OAuth2Error
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7591 import ClientRegistrationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

METHODS = ("none", "client_secret_post", "client_secret_basic")


@dataclass
class Client(ClientMixin):
    client_id: str
    client_secret: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def get_client_id(self):
        return self.client_id

    def get_default_redirect_uri(self):
        return self.metadata["redirect_uris"][0]

    def get_allowed_scope(self, scope):
        return scope or ""

    def check_redirect_uri(self, redirect_uri):
        return redirect_uri in self.metadata.get("redirect_uris", [])

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(self.client_secret, client_secret)

    def check_endpoint_auth_method(self, method, endpoint):
        own = self.metadata.get("token_endpoint_auth_method", "none")
        return own.endswith("_jwt") if method == "assertion" else own == method

    def check_response_type(self, response_type):
        return response_type == "code"

    def check_grant_type(self, grant_type):
        return grant_type in self.metadata.get("grant_types", ["authorization_code", "refresh_token"])


@dataclass
class Code(AuthorizationCodeMixin):
    code: str
    client_id: str
    redirect_uri: str
    scope: str
    code_challenge: str
    code_challenge_method: str
    resource: str

    def get_redirect_uri(self):
        return self.redirect_uri

    def get_scope(self):
        return self.scope


@dataclass
class Token(TokenMixin):
    access_token: str
    refresh_token: str | None
    client_id: str
    scope: str
    expires_at: float
    grant: str
    resource: str
    is_used: bool = False

    def get_scope(self):
        return self.scope

    def check_client(self, client):
        return client.client_id == self.client_id

    def get_expires_in(self):
        return 3600

    def is_expired(self):
        return time.time() > self.expires_at

    def is_revoked(self):
        return False

    def get_client(self):
        return None

    def get_user(self):
        return "somebody"


class _Request(OAuth2Request):
    def __init__(self, request: Request, form: dict[str, str]) -> None:
        # Authlib insists on TLS; this is loopback.
        super().__init__(
            request.method, str(request.url).replace("http:", "https:", 1), headers=request.headers
        )
        self._args, self._form = dict(request.query_params), form
        self.payload = BasicOAuth2Payload(self._args if request.method == "GET" else form)

    @property
    def args(self):
        return self._args

    @property
    def form(self):
        return self._form


class _Json(JsonRequest):
    def __init__(self, request: Request, data: dict[str, Any]) -> None:
        super().__init__(request.method, str(request.url).replace("http:", "https:", 1), request.headers)
        self.payload = BasicOAuth2Payload(data)


class Authority(AuthorizationServer):
    """The authorization server. Its attributes make it misbehave.

    Attributes:
        down: HTTP status to answer token requests with, and how often (-1: always).
        lies: Replaces members of the metadata.
        calls: How often each endpoint and each grant was used.
    """

    def __init__(self, path: str = "", document: str = "oauth-authorization-server") -> None:
        super().__init__()
        self.path, self.document = path, document
        self.origin = ""
        self.clients: dict[str, Client] = {}
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, Token] = {}
        self.ended: set[str] = set()
        self.reuses = 0
        self.calls: Counter[str] = Counter()
        self.seen: list[dict[str, str]] = []
        self.expires_in: int | None = 3600
        self.omits_refresh = False
        self.rotates = True
        self.denies = False
        self.names_issuer = True
        self.down: tuple[int, int] = (0, 0)
        self.lies: dict[str, Any] = {}
        self.token_path = "/token"
        self.delay = 0.0
        self.asked = asyncio.Event()
        self.enough = 0
        self.reached = asyncio.Event()
        self.register_token_generator("default", self._make)
        self.register_grant(_CodeGrant, [CodeChallenge(required=True)])
        self.register_grant(_RefreshGrant)
        self.register_grant(_ClientGrant)
        self.register_endpoint(_Registration)
        self.register_endpoint(_Revocation)
        self.register_client_auth_method("assertion", _Assertion(self))

    @property
    def issuer(self) -> str:
        return f"{self.origin}{self.path}"

    def metadata(self) -> dict[str, Any]:
        base = f"{self.origin}{self.path}"
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}{self.token_path}",
            "registration_endpoint": f"{base}/register",
            "revocation_endpoint": f"{base}/revoke",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": list(METHODS),
            "authorization_response_iss_parameter_supported": True,
            **self.lies,
        }

    def add_client(self, client_id: str, secret: str = "", **metadata: Any) -> Client:
        self.clients[client_id] = Client(client_id, secret, metadata)
        return self.clients[client_id]

    def is_good(self, access_token: str) -> bool:
        token = self.tokens.get(access_token)
        return token is not None and not token.is_expired() and token.grant not in self.ended

    def expire(self, access_token: str) -> None:
        self.tokens[access_token].expires_at = 0

    # -- Authlib's hooks

    def query_client(self, client_id):
        return self.clients.get(client_id)

    def send_signal(self, name, *args, **kwargs):
        pass

    def create_oauth2_request(self, request):
        return request

    def create_json_request(self, request):
        return request

    def handle_response(self, status, body, headers):
        headers = dict(headers)
        if status == 302:
            return RedirectResponse(headers["Location"], 302)
        return JSONResponse(body, status, headers)

    def _make(self, grant_type, client, user=None, scope=None, expires_in=None, include_refresh_token=True):
        token = {
            "token_type": "bearer",
            "access_token": f"access-{secrets.token_urlsafe(24)}",
            "scope": scope,
        }
        if self.expires_in is not None:
            token["expires_in"] = self.expires_in
        if include_refresh_token and not (self.omits_refresh and grant_type == "refresh_token"):
            token["refresh_token"] = f"refresh-{secrets.token_urlsafe(24)}"
        return token

    def save_token(self, token, request):
        old = request.refresh_token
        grant = old.grant if old is not None else secrets.token_hex(4)
        resource = request.payload.data.get("resource", "")
        lifetime = token.get("expires_in", 10_000)
        refresh = token.get("refresh_token") or (old.refresh_token if old is not None else None)
        self.tokens[token["access_token"]] = Token(
            token["access_token"],
            refresh,
            request.client.client_id,
            token.get("scope") or "",
            time.time() + lifetime,
            grant,
            resource,
        )

    # -- HTTP

    def app(self) -> Starlette:
        path = self.path
        routes = [
            Route(f"{path}/authorize", self._authorize),
            Route(f"{path}/{{rest:path}}", self._token, methods=["POST"]),
        ]
        well_known = {
            "oauth-authorization-server": f"/.well-known/oauth-authorization-server{path}",
            "openid-configuration": f"/.well-known/openid-configuration{path}",
            "appended": f"{path}/.well-known/openid-configuration",
        }[self.document]
        return Starlette(routes=[Route(well_known, self._metadata), *routes])

    async def _metadata(self, _request: Request) -> Response:
        self.calls["metadata"] += 1
        return JSONResponse(self.metadata())

    async def _authorize(self, request: Request) -> Response:
        self.calls["authorize"] += 1
        asked = _Request(request, {})
        self.seen.append(dict(asked.args))
        grant = None
        with contextlib.suppress(OAuth2Error):
            grant = self.get_consent_grant(asked, "somebody")
        response = self.create_authorization_response(
            asked, grant_user=None if self.denies else "somebody", grant=grant
        )
        if self.names_issuer and "location" in response.headers:
            response.headers["location"] = add_params_to_uri(
                response.headers["location"], {"iss": self.issuer}
            )
        return response

    async def _token(self, request: Request) -> Response:
        name = request.url.path.removeprefix(self.path)
        if name == "/register":
            self.calls["register"] += 1
            return self.create_endpoint_response("client_registration", _Json(request, await request.json()))
        form = {key: str(value) for key, value in (await request.form()).items()}
        if name == "/revoke":
            self.calls["revoke"] += 1
            return self.create_endpoint_response("revocation", _Request(request, form))
        if name != self.token_path:
            return PlainTextResponse("no such place", 404)
        self.calls["token"] += 1
        self.seen.append({**form, "_authorization": request.headers.get("authorization", "")})
        self.asked.set()
        if self.delay:
            await asyncio.sleep(self.delay)
        status, times = self.down
        if times:
            self.down = (status, times - 1)
            return PlainTextResponse("<html>oops</html>", status)
        self.calls[form.get("grant_type", "")] += 1
        if 0 < self.enough == self.calls["refresh_token"]:
            self.reached.set()
        return self.create_token_response(_Request(request, form))


class _CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def save_authorization_code(self, code, request):
        data = request.payload.data
        self.server.codes[code] = Code(
            code,
            request.client.client_id,
            data["redirect_uri"],
            data.get("scope", ""),
            data["code_challenge"],
            data["code_challenge_method"],
            data.get("resource", ""),
        )

    def query_authorization_code(self, code, client):
        found = self.server.codes.get(code)
        return found if found and found.client_id == client.client_id else None

    def delete_authorization_code(self, authorization_code):
        del self.server.codes[authorization_code.code]

    def authenticate_user(self, authorization_code):
        return "somebody"


class _RefreshGrant(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (*METHODS, "assertion")
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        server = self.server
        issued = [token for token in server.tokens.values() if token.refresh_token == refresh_token]
        if not issued or issued[-1].grant in server.ended:
            raise InvalidGrantError()
        if issued[-1].is_used:
            server.reuses += 1
            server.ended.add(issued[-1].grant)
            raise InvalidGrantError()
        return issued[-1]

    def authenticate_user(self, refresh_token):
        return "somebody"

    def revoke_old_credential(self, refresh_token):
        if self.server.rotates and not self.server.omits_refresh:
            refresh_token.is_used = True


class _ClientGrant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = (*METHODS, "assertion")


class _Registration(ClientRegistrationEndpoint):
    def authenticate_token(self, request):
        return "open"

    def get_server_metadata(self):
        return {"token_endpoint_auth_methods_supported": list(METHODS), "response_types_supported": ["code"]}

    def save_client(self, client_info, client_metadata, request):
        return self.server.add_client(
            client_info["client_id"], client_info["client_secret"], **client_metadata
        )


class _Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, token_string, token_type_hint):
        for token in self.server.tokens.values():
            if token_string in (token.access_token, token.refresh_token):
                return token
        return None

    def revoke_token(self, token, request):
        self.server.ended.add(token.grant)


class _Assertion(JWTBearerClientAssertion):
    CLIENT_AUTH_METHOD = "assertion"

    def __init__(self, server: Authority) -> None:
        super().__init__(validate_jti=True)
        self._server = server
        self._used: set[str] = set()

    def process_assertion_claims(self, assertion, resolve_key):
        try:
            token = jwt.decode(assertion, resolve_key, algorithms=["HS256", "RS256", "ES256", "EdDSA"])
        except JoseError as error:
            raise InvalidClientError() from error
        self.verify_claims(token.claims)
        return token.claims

    def get_audiences(self):
        return [self._server.issuer]

    def validate_jti(self, claims, jti):
        is_new = jti not in self._used
        self._used.add(jti)
        return is_new

    def resolve_client_public_key(self, client):
        key = client.metadata.get("public_key")
        return (
            jwk.import_key(key, client.metadata.get("key_type", "oct"))
            if key
            else jwk.import_key(client.client_secret, "oct")
        )


@asynccontextmanager
async def serving(*apps: Any) -> AsyncIterator[list[str]]:
    """Serve ASGI apps on loopback, each at a port of its own; gives their origins."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _app in apps]
    ports = [each.getsockname()[1] for each in sockets]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps[ports.index(scope["server"][1])](scope, receive, send)

    config = uvicorn.Config(app, log_level="error", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve(sockets))
    while not server.started:
        if task.done():
            task.result()
        await asyncio.sleep(0.005)
    try:
        yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        server.should_exit = server.force_exit = True
        await task


class Resource:
    """A server that wants a token of the authority: a small MCP server, as far as signing in is concerned.

    Attributes:
        authorities: Where it says one can sign in; None publishes nothing.
        resource: What it calls itself; empty is its address.
        refuses: Refuse every token.
    """

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.url = ""
        self.path = "/mcp"
        self.authorities: list[str] | None = []
        self.resource = ""
        self.scopes: list[str] | None = None
        self.challenge = ""
        self.refuses = False
        self.needs: dict[str, str] = {}
        self.calls: Counter[str] = Counter()
        self.status_of_metadata = 200
        self.bearers: list[str] = []

    def app(self, others: Starlette | None = None) -> Starlette:
        routes = [
            Route("/.well-known/oauth-protected-resource/mcp", self._metadata),
            Route("/mcp", self._call, methods=["GET", "POST"]),
        ]
        return Starlette(routes=[*routes, *(others.routes if others else [])])

    async def _metadata(self, _request: Request) -> Response:
        self.calls["metadata"] += 1
        if self.authorities is None or self.status_of_metadata != 200:
            return PlainTextResponse("", 404 if self.status_of_metadata == 200 else self.status_of_metadata)
        document: dict[str, Any] = {
            "resource": self.resource or self.url,
            "authorization_servers": self.authorities or [self.authority.issuer],
        }
        if self.scopes is not None:
            document["scopes_supported"] = self.scopes
        return JSONResponse(document)

    async def _call(self, request: Request) -> Response:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        self.calls["call"] += 1
        if token:
            self.bearers.append(token)
        if kind != "Bearer" or self.refuses or not self.authority.is_good(token):
            header = self.challenge or "Bearer"
            return PlainTextResponse("no", 401, headers={"www-authenticate": header})
        needed = self.needs.get(request.query_params.get("what", ""))
        if needed and needed not in self.authority.tokens[token].scope.split():
            header = f'Bearer error="insufficient_scope", scope="{needed}"'
            return PlainTextResponse("more", 403, headers={"www-authenticate": header})
        return PlainTextResponse(json.dumps({"ok": True}))


__all__ = ["Authority", "Client", "Resource", "Token", "serving"]
