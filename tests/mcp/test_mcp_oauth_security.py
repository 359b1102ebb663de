"""What servers and authorities must not be able to make us do."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import uvicorn
from oauth_authority import Authority, serving
from oauth_stage import Stage, browse, staged
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from hermes_agent.config.sections.mcp import McpOAuthSettings, McpServerSettings
from hermes_agent.mcp.oauth.broker import OAuthBroker
from hermes_agent.mcp.oauth.client import known_client
from hermes_agent.mcp.oauth.discovery import AuthorizationServer
from hermes_agent.mcp.oauth.errors import OAuthFlowError, OAuthUnavailableError
from hermes_agent.mcp.oauth.login import check_authorization
from hermes_agent.mcp.oauth.web import open_web, reach


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path / "mcp-tokens") as made:
        yield made


class Listener:
    """Counts what reaches it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str]] = []

    def app(self) -> Starlette:
        async def take(request: Request) -> Response:
            body = (await request.body()).decode()
            self.seen.append((request.url.path, request.headers.get("authorization", ""), body))
            return PlainTextResponse("{}", 200, headers={"content-type": "application/json"})

        return Starlette(routes=[Route("/{rest:path}", take, methods=["GET", "POST"])])


async def test_metadata_that_claims_another_issuer_is_refused(stage: Stage) -> None:
    stage.authority.lies = {"issuer": "https://accounts.example.com"}
    with pytest.raises(OAuthFlowError) as caught:
        await stage.login()
    assert "claims to be https://accounts.example.com" in (caught.value.why or "")
    assert stage.authority.calls["register"] == 0


async def test_resource_metadata_of_another_server_is_refused(stage: Stage) -> None:
    stage.resource.resource = "https://bank.example.com/mcp"
    with pytest.raises(OAuthFlowError) as caught:
        await stage.login()
    assert "another server" in (caught.value.why or "")


async def test_nothing_is_guessed_where_nothing_is_published(stage: Stage) -> None:
    stage.resource.authorities = None
    with pytest.raises(OAuthFlowError) as caught:
        await stage.login()
    assert "never guessed" in (caught.value.why or "")
    assert stage.authority.calls["register"] == stage.authority.calls["token"] == 0


async def test_a_failing_server_is_not_taken_for_one_that_publishes_nothing(stage: Stage) -> None:
    stage.resource.status_of_metadata = 503
    with pytest.raises(OAuthUnavailableError):
        await stage.login()


async def test_an_authority_without_pkce_is_refused(stage: Stage) -> None:
    stage.authority.lies = {"code_challenge_methods_supported": ["plain"]}
    with pytest.raises(OAuthFlowError) as caught:
        await stage.login()
    assert "PKCE" in (caught.value.why or "")


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", "ftp://127.0.0.1/x"])
async def test_a_browser_is_only_ever_sent_to_web_addresses(stage: Stage, address: str) -> None:
    stage.authority.lies = {"authorization_endpoint": address}
    shown: list[str] = []
    with pytest.raises(OAuthFlowError):
        await stage.broker().login("notes", stage.settings(), show=lambda url, _redirect: shown.append(url))
    assert shown == []


@pytest.mark.parametrize(
    "address", ["http://auth.example/authorize", "javascript:alert(1)", "", "/authorize"]
)
def test_the_browser_of_an_encrypted_server_is_sent_to_encrypted_addresses(address: str) -> None:
    authority = AuthorizationServer("https://auth.example", {"authorization_endpoint": address})
    with pytest.raises(OAuthFlowError):
        check_authorization("notes", authority, McpServerSettings(url="https://mcp.example/mcp"))


async def test_the_answer_of_another_authority_is_not_used(stage: Stage) -> None:
    broker = stage.broker()
    url = await broker.begin_login("notes", stage.settings())
    address = (await browse(url, back=False)).headers["location"]

    with pytest.raises(OAuthFlowError) as caught:
        await broker.finish_login(
            "notes", address.replace("iss=http%3A%2F%2F127.0.0.1", "iss=http%3A%2F%2Fevil")
        )

    assert "not from" in (caught.value.why or "")
    assert stage.authority.calls["token"] == 0
    await broker.finish_login("notes", address)


async def test_an_answer_without_the_announced_issuer_is_not_used(stage: Stage) -> None:
    stage.authority.names_issuer = False
    broker = stage.broker()
    url = await broker.begin_login("notes", stage.settings())
    address = (await browse(url, back=False)).headers["location"]
    with pytest.raises(OAuthFlowError):
        await broker.finish_login("notes", address)


async def test_somebody_else_on_this_machine_can_neither_end_nor_take_over_a_login(stage: Stage) -> None:
    broker = stage.broker()
    url = await broker.begin_login("notes", stage.settings())
    callback = httpx2.URL(url).params["redirect_uri"]
    async with httpx2.AsyncClient(verify=False) as client:
        for query in ("?error=access_denied", "?code=mine&state=guess", "", "?state=" + "x" * 5000):
            await client.get(callback + query)
        await client.post(callback)
        assert (await client.get(callback.replace("/callback", "/other"))).status_code == 404
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx2.URL(callback).port)
    writer.write(b"\x00\xff garbage\r\n" + b"x" * 100_000)
    writer.close()
    del reader

    await browse(url)
    token = await broker.finish_login("notes")
    assert stage.authority.is_good(token.access_token)


