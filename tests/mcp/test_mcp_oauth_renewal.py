"""Renewing tokens: single flight, rotation, failures that pass, failures that do not."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from oauth_stage import Stage, staged

from hermes_agent.mcp.errors import McpUnavailableError
from hermes_agent.mcp.oauth.errors import (
    OAuthFlowError,
    OAuthNonInteractiveError,
    OAuthTokenError,
    OAuthUnauthorizedError,
    OAuthUnavailableError,
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path / "mcp-tokens") as made:
        yield made


async def test_a_token_refused_in_the_middle_is_replaced_and_the_request_repeated(stage: Stage) -> None:
    broker = stage.broker()
    old = await stage.login(broker)
    assert (await stage.call(broker)).status_code == 200
    stage.authority.expire(old.access_token)

    assert (await stage.call(broker)).status_code == 200
    assert stage.authority.calls["refresh_token"] == 1
    assert stage.files.load_token().refresh_token != old.refresh_token


async def test_ten_callers_with_the_same_refused_token_cause_one_refresh(stage: Stage) -> None:
    broker = stage.broker()
    old = await stage.login(broker)
    stage.authority.expire(old.access_token)
    stage.authority.delay = 0.05

    answers = await asyncio.gather(*(stage.call(broker) for _ in range(10)))

    assert [answer.status_code for answer in answers] == [200] * 10
    assert stage.authority.calls["refresh_token"] == 1
    assert stage.authority.reuses == 0


async def test_ten_recoveries_by_name_are_one_and_an_unknown_server_is_no_recovery(stage: Stage) -> None:
    broker = stage.broker()
    old = await stage.login(broker)

    found = await asyncio.gather(*(broker.handle_401("notes", old.access_token) for _ in range(10)))

    assert found == [True] * 10
    assert stage.authority.calls["refresh_token"] == 1
    assert not await broker.handle_401("unknown", "x")


async def test_a_token_is_renewed_shortly_before_it_expires(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    stage.files.save_token(replace(token, expires_at=time.time() + 5))

    assert (await stage.call(broker)).status_code == 200
    assert stage.authority.calls["refresh_token"] == 1
    assert len(stage.resource.bearers) == 1


async def test_a_refresh_that_omits_the_refresh_token_keeps_the_old_one(stage: Stage) -> None:
    broker = stage.broker()
    stage.authority.omits_refresh = True
    token = await stage.login(broker)

    for _ in range(3):
        stage.authority.expire(stage.files.load_token().access_token)
        assert (await stage.call(broker)).status_code == 200

    assert stage.authority.calls["refresh_token"] == 3
    assert stage.files.load_token().refresh_token == token.refresh_token
    assert (await stage.call(broker)).status_code == 200


async def test_cancelled_callers_do_not_lose_the_rotated_token(stage: Stage) -> None:
    broker = stage.broker()
    old = await stage.login(broker)
    stage.authority.expire(old.access_token)
    stage.authority.delay = 0.1
    stage.authority.asked.clear()
    caller = asyncio.create_task(stage.call(broker))
    await stage.authority.asked.wait()
    caller.cancel()
    await asyncio.wait([caller])

    await broker.aclose()

    assert stage.authority.is_good(stage.files.load_token().access_token)
    assert (await stage.call(stage.broker())).status_code == 200
    assert stage.authority.reuses == 0


@pytest.mark.parametrize("status", [404, 500, 429, 503, 403])
async def test_a_failing_token_endpoint_loses_nothing(stage: Stage, status: int) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    before = stage.files.load_token()
    stage.authority.expire(token.access_token)
    stage.authority.down = (status, -1)

    assert (await stage.call(broker)).status_code == 401
    with pytest.raises(McpUnavailableError):
        await broker.make_auth("notes", stage.settings()).auth_failed(401, "")
    assert stage.files.load_token() == before
    assert broker.status("notes", stage.settings()).state == "unavailable"

    stage.authority.down = (0, 0)
    fresh = stage.broker()
    assert (await stage.call(fresh)).status_code == 200


async def test_a_failing_authority_is_not_asked_again_at_once(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    stage.authority.down = (500, -1)
    asked = stage.authority.calls["token"]

    for _ in range(20):
        assert not await broker.handle_401("notes", token.access_token)

    assert stage.authority.calls["token"] == asked + 1


async def test_a_token_endpoint_that_moved_is_found_again(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    stage.authority.token_path = "/v2/token"

    assert await broker.handle_401("notes", token.access_token)
    assert stage.files.load_metadata()["token_endpoint"].endswith("/v2/token")


async def test_a_dead_refresh_token_is_tried_once_and_kept(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    stage.authority.ended.add(stage.authority.tokens[token.access_token].grant)
    provider = broker.make_auth("notes", stage.settings())

    for _ in range(3):
        with pytest.raises(OAuthTokenError):
            await provider.recover(token.access_token)

    assert stage.authority.calls["refresh_token"] == 1
    assert stage.files.load_token() == token
    status = broker.status("notes", stage.settings())
    assert status.state == "needs_reauth"

    await stage.login(broker)
    assert (await stage.call(broker)).status_code == 200


async def test_a_server_that_refuses_fresh_tokens_does_not_cause_a_loop(stage: Stage) -> None:
    broker = stage.broker()
    await stage.login(broker)
    stage.resource.refuses = True

    for _ in range(5):
        assert (await stage.call(broker)).status_code == 401

    assert stage.authority.calls["refresh_token"] == 1
    with pytest.raises(OAuthUnauthorizedError):
        await broker.make_auth("notes", stage.settings()).auth_failed(401, "")


async def test_a_token_without_refresh_token_asks_for_a_person(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    stage.files.save_token(replace(token, refresh_token=None))

    with pytest.raises(OAuthNonInteractiveError):
        await broker.make_auth("notes", stage.settings()).recover(token.access_token)


async def test_what_another_process_stored_is_used_without_asking(stage: Stage) -> None:
    ours, theirs = stage.broker(), stage.broker()
    old = await stage.login(ours)
    assert (await stage.call(ours)).status_code == 200
    assert await theirs_renews(theirs, stage, old.access_token)

    assert ours.invalidate_if_disk_changed("notes")
    assert not ours.invalidate_if_disk_changed("notes")
    assert (await stage.call(ours)).status_code == 200
    assert stage.authority.calls["refresh_token"] == 1


async def theirs_renews(broker, stage: Stage, failed: str) -> bool:
    broker.make_auth("notes", stage.settings())
    return await broker.handle_401("notes", failed)


async def test_a_missing_file_is_no_change_and_no_error(stage: Stage) -> None:
    broker = stage.broker()
    assert not broker.invalidate_if_disk_changed("notes")
    broker.make_auth("notes", stage.settings())
    broker.invalidate_if_disk_changed("notes")
    assert not broker.invalidate_if_disk_changed("notes")


async def test_the_provider_survives_reconnects_and_changed_settings_reach_it(stage: Stage) -> None:
    broker = stage.broker()
    first = broker.make_auth("notes", stage.settings())
    assert broker.make_auth("notes", stage.settings()) is first
    assert broker.make_auth("notes", stage.settings(scope="more")) is first
    assert first.settings.oauth.scope == "more"


async def test_files_of_the_older_agent_are_taken_over(stage: Stage) -> None:
    """Token without `expires_at` and `server_url`, registration without issuer, no metadata, wide modes."""
    token = await stage.login()
    client = stage.files.load_client()
    for path in stage.directory.iterdir():
        path.unlink()
    written = time.time() - 7200
    (stage.directory / "notes.json").write_text(
        json.dumps(
            {
                "access_token": token.access_token,
                "token_type": "Bearer",
                "expires_in": 3600,
                "scope": None,
                "refresh_token": token.refresh_token,
            }
        )
    )
    client.pop("issuer")
    (stage.directory / "notes.client.json").write_text(json.dumps(client))
    os.utime(stage.directory / "notes.json", (written, written))
    stage.directory.chmod(0o755)

    broker = stage.broker()
    assert (await stage.call(broker)).status_code == 200

    assert stage.authority.calls["refresh_token"] == 1
    assert stage.files.load_token().server_url == stage.resource.url
    assert stage.files.load_metadata()["issuer"] == stage.authority.issuer
    assert {path.stat().st_mode & 0o777 for path in stage.directory.iterdir()} == {0o600}
    assert stage.directory.stat().st_mode & 0o777 == 0o700


async def test_a_token_seeded_from_another_machine_just_works(stage: Stage) -> None:
    await stage.login()
    seeded = {"access_token": stage.files.load_token().access_token, "token_type": "Bearer"}
    for path in stage.directory.iterdir():
        path.unlink()
    (stage.directory / "notes.json").write_text(json.dumps(seeded))

    assert (await stage.call(stage.broker())).status_code == 200


async def test_a_token_that_cannot_be_written_is_kept_in_memory(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    assert (await stage.call(broker)).status_code == 200
    path = stage.directory / "notes.json"
    path.rename(stage.directory / "elsewhere")
    path.mkdir()

    provider = broker.make_auth("notes", stage.settings())
    provider._token = token
    provider._stamp = stage.files.stamp()
    provider._is_unsaved = True
    stage.authority.expire(token.access_token)
    for _ in range(2):
        assert (await stage.call(broker)).status_code == 200
        stage.authority.expire(stage.resource.bearers[-1])

    assert stage.authority.reuses == 0
    assert stage.authority.calls["refresh_token"] == 2


# -- scopes


async def test_missing_rights_are_remembered_for_the_next_login(stage: Stage) -> None:
    stage.resource.needs = {"delete": "notes:delete"}
    broker = stage.broker()
    await stage.login(broker, scope="notes:read")
    refused = await stage.call(broker, "delete", scope="notes:read")
    assert refused.status_code == 403

    provider = broker.make_auth("notes", stage.settings(scope="notes:read"))
    with pytest.raises(OAuthTokenError, match="sign in") as caught:
        await provider.auth_failed(403, refused.headers["www-authenticate"])
    assert "notes:delete" in (caught.value.why or "")

    other = stage.broker()
    await stage.login(other, scope="notes:read")
    assert stage.authority.seen[-2]["scope"] == "notes:read notes:delete"
    assert (await stage.call(broker, "delete", scope="notes:read")).status_code == 200


# -- without a person


SECRET = "robot-secret-robot-secret-robot-secret"


def machine(stage: Stage, method: str = "client_secret_basic", **more: str) -> dict[str, str]:
    stage.authority.add_client(
        "robot",
        SECRET,
        token_endpoint_auth_method=method,
        grant_types=["client_credentials"],
    )
    secret = {} if method == "private_key_jwt" else {"client_secret": SECRET}
    return {
        "client_id": "robot",
        "grant_type": "client_credentials",
        "token_endpoint_auth_method": method,
        **secret,
        **more,
    }


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "client_secret_jwt"])
async def test_client_credentials_need_nobody(stage: Stage, method: str) -> None:
    oauth = machine(stage, method)
    broker = stage.broker()

    assert (await stage.call(broker, **oauth)).status_code == 200
    stage.authority.expire(stage.resource.bearers[-1])
    assert (await stage.call(broker, **oauth)).status_code == 200

    assert stage.authority.calls["client_credentials"] == 2
    assert "robot-secret" not in (stage.directory / "notes.client.json").read_text()


@pytest.mark.parametrize("kind", ["RSA", "EC"])
async def test_a_private_key_signs_in(stage: Stage, tmp_path: Path, kind: str) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = {
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
    }[kind]()
    path = tmp_path / "key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    oauth = machine(stage, "private_key_jwt", private_key=str(path))
    stage.authority.clients["robot"].metadata |= {
        "key_type": kind,
        "public_key": key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    }

    answer = await stage.call(stage.broker(), **oauth)

    assert answer.status_code == 200


async def test_a_key_that_cannot_be_used_is_named(stage: Stage, tmp_path: Path) -> None:
    oauth = machine(stage, "private_key_jwt", private_key=str(tmp_path / "missing.pem"))
    provider = stage.broker().make_auth("notes", stage.settings(**oauth))
    with pytest.raises(OAuthFlowError) as caught:
        await provider.recover(None)
    assert "missing.pem" in (caught.value.why or "")


async def test_client_credentials_step_up_by_themselves(stage: Stage) -> None:
    stage.resource.needs = {"delete": "notes:delete"}
    oauth = machine(stage, scope="notes:read")
    broker = stage.broker()
    refused = await stage.call(broker, "delete", **oauth)

    provider = broker.make_auth("notes", stage.settings(**oauth))
    assert await provider.auth_failed(403, refused.headers["www-authenticate"])
    assert (await stage.call(broker, "delete", **oauth)).status_code == 200
    assert not await provider.auth_failed(403, refused.headers["www-authenticate"])


async def test_a_login_with_client_credentials_is_a_fresh_token(stage: Stage) -> None:
    oauth = machine(stage)
    token = await stage.broker().login("notes", stage.settings(**oauth), show=None)
    assert stage.authority.is_good(token.access_token)


async def test_an_authority_that_cannot_be_reached_is_not_a_reason_to_sign_in_again(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    metadata = stage.files.load_metadata()
    stage.files.save_metadata({**metadata, "token_endpoint": "http://127.0.0.1:9/token"})

    with pytest.raises(OAuthUnavailableError):
        await broker.make_auth("notes", stage.settings()).recover(token.access_token)
    assert stage.files.load_token() == token


async def test_every_token_is_told_to_the_redactor(stage: Stage) -> None:
    broker = stage.broker()
    token = await stage.login(broker)
    await broker.handle_401("notes", token.access_token)
    fresh = stage.files.load_token()
    assert {token.access_token, token.refresh_token, fresh.access_token, fresh.refresh_token} <= set(
        stage.secrets
    )
    assert fresh.access_token not in repr(fresh) + repr(broker.status("notes", stage.settings()))
