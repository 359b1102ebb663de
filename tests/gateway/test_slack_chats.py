"""The real gateway talks to a Slack on this machine."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("slack_sdk", reason="the extra slack is not installed")

from slack_server import (
    ALICE,
    APP_TOKEN,
    BOB,
    BOT,
    BOT_TOKEN,
    FREE,
    GENERAL,
    MALLORY,
    SlackServer,
)
from vendor_process import VendorGateway, make_gateway

from hermes_agent.config.paths import Home

if TYPE_CHECKING:
    from conftest import StartServer

DEMO = {"provider": "demo", "default": "demo"}
STREAMED = {"streaming": {"enabled": True, "edit_interval": 0.1, "buffer_threshold": 1}}
CALL = f"<@{BOT}>"


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with SlackServer() as made:
        made.messages[made.direct(ALICE)] = []
        made.messages[made.direct(MALLORY)] = []
        yield made


@pytest.fixture
def gateway(home: Home, server: SlackServer, model_server: StartServer) -> Iterator[VendorGateway]:
    extra = {
        "api_base": server.api_base,
        "allowed_users": [ALICE, BOB],
        "free_response_channels": [FREE],
        "messages_per_second": 50,
        "ping_seconds": 0.5,
    }
    made = make_gateway(home, "slack", BOT_TOKEN, extra)
    made.env = {"SLACK_APP_TOKEN": APP_TOKEN}
    made.model = {"provider": "custom", "base_url": model_server().base_url, "default": "echo"}
    yield made
    made.end()


def scripted(gateway: VendorGateway, base_url: str) -> None:
    gateway.model = {"provider": "custom", "base_url": base_url, "default": "scripted"}


def test_a_direct_message_is_answered_and_acknowledged(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.start()
    server.say("token-1 &lt;b&gt; <https://example.org|here>")
    answer = server.wait_for_text("token-1", channel=server.direct(ALICE))
    assert answer["text"] == "token-1 &lt;b&gt; here (https://example.org)"
    assert "thread_ts" not in answer
    server.wait_for(lambda: not server.unacknowledged)
    assert gateway.state()["team"] == "Workshop"
    assert gateway.stop() == 0


def test_in_a_channel_a_mention_is_answered_once_and_in_its_thread(
    gateway: VendorGateway, server: SlackServer
) -> None:
    gateway.start()
    server.say("token-1 is not for the bot", channel=GENERAL)
    thread = server.say(f"{CALL} token-2", channel=GENERAL)
    answer = server.wait_for_text("token-2", channel=GENERAL)
    assert answer["thread_ts"] == thread
    server.say(f"<@{BOB}> token-3 look", channel=GENERAL, thread=thread)
    server.say("token-4 needs no mention", channel=GENERAL, thread=thread)
    server.wait_for_text("token-4", channel=GENERAL)
    server.wait_for(lambda: not server.unacknowledged)
    assert len(server.sent) == 2
    assert all(each["thread_ts"] == thread for each in server.sent)


def test_a_thread_the_bot_took_part_in_is_known_after_its_memory_is_lost(
    gateway: VendorGateway, server: SlackServer
) -> None:
    gateway.start()
    thread = server.say(f"{CALL} token-1", channel=GENERAL)
    server.wait_for_text("token-1")
    foreign = server.say("nothing for the bot", channel=GENERAL)
    gateway.stop()
    with sqlite3.connect(gateway.home.state_db) as db:
        db.execute("DELETE FROM platform_state WHERE platform = 'slack'")
    gateway.start()
    server.say("token-2", channel=GENERAL, thread=foreign)
    server.say("token-3", channel=GENERAL, thread=thread)
    server.wait_for_text("token-3")
    assert not any("token-2" in each["text"] for each in server.sent)


def test_in_a_free_channel_everything_is_answered(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.start()
    server.say(f"<@{BOB}> token-1", channel=FREE)
    server.say("token-2", channel=FREE)
    server.wait_for_text("token-2", channel=FREE)
    assert len(server.sent) == 1


def test_what_is_delivered_twice_is_answered_once(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.start()
    server.say("token-1", twice=True)
    server.say("token-2")
    server.wait_for_text("token-2")
    assert sum("token-1" in each["text"] for each in server.sent) == 1


def test_bots_and_the_bot_itself_are_ignored(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.extra |= {"allowed_users": [ALICE, "B9"], "allowed_bots": ["B9"]}
    gateway.start()
    for bot in ("B8", "B9"):
        server.say(f"token-{bot}", channel=FREE, user="", subtype="bot_message", bot_id=bot)
    server.say("somebody joined", channel=FREE, subtype="channel_join")
    server.wait_for_text("token-B9")
    server.say("token-1")
    server.wait_for_text("token-1")
    assert len(server.sent) == 2


def test_a_stranger_gets_a_code_in_private_and_nothing_in_a_channel(
    gateway: VendorGateway, server: SlackServer
) -> None:
    gateway.start()
    server.say(f"{CALL} token-1", channel=GENERAL, user=MALLORY)
    server.say("token-2", user=MALLORY)
    server.wait_for_text("hermes pairing approve slack", channel=server.direct(MALLORY))
    assert not server.texts(GENERAL)


def test_commands_work_as_slash_command_and_with_an_exclamation_mark(
    gateway: VendorGateway, server: SlackServer
) -> None:
    gateway.start()
    envelope = server.command("whoami")
    server.wait_for_text(f"User id: {ALICE}", channel=server.direct(ALICE))
    server.wait_for(lambda: envelope in server.acknowledged)
    payload = server.acknowledged[envelope]["payload"]
    assert payload == {"response_type": "ephemeral", "text": "`/whoami`"}
    server.command("token-1 is a message")
    server.wait_for_text("token-1 is a message")
    server.command("")
    server.wait_for_text("/stop")
    thread = server.say(f"{CALL} !version", channel=GENERAL)
    assert server.wait_for_text("hermes-agent", channel=GENERAL)["thread_ts"] == thread
    server.say("!wow that is great")
    server.wait_for_text("!wow that is great")


def test_a_button_approves_for_whom_it_was_asked_only(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.model, gateway.settings = DEMO, {"thread_sessions_per_user": True}
    gateway.start()
    thread = server.say("delete the folder hello", channel=FREE)
    question = server.wait_for_text("May I run this?", channel=FREE)
    assert question["thread_ts"] == thread
    server.press(question, "Once", user=BOB)
    server.wait_for(lambda: len(server.ephemeral) == 1)
    assert "not yours" in server.ephemeral[0]["text"] and server.ephemeral[0]["user"] == BOB
    envelope = server.press(question, "Once")
    server.wait_for(lambda: len(server.ephemeral) == 2)
    assert server.ephemeral[1]["text"] == "Approved."
    server.wait_for(lambda: f"→ Approved. (<@{ALICE}>)" in str(question["blocks"]))
    assert "actions" not in str(question["blocks"])
    assert envelope in server.acknowledged
    server.wait_for(lambda: len(server.texts(FREE)) >= 3)


def test_a_streamed_answer_is_one_message_whose_final_text_stands_there_once(
    gateway: VendorGateway, server: SlackServer
) -> None:
    gateway.settings, gateway.model = STREAMED, DEMO
    gateway.start()
    server.say("count to 10 slowly")
    server.wait_for(lambda: any("10" in each["text"] and "▉" not in each["text"] for each in server.sent))
    gateway.stop()
    (shown,) = server.sent
    assert len(server.texts_by_ts[shown["ts"]]) > 2


@pytest.mark.parametrize("words", [1500, 3000])
def test_a_streamed_answer_too_long_for_an_edit_stands_there_once(
    gateway: VendorGateway, server: SlackServer, model_server: StartServer, words: int
) -> None:
    gateway.settings = STREAMED
    text = "begin " + "words " * words + "done"
    scripted(gateway, model_server([{"text": text, "chunk_size": 2000, "chunk_delay_seconds": 0.2}]).base_url)
    gateway.start()
    server.say("tell me all")
    server.wait_for_text("done")
    gateway.stop()
    (shown,) = server.sent
    assert json.dumps(shown).count("done") == 1


def test_a_message_edited_by_its_author_is_told_and_a_preview_is_not(
    gateway: VendorGateway, server: SlackServer, model_server: StartServer
) -> None:
    model = model_server()
    scripted(gateway, model.base_url)
    gateway.settings = {"display": {"busy_input_mode": "queue"}}
    gateway.model["default"] = "tokens-60+gap=50"
    gateway.start()
    server.say("first")
    server.wait_for(lambda: len(model.requests) == 1)
    waiting = server.say("second, with a mistake")
    server.edit(waiting, "second, with a mistake", by_person=False)
    server.edit(waiting, "second, mended")
    server.wait_for(lambda: len(server.sent) == 2, timeout=30)
    last = str(model.requests[-1])
    assert "second, mended" in last and "mistake" not in last


def test_what_was_not_acknowledged_before_a_kill_is_delivered_again_and_answered_once(
    gateway: VendorGateway, server: SlackServer
) -> None:
    gateway.start()
    server.say("token-1")
    server.wait_for_text("token-1")
    gateway.kill()
    server.say("token-2")
    server.say("token-3")
    gateway.start()
    server.wait_for_text("token-3")
    server.wait_for(lambda: not server.unacknowledged)
    for number in (1, 2, 3):
        assert sum(each["text"].count(f"token-{number}") for each in server.sent) == 1


def test_what_slack_gave_up_on_is_read_from_the_history(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.settings = {"display": {"busy_input_mode": "queue"}}
    gateway.start()
    server.say("token-1")
    thread = server.say(f"{CALL} token-2", channel=GENERAL)
    server.wait_for_text("token-1")
    server.wait_for_text("token-2")
    server.wait_for(lambda: thread in cursor(gateway))
    gateway.stop()
    for number in (3, 4):
        server.say(f"token-{number}", announce=False)
    server.say("token-5", channel=GENERAL, thread=thread, announce=False)
    server.say(f"{CALL} token-6", channel=GENERAL, announce=False)
    server.say("not for the bot", channel=GENERAL, announce=False)
    gateway.start()
    server.say("token-7")
    for number in (3, 4, 5, 6, 7):
        server.wait_for_text(f"token-{number}")
    direct = server.texts(server.direct(ALICE))
    assert [n for text in direct for n in range(9) if f"token-{n}" in text] == [1, 3, 4, 7]
    assert len(server.sent) == 7


def cursor(gateway: VendorGateway) -> str:
    with sqlite3.connect(f"file:{gateway.home.state_db}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT value FROM platform_state WHERE platform = 'slack' AND name = 'cursor'")
        return str((rows.fetchone() or [""])[0])


def test_a_cut_socket_is_opened_anew_without_loss(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.start()
    server.say("token-1")
    server.wait_for_text("token-1")
    server.redelivers = False
    server.cut()
    server.say("token-2")
    server.wait_for_text("token-2")
    assert server.opened == 2
    assert gateway.state()["reconnects"] == 0


def test_a_socket_is_renewed_before_slack_closes_it(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.start()
    for number, reason in enumerate(("refresh_requested", "warning"), 2):
        server.frame({"type": "disconnect", "reason": reason, "debug_info": {"host": "loopback"}})
        server.wait_for(lambda number=number: len(server.sockets) == number)
    server.sockets.reverse()  # the old ones are still open: what comes there counts
    server.say("token-1")
    server.sockets.reverse()
    server.say("token-2")
    server.wait_for_text("token-1")
    server.wait_for_text("token-2")
    server.wait_for(lambda: not server.unacknowledged)


def test_socket_mode_switched_off_is_told(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.start()
    server.frame({"type": "disconnect", "reason": "link_disabled"})
    server.wait_for(lambda: gateway.state()["state"] == "auth_failed")
    assert "Socket Mode" in gateway.state()["error_message"]


def test_a_silent_socket_is_noticed(gateway: VendorGateway, server: SlackServer) -> None:
    server.is_deaf = True
    gateway.start()
    server.is_deaf = False
    server.wait_for(lambda: server.opened == 2)
    server.say("token-1")
    server.wait_for_text("token-1")


GARBAGE = (
    "{",
    "[]",
    "null",
    '{"type": "events_api", "envelope_id": "e1", "payload": {}}',
    '{"type": "events_api", "envelope_id": "e2", "payload": {"event": {"type": "message"}}}',
    '{"type": "interactive", "envelope_id": "e3", "payload": {"type": "block_actions"}}',
    '{"type": "something_new", "envelope_id": "e4", "payload": null}',
    '{"type": "slash_commands", "envelope_id": "e5", "payload": []}',
)


def test_garbage_on_the_socket_is_skipped(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.start()
    for each in GARBAGE:
        server.frame(each)
    server.say("token-0 half \ud83d of a smile")
    server.wait_for_text("token-0 half ? of a smile")
    server.say("token-1")
    server.wait_for_text("token-1")
    server.wait_for(lambda: {"e1", "e2", "e3", "e4", "e5"} <= set(server.acknowledged))
    assert server.opened == 1


def test_a_rate_limit_is_waited_out(gateway: VendorGateway, server: SlackServer) -> None:
    server.failures.append((429, {"ok": False, "error": "ratelimited"}, {"Retry-After": "1"}))
    server.failures.append((200, {"ok": False, "error": "ratelimited"}, {"Retry-After": "1"}))
    server.failures.append((503, "<html>", {}))
    gateway.start()
    server.say("token-1")
    server.wait_for_text("token-1")
    assert len(server.sent) == 1 and not server.failures


def test_an_answer_whose_fate_is_unknown_is_not_sent_twice(
    gateway: VendorGateway, server: SlackServer
) -> None:
    failures: list[tuple[int, object, dict[str, str]]] = [
        (0, None, {}),
        (500, "<html>", {}),
        (502, {"oops": 1}, {}),
        (200, "<html>", {}),
        (200, {"ok": False, "error": "fatal_error"}, {}),
    ]
    gateway.settings = {"display": {"busy_input_mode": "queue"}}
    gateway.start()
    for number, failure in enumerate(failures):
        server.failures.append(failure)
        server.say(f"token-{number}")
        server.wait_for(lambda: not server.failures)
    server.say("token-9")
    server.wait_for_text("token-9")
    assert [text for each in server.sent for text in server.texts_by_ts[each["ts"]]] == ["token-0", "token-9"]


def test_a_wrong_bot_token_is_told_with_what_to_do(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.token = "xoxb-wrong"
    gateway.start()
    state = gateway.state()
    assert state["state"] == "auth_failed"
    assert "SLACK_BOT_TOKEN" in state["error_message"] and "xoxb-wrong" not in state["error_message"]


def test_a_wrong_app_token_is_told_with_what_to_do(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.env["SLACK_APP_TOKEN"] = "xapp-wrong"
    gateway.start()
    state = gateway.state()
    assert state["state"] == "auth_failed"
    assert "SLACK_APP_TOKEN" in state["error_message"]


def test_tokens_in_each_others_place_are_told(gateway: VendorGateway, server: SlackServer) -> None:
    gateway.token, gateway.env["SLACK_APP_TOKEN"] = APP_TOKEN, BOT_TOKEN
    gateway.start()
    state = gateway.state()
    assert state["state"] == "failed"
    assert "does not begin with xoxb-" in state["error_message"]


def test_slack_that_is_down_at_the_start_is_tried_again(gateway: VendorGateway, server: SlackServer) -> None:
    server.is_down = True
    gateway.start()
    assert gateway.state()["state"] == "retrying"
    server.say("token-1")
    server.is_down = False
    server.wait_for_text("token-1")


def test_without_the_scopes_for_names_and_history_it_works(
    gateway: VendorGateway, server: SlackServer
) -> None:
    refusal = {"ok": False, "error": "missing_scope", "needed": "users:read", "provided": "chat:write"}
    for method in ("users.info", "users.conversations", "conversations.history", "conversations.replies"):
        server.errors[method] = refusal
    gateway.start()
    server.say(f"{CALL} token-1", channel=GENERAL)
    server.wait_for_text("token-1")


def test_everything_goes_through_a_proxy(gateway: VendorGateway, server: SlackServer) -> None:
    server.seen_as = "http://slack.invalid:80"  # only the proxy knows where that is: here
    gateway.extra |= {"api_base": f"{server.seen_as}/api/", "proxy": server.url}
    gateway.start()
    notes = server.add_file("notes.txt", b"swordfish", "text/plain")
    address = f"{server.seen_as}/files/notes.txt"
    server.say("token-1", subtype="file_share", files=[{**notes, "url_private_download": address}])
    server.wait_for_text("token-1")
    assert server.file_requests


def test_files_come_from_slack_only_and_the_token_goes_nowhere_else(
    gateway: VendorGateway, server: SlackServer, model_server: StartServer
) -> None:
    model = model_server()
    scripted(gateway, model.base_url)
    gateway.start()
    notes = server.add_file("notes.txt", b"the password is swordfish", "text/plain")
    elsewhere = {**notes, "id": "F5", "name": "other.txt", "url_private_download": "http://127.0.0.1:9/x"}
    later = {"id": "F6", "name": "later.txt", "file_access": "check_file_info", "mode": "file_access"}
    server.files["F6"] = b"asked for"
    forbidden = {**notes, "id": "F7", "name": "page.txt", "url_private_download": f"{server.url}/files/no"}
    server.say("token-1 look", subtype="file_share", files=[notes, elsewhere, later, forbidden])
    server.wait_for_text("token-1")
    asked = str(model.requests[-1])
    assert "notes.txt" in asked and "later.txt" in asked
    assert "other.txt: could not be downloaded" in asked and "page.txt: could not be downloaded" in asked
    assert [name for name, _ in server.file_requests] == ["notes.txt", "F6", "no"]
    assert all(token == f"Bearer {BOT_TOKEN}" for _, token in server.file_requests)


def test_files_are_sent_in_the_thread(
    gateway: VendorGateway, server: SlackServer, model_server: StartServer, tmp_path: Path
) -> None:
    report = tmp_path / "report.txt"
    report.write_text("all is well")
    scripted(gateway, model_server([{"text": f"Here it is.\nMEDIA:{report}"}]).base_url)
    gateway.start()
    thread = server.say(f"{CALL} send it", channel=GENERAL)
    server.wait_for(lambda: server.shared)
    (shared,) = server.shared
    assert (shared["channel_id"], shared["thread_ts"]) == (GENERAL, thread)
    assert server.files[shared["files"][0]["id"]] == b"all is well"
    assert shared["files"][0]["title"] == "report.txt"


def test_a_mention_brings_what_was_said_before(
    gateway: VendorGateway, server: SlackServer, model_server: StartServer
) -> None:
    model = model_server()
    scripted(gateway, model.base_url)
    server.say("before the bot came", channel=GENERAL, user=BOB)
    thread = server.say("the deploy failed again", channel=GENERAL, user=MALLORY)
    server.say(f"ask <@{BOT}x> or <@{ALICE}>", channel=GENERAL, user=BOB, thread=thread)
    gateway.start()
    server.say(f"{CALL} token-1 what is this about?", channel=GENERAL, thread=thread)
    server.wait_for_text("token-1")
    asked = str(model.requests[-1])
    assert "Mallory: the deploy failed again" in asked and "@Alice" in asked
    assert "before the bot came" not in asked
    server.say(f"{CALL} token-2 and now?", channel=GENERAL)
    server.wait_for_text("token-2")
    assert "Bob: before the bot came" in str(model.requests[-1])
