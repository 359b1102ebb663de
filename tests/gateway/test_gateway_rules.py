"""Pairing codes, access rules, session keys, reset policies, files in answers: without a process."""

from __future__ import annotations

import hashlib
import json
import time

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.session_reset import SessionResetSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import StoreError, UsageError
from hermes_agent.core.platform import InboundMessage, Person
from hermes_agent.gateway.access import Access
from hermes_agent.gateway.home_channel import parse_chat
from hermes_agent.gateway.keys import last_occurrence, policy_for, session_key
from hermes_agent.gateway.pairing import ALPHABET, PairingBook


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def inbound(**values: object) -> InboundMessage:
    known: dict[str, object] = {
        "platform": "telegram",
        "chat_id": "42",
        "message_id": "1",
        "sender": Person("7"),
        "text": "hi",
    }
    return InboundMessage(**{**known, **values})  # type: ignore[arg-type]


# Pairing


def test_a_code_has_the_promised_shape_and_is_stored_as_a_hash_only(home: Home) -> None:
    book = PairingBook(home)
    code = book.request("telegram", "7", "Ann")
    assert code is not None
    assert len(code) == 8
    assert set(code) <= set(ALPHABET)
    path = home.root / "platforms" / "pairing" / "telegram-pending.json"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert code not in text
    (entry,) = json.loads(text).values()
    assert entry["hash"] == hashlib.sha256(bytes.fromhex(entry["salt"]) + code.encode()).hexdigest()
    assert entry["user_id"] == "7"


def test_an_approved_person_is_let_in_until_revoked(home: Home) -> None:
    book = PairingBook(home)
    code = book.request("telegram", "7", "Ann")
    assert code
    assert not book.is_approved("telegram", "7")
    assert book.approve("telegram", f" {code.lower()} ").user_id == "7"
    assert book.is_approved("telegram", "7")
    assert not book.is_approved("discord", "7")
    with pytest.raises(UsageError):
        book.approve("telegram", code)
    assert book.revoke("telegram", "7")
    assert not book.is_approved("telegram", "7")
    assert not book.revoke("telegram", "7")


def test_codes_expire_after_an_hour(home: Home) -> None:
    clock = Clock()
    book = PairingBook(home, clock)
    code = book.request("telegram", "7", "Ann")
    clock.now += 3601
    with pytest.raises(UsageError):
        book.approve("telegram", str(code))
    assert book.pending() == []


def test_requests_are_limited_per_person_and_per_platform(home: Home) -> None:
    clock = Clock()
    book = PairingBook(home, clock)
    assert book.request("telegram", "1", "")
    assert book.request("telegram", "1", "") is None
    clock.now += 601
    assert book.request("telegram", "1", "")
    assert len(book.pending()) == 1
    assert book.request("telegram", "2", "")
    assert book.request("telegram", "3", "")
    assert book.request("telegram", "4", "") is None
    assert book.request("discord", "4", "")
    assert book.clear_pending("telegram") == 3
    assert book.request("telegram", "5", "")


def test_five_wrong_codes_lock_approval_for_an_hour(home: Home) -> None:
    clock = Clock()
    book = PairingBook(home, clock)
    code = str(book.request("telegram", "1", ""))
    for _ in range(5):
        with pytest.raises(UsageError, match="No request"):
            book.approve("telegram", "WRONGONE")
    with pytest.raises(UsageError, match="Too many"):
        book.approve("telegram", code)
    clock.now += 3500
    with pytest.raises(UsageError, match="Too many"):
        book.approve("telegram", code)
    clock.now += 101
    with pytest.raises(UsageError, match="No request"):  # the code is too old by now
        book.approve("telegram", code)


def test_the_older_directory_and_its_salted_text_are_understood(home: Home) -> None:
    home.pairing.mkdir()
    salt = "00ff"
    entry = {
        "hash": hashlib.sha256(f"{salt}ABCD2345".encode()).hexdigest(),
        "salt": salt,
        "user_id": "7",
        "user_name": "Ann",
        "created_at": time.time(),
    }
    (home.pairing / "telegram-pending.json").write_text(json.dumps({"x": entry}))
    assert PairingBook(home).approve("telegram", "ABCD2345").name == "Ann"
    assert "7" in json.loads((home.pairing / "telegram-approved.json").read_text())


