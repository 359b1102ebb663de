"""HTTP to addresses that a server told us: guarded, small, and without following redirects elsewhere.

A server must not be able to make us call what only we can reach. Discovered addresses are resolved here,
checked, and the connection goes to the address that was checked. Private addresses are reached only if the
server itself has one, and plain HTTP only then.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.oauth.errors import OAuthFlowError, OAuthUnavailableError
from hermes_agent.mcp.oauth.files import origin
from hermes_agent.mcp.tls import make_context

MAX_BYTES = 1_000_000
TIMEOUT_SECONDS = 20.0
_MAX_REDIRECTS = 3

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def reach(address: IpAddress) -> str:
    """How far an address reaches: `public`, `private`, `loopback` or `link` (also what is no host at all)."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return reach(inner)
    if address.is_loopback:
        return "loopback"
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return "link"
    return "public" if address.is_global else "private"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        data: Its JSON object; empty if it is none.
        is_json: Whether it is one.
    """

    status: int
    headers: Mapping[str, str]
    data: dict[str, Any] = field(repr=False)
    is_json: bool = True
    location: str = ""


class Web:
    """Requests on behalf of one server. Open it with `open_web`."""

    def __init__(self, server: str, settings: McpServerSettings) -> None:
        self.server = server
        self.server_url = settings.url
        self._client = httpx2.AsyncClient(
            transport=_GuardedTransport(server, settings),
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            headers={"Accept": "application/json"},
        )

    async def aclose(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Fetch a document; redirects are followed within the origin only.

        Raises:
            OAuthFlowError: The address must not be called.
            OAuthUnavailableError: It cannot be reached.
        """
        home = origin(url)
        for _ in range(_MAX_REDIRECTS):
            answer = await self._send("GET", url, headers=dict(headers or {}))
            if not answer.location or origin(answer.location) != home:
                return answer
            url = answer.location
        return answer

    async def post(
        self,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        body: object | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a form or JSON. A redirect is not followed: it would carry what was sent elsewhere.

        Raises:
            OAuthFlowError: The address must not be called.
            OAuthUnavailableError: It cannot be reached.
        """
        if form is not None:
            return await self._send("POST", url, headers=dict(headers or {}), data=dict(form))
        return await self._send("POST", url, headers=dict(headers or {}), json=body)

    async def head_of(
        self, method: str, url: str, body: object | None, headers: Mapping[str, str]
    ) -> tuple[int, str]:
        """Status and challenge of an answer whose body is not waited for.

        Raises:
            OAuthFlowError: The address must not be called.
            OAuthUnavailableError: It cannot be reached.
        """
        with self._translated(url):
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client.stream(method, url, json=body, headers=dict(headers)) as response,
            ):
                return response.status_code, response.headers.get("www-authenticate", "")

    async def _send(self, method: str, url: str, **arguments: Any) -> Answer:
        with self._translated(url):
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._client.stream(method, url, **arguments) as response,
            ):
                return _answer(response, await _limited(response))

    @contextmanager
    def _translated(self, url: str) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, httpx2.HTTPError, OSError) as error:
            raise OAuthUnavailableError(
                self.server,
                f"{shown(url)} does not answer (MCP server {self.server!r} signs in there)",
                why=str(error) or type(error).__name__,
            ) from error
        except (httpx2.InvalidURL, ValueError) as error:
            raise OAuthFlowError(self.server, f"{shown(url)!r} is not an address") from error


@asynccontextmanager
async def open_web(server: str, settings: McpServerSettings) -> AsyncGenerator[Web]:
    """HTTP on behalf of a server."""
    web = Web(server, settings)
    try:
        yield web
    finally:
        await web.aclose()


def shown(url: str) -> str:
    """An address without what may be secret in it."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return url[:100]


async def _limited(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MAX_BYTES:
            return b""
    return bytes(content)


def _answer(response: httpx2.Response, content: bytes) -> Answer:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        data = None
    location = ""
    if response.is_redirect and "location" in response.headers:
        location = str(response.url.join(response.headers["location"]))
    return Answer(
        response.status_code,
        response.headers,
        data if isinstance(data, dict) else {},
        isinstance(data, dict),
        location,
    )


class _GuardedTransport(httpx2.AsyncBaseTransport):
    """Resolves a host, refuses what must not be reached, and connects to the address it checked."""

    def __init__(self, server: str, settings: McpServerSettings) -> None:
        self._server = server
        self._settings = settings
        self._server_host = (urlsplit(settings.url).hostname or "").lower()
        self._reach: str | None = None
        self._transports: dict[tuple[str, str, str], httpx2.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        host = url.host.lower()
        if url.scheme not in ("http", "https") or not host or url.userinfo:
            raise OAuthFlowError(self._server, f"{shown(str(url))} is not an address to sign in at")
        proxy = await asyncio.to_thread(_proxy_for, url.scheme, host)
        found = await self._addresses(host, url.port or 0, is_proxied=bool(proxy))
        await self._check(url, found)
        transport = await self._transport(proxy, url.scheme, host)
        if not found or proxy:
            return await transport.handle_async_request(request)
        for index, address in enumerate(found):
            pinned = httpx2.Request(
                request.method,
                url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await transport.handle_async_request(pinned)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if index + 1 == len(found):
                    raise
        raise AssertionError("unreachable")

    async def _check(self, url: httpx2.URL, found: list[IpAddress]) -> None:
        reaches = {reach(address) for address in found}
        if url.scheme == "https" and reaches <= {"public"}:
            return
        own = await self._own_reach()
        if url.scheme == "http" and own == "public":
            raise OAuthFlowError(self._server, f"{shown(str(url))} is not encrypted; nothing is sent there")
        if own == "public" or ("link" in reaches and own != "link"):
            raise OAuthFlowError(
                self._server,
                f"{shown(str(url))} is in a private network, but the server is not; it is not called",
            )
        if url.scheme == "http" and "public" in reaches:
            raise OAuthFlowError(self._server, f"{shown(str(url))} is not encrypted; nothing is sent there")

    async def _own_reach(self) -> str:
        """How far the server's own address reaches; `public` if it cannot be told."""
        if self._reach is None:
            try:
                found = await self._addresses(self._server_host, 0, is_proxied=False)
            except OAuthUnavailableError:
                found = []
            reaches = {reach(address) for address in found}
            # An address of each kind: the farthest counts, it is the one anybody could have given it.
            self._reach = next(
                (each for each in ("public", "private", "loopback", "link") if each in reaches), "public"
            )
        return self._reach

    async def _addresses(self, host: str, port: int, *, is_proxied: bool) -> list[IpAddress]:
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            pass
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port or None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            if is_proxied:
                return []  # The proxy knows it.
            raise OAuthUnavailableError(
                self._server, f"The host {host!r} is not found (MCP server {self._server!r})"
            ) from error
        return [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]

    async def _transport(self, proxy: str, scheme: str, host: str) -> httpx2.AsyncHTTPTransport:
        # One for each host: two hosts at one address must not share a connection.
        known = self._transports.get((proxy, scheme, host))
        if known is None:
            verify: ssl.SSLContext | bool = (
                False  # Plain HTTP needs no certificates, which take long to load.
            )
            if scheme == "https" or proxy.startswith("https"):
                verify = await asyncio.to_thread(self._tls, is_own=host == self._server_host)
            known = httpx2.AsyncHTTPTransport(verify=verify, proxy=proxy or None)
            self._transports[proxy, scheme, host] = known
        return known

    def _tls(self, *, is_own: bool) -> ssl.SSLContext:
        """TLS settings are the server's; other hosts see its client certificate only if it was asked for."""
        wants_certificate = self._settings.oauth.token_endpoint_auth_method.endswith("tls_client_auth")
        return make_context(self._settings, is_own=is_own, with_certificate=is_own or wants_certificate)

    async def aclose(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()


def _proxy_for(scheme: str, host: str) -> str:
    """The proxy that the system uses for a host; empty if none."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(host):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"