async def test_a_code_is_exchanged_once_however_often_it_comes(stage: Stage) -> None:
    broker = stage.broker()
    url = await broker.begin_login("notes", stage.settings())
    address = (await browse(url, back=False)).headers["location"]
    async with httpx2.AsyncClient(verify=False) as client:
        await asyncio.gather(*(client.get(address) for _ in range(5)))
    await broker.finish_login("notes", address)
    assert stage.authority.calls["authorization_code"] == 1


async def test_a_token_is_not_sent_to_another_server_of_the_same_name(stage: Stage) -> None:
    await stage.login()
    listener = Listener()
    async with serving(listener.app()) as (origin,):
        settings = McpServerSettings.model_validate({"url": f"{origin}/mcp", "auth": "oauth"})
        broker = stage.broker()
        auth = broker.make_auth("notes", settings).http_auth()
        async with httpx2.AsyncClient(auth=auth, verify=False) as client:
            await client.post(settings.url)
    assert [authorization for _path, authorization, _body in listener.seen] == [""]
    assert broker.status("notes", settings).state == "needs_reauth"
    assert stage.files.load_token() is not None


async def test_a_token_is_not_sent_where_a_request_of_the_connection_leads(stage: Stage) -> None:
    broker = stage.broker()
    await stage.login(broker)
    listener = Listener()
    async with serving(listener.app()) as (origin,):
        auth = broker.make_auth("notes", stage.settings()).http_auth()
        async with httpx2.AsyncClient(auth=auth, verify=False) as client:
            await client.get(f"{origin}/elsewhere")
    assert listener.seen[0][1] == ""


async def test_a_refresh_token_stays_with_its_authority_when_the_server_names_another(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    stage.authority.expire(token.access_token)
    listener = Listener()
    async with serving(listener.app()) as (origin,):
        stage.resource.authorities = [origin]
        stage.resource.challenge = f'Bearer resource_metadata="{origin}/.well-known/oauth-protected-resource"'
        assert (await stage.call(broker)).status_code == 200
    assert listener.seen == []


async def test_a_configured_secret_stays_with_the_issuer_it_was_used_at_first(stage: Stage) -> None:
    stage.authority.add_client(
        "mine",
        "s3cret-value",
        redirect_uris=["http://127.0.0.1:18767/callback"],
        token_endpoint_auth_method="client_secret_post",
    )
    oauth = {"client_id": "mine", "client_secret": "s3cret-value", "redirect_port": 18767}
    await stage.login(**oauth)
    other = Authority()
    async with serving(other.app()) as (other.origin,):
        stage.resource.authorities = [other.issuer]
        with pytest.raises(OAuthFlowError) as caught:
            await stage.login(**oauth)
        assert "oauth.issuer" in (caught.value.remedy or "")
        with pytest.raises(OAuthFlowError):
            await stage.login(**oauth, issuer=stage.authority.issuer)
    assert "s3cret-value" not in json.dumps(other.seen)


async def test_a_redirecting_token_endpoint_gets_nothing_a_second_time(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    listener = Listener()
    redirected: list[str] = []

    async def redirect(_request: Request) -> Response:
        redirected.append("")
        return RedirectResponse(f"{elsewhere}/take", 307)

    moved = Starlette(routes=[Route("/token", redirect, methods=["POST"])])
    async with serving(listener.app(), moved) as (elsewhere, here):
        metadata = stage.files.load_metadata()
        stage.files.save_metadata({**metadata, "token_endpoint": f"{here}/token"})
        with pytest.raises(OAuthUnavailableError):
            await broker.make_auth("notes", stage.settings()).recover(token.access_token)
    assert redirected == [""]
    assert listener.seen == []
    assert stage.files.load_token() == token


# -- addresses


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", "public"),
        ("2606:4700::1111", "public"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("192.168.0.1", "private"),
        ("172.16.0.1", "private"),
        ("100.64.0.1", "private"),
        ("fd00::1", "private"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.169.254", "link"),
        ("fe80::1", "link"),
        ("0.0.0.0", "link"),
        ("::", "link"),
        ("224.0.0.1", "link"),
        ("255.255.255.255", "private"),
    ],
)
def test_addresses_are_told_apart(address: str, expected: str) -> None:
    assert reach(ipaddress.ip_address(address)) == expected


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/",
        "https://127.0.0.1:{port}/",
        "https://localhost:{port}/",
        "http://localhost:{port}/",
        "https://[::1]:{port}/",
        "https://[::ffff:127.0.0.1]:{port}/",
        "https://2130706433:{port}/",
        "https://0x7f.1:{port}/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/",
        "http://8.8.8.8/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "https://user:secret@8.8.8.8/",
        "",
        "https://",
    ],
)
async def test_a_public_server_cannot_have_us_call_private_or_unencrypted_addresses(target: str) -> None:
    listener = Listener()
    settings = McpServerSettings(url="https://8.8.8.8/mcp")
    async with serving(listener.app()) as (origin,):
        async with open_web("notes", settings) as web:
            with pytest.raises((OAuthFlowError, OAuthUnavailableError)):
                await web.get(target.format(port=origin.rpartition(":")[2]))
    assert listener.seen == []


