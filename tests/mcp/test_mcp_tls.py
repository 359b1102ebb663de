"""Certificates: of servers, of authorities of one's own, and ours."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mcp_bench import SERVERS, Bench

from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.mcp.errors import McpUnavailableError
from hermes_agent.mcp.tls import make_context

sys.path.insert(0, str(SERVERS))
from refusing_server import RefusingServer


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._sign(self.name, self.key, x509.BasicConstraints(ca=True, path_length=None))
        self.file = self._write("authority", self.certificate)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, name: str, thing: x509.Certificate | ec.EllipticCurvePrivateKey) -> str:
        path = self.directory / f"{name}.pem"
        if isinstance(thing, x509.Certificate):
            path.write_bytes(thing.public_bytes(serialization.Encoding.PEM))
        else:
            path.write_bytes(
                thing.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return str(path)

    def issue(self, name: str, address: str = "127.0.0.1") -> tuple[str, str]:
        """Paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = self._sign(subject, key, names)
        return self._write(name, certificate), self._write(f"{name}-key", key)


@dataclass
class Secure:
    authority: Authority
    state: RefusingServer
    url: str

    def settings(self, **fields: object) -> McpServerSettings:
        return McpServerSettings.model_validate({"url": self.url, "transport": "http", **fields})


@contextlib.asynccontextmanager
async def served(
    tmp_path: Path, *, address: str = "127.0.0.1", wants_ours: bool = False
) -> AsyncIterator[Secure]:
    authority, state = Authority(tmp_path), RefusingServer()
    certificate, key = authority.issue("server", address)
    config = uvicorn.Config(
        state.application(),
        port=0,
        log_level="critical",
        lifespan="off",
        ssl_certfile=certificate,
        ssl_keyfile=key,
        ssl_ca_certs=authority.file,
        ssl_cert_reqs=ssl.CERT_REQUIRED if wants_ours else ssl.CERT_NONE,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - the library tells no other way
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Secure(authority, state, f"https://127.0.0.1:{port}/mcp")
    server.should_exit = server.force_exit = True
    await task


async def test_an_unknown_certificate_is_refused_and_nothing_is_sent(bench: Bench, tmp_path: Path) -> None:
    async with served(tmp_path) as secure:
        manager = bench.manager(s=secure.settings(headers={"Authorization": "Bearer secret"}))
        with pytest.raises(McpUnavailableError) as caught:
            await manager.connection("s").client()
        assert "CERTIFICATE_VERIFY_FAILED" in (caught.value.why or "")
        assert secure.state.seen_headers == []


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_an_authority_of_ones_own_is_trusted(bench: Bench, tmp_path: Path, transport: str) -> None:
    async with served(tmp_path) as secure:
        settings = secure.settings(ca_cert=secure.authority.file, transport=transport)
        if transport == "sse":
            settings = settings.model_copy(update={"url": settings.url.replace("/mcp", "/sse")})
        manager = bench.manager(s=settings)
        assert (await bench.call(manager, "mcp_s_echo", text="x")).text == "x"
        await manager.aclose()
        for stream in secure.state.streams:
            stream.put_nowait(None)


async def test_a_certificate_for_another_host_is_refused(bench: Bench, tmp_path: Path) -> None:
    async with served(tmp_path, address="192.0.2.1") as secure:
        manager = bench.manager(s=secure.settings(ca_cert=secure.authority.file))
        with pytest.raises(McpUnavailableError) as caught:
            await manager.connection("s").client()
        assert "mismatch" in (caught.value.why or "")


async def test_checking_can_be_switched_off_for_one_server(bench: Bench, tmp_path: Path) -> None:
    async with served(tmp_path, address="192.0.2.1") as secure:
        lax = bench.manager(s=secure.settings(ssl_verify=False), t=secure.settings())
        assert (await bench.call(lax, "mcp_s_echo", text="x")).text == "x"
        with pytest.raises(McpUnavailableError):
            await lax.connection("t").client()


async def test_a_server_that_wants_our_certificate_sees_it(bench: Bench, tmp_path: Path) -> None:
    async with served(tmp_path, wants_ours=True) as secure:
        certificate, key = secure.authority.issue("client")
        trusting = {"ca_cert": secure.authority.file}
        without = bench.manager(s=secure.settings(**trusting))
        with pytest.raises(McpUnavailableError):
            await without.connection("s").client()
        settings = secure.settings(**trusting, client_cert=certificate, client_key=key)
        assert (await bench.call(bench.manager(s=settings), "mcp_s_echo", text="x")).text == "x"


def test_what_is_set_for_a_server_is_about_no_other_host(tmp_path: Path) -> None:
    """Authorization servers are other hosts: their certificates are always checked."""
    settings = McpServerSettings(url="https://mcp.example/mcp", ssl_verify=False)
    assert make_context(settings).verify_mode == ssl.CERT_NONE
    elsewhere = make_context(settings, is_own=False)
    assert elsewhere.verify_mode == ssl.CERT_REQUIRED
    assert elsewhere.check_hostname


@pytest.mark.parametrize("key", ["ca_cert", "client_cert"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_file_that_cannot_be_used_is_a_clear_error(
    bench: Bench, tmp_path: Path, key: str, content: bytes | None
) -> None:
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    settings = McpServerSettings.model_validate({"url": "https://127.0.0.1:9/mcp", key: str(path)})
    with pytest.raises(McpUnavailableError, match="TLS settings cannot be used"):
        await bench.manager(s=settings).connection("s").client()