def test_a_broken_file_lets_nobody_in_and_is_named(home: Home) -> None:
    book = PairingBook(home)
    book.directory.mkdir(parents=True)
    (book.directory / "telegram-approved.json").write_text("{")
    with pytest.raises(StoreError, match="telegram-approved"):
        book.is_approved("telegram", "7")
    assert not Access(Settings(), {}.get, book).admit("telegram", Person("7")).is_allowed


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a b"])
def test_a_platform_name_cannot_leave_the_directory(home: Home, name: str) -> None:
    with pytest.raises(UsageError):
        PairingBook(home).request(name, "7", "")


# Access


@pytest.mark.parametrize(
    ("variables", "settings", "is_allowed", "is_owner"),
    [
        ({}, {}, False, False),
        ({"TELEGRAM_ALLOWED_USERS": "6, 7"}, {}, True, True),
        ({"DISCORD_ALLOWED_USERS": "7"}, {}, False, False),
        ({"TELEGRAM_ALLOW_ALL_USERS": "true"}, {}, True, False),
        ({}, {"gateway": {"allowed_users": "7"}}, True, True),
        ({}, {"gateway": {"allowed_users": "discord:7"}}, False, False),
        ({}, {"gateway": {"allowed_users": "telegram:7"}}, True, True),
        ({}, {"gateway": {"allow_all_users": True}}, True, False),
        ({}, {"gateway": {"allow_all_users": True, "owners": "7"}}, True, True),
        ({}, {"gateway": {"allowed_users": "7", "owners": "8"}}, True, False),
        ({}, {"platforms": {"telegram": {"extra": {"allowed_users": [7]}}}}, True, True),
    ],
)
def test_rules_decide_who_may_talk(
    home: Home, variables: dict[str, str], settings: dict[str, object], is_allowed: bool, is_owner: bool
) -> None:
    access = Access(Settings(settings), variables.get, PairingBook(home))
    named_alike = Person("8", name="7")
    assert access.admit("telegram", Person("7")).is_allowed is is_allowed
    assert access.is_owner("telegram", Person("7")) is is_owner
    if not settings.get("gateway") and "ALLOW_ALL" not in str(variables):
        assert not access.admit("telegram", named_alike).is_allowed


# Keys and resets


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "agent:main:telegram:dm:42"),
        ({"thread_id": "5"}, "agent:main:telegram:dm:42:5"),
        ({"chat_type": "group"}, "agent:main:telegram:group:42:7"),
        ({"chat_type": "group", "thread_id": "5"}, "agent:main:telegram:group:42:5"),
    ],
)
def test_session_keys(values: dict[str, object], expected: str) -> None:
    assert session_key(inbound(**values)) == expected


def test_groups_can_share_one_conversation() -> None:
    assert session_key(inbound(chat_type="group"), per_user_in_groups=False) == "agent:main:telegram:group:42"


def test_both_means_whichever_comes_first() -> None:
    policy = policy_for(SessionResetSettings(), "telegram", "dm")
    now = time.mktime((2026, 5, 20, 12, 0, 0, 0, 0, -1))
    assert policy.reason(now - 60, now) == ""
    assert "silence" in policy.reason(now - 1441 * 60, now)
    assert "new day" in policy.reason(now - 9 * 3600, now)
    assert policy.reason(now - 7 * 3600, now) == ""


def test_platform_and_type_have_policies_of_their_own() -> None:
    settings = SessionResetSettings.model_validate(
        {
            "by_platform": {"telegram": {"mode": "idle", "idle_minutes": 10}},
            "by_type": {"group": {"mode": "none", "notify": False}},
        }
    )
    assert policy_for(settings, "telegram", "dm").idle_minutes == 10
    assert policy_for(settings, "discord", "group").mode == "none"
    assert policy_for(settings, "telegram", "group").mode == "idle"
    assert policy_for(settings, "telegram", "group").notify is False
    assert policy_for(settings, "discord", "dm").mode == "both"


def test_the_last_occurrence_of_an_hour_is_never_in_the_future() -> None:
    now = time.time()
    for hour in range(24):
        found = last_occurrence(hour, now)
        assert found <= now < found + 26 * 3600
        assert time.localtime(found).tm_hour == hour


def test_matrix_ids_keep_their_colons() -> None:
    assert parse_chat("matrix", "!room:example.org").chat_id == "!room:example.org"
    assert parse_chat("telegram", "-100:7").thread_id == "7"
