"""Fetching through the guard, from a real server."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from web_site import Reply, site

from hermes_agent.core.egress import EgressError, EgressPolicy, parse_networks
from hermes_agent.tools.egress import GuardedFetcher


def names(**hosts: str | list[str]) -> EgressPolicy:
    """Each name has one address, or a list of them, one per question."""

    async def resolver(host: str, _port: int) -> Sequence[str]:
        found = hosts[host.partition(".")[0]]
        if isinstance(found, str):
            return [found]
        return [found.pop(0) if len(found) > 1 else found[0]]

    return EgressPolicy(resolver=resolver, exceptions=parse_networks(["127.0.0.1/32"]))


async def test_the_judged_address_is_used_and_the_server_sees_the_name() -> None:
    with site({"/": Reply(b"hello", headers={"Content-Type": "text/plain; charset=utf-8"})}) as server:
        found = await GuardedFetcher(names(site="127.0.0.1")).fetch(f"{server.url}/#part")
    assert (found.status, found.body, found.media_type, found.charset) == (
        200,
        b"hello",
        "text/plain",
        "utf-8",
    )
    assert server.asked[0].headers["Host"] == f"site.test:{server.port}"
    assert server.asked[0].path == "/"


async def test_a_name_that_changes_its_address_gains_nothing() -> None:
    """Every connection goes to the address that was judged for it; a second answer is judged anew."""
    with site({"/": Reply(status=302, headers={"Location": "/again"}), "/again": Reply(b"secret")}) as server:
        fetcher = GuardedFetcher(names(site=["127.0.0.1", "169.254.169.254"]))
        with pytest.raises(EgressError, match=r"169\.254\.169\.254"):
            await fetcher.fetch(server.url)
    assert [asked.path for asked in server.asked] == ["/"]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://internal.test/",
        "//10.0.0.1/x",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_SET",
        "http://user:pw@site.test/",
    ],
)
async def test_a_redirect_to_a_private_place_is_not_followed(location: str) -> None:
    with site({"/": Reply(status=301, headers={"Location": location})}) as server:
        fetcher = GuardedFetcher(names(site="127.0.0.1", internal="10.1.1.1"))
        with pytest.raises(EgressError):
            await fetcher.fetch(server.url)
    assert len(server.asked) == 1


async def test_redirects_are_followed_and_limited() -> None:
    pages = {
        "/": Reply(status=302, headers={"Location": "/b"}),
        "/b": Reply(b"there"),
        "/loop": Reply(status=302, headers={"Location": "/loop"}),
    }
    with site(pages) as server:
        fetcher = GuardedFetcher(names(site="127.0.0.1"))
        found = await fetcher.fetch(server.url)
        assert (found.url, found.body) == (f"{server.url}/b", b"there")
        with pytest.raises(EgressError, match="redirects"):
            await fetcher.fetch(f"{server.url}/loop")


async def test_a_key_does_not_travel_to_another_host() -> None:
    pages = {"/": Reply(status=307, headers={}), "/end": Reply(b"ok")}
    with site(pages) as server:
        pages["/"] = Reply(status=307, headers={"Location": f"http://other.test:{server.port}/end"})
        fetcher = GuardedFetcher(names(site="127.0.0.1", other="127.0.0.1"))
        await fetcher.fetch(server.url, headers={"Authorization": "Bearer k", "X-Mark": "m"})
    assert server.asked[0].headers["Authorization"] == "Bearer k"
    assert "Authorization" not in server.asked[1].headers
    assert server.asked[1].headers["X-Mark"] == "m"


async def test_of_an_endless_page_only_the_limit_is_read() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000

    with site({"/": Reply(headers={"Content-Length": str(2 << 30)}, chunks=endless)}) as server:
        found = await GuardedFetcher(names(site="127.0.0.1")).fetch(server.url, max_bytes=1_000_000)
    assert found.is_cut
    assert len(found.body) == 1_000_000
    assert server.sent_bytes < 50_000_000


async def test_a_body_that_unpacks_to_a_mountain_is_cut() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with site({"/": Reply(bomb, headers={"Content-Encoding": "gzip"})}) as server:
        found = await GuardedFetcher(names(site="127.0.0.1")).fetch(server.url, max_bytes=100_000)
    assert found.is_cut
    assert len(found.body) == 100_000


async def test_a_server_that_says_nothing_is_given_up() -> None:
    release = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(EgressError, match="longer than"):
        await GuardedFetcher(names(site="127.0.0.1")).fetch(f"http://site.test:{port}/", timeout_seconds=0.2)
    release.set()
    server.close()


async def test_a_server_that_talks_nonsense_or_is_gone_gives_a_clear_error() -> None:
    async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    fetcher = GuardedFetcher(names(site="127.0.0.1"))
    with pytest.raises(EgressError, match="could not be fetched"):
        await fetcher.fetch(f"http://site.test:{port}/")
    server.close()
    await server.wait_closed()
    with pytest.raises(EgressError, match="cannot be reached"):
        await fetcher.fetch(f"http://site.test:{port}/")
    with pytest.raises(EgressError):
        await fetcher.fetch(f"https://site.test:{port}/")


def make_certificate(key: Path, certificate: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=site.test", "-addext", "subjectAltName=DNS:site.test"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_a_certificate_is_checked_for_the_name_not_for_the_pinned_address(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    await asyncio.to_thread(make_certificate, key, certificate)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsafe")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(certificate))
    fetcher = GuardedFetcher(names(site="127.0.0.1", other="127.0.0.1"), verify=trusting)
    assert (await fetcher.fetch(f"https://site.test:{port}/")).body == b"safe"
    with pytest.raises(EgressError, match=r"other\.test cannot be reached"):
        await fetcher.fetch(f"https://other.test:{port}/")
    with pytest.raises(EgressError, match="cannot be reached"):
        await GuardedFetcher(names(site="127.0.0.1")).fetch(f"https://site.test:{port}/")
    server.close()
