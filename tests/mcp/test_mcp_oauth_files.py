"""The files: whatever stands in them, and whatever a server is called."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.errors import StoreUnwritableError
from hermes_agent.mcp.oauth.challenge import Challenge, joined_scopes
from hermes_agent.mcp.oauth.files import StoredToken, TokenFiles, file_stem, origin


@given(st.text(max_size=300))
def test_every_name_is_one_file_in_the_directory(name: str) -> None:
    stem = file_stem(name)
    assert stem
    assert Path(stem).name == stem
    assert len(stem) <= 128
    assert len(f"{stem}.client.json".encode()) < 255
    assert set(stem) & set("/.\\\0") == set()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("notes", "notes"),
        ("a.b/c", "a_b_c"),
        ("../../etc/passwd", "______etc_passwd"),
        ("", "_"),
        ("bücher", "bücher"),
    ],
)
def test_names_become_the_file_names_that_older_homes_have(name: str, stem: str) -> None:
    assert file_stem(name) == stem


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "access_token",
                "refresh_token",
                "expires_in",
                "expires_at",
                "scope",
                "token_type",
                "server_url",
                "x",
            ]
        ),
        _JSON,
    )
)
def test_a_token_of_any_json_is_a_token_or_none(data: dict[str, object]) -> None:
    token = StoredToken.from_json(data, written_at=1000.0)
    if token is not None:
        assert token.access_token == data["access_token"]
        assert json.loads(json.dumps(token.to_json(), default=str))
        token.is_expired()
        assert token.early_seconds <= 60


@given(st.text(max_size=200))
def test_every_challenge_can_be_read(header: str) -> None:
    Challenge.parse(header)


def test_challenges_of_real_servers() -> None:
    header = (
        'Bearer realm="OAuth", error="invalid_token", error_description="no, \\"really\\", expired",'
        ' resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource", scope="a b"'
    )
    found = Challenge.parse(header)
    assert found.resource_metadata == "https://mcp.example.com/.well-known/oauth-protected-resource"
    assert (found.scope, found.error) == ("a b", "invalid_token")
    assert Challenge.parse("Bearer scope=read").scope == "read"
    assert Challenge.parse('Bearer x_scope="evil"').scope == ""
    assert joined_scopes("a b", None, "b c", "") == "a b c"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"access_token": 5}', b"[" * 100_000]
)
def test_a_broken_file_is_no_token_and_is_left_alone(tmp_path: Path, content: bytes) -> None:
    files = TokenFiles(tmp_path, "notes")
    files.token_path.write_bytes(content)
    assert files.load_token() is None
    assert files.token_path.read_bytes() == content


def test_a_token_that_could_split_a_header_is_no_token(tmp_path: Path) -> None:
    for value in ("a\r\nX: y", "a\0", "ä", ""):
        assert StoredToken.from_json({"access_token": value}, written_at=0) is None


def test_unknown_keys_survive_and_the_time_of_an_older_file_counts(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path, "notes")
    files.token_path.write_text(json.dumps({"access_token": "a", "expires_in": "3600", "id_token": "kept"}))
    os.utime(files.token_path, (1000, 1000))
    token = files.load_token()
    assert token is not None
    assert token.expires_at == 4600
    files.save_token(token)
    assert json.loads(files.token_path.read_text())["id_token"] == "kept"


def test_every_replacement_changes_the_stamp(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path / "tokens", "notes")
    assert files.stamp() == 0
    seen = set()
    for number in range(50):
        files.save_token(StoredToken(f"token-{number}"))
        seen.add(files.stamp())
    assert len(seen) == 50


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnwritableError, match="file"):
        TokenFiles(tmp_path / "file" / "tokens", "notes").save_token(StoredToken("a"))


async def test_the_lock_is_held_by_one_and_freed_by_cancelling(tmp_path: Path) -> None:
    files = TokenFiles(tmp_path / "tokens", "notes")
    inside: list[int] = []

    async def hold(number: int) -> None:
        async with files.lock():
            inside.append(number)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.remove(number)

    await asyncio.gather(*(hold(number) for number in range(20)))

    entered = asyncio.Event()

    async def hold_for_ever() -> None:
        async with files.lock():
            entered.set()
            await asyncio.Event().wait()

    holder = asyncio.create_task(hold_for_ever())
    await entered.wait()
    holder.cancel()
    await asyncio.wait([holder])
    started = time.monotonic()
    async with files.lock():
        assert time.monotonic() - started < 30


def test_origins() -> None:
    assert origin("https://Example.com/a") == origin("https://example.com.:443/b")
    assert origin("http://example.com") != origin("https://example.com")
    assert origin("https://example.com:8443") != origin("https://example.com")
    assert origin("http://[::1/") != origin("http://x:99999999/")
    assert not StoredToken("a", server_url="http://[").is_for("https://example.com/mcp")
