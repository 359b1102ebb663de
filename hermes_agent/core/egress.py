"""The egress guard: which addresses this program may fetch, whoever asks it to.

A name is resolved, every address it has is judged, and the connection goes to the address that was
judged, so that a second answer of the name server cannot lead elsewhere. This module judges;
`tools.egress` connects. It deliberately knows no HTTP library, so every layer can use it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias
from urllib.parse import urlsplit

from hermes_agent.core.errors import ToolError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host name, port) to the addresses it has, as text; raises `OSError` if it has none."""

MAX_URL_CHARS: Final = 8_000

_NAT64: Final = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48"))
_METADATA: Final[frozenset[Address]] = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"),
    )
)
"""Where clouds give out the credentials of the machine."""


class EgressError(ToolError):
    """An address must not be, or could not be, fetched."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, without blocking."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Target:
    """A judged address: connect to one of `addresses`, speak to `host`."""

    scheme: str
    host: str
    port: int
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Where fetches may go.

    Attributes:
        allows_private: Addresses of the local network too (never those where clouds give out credentials).
        exceptions: Networks that are allowed whatever they are.
        blocked_domains: Domains never visited; each stands for its sub-domains too.
        trusted_origins: `host:port` a person named in the settings (a search engine of their own).
        resolver: Finds the addresses of a name.
    """

    allows_private: bool = False
    exceptions: tuple[Network, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    trusted_origins: frozenset[str] = frozenset()
    resolver: Resolver = field(default=resolve)

    async def check(self, url: str) -> Target:
        """Judge a URL and find where to connect.

        Raises:
            EgressError: It must not be fetched, or has no address.
        """
        scheme, host, port = split(url)
        domain = next((name for name in self.blocked_domains if _is_within(host, name)), None)
        if domain is not None:
            raise EgressError(f"{host} is blocked", why=f"security.blocked_domains has {domain!r}.")
        try:
            addresses = [str(ipaddress.ip_address(host))]
        except ValueError:
            addresses = list(await self._resolve(host, port))
        if f"{host}:{port}" not in self.trusted_origins:
            for address in addresses:
                self._judge(host, address)
        return Target(scheme, host, port, tuple(addresses))

    async def _resolve(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self.resolver(host, port)
        except (OSError, UnicodeError) as error:
            raise EgressError(
                f"{host} was not found", why="The name has no address.", remedy="Check the spelling."
            ) from error
        if not addresses:
            raise EgressError(f"{host} was not found", why="The name has no address.")
        return addresses

    def _judge(self, host: str, text: str) -> None:
        address = ipaddress.ip_address(text.partition("%")[0])
        forms = embedded(address)
        if any(form in network for form in forms for network in self.exceptions):
            return
        reason = next((found for form in forms if (found := _objection(form))), None)
        if reason is None or (self.allows_private and reason == "private"):
            return
        where = host if host == text else f"{host} ({text})"
        raise EgressError(
            f"Refused: {where} is {_REASONS[reason]}",
            why="Pages and models could use it to reach machines that trust this one.",
            remedy="A person can allow it with security.allowed_networks." if reason == "private" else None,
        )


_REASONS: Final = {
    "private": "an address of this machine or of a private network",
    "metadata": "where clouds give out the credentials of this machine",
    "special": "not an address of a public server",
}


def split(url: str) -> tuple[str, str, int]:
    """Scheme, host (lower case, ASCII) and port of an http or https URL.

    Raises:
        EgressError: It is something else, or carries a password.
    """
    if len(url) > MAX_URL_CHARS or any(ord(char) < 33 for char in url):
        raise EgressError("That is not a valid URL", why="It is too long or has blanks in it.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").rstrip(".")
        if not host.isascii():
            host = host.encode("idna").decode()
    except ValueError as error:
        raise EgressError(f"{url!r} is not a valid URL", why=str(error)) from error
    if parts.scheme.lower() not in ("http", "https"):
        raise EgressError(f"{url[:200]!r} is not an http or https address")
    if not host:
        raise EgressError(f"{url[:200]!r} names no host")
    if parts.username is not None or parts.password is not None:
        raise EgressError("The address has a user name or password in it, which is never sent")
    return parts.scheme.lower(), host.lower(), port or (443 if parts.scheme.lower() == "https" else 80)


def origin(url: str) -> str:
    """`host:port` of a URL, as `EgressPolicy.trusted_origins` has it. Raises `EgressError`."""
    _, host, port = split(url)
    return f"{host}:{port}"


def embedded(address: Address) -> tuple[Address, ...]:
    """The address, and the IPv4 address inside it, if it is one of the forms that carry one."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    found: list[Address] = [address]
    found.extend(inner for inner in (address.ipv4_mapped, address.sixtofour) if inner is not None)
    if address.teredo is not None:
        found.extend(address.teredo)
    if any(address in network for network in _NAT64) or int(address) >> 32 == 0:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if int(address) >> 32 == 0xFFFF << 16:  # ::ffff:0:a.b.c.d, translated
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(found)


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks from CIDR notation; a plain address is a network of one. Raises `ValueError`."""
    return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts if text.strip())


def _objection(address: Address) -> str | None:
    if address in _METADATA or address.is_link_local:
        return "metadata"
    if address.is_multicast or address.is_unspecified:
        return "special"
    if isinstance(address, ipaddress.IPv6Address) and (address.is_site_local or address.ipv4_mapped):
        # A mapped address is judged by the one inside it.
        return "private" if address.is_site_local else None
    if address.is_private or address.is_loopback:
        return "private"
    if address.is_reserved or not address.is_global:
        return "private" if address in ipaddress.ip_network("100.64.0.0/10") else "special"
    return None


def _is_within(host: str, domain: str) -> bool:
    name = domain.strip().lower().lstrip("*").strip(".")
    return bool(name) and (host == name or host.endswith("." + name))


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer.

    Attributes:
        url: Where it came from, after redirects.
        media_type: What the server says it is, lower case, without parameters.
        charset: As the server says; empty if it does not.
        is_cut: The body was longer than the limit.
    """

    url: str
    status: int
    media_type: str
    charset: str
    body: bytes
    is_cut: bool = False


class Fetcher(Protocol):
    """The one way out. Raises `EgressError`."""

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
        """Fetch, following redirects, each of them judged anew."""
        ...
