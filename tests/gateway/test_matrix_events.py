"""What events of a room say, and what an answer becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.gateway.platforms.matrix.events import (
    happened_at,
    read_event,
    since_invitation,
    without_mention,
)
from hermes_agent.gateway.platforms.matrix.formatting import edit_content, relation, text_content
from hermes_agent.gateway.platforms.matrix.settings import make_account

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
KEYS = st.sampled_from(
    [
        "msgtype",
        "body",
        "m.relates_to",
        "m.new_content",
        "rel_type",
        "event_id",
        "m.in_reply_to",
        "m.mentions",
        "user_ids",
        "file",
        "url",
        "info",
        "size",
        "mimetype",
        "filename",
        "formatted_body",
        "is_falling_back",
    ]
)
VALUES = st.recursive(
    st.sampled_from(
        ["m.text", "m.image", "m.replace", "m.thread", "mxc://x/y", "$e", "> q\n\nx", 1, None, True, []]
    ),
    lambda inner: st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)


def event(content: Any, **more: Any) -> dict[str, Any]:
    return {
        "type": "m.room.message",
        "sender": "@alice:x",
        "event_id": "$1",
        "origin_server_ts": 1500,
        "content": content,
        **more,
    }


def text(body: str, **more: Any) -> dict[str, Any]:
    return event({"msgtype": "m.text", "body": body, **more})


@given(JSON | st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_event_is_read_or_left_out(content: Any) -> None:
    said = read_event(event(content))
    if said is not None:
        assert isinstance(said.text, str)
        assert isinstance(said.event_id, str)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(["m.room.member", "m.room.message"]) | JSON,
                "state_key": st.just("@me:x") | JSON,
                "content": VALUES | JSON | st.just({"membership": "join"}),
                "unsigned": VALUES | JSON,
                "sender": JSON,
                "event_id": JSON,
                "origin_server_ts": JSON | st.floats(),
            }
        )
    )
)
def test_any_room_is_read(events: list[dict[str, Any]]) -> None:
    for each in since_invitation(events, "@me:x"):
        read_event(each)
        happened_at(each)


def test_of_a_new_room_what_was_said_since_the_invitation_counts() -> None:
    def member(who: str, now: str, before: str = "") -> dict[str, Any]:
        unsigned = {"prev_content": {"membership": before}} if before else {}
        return {
            "type": "m.room.member",
            "state_key": who,
            "content": {"membership": now},
            "unsigned": unsigned,
        }

    old, new = text("old"), text("new")
    invited = [old, member("@me:x", "invite"), new, member("@me:x", "join", "invite"), new]
    assert [each for each in since_invitation(invited, "@me:x") if each is old or each is new] == [new, new]
    public = [old, member("@me:x", "join"), new]
    assert since_invitation(public, "@me:x") == [new]
    renamed = [old, member("@me:x", "join", "join"), new, member("@you:x", "invite")]
    assert since_invitation(renamed, "@me:x") == renamed


def test_a_text_is_read() -> None:
    said = read_event(text("hello"))
    assert said is not None
    assert (said.event_id, said.sender, said.text, said.sent_at) == ("$1", "@alice:x", "hello", 1.5)


def test_an_edit_has_the_id_of_the_original_and_the_new_text() -> None:
    said = read_event(
        text(
            "* b",
            **{
                "m.new_content": {"msgtype": "m.text", "body": "b"},
                "m.relates_to": {"rel_type": "m.replace", "event_id": "$0"},
            },
        )
    )
    assert said is not None
    assert (said.event_id, said.text, said.is_edit) == ("$0", "b", True)


def test_a_reply_is_read_without_the_quote_that_older_clients_add() -> None:
    said = read_event(
        text("> <@bob:x> old\n> lines\n\nnew", **{"m.relates_to": {"m.in_reply_to": {"event_id": "$0"}}})
    )
    assert said is not None
    assert (said.text, said.reply_to_id, said.reply_to_text) == ("new", "$0", "old\nlines")
    plain = read_event(text("> a quotation\n\nand more"))
    assert plain is not None
    assert plain.text == "> a quotation\n\nand more"


def test_in_a_thread_only_a_real_reply_is_one() -> None:
    related = {"rel_type": "m.thread", "event_id": "$root", "m.in_reply_to": {"event_id": "$last"}}
    said = read_event(text("x", **{"m.relates_to": {**related, "is_falling_back": True}}))
    assert said is not None
    assert (said.thread_id, said.reply_to_id) == ("$root", "")
    said = read_event(text("x", **{"m.relates_to": related}))
    assert said is not None
    assert (said.thread_id, said.reply_to_id) == ("$root", "$last")


@pytest.mark.parametrize("kind", ["m.notice", "m.key.verification.request", "m.unknown", None])
def test_machines_are_not_listened_to(kind: str | None) -> None:
    assert read_event(event({"msgtype": kind, "body": "x"})) is None


def test_a_file_has_its_name_and_a_caption_is_its_text() -> None:
    content = {
        "msgtype": "m.image",
        "body": "cat.png",
        "url": "mxc://x/y",
        "info": {"mimetype": "image/png", "size": 5},
    }
    said = read_event(event(content))
    assert said is not None
    (file,) = said.attachments
    assert (said.text, file.file_name, file.kind, file.media_type, file.size) == (
        "",
        "cat.png",
        "image",
        "image/png",
        5,
    )
    said = read_event(event({**content, "body": "look at it", "filename": "cat.png"}))
    assert said is not None
    assert (said.text, said.attachments[0].file_name) == ("look at it", "cat.png")
    voice = {"msgtype": "m.audio", "body": "v", "url": "mxc://x/y", "org.matrix.msc3245.voice": {}}
    said = read_event(event(voice))
    assert said is not None
    assert said.attachments[0].kind == "voice"
    assert read_event(event({**content, "url": "https://x/y"})) is None


@pytest.mark.parametrize(
    ("said", "text", "is_called"),
    [
        ("Hermes: do it", "do it", True),
        ("@hermes:x.test, do it", "do it", True),
        ("hermes do it", "do it", True),
        ("Hermes", "", True),
        ("hermeseum is nice", "hermeseum is nice", False),
        ("ask hermes", "ask hermes", False),
    ],
)
def test_the_own_name_in_front_is_a_mention(said: str, text: str, is_called: bool) -> None:
    assert without_mention(said, ("@hermes:x.test", "Hermes")) == (text, is_called)


@given(st.text(max_size=2000), st.booleans())
def test_any_text_fits_into_an_event(markdown: str, is_notice: bool) -> None:
    for content in (text_content(markdown, is_notice=is_notice), edit_content("$1", markdown)):
        json.dumps(content, ensure_ascii=False).encode("utf-8")


def test_the_longest_text_fits_into_an_encrypted_edit() -> None:
    for line in ("**b** `c` <&> [l](https://x.test) | a\n", "> > > > q\n", "- a\n  - b\n    - c\n", "ü&<\n"):
        markdown = (line * 8000).encode()[:8000].decode("utf-8", "ignore")
        assert len(json.dumps(edit_content("$1", markdown), ensure_ascii=False).encode()) * 4 / 3 < 64_000


def test_plain_text_has_no_html_and_markup_has() -> None:
    assert text_content("just text & <more>") == {
        "msgtype": "m.text",
        "body": "just text & <more>",
        "m.mentions": {},
    }
    content = text_content("a **b**\n\n<i>x</i>", is_notice=True)
    assert content["formatted_body"] == "<p>a <strong>b</strong></p>\n<p>&lt;i&gt;x&lt;/i&gt;</p>"
    assert content["msgtype"] == "m.notice"


def test_people_named_in_an_answer_are_called_and_addresses_are_not() -> None:
    assert text_content("ask @bob:x.test, not `@eve:x.test`")["m.mentions"] == {"user_ids": ["@bob:x.test"]}
    assert text_content("mail a@b.test or https://x.test/@c:d")["m.mentions"] == {}


def test_an_answer_in_a_thread_belongs_to_it() -> None:
    assert relation("", "") == {}
    assert relation("", "$1") == {"m.in_reply_to": {"event_id": "$1"}}
    assert relation("$root", "")["is_falling_back"] is True
    assert relation("$root", "$2") == {
        "rel_type": "m.thread",
        "event_id": "$root",
        "is_falling_back": False,
        "m.in_reply_to": {"event_id": "$2"},
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "address of your home server"),
        ({"MATRIX_HOMESERVER": "x.test"}, "a password or an access token"),
        ({"MATRIX_HOMESERVER": "x.test", "MATRIX_PASSWORD": "p"}, "MATRIX_USER_ID"),
        (
            {"MATRIX_HOMESERVER": "x.test", "MATRIX_PASSWORD": "p", "MATRIX_USER_ID": "hermes"},
            "is no user id",
        ),
        ({"MATRIX_HOMESERVER": "x.test", "MATRIX_ACCESS_TOKEN": "t", "MATRIX_BURST": "no"}, "MATRIX_BURST"),
    ],
)
def test_what_is_missing_or_wrong_is_named(values: dict[str, str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        make_account(PlatformSettings(), values.get)


def test_a_home_server_without_scheme_is_reached_by_https() -> None:
    values = {"MATRIX_HOMESERVER": "x.test/", "MATRIX_ACCESS_TOKEN": "t"}
    account = make_account(PlatformSettings(), values.get)
    assert account.homeserver == "https://x.test"
    assert "'t'" not in repr(account)