async def test_a_private_server_cannot_have_us_call_link_local_addresses() -> None:
    async with open_web("notes", McpServerSettings(url="http://127.0.0.1:1/mcp")) as web:
        with pytest.raises(OAuthFlowError):
            await web.get("http://169.254.169.254/latest/meta-data")


async def test_a_document_is_not_followed_to_another_origin() -> None:
    elsewhere = Listener()

    async def redirect(request: Request) -> Response:
        target = request.query_params["to"]
        return RedirectResponse(target, 302)

    async def found(_request: Request) -> Response:
        return JSONResponse({"found": True})

    app = Starlette(routes=[Route("/go", redirect), Route("/found", found)])
    async with serving(app, elsewhere.app()) as (origin, other):
        async with open_web("notes", McpServerSettings(url=f"{origin}/mcp")) as web:
            assert (await web.get(f"{origin}/go?to=/found")).data == {"found": True}
            assert (await web.get(f"{origin}/go?to={other}/secret")).status == 302
    assert elsewhere.seen == []


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name that means a harmless address when it is checked, and another one a moment later."""
    checked, later = Listener(), Listener()
    loop = asyncio.get_running_loop()
    asked: list[str] = []

    async def changing(host: str, port: int | None, **_: object) -> list[object]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    async with serving(checked.app()) as (origin,):
        port = int(origin.rpartition(":")[2])
        server = uvicorn.Server(uvicorn.Config(later.app(), host="127.0.0.2", port=port, log_level="error"))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - the library tells no other way
            await asyncio.sleep(0.005)
        loop.getaddrinfo = changing  # type: ignore[method-assign,assignment]
        try:
            async with open_web("notes", McpServerSettings(url=f"{origin}/mcp")) as web:
                assert (await web.get(f"http://flips.example:{port}/x")).status == 200
        finally:
            del loop.getaddrinfo  # type: ignore[method-assign]
            server.should_exit = server.force_exit = True
            await task
    assert [len(checked.seen), len(later.seen)] == [1, 0]
    assert asked == ["flips.example"]


@pytest.mark.parametrize(
    ("issuer", "is_used"), [("https://auth.example", True), ("https://evil.example", False), (None, True)]
)
def test_a_registration_is_used_only_where_it_was_made(issuer: str | None, is_used: bool) -> None:
    stored = {"client_id": "me", "client_secret": "secret", "issuer": issuer}
    authority = AuthorizationServer("https://auth.example", {})
    found = known_client("notes", authority, McpOAuthSettings(), stored)
    assert (found is not None) is is_used


async def test_a_public_server_without_encryption_is_not_signed_in_to() -> None:
    async with open_web("notes", McpServerSettings(url="http://8.8.8.8/mcp")) as web:
        with pytest.raises(OAuthFlowError) as caught:
            await web.get("http://8.8.8.8/.well-known/oauth-protected-resource")
    assert "not encrypted" in (caught.value.why or "")


async def test_a_challenge_that_points_to_a_cloud_metadata_service_is_not_followed(stage: Stage) -> None:
    stage.resource.challenge = 'Bearer resource_metadata="http://169.254.169.254/latest/"'
    with pytest.raises(OAuthFlowError):
        await stage.login()


async def test_documents_of_any_size_and_kind_do_no_harm(tmp_path: Path) -> None:
    bodies = [
        b"x" * 3_000_000,
        b"[" * 200_000,
        b"\xff\xfe",
        b"null",
        b'{"resource": 5}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ]

    async def answer(request: Request) -> Response:
        return Response(bodies[int(request.path_params["n"])], media_type="application/json")

    async with serving(Starlette(routes=[Route("/{n}", answer)])) as (origin,):
        async with open_web("notes", McpServerSettings(url=origin)) as web:
            found = [await web.get(f"{origin}/{n}") for n in range(len(bodies))]
    assert [each.is_json for each in found[:4]] == [False] * 4


async def test_tokens_do_not_appear_in_errors_or_logs(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    stage.authority.down = (500, -1)
    stage.authority.expire(token.access_token)
    await stage.call(broker)
    provider = broker.make_auth("notes", stage.settings())
    with pytest.raises(OAuthUnavailableError) as caught:
        await provider.auth_failed(401, "")
    text = " ".join(caught.value.lines) + repr(provider.__dict__["_token"]) + repr(broker)
    assert token.access_token not in text
    assert token.refresh_token not in text


def test_an_unused_broker_leaves_no_trace(tmp_path: Path) -> None:
    broker = OAuthBroker(tmp_path / "mcp-tokens")
    settings = McpServerSettings.model_validate({"url": "https://mcp.example.com/", "auth": "oauth"})
    assert broker.status("x", settings).state == "needs_reauth"
    assert not (tmp_path / "mcp-tokens").exists()
