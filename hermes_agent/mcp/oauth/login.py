"""A person signs in: the address to open, the way back, the exchange of the code.

What is stored stays untouched until the new token is there; then all three files are replaced under the lock.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

from mcp.client.auth.utils import issuers_match

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import HermesError
from hermes_agent.mcp.oauth.challenge import NO_CHALLENGE, Challenge, joined_scopes
from hermes_agent.mcp.oauth.client import OAuthClient, known_client, register_client
from hermes_agent.mcp.oauth.discovery import OWN_KEY, AuthorizationServer, discover
from hermes_agent.mcp.oauth.endpoint import request_token
from hermes_agent.mcp.oauth.errors import (
    OAuthFlowError,
    OAuthNonInteractiveError,
    OAuthTokenError,
)
from hermes_agent.mcp.oauth.files import StoredToken, TokenFiles
from hermes_agent.mcp.oauth.redirect import HOST, Parameters, RedirectListener, parse_redirect
from hermes_agent.mcp.oauth.renewal import bind_client
from hermes_agent.mcp.oauth.web import Web, open_web, shown

_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "hermes-agent", "version": "1"},
    },
}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was agreed before the person is asked."""

    authority: AuthorizationServer
    client: OAuthClient
    registration: Mapping[str, Any] | None
    redirect_uri: str
    scope: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)

    @property
    def url(self) -> str:
        """What the person opens."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=")
        values = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
            "resource": self.authority.resource,
            "scope": self.scope,
            # OpenID Connect gives refresh tokens only after asking.
            "prompt": "consent" if "offline_access" in self.scope.split() else "",
        }
        query = urlencode({key: value for key, value in values.items() if value})
        endpoint = self.authority.endpoint("authorization")
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"


class LoginAttempt:
    """One attempt to sign in. Make it with `start_login`, close it with `aclose`.

    Attributes:
        url: What the person opens, on any machine.
        redirect_uri: Where the browser ends up; if that fails, its address is pasted.
    """

    def __init__(
        self, server: str, settings: McpServerSettings, files: TokenFiles, plan: _Plan, web: Web
    ) -> None:
        self.url = plan.url
        self.redirect_uri = plan.redirect_uri
        self._server = server
        self._settings = settings
        self._files = files
        self._plan = plan
        self._web = web
        self._stack = AsyncExitStack()
        self._taking = asyncio.Lock()
        self._done: asyncio.Future[StoredToken] = asyncio.get_running_loop().create_future()

    @property
    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._done.done()

    def keep(self, stack: AsyncExitStack) -> None:
        """Close this too in the end."""
        self._stack = stack

    async def paste(self, text: str) -> StoredToken:
        """Take the address the browser ended up at.

        Raises:
            OAuthFlowError: It is not the one of this attempt; another can be pasted.
            OAuthTokenError: Signing in was refused.
            OAuthUnavailableError: The code could not be exchanged now.
        """
        parameters = parse_redirect(text)
        if not ({"code", "error"} & parameters.keys()):
            raise OAuthFlowError(
                self._server,
                "That is not the address the browser ended up at",
                remedy=f"Paste all of it; it begins with {self.redirect_uri}?",
            )
        await self._take(parameters)
        return await self.wait()

    async def wait(self) -> StoredToken:
        """Wait until somebody signed in.

        Raises:
            OAuthNonInteractiveError: Nobody did within `oauth.timeout`.
            OAuthTokenError: Signing in was refused.
            OAuthUnavailableError: The code could not be exchanged now.
        """
        try:
            async with asyncio.timeout(self._settings.oauth.timeout):
                return await asyncio.shield(self._done)
        except TimeoutError as error:
            raise OAuthNonInteractiveError(
                self._server, f"Nobody signed in within {self._settings.oauth.timeout:g} s"
            ) from error

    async def aclose(self) -> None:
        """Stop listening. Safe to call twice."""
        if not self._done.done():
            self._done.set_exception(OAuthNonInteractiveError(self._server, "The attempt was given up"))
        self._done.exception()  # Nobody may have waited for it.
        await self._stack.aclose()

    async def accept(self, parameters: Parameters) -> str:
        """Take what a browser brought; returns what to show."""
        try:
            await self._take(parameters)
        except HermesError as error:
            return " – ".join(error.lines)
        if self._done.done() and self._done.exception() is not None:
            return f"Signing in failed: {self._done.exception()}"
        return f"You are signed in to {self._server}. This window can be closed."

    async def _take(self, parameters: Parameters) -> None:
        """Check what came back, and exchange the code once. A foreign answer changes nothing."""
        if not hmac.compare_digest(parameters.get("state", "").encode(), self._plan.state.encode()):
            raise OAuthFlowError(
                self._server,
                "The address belongs to another attempt to sign in",
                remedy="Use the address that was shown last",
            )
        self._check_issuer(parameters)
        async with self._taking:
            if self._done.done():
                return
            try:
                token = await self._exchange(parameters)
            except HermesError as error:
                self._done.set_exception(error)
            else:
                self._done.set_result(token)

    def _check_issuer(self, parameters: Parameters) -> None:
        authority = self._plan.authority
        named = parameters.get("iss")
        is_announced = authority.metadata.get("authorization_response_iss_parameter_supported") is True
        if (named is None and is_announced) or (
            named is not None and not issuers_match(named, authority.issuer)
        ):
            raise OAuthFlowError(
                self._server, f"The answer is not from {shown(authority.issuer)}; its code is not used"
            )

    async def _exchange(self, parameters: Parameters) -> StoredToken:
        if "error" in parameters:
            said = parameters.get("error_description", "")[:300]
            raise OAuthTokenError(
                self._server,
                f"Signing in was refused: {parameters['error'][:100]}{f' ({said})' if said else ''}",
                code=parameters["error"],
            )
        plan = self._plan
        form = {
            "grant_type": "authorization_code",
            "code": parameters.get("code", ""),
            "redirect_uri": plan.redirect_uri,
            "code_verifier": plan.verifier,
        }
        fresh = await request_token(self._web, plan.authority, plan.client, form)
        granted = fresh.scope if fresh.scope is not None else plan.scope or None
        token = replace(fresh, scope=granted, server_url=self._settings.url)
        async with self._files.lock():
            if plan.registration is not None:
                self._files.save_client(plan.registration)
            elif self._settings.oauth.client_id:
                bind_client(self._files, plan.client.client_id, plan.authority.issuer)
            self._files.save_metadata(plan.authority.to_json())
            self._files.save_token(token)
        return token


async def start_login(
    server: str, settings: McpServerSettings, files: TokenFiles, challenge: Challenge = NO_CHALLENGE
) -> LoginAttempt:
    """Find out where to sign in, become a client there if need be, and listen for the way back.

    Raises:
        OAuthFlowError: It cannot work like this.
        OAuthUnavailableError: Something cannot be reached now.
    """
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(open_web(server, settings))
        found = await probe(web, settings)
        authority = await discover(web, found or challenge, settings.oauth.issuer)
        check_authorization(server, authority, settings)
        scope = _scope(authority, found or challenge, settings, files)
        made: list[LoginAttempt] = []

        async def accept(parameters: Parameters) -> str:
            return await made[0].accept(parameters) if made else "Please try again."

        listener = RedirectListener(accept)
        client = known_client(server, authority, settings.oauth, files.load_client())
        known_port = _registered_port(client)
        try:
            await listener.open(*_ports(settings.oauth.redirect_port, known_port))
        except OSError as error:
            raise OAuthFlowError(
                server,
                f"Port {settings.oauth.redirect_port} cannot be listened on: {error.strerror}",
                remedy=f"Set another mcp_servers.{server}.oauth.redirect_port",
            ) from error
        stack.push_async_callback(listener.aclose)
        registration = None
        is_registered_here = client is not None and (
            bool(settings.oauth.client_id) or known_port == listener.port
        )
        if client is None or not is_registered_here:
            client, registration = await register_client(web, authority, settings.oauth, listener.uri, scope)
        plan = _Plan(authority, client, registration, listener.uri, scope)
        attempt = LoginAttempt(server, settings, files, plan, web)
        made.append(attempt)
        attempt.keep(stack.pop_all())
        return attempt


async def probe(web: Web, settings: McpServerSettings) -> Challenge | None:
    """Ask the server without a credential; what it says when it refuses, None if it does not."""
    headers = {
        name: str(value) for name, value in settings.headers.items() if name.lower() != "authorization"
    }
    accept = {"Accept": "application/json, text/event-stream"}
    status, header = await web.head_of("POST", settings.url, _INITIALIZE, {**headers, **accept})
    if status not in (401, 403):
        status, header = await web.head_of(
            "GET", settings.url, None, {**headers, "Accept": "text/event-stream"}
        )
    return Challenge.parse(header) if status in (401, 403) else None


def check_authorization(server: str, authority: AuthorizationServer, settings: McpServerSettings) -> None:
    """Whether a browser may be sent there, and PKCE works. Raises `OAuthFlowError`."""
    endpoint = authority.endpoint("authorization")
    parts = urlsplit(endpoint)
    is_local = settings.url.lower().startswith("http://")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise OAuthFlowError(server, f"{shown(endpoint)!r} is not an address to sign in at")
    methods = authority.supports("code_challenge_methods_supported")
    if methods is not None and "S256" not in methods:
        raise OAuthFlowError(server, f"{shown(authority.issuer)} does not protect the code (PKCE with S256)")


def _scope(
    authority: AuthorizationServer, challenge: Challenge, settings: McpServerSettings, files: TokenFiles
) -> str:
    """Scopes to ask for: the settings', else the challenge's, else the server's; with what is granted already
    if more was wanted during use."""
    base = settings.oauth.scope or challenge.scope or " ".join(authority.scopes or ())
    own = (files.load_metadata() or {}).get(OWN_KEY)
    wanted = str(own.get("wanted_scope") or "") if isinstance(own, dict) else ""
    if wanted:
        token = files.load_token()
        base = joined_scopes(token.scope if token else "", base, wanted)
    supported = authority.supports("scopes_supported") or ()
    if base and "offline_access" in supported:
        base = joined_scopes(base, "offline_access")
    return base


def _registered_port(client: OAuthClient | None) -> int:
    for uri in client.redirect_uris if client is not None else ():
        parts = urlsplit(uri)
        if parts.scheme == "http" and parts.hostname == HOST and parts.path == "/callback":
            return parts.port or 0
    return 0


def _ports(configured: int, known: int) -> tuple[int, ...]:
    if configured:
        return (configured,)
    return (known, 0) if known else (0,)
