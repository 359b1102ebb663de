"""Signing in: discovery, registration, the way back, what is stored."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from oauth_stage import Stage, browse, staged

from hermes_agent.core.errors import UsageError
from hermes_agent.mcp.oauth.broker import OAuthBroker
from hermes_agent.mcp.oauth.errors import (
    OAuthFlowError,
    OAuthNonInteractiveError,
    OAuthTokenError,
    OAuthUnavailableError,
)
from hermes_agent.mcp.oauth.redirect import parse_redirect


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path / "mcp-tokens") as made:
        yield made


async def test_a_browser_on_this_machine_signs_in_and_the_token_works(stage: Stage) -> None:
    broker = stage.broker()

    token = await stage.login(broker)

    assert (await stage.call(broker)).status_code == 200
    assert stage.resource.bearers == [token.access_token]
    assert broker.status("notes", stage.settings()).state == "authorized"


async def test_files_have_the_formats_and_modes_that_others_expect(stage: Stage) -> None:
    token = await stage.login()

    stored = json.loads((stage.directory / "notes.json").read_text())
    assert stored["access_token"] == token.access_token
    assert stored["token_type"] == "bearer"
    assert stored["refresh_token"] == token.refresh_token
    assert stored["expires_in"] == 3600
    assert isinstance(stored["expires_at"], float)
    client = json.loads((stage.directory / "notes.client.json").read_text())
    assert client["client_name"] == "Hermes Agent"
    assert client["token_endpoint_auth_method"] == "none"
    assert client["issuer"] == stage.authority.issuer
    metadata = json.loads((stage.directory / "notes.meta.json").read_text())
    assert metadata["token_endpoint"] == f"{stage.authority.issuer}/token"
    assert stat.S_IMODE(stage.directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in stage.directory.iterdir()} == {0o600}


async def test_pkce_resource_and_state_are_sent(stage: Stage) -> None:
    await stage.login()

    asked, exchanged = stage.authority.seen
    assert asked["code_challenge_method"] == "S256"
    assert asked["resource"] == exchanged["resource"] == stage.resource.url
    assert len(asked["state"]) > 30
    assert len(exchanged["code_verifier"]) >= 43


async def test_the_address_of_a_browser_elsewhere_can_be_pasted(stage: Stage) -> None:
    broker = stage.broker()
    url = await broker.begin_login("notes", stage.settings())
    answer = await browse(url, back=False)
    address = answer.headers["location"]

    pasted = f"  <{address[:60]}\n{address[60:]}>\n"
    token = await broker.finish_login("notes", pasted)

    assert stage.authority.is_good(token.access_token)
    assert (await stage.call(broker)).status_code == 200


async def test_lines_that_are_not_the_address_are_explained_and_asked_again(stage: Stage) -> None:
    shown: list[tuple[str, str]] = []
    opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def show(url: str, text: str) -> None:
        shown.append((url, text))
        if url:
            opened.set_result(url)

    lines = ["hello", "https://example.com/?code=1&state=wrong"]

    async def read() -> str:
        if lines:
            return lines.pop(0)
        answer = await browse(await opened, back=False)
        return str(answer.headers["location"])

    token = await stage.broker().login("notes", stage.settings(), show=show, read_pasted=read)

    assert stage.authority.is_good(token.access_token)
    assert "not the address" in shown[1][1]
    assert "another attempt" in shown[2][1]


async def test_without_a_terminal_nothing_is_asked(stage: Stage) -> None:
    with pytest.raises(OAuthNonInteractiveError):
        await stage.broker().login("notes", stage.settings(), show=None)
    assert stage.authority.calls["register"] == 0


async def test_without_a_token_the_first_request_says_that_a_login_is_needed(stage: Stage) -> None:
    broker = stage.broker()
    auth = broker.make_auth("notes", stage.settings()).http_auth()

    async with httpx2.AsyncClient(auth=auth, verify=False) as client:
        with pytest.raises(OAuthNonInteractiveError) as caught:
            await client.post(stage.resource.url)

    result = json.loads(caught.value.result().text)
    assert result["needs_reauth"] is True
    assert result["server"] == "notes"
    assert "hermes mcp login notes" in result["error"]
    assert broker.status("notes", stage.settings()).state == "needs_reauth"
    assert not stage.directory.exists()


async def test_a_second_login_uses_the_registration_of_the_first(stage: Stage) -> None:
    await stage.login()
    await stage.login()

    assert stage.authority.calls["register"] == 1


async def test_a_taken_port_means_a_new_registration_not_a_failure(stage: Stage) -> None:
    await stage.login()
    client = json.loads((stage.directory / "notes.client.json").read_text())
    port = int(client["redirect_uris"][0].split(":")[2].split("/")[0])
    blocker = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", port)

    await stage.login()

    blocker.close()
    assert stage.authority.calls["register"] == 2


async def test_a_refused_login_leaves_the_old_token_alone(stage: Stage) -> None:
    old = await stage.login()
    before = {path.name: path.read_bytes() for path in stage.directory.iterdir()}
    stage.authority.denies = True

    with pytest.raises(OAuthTokenError, match="sign in"):
        await stage.login()

    assert {path.name: path.read_bytes() for path in stage.directory.iterdir()} == before
    assert stage.authority.is_good(old.access_token)


async def test_a_failing_exchange_leaves_the_old_token_alone(stage: Stage) -> None:
    await stage.login()
    before = stage.files.load_token()
    stage.authority.down = (500, -1)

    with pytest.raises(OAuthUnavailableError):
        await stage.login()

    assert stage.files.load_token() == before


async def test_nobody_signs_in_in_time(stage: Stage) -> None:
    with pytest.raises(OAuthNonInteractiveError) as caught:
        await stage.broker().login("notes", stage.settings(timeout=0.05), show=lambda _url, _redirect: None)
    assert "Nobody signed in within" in (caught.value.why or "")


async def test_a_configured_client_is_used_and_bound_to_its_issuer(stage: Stage) -> None:
    stage.authority.add_client(
        "mine",
        "s3cret-value",
        redirect_uris=["http://127.0.0.1:18765/callback"],
        token_endpoint_auth_method="client_secret_post",
    )
    oauth = {"client_id": "mine", "client_secret": "s3cret-value", "redirect_port": 18765}

    await stage.login(**oauth)

    assert stage.authority.calls["register"] == 0
    stored = json.loads((stage.directory / "notes.client.json").read_text())
    assert stored == {"client_id": "mine", "issuer": stage.authority.issuer}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_secrets_travel_as_the_authority_supports(stage: Stage, method: str) -> None:
    stage.authority.lies = {"token_endpoint_auth_methods_supported": [method]}

    await stage.login()

    exchange = stage.authority.seen[-1]
    assert ("client_secret" in exchange) == (method == "client_secret_post")
    assert exchange["_authorization"].startswith("Basic ") == (method == "client_secret_basic")


async def test_our_metadata_document_is_the_client_id_where_such_are_taken(stage: Stage) -> None:
    stage.authority.lies = {"client_id_metadata_document_supported": True}
    document = "https://example.com/hermes.json"
    stage.authority.add_client(document, redirect_uris=["http://127.0.0.1:18766/callback"])

    await stage.login(client_metadata_url=document, redirect_port=18766)

    assert stage.authority.calls["register"] == 0
    assert stage.files.load_client()["client_id"] == document


@pytest.mark.parametrize("document", ["oauth-authorization-server", "openid-configuration", "appended"])
async def test_metadata_is_found_wherever_an_issuer_with_a_path_puts_it(
    tmp_path: Path, document: str
) -> None:
    async with staged(tmp_path, path="/tenant/one", document=document) as stage:
        await stage.login()
        assert stage.files.load_metadata()["issuer"].endswith("/tenant/one")


async def test_a_server_that_is_its_own_authority_is_found_without_resource_metadata(tmp_path: Path) -> None:
    from oauth_authority import Authority, Resource, serving

    authority = Authority()
    resource = Resource(authority)
    async with serving(resource.app(authority.app())) as (origin,):
        authority.origin, resource.url, resource.authorities = origin, f"{origin}/mcp", None
        stage = Stage(tmp_path, authority, resource)
        token = await stage.login()
        assert authority.is_good(token.access_token)
        for broker in stage.brokers:
            await broker.aclose()


async def test_scopes_come_from_the_settings_the_challenge_or_the_server(stage: Stage) -> None:
    stage.resource.scopes = ["read", "write"]
    await stage.login()
    assert stage.authority.seen[-2]["scope"] == "read write"
    stage.resource.challenge = 'Bearer error="invalid_token", scope="files:read"'
    await stage.login()
    assert stage.authority.seen[-2]["scope"] == "files:read"
    await stage.login(scope="only this")
    assert stage.authority.seen[-2]["scope"] == "only this"
    stage.authority.lies = {"scopes_supported": ["offline_access"]}
    await stage.login(scope="only")
    assert stage.authority.seen[-2]["scope"] == "only offline_access"


async def test_an_authority_that_does_not_register_says_what_to_do(stage: Stage) -> None:
    stage.authority.lies = {"registration_endpoint": None}

    with pytest.raises(OAuthFlowError) as caught:
        await stage.login()

    assert "oauth.client_id" in (caught.value.remedy or "")


async def test_a_finished_login_by_browser_is_seen_by_whoever_asks_later(stage: Stage) -> None:
    broker = stage.broker()
    url = await broker.begin_login("notes", stage.settings())
    await browse(url)

    token = await broker.finish_login("notes")

    assert stage.authority.is_good(token.access_token)
    with pytest.raises(UsageError):
        await broker.finish_login("notes")


async def test_a_program_has_nothing_to_sign_in_to() -> None:
    from hermes_agent.config.sections.mcp import McpServerSettings

    with pytest.raises(UsageError):
        await OAuthBroker(Path("/nonexistent")).login(
            "local", McpServerSettings(command="true"), show=lambda _a, _b: None
        )


async def test_logout_revokes_the_grant_and_deletes_the_files(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)

    found, problem = await broker.logout("notes", stage.settings())

    assert (found, problem) == (True, "")
    assert not stage.authority.is_good(token.access_token)
    assert list(stage.directory.glob("*.json")) == []
    assert broker.status("notes", stage.settings()).state == "needs_reauth"
    assert await broker.logout("notes", stage.settings()) == (False, "")


async def test_logout_works_while_the_authority_is_away(stage: Stage) -> None:
    broker = stage.broker()
    await stage.login(broker)
    metadata = stage.files.load_metadata()
    stage.files.save_metadata({**metadata, "revocation_endpoint": "http://127.0.0.1:9/revoke"})

    found, problem = await broker.logout("notes", stage.settings())

    assert found
    assert "127.0.0.1:9" in problem
    assert list(stage.directory.glob("*.json")) == []


def test_pasted_text_of_every_kind() -> None:
    assert parse_redirect("http://127.0.0.1:1/callback?code=a&state=b") == {"code": "a", "state": "b"}
    assert parse_redirect("?code=a&state=b#frag") == {"code": "a", "state": "b"}
    assert parse_redirect("code=a%20b&state=c") == {"code": "a b", "state": "c"}
    assert parse_redirect("") == {}
    assert parse_redirect("hello there") == {}
    assert parse_redirect("http://[::1/?code=a") == {}
    assert parse_redirect("?code=a&code=b&state=c") == {}
    assert parse_redirect("?" + "&".join(f"x{n}=1" for n in range(100))) == {}
