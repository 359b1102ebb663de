"""Fetching over HTTP through the egress guard, with limits on time and size.

httpx connects to the address that was judged (the name stays in the Host header and in the TLS check),
no connection is used twice, redirects are followed here one by one, and no more of a body is read than
the limit allows, whatever its declared length.

httpx is slow to import: whoever needs this module loads it when the first page is fetched.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx

from hermes_agent.core.egress import EgressError, EgressPolicy, Fetched, Target, origin

MAX_REDIRECTS: Final = 8
USER_AGENT: Final = "Mozilla/5.0 (compatible; hermes-agent; +https://github.com/hermes-agent)"
_PRIVATE_HEADERS: Final = frozenset(("authorization", "cookie", "x-api-key", "x-subscription-token"))
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))


class GuardedFetcher:
    """See `core.egress.Fetcher`.

    Args:
        policy: Where it may go.
        verify: TLS settings, for tests with a certificate of their own; None checks as usual.
    """

    def __init__(self, policy: EgressPolicy, *, verify: ssl.SSLContext | None = None) -> None:
        self._policy = policy
        self._verify = verify

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = 10_000_000,
        timeout_seconds: float = 60.0,
    ) -> Fetched:
        """Fetch, following redirects, each of them judged anew.

        Args:
            url: http or https.
            method: HTTP method; after a 303 (or a redirected POST) it is GET.
            headers: Sent too; those that identify are dropped when a redirect leaves the host.
            body: Request body.
            max_bytes: More of the answer (unpacked) is not read.
            timeout_seconds: For everything together.

        Raises:
            EgressError: Refused, unreachable, or too slow.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._follow(url, method, dict(headers or {}), body, max_bytes)
        except TimeoutError as error:
            raise EgressError(
                f"{_short(url)} took longer than {timeout_seconds:g} seconds", remedy="Try again later."
            ) from error

    async def _follow(
        self, url: str, method: str, headers: dict[str, str], body: bytes | None, max_bytes: int
    ) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            target = await self._policy.check(url)
            found = await self._once(url, target, method, headers, body, max_bytes)
            if isinstance(found, Fetched):
                return found
            status, location = found
            following = urljoin(url, location)
            if _origin(following) != _origin(url):
                headers = {
                    name: value for name, value in headers.items() if name.lower() not in _PRIVATE_HEADERS
                }
            if status == 303 or (status in (301, 302) and method == "POST"):
                method, body = "GET", None
            url = following
        raise EgressError(f"More than {MAX_REDIRECTS} redirects", why=f"The last led to {_short(url)}.")

    async def _once(
        self,
        url: str,
        target: Target,
        method: str,
        headers: dict[str, str],
        body: bytes | None,
        max_bytes: int,
    ) -> Fetched | tuple[int, str]:
        """One request: the answer, or status and location of a redirect."""
        problem: Exception | None = None
        for address in target.addresses:
            try:
                return await self._send(url, target, address, method, headers, body, max_bytes)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                problem = error
            except httpx.HTTPError as error:
                raise EgressError(
                    f"{_short(url)} could not be fetched", why=str(error) or type(error).__name__
                ) from error
            except (httpx.InvalidURL, ValueError) as error:
                raise EgressError(f"{_short(url)!r} is not a valid URL", why=str(error)) from error
        raise EgressError(f"{target.host} cannot be reached", why=str(problem) or None) from problem

    async def _send(
        self,
        url: str,
        target: Target,
        address: str,
        method: str,
        headers: dict[str, str],
        body: bytes | None,
        max_bytes: int,
    ) -> Fetched | tuple[int, str]:
        parts = urlsplit(url)
        pinned = httpx.URL(url.partition("#")[0]).copy_with(host=address)
        is_default_port = target.port == (443 if target.scheme == "https" else 80)
        shown = f"[{target.host}]" if ":" in target.host else target.host
        sent = {
            "User-Agent": USER_AGENT,
            "Accept": "text/html,application/xhtml+xml,text/markdown,text/plain,*/*;q=0.5",
            "Accept-Encoding": "gzip, deflate",
            **headers,
            "Host": shown if is_default_port else f"{shown}:{target.port}",
            "Connection": "close",
        }
        async with httpx.AsyncClient(
            verify=self._verify if self._verify is not None else True,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(20.0),
            limits=httpx.Limits(max_keepalive_connections=0),
        ) as client:
            request = client.build_request(
                method, pinned, headers=sent, content=body, extensions={"sni_hostname": target.host}
            )
            response = await client.send(request, stream=True)
            try:
                location = response.headers.get("location")
                if response.status_code in _REDIRECTS and location:
                    return response.status_code, location
                data, is_cut = await _read(response, max_bytes)
            finally:
                await response.aclose()
        media_type, _, parameters = response.headers.get("content-type", "").partition(";")
        charset = parameters.partition("charset=")[2].split(";")[0].strip(" \"'")
        return Fetched(
            parts.geturl(),
            response.status_code,
            media_type.strip().lower(),
            charset,
            data,
            is_cut,
        )


async def _read(response: httpx.Response, max_bytes: int) -> tuple[bytes, bool]:
    data = bytearray()
    async for chunk in response.aiter_bytes(65_536):
        data += chunk
        if len(data) > max_bytes:
            return bytes(data[:max_bytes]), True
    return bytes(data), False


def _origin(url: str) -> str:
    try:
        return url.partition(":")[0] + origin(url)
    except EgressError:
        return ""


def _short(url: str) -> str:
    return url if len(url) <= 200 else f"{url[:199]}…"
