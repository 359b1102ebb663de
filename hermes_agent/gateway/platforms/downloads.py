"""Downloads from a platform's own hosts: nowhere else, no redirects, no more than asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import aiohttp

from hermes_agent.core.errors import DeliveryError

_SECONDS = 120.0
_CHUNK = 64 * 1024


async def download(
    url: str,
    hosts: Collection[str],
    max_bytes: int,
    *,
    headers: Mapping[str, str] | None = None,
    proxy: str = "",
) -> bytes:
    """The file at an address.

    Args:
        url: https, or http if its `host:port` is listed.
        hosts: `host` or `host:port` it may be at.
        max_bytes: Larger files are refused.
        headers: Credentials; they go to a listed host only.
        proxy: Address of an HTTP proxy.

    Raises:
        DeliveryError: It is elsewhere, gone, or too large.
    """
    parts = urlsplit(url)
    is_listed = parts.netloc in hosts or (parts.scheme == "https" and parts.hostname in hosts)
    if parts.scheme not in ("https", "http") or not is_listed or (parts.scheme == "http" and not parts.port):
        raise DeliveryError("The file is not at the platform's own address", is_permanent=True)
    try:
        timeout = aiohttp.ClientTimeout(total=_SECONDS, sock_connect=20)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, headers=headers, allow_redirects=False, proxy=proxy or None) as response,
        ):
            if response.status != 200:
                raise DeliveryError(f"The file cannot be had ({response.status})", is_permanent=True)
            data = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                data += chunk
                if len(data) > max_bytes:
                    raise DeliveryError("The file is too large", is_permanent=True)
            if response.content_type == "text/html" and headers:
                # Slack answers a missing scope with its sign-in page.
                raise DeliveryError("The bot may not read files (scope files:read)", is_permanent=True)
            return bytes(data)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise DeliveryError("The file cannot be downloaded", why=str(error) or None) from error


def proxy_for(api_base: str, named: str | None, *usual: str | None) -> str:
    """The proxy to use: the one that is named, else the machine's own for https."""
    if named:
        return named
    return next((each for each in usual if each), "") if api_base.startswith("https:") else ""
