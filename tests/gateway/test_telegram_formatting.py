"""Markdown to Telegram's HTML, and updates to messages."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram_server import _Entities, units

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.core.platform import InboundMessage
from hermes_agent.gateway.platforms.telegram.adapter import make_adapter
from hermes_agent.gateway.platforms.telegram.api import ApiError, NoAnswerError, delivery, readiness
from hermes_agent.gateway.platforms.telegram.formatting import measure, to_html
from hermes_agent.gateway.platforms.telegram.settings import telegram_settings
from hermes_agent.gateway.platforms.telegram.updates import Bot, Press, Written, join, may_go_on, read_update

BOT = Bot(7, "hermes_bot")


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("**b** _i_ ~~s~~ `c<d`", "<b>b</b> <i>i</i> <s>s</s> <code>c&lt;d</code>"),
        ("# Head *x*\ntext", "<b>Head <i>x</i></b>\n\ntext"),
        ('[l](https://a.b/?q=1&r="2")', '<a href="https://a.b/?q=1&amp;r=%222%22">l</a>'),
        ("[bad](javascript:alert(1)) [rel](docs/a.md)", "[bad](javascript:alert(1)) rel"),
        ("||no *one* knows|| a || b", "<tg-spoiler>no <i>one</i> knows</tg-spoiler> a || b"),
        ("||a **b|| c**", "||a <b>b|| c</b>"),
        ("```py\nif a < b:\n\n  x\n```", '<pre><code class="language-py">if a &lt; b:\n\n  x</code></pre>'),
        ("```\n`||x||`\n```", "<pre>`||x||`</pre>"),
        ("- a\n  - b\n    1. c\n- [x] d", "• a\n  • b\n    1. c\n☑ d"),
        ("3. c\n4. d", "3. c\n4. d"),
        ("> q\n> > deep\n\nx", "<blockquote>q\ndeep</blockquote>\n\nx"),
        ("<script>&amp;</script>", "&lt;script&gt;&amp;&lt;/script&gt;"),
        ("|a|b|\n|-|-|\n|1 < 2|**z**|", "<pre>a      b\n─────  ─\n1 &lt; 2  z</pre>"),
        ("a  \nb\nc", "a\nb\nc"),
        ("`/new [title]` `/tmp/x` `/reload-mcp`", "/new [title] <code>/tmp/x</code> /reload-mcp"),
        ("snake_case_name 2*3*4", "snake_case_name 2<i>3</i>4"),
    ],
)
def test_markdown_becomes_what_telegram_knows(markdown: str, expected: str) -> None:
    assert to_html(markdown) == expected


def test_a_wide_table_becomes_a_list() -> None:
    wide = "|Name|Meaning|\n|-|-|\n|one|" + "long " * 20 + "|\n|**two**||"
    assert to_html(wide) == f"<b>one</b>\nMeaning: {('long ' * 20).strip()}\n\n<b><b>two</b></b>"


@given(
    st.text(
        alphabet=st.sampled_from("ab *_`~|>#-1.[]()\n!<&\\😀é") | st.characters(codec="utf-8"), max_size=300
    )
)
def test_any_text_gives_markup_that_telegram_can_parse(text: str) -> None:
    found = to_html(text)
    if found is None:
        return
    parsed = _Entities(found)
    assert not parsed.problem
    assert units(parsed.visible) <= 4096
    assert "" not in found or "" in text


@given(st.text(alphabet="|-a \n*", min_size=3000, max_size=4096))
def test_a_text_within_the_limit_stays_within_it(text: str) -> None:
    assert measure(text) <= 4096
    found = to_html(text)
    assert found is None or units(html.unescape(re.sub(r"<[^>]+>", "", found))) <= 4096


def test_text_is_measured_in_utf_16_units() -> None:
    assert measure("a😀") == 3


_FIELDS = [
    *("message_id", "chat", "from", "id", "text", "entities", "offset", "length", "type", "user", "photo"),
    *("voice", "file_id", "reply_to_message", "sender_chat", "callback_query", "message", "data", "poll"),
    *("options", "sticker", "forward_origin", "quote", "location", "contact", "is_topic_message", "dice"),
]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_FIELDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.sampled_from(["message", "edited_message", "channel_post", "callback_query"]), _JSON)
def test_an_update_of_any_form_harms_nobody(kind: str, content: Any) -> None:
    read_update({"update_id": 1, kind: content}, BOT)
    base = {"message_id": 1, "chat": {"id": -1, "type": "group"}, "from": {"id": 2}}
    extra = content if isinstance(content, dict) else {"text": content}
    read_update({"update_id": 1, kind: {**extra, **base}}, BOT)


def read(**fields: Any) -> InboundMessage:
    message = {"message_id": 1, "chat": {"id": 5, "type": "private"}, "from": {"id": 2}, **fields}
    found = read_update({"update_id": 1, "message": message}, BOT)
    assert isinstance(found, Written)
    return found.message


def group(text: str, **fields: Any) -> InboundMessage:
    entities = [
        {"type": "mention", "offset": units(text[: match.start()]), "length": len(match[0])}
        for match in re.finditer(r"@\w+", text)
    ]
    return read(text=text, entities=entities, chat={"id": -5, "type": "supergroup"}, **fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@hermes_bot do it", "do it"),
        ("😀 hey @Hermes_Bot: do it", "😀 hey : do it"),
        ("@hermes_bot, @other please", "@other please"),
        ("do it @hermes_bot", "do it"),
    ],
)
def test_a_mention_is_recognised_and_left_out(text: str, expected: str) -> None:
    message = group(text)
    assert (message.is_addressed, message.text) == (True, expected)


def test_others_are_not_listened_to() -> None:
    assert not group("do it @hermes_bot2").is_addressed
    assert not group("/status@other_bot").is_addressed
    assert not group("hello").is_addressed
    created = {"message_id": 3, "from": {"id": 7}, "forum_topic_created": {}}
    assert not group("hello", reply_to_message=created).is_addressed


def test_who_writes_is_the_stable_id() -> None:
    assert read(**{"from": {"id": 2, "first_name": "A", "username": "x"}}).sender.id == "2"
    anonymous = {"from": {"id": 1087968824, "is_bot": True}, "sender_chat": {"id": -5, "title": "G"}}
    sender = group("x", **anonymous).sender
    assert (sender.id, sender.is_bot) == ("-5", False)
    assert group("x", **{"from": {"id": 9, "is_bot": True}}).sender.is_bot


def test_a_thread_is_a_topic_and_nothing_else() -> None:
    assert read(text="x", message_thread_id=9).thread_id == ""
    assert read(text="x", message_thread_id=9, is_topic_message=True).thread_id == "9"
    assert read(text="x", message_thread_id=1, is_topic_message=True).thread_id == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"sticker": {"emoji": "🎉", "file_id": "s"}}, "[sticker 🎉]"),
        ({"contact": {"first_name": "A", "phone_number": "1"}}, "[contact A, 1]"),
        ({"poll": {"question": "Q", "options": [{"text": "y"}, {"text": "n"}]}}, "[poll: Q (y; n)]"),
        ({"dice": {"value": 6}}, "[dice 6]"),
        (
            {"venue": {"title": "T", "address": "A"}, "location": {"latitude": 1, "longitude": 2}},
            "[location T, A: 1, 2]",
        ),
        (
            {"text": "x", "forward_origin": {"type": "user", "sender_user": {"id": 1, "first_name": "B"}}},
            "[Forwarded from B]\nx",
        ),
        ({"text": "/reload_mcp now"}, "/reload-mcp now"),
        ({"text": "/unknown_thing"}, "/unknown_thing"),
    ],
)
def test_contents_become_words(fields: dict[str, Any], words: str) -> None:
    assert read(**fields).text == words


def test_files_are_attachments_with_their_largest_size() -> None:
    photo = read(photo=[{"file_id": "s", "file_size": 1}, {"file_id": "l", "file_size": 9}], caption="c")
    assert [(each.kind, each.reference, each.size) for each in photo.attachments] == [("image", "l", 9)]
    scan = read(document={"file_id": "d", "mime_type": "image/png", "file_name": "scan.png"})
    assert (scan.attachments[0].kind, scan.attachments[0].file_name) == ("image", "scan.png")


def test_an_album_is_joined_and_other_messages_are_not() -> None:
    def message(number: int, text: str = "", **fields: Any) -> Written | Press:
        base = {"message_id": number, "chat": {"id": 5, "type": "private"}, "from": {"id": 2}}
        found = read_update({"update_id": number, "message": {**base, "text": text, **fields}}, BOT)
        assert found is not None
        return found

    photo = [{"file_id": "p"}]
    first, second = message(1, photo=photo, media_group_id="g"), message(2, photo=photo, media_group_id="g")
    assert may_go_on([first])
    joined = join([first, second, message(3, "a"), message(4, "b")])
    assert [each.message_id for each in joined if isinstance(each, InboundMessage)] == ["1", "3", "4"]
    assert not may_go_on([message(3, "a")])
    assert len(join([message(5, "x" * 4090), message(6, "rest"), message(7, "more")])) == 2
    assert len(join([message(5, "x" * 4090), message(6, "/stop")])) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ApiError(429, "slow", {"retry_after": 7}), (False, False, 7.0)),
        (ApiError(400, "chat not found", {}), (True, False, None)),
        (ApiError(403, "blocked", {}), (True, False, None)),
        (ApiError(401, "Unauthorized", {}), (False, False, None)),
        (ApiError(502, "Bad Gateway", {}), (False, True, None)),
        (ApiError(503, "later", {}), (False, False, None)),
        (NoAnswerError("cut", has_left=True), (False, True, None)),
        (NoAnswerError("refused", has_left=False), (False, False, None)),
    ],
)
def test_what_happened_to_a_send_is_told_as_it_is(error: Any, expected: tuple[Any, ...]) -> None:
    told = delivery(error)
    assert (told.is_permanent, told.is_unknown, told.retry_after_seconds) == expected


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"base_url": "api.telegram.org"}, "no address"),
        ({"poll_seconds": "long"}, "poll_seconds"),
        ({"mode": "smoke signals"}, "mode"),
        ({"mode": "webhook", "webhook_url": "http://a", "webhook_secret": "x"}, "https"),
        ({"mode": "webhook", "webhook_url": "https://a"}, "secret"),
    ],
)
def test_settings_that_cannot_be_used_say_so(extra: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as caught:
        make_adapter(PlatformSettings(token="1:a", extra=extra), {}.get)
    assert words in " ".join(caught.value.lines)


def test_ids_may_be_numbers_or_a_text() -> None:
    settings = PlatformSettings(extra={"allowed_chats": -5, "free_response_chats": "-6, -7"})
    found = telegram_settings(settings, {}.get)
    assert (found.allowed_chats, found.free_response_chats) == (("-5",), ("-6", "-7"))


def test_a_refused_token_says_where_to_get_a_right_one() -> None:
    assert "@BotFather" in json.dumps(readiness(ApiError(401, "Unauthorized", {})).lines)
