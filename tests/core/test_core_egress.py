"""Which addresses may be fetched."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.egress import EgressError, EgressPolicy, parse_networks, split


def answering(*addresses: str) -> EgressPolicy:
    async def resolver(_host: str, _port: int) -> Sequence[str]:
        return addresses

    return EgressPolicy(resolver=resolver)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "169.254.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "2001:db8::1",
    ],
)
async def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    with pytest.raises(EgressError, match="Refused"):
        await answering(address).check("https://harmless.example/")


@pytest.mark.parametrize("address", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
async def test_public_addresses_are_allowed_and_pinned(address: str) -> None:
    target = await answering(address).check("https://site.example:8443/x")
    assert target.addresses == (address,)
    assert (target.scheme, target.host, target.port) == ("https", "site.example", 8443)


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    with pytest.raises(EgressError, match=r"10\.0\.0\.1"):
        await answering("1.1.1.1", "10.0.0.1").check("https://site.example/")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1.:80/",
    ],
)
async def test_addresses_written_as_numbers_are_judged_too(url: str) -> None:
    with pytest.raises(EgressError, match="Refused"):
        await answering("127.0.0.1").check(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://site.example/",
        "gopher://x/",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://user:pass@site.example/",
        "http://site.example\r\nHost: other/",
        "http://site.example/a b",
        "http://[::1",
        "http://site.example:99999/",
        "x" * 9_000,
        "",
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(EgressError):
        split(url)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"https://{text}/x"):
        try:
            scheme, host, port = split(url)
        except EgressError:
            continue
        assert scheme in ("http", "https")
        assert host
        assert 0 < port < 65_536


async def test_exceptions_open_single_networks_only() -> None:
    async def resolver(host: str, _port: int) -> Sequence[str]:
        return {"nas.home": ["192.168.1.5"], "router.home": ["192.168.2.1"]}[host]

    policy = EgressPolicy(resolver=resolver, exceptions=parse_networks(["192.168.1.0/24"]))
    assert (await policy.check("http://nas.home/")).addresses == ("192.168.1.5",)
    with pytest.raises(EgressError, match="private"):
        await policy.check("http://router.home/")


async def test_allowing_private_addresses_does_not_open_the_metadata_service() -> None:
    policy = EgressPolicy(allows_private=True)
    assert (await policy.check("http://10.0.0.1/")).addresses == ("10.0.0.1",)
    for url in ("http://169.254.169.254/", "http://[fe80::1]/", "http://100.100.100.200/"):
        with pytest.raises(EgressError, match="credentials"):
            await policy.check(url)


async def test_a_blocked_domain_stands_for_what_is_below_it() -> None:
    async def resolver(_host: str, _port: int) -> Sequence[str]:
        return ["1.1.1.1"]

    policy = EgressPolicy(blocked_domains=("Bad.example", "*.worse.example"), resolver=resolver)
    for host in ("bad.example", "a.bad.example", "BAD.example.", "x.worse.example"):
        with pytest.raises(EgressError, match="blocked"):
            await policy.check(f"http://{host}/")
    await policy.check("http://notbad.example/")


async def test_a_name_without_an_address_says_so() -> None:
    async def resolver(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(EgressError, match="not found"):
        await EgressPolicy(resolver=resolver).check("http://nowhere.example/")


def test_networks_are_read_strictly() -> None:
    assert len(parse_networks(["10.0.0.0/8", " 192.168.1.7 ", "fd00::/8", ""])) == 3
    with pytest.raises(ValueError, match="nonsense"):
        parse_networks(["nonsense"])
