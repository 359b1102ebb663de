"""The real gateway talks to a Discord on this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("discord", reason="the extra discord is not installed")

from discord_server import ALICE, BOB, BOT, FREE, GENERAL, MALLORY, TOKEN, DiscordServer
from vendor_process import VendorGateway, make_gateway

from hermes_agent.config.paths import Home

if TYPE_CHECKING:
    from conftest import StartServer


@pytest.fixture
def server() -> Iterator[DiscordServer]:
    with DiscordServer() as made:
        yield made


@pytest.fixture
def gateway(home: Home, server: DiscordServer, model_server: StartServer) -> Iterator[VendorGateway]:
    extra = {
        "api_base": server.api_base,
        "allowed_users": [str(ALICE), str(BOB)],
        "free_response_channels": [str(FREE)],
        "messages_per_second": 50,
    }
    made = make_gateway(home, "discord", TOKEN, extra)
    made.model = {"provider": "custom", "base_url": model_server().base_url, "default": "echo"}
    yield made
    made.end()


DEMO = {"provider": "demo", "default": "demo"}
STREAMED = {"streaming": {"enabled": True, "edit_interval": 0.1, "buffer_threshold": 1}}


def scripted(gateway: VendorGateway, base_url: str) -> None:
    gateway.model = {"provider": "custom", "base_url": base_url, "default": "scripted"}


def test_a_direct_message_is_answered_as_a_reply(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.start()
    asked = server.say("token-1")
    answer = server.wait_for_text("token-1", channel=server.direct(ALICE))
    assert answer["request"]["message_reference"]["message_id"] == asked["id"]
    assert answer["request"]["allowed_mentions"]["parse"] == []
    assert server.direct(ALICE) in server.typing
    assert gateway.state()["bot"] == "hermes"
    assert gateway.stop() == 0


def test_in_a_channel_only_a_mention_is_answered_in_a_thread_of_its_own(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.start()
    server.say("token-1 is not for the bot", channel=GENERAL)
    asked = server.say("token-2", channel=GENERAL, mentions=(BOT,))
    thread = int(asked["id"])
    server.wait_for_text("token-2", channel=thread)
    assert server.threads[thread]["name"] == "token-2"
    server.say("token-3 in the thread, to Bob", channel=thread, mentions=(BOB,))
    server.say("token-4 needs no mention", channel=thread)
    server.wait_for_text("token-4", channel=thread)
    assert not [text for text in server.texts(GENERAL) if text]
    assert len(server.sent) == 2


def test_without_the_right_to_open_threads_it_answers_in_the_channel(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    server.forbids_threads = True
    gateway.start()
    server.say("token-1", channel=GENERAL, mentions=(BOT,))
    server.wait_for_text("token-1", channel=GENERAL)


def test_in_a_free_channel_everything_is_answered_except_what_others_are_told(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.start()
    server.say("token-1 for Bob", channel=FREE, mentions=(BOB,))
    server.say("token-2", channel=FREE)
    server.wait_for_text("token-2", channel=FREE)
    assert not server.threads
    assert len(server.texts(FREE)) == 1


def test_an_answer_to_the_bots_message_needs_no_mention(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.extra["auto_thread"] = False
    gateway.start()
    server.say("token-1", channel=GENERAL, mentions=(BOT,))
    answer = server.wait_for_text("token-1", channel=GENERAL)
    quoted = {key: value for key, value in answer.items() if key != "request"}
    server.say(
        "token-2",
        channel=GENERAL,
        type=19,
        message_reference={"message_id": answer["id"], "channel_id": str(GENERAL)},
        referenced_message=quoted,
    )
    server.wait_for_text("token-2", channel=GENERAL)


def test_bots_are_ignored_unless_they_are_listed(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.extra |= {"allowed_users": ["11", "77", "78"], "allowed_bots": ["78"]}
    gateway.start()
    for bot in (77, 78):
        server.say(f"token-{bot}", channel=FREE, user=bot, announce=False)
        server.messages[FREE][-1]["author"]["bot"] = True
        server.edit(server.messages[FREE][-1], f"token-{bot}", by_person=True)
    server.wait_for_text("token-78", channel=FREE)
    assert not any("token-77" in text for text in server.texts(FREE))


def test_a_stranger_gets_no_thread_and_a_code_in_private(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.start()
    server.say("token-1", channel=GENERAL, user=MALLORY, mentions=(BOT,))
    server.say("token-2", user=MALLORY)
    server.wait_for_text("hermes pairing approve discord", channel=server.direct(MALLORY))
    assert not server.threads and not server.texts(GENERAL)


def test_slash_commands_are_registered_once_and_answered(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.start()
    server.wait_for(lambda: server.commands)
    names = {each["name"] for each in server.commands}
    assert {"new", "stop", "status", "approve"} <= names and "copy" not in names
    token = server.command("whoami")
    server.wait_for_text(f"User id: {ALICE}", channel=server.direct(ALICE))
    server.wait_for(lambda: server.callbacks.get(token))
    (acknowledged,) = server.callbacks[token]
    assert acknowledged == {"type": 4, "data": {"content": "`/whoami`", "flags": 64}}
    server.command("title", "A fine *title*", channel=FREE)
    server.wait_for_text("A fine", channel=FREE)
    gateway.stop()
    gateway.start()
    server.command("version")
    server.wait_for_text("hermes-agent", channel=server.direct(ALICE))
    assert server.count("PUT", "/commands") == 1


def test_a_button_approves_for_whom_it_was_asked_only(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.model = DEMO
    gateway.start()
    server.say("delete the folder hello", channel=FREE)
    question = server.wait_for_text("May I run this?", channel=FREE)
    foreign = server.press(question, "Once", user=BOB)
    server.wait_for(lambda: len(server.callbacks.get(foreign, [])) == 2)
    assert "not yours" in server.callbacks[foreign][1]["content"]
    token = server.press(question, "Once")
    server.wait_for(lambda: len(server.callbacks.get(token, [])) == 2)
    deferred, told = server.callbacks[token]
    assert deferred == {"type": 5, "data": {"flags": 64}}
    assert told["content"] == "Approved."
    server.wait_for(lambda: "→ Approved. (Alice)" in question["content"])
    assert not question["components"]
    server.wait_for(lambda: len(server.texts(FREE)) >= 3)


def test_a_question_is_answered_by_whom_it_was_asked(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.model = DEMO
    gateway.start()
    server.say("ask me a question", channel=FREE)
    server.wait_for(lambda: any(each["components"] for each in server.sent))
    question = next(each for each in server.sent if each["components"])
    label = question["components"][0]["components"][0]["label"]
    foreign = server.press(question, label, user=BOB)
    server.wait_for(lambda: len(server.callbacks.get(foreign, [])) == 2)
    assert "somebody else" in server.callbacks[foreign][1]["content"]
    tokens = [server.press(question, label) for _ in range(2)]  # twice, before anything is shown
    for token in tokens:
        server.wait_for(lambda token=token: len(server.callbacks.get(token, [])) == 2)
    server.wait_for(lambda: not question["components"])
    assert "→ Thank you. (Alice)" in question["content"]
    assert [server.callbacks[token][1]["content"] for token in tokens] == [
        "Thank you.",
        "This question is closed.",
    ]
    assert "closed" not in question["content"]


def test_buttons_and_commands_work_in_threads(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.model, gateway.settings = DEMO, {"thread_sessions_per_user": True}
    gateway.extra["history_messages"] = 0
    gateway.start()
    asked = server.say("delete the folder hello", channel=GENERAL, mentions=(BOT,))
    thread = int(asked["id"])
    question = server.wait_for_text("May I run this?", channel=thread)
    server.command("status", channel=thread)
    server.wait_for_text("Now: working", channel=thread)
    server.press(question, "Deny")
    server.wait_for(lambda: "→ Not run. (Alice)" in question["content"])


def test_a_streamed_answer_is_one_message_whose_final_text_stands_there_once(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.settings = STREAMED
    gateway.model = DEMO
    gateway.start()
    server.say("count to 10 slowly")
    server.wait_for(lambda: any("10" in each and "▉" not in each for each in server.texts(5000 + ALICE)))
    gateway.stop()
    (shown,) = server.sent
    assert len(server.texts_by_id[shown["id"]]) > 2


def test_a_message_edited_by_its_author_is_told_and_a_preview_is_not(
    gateway: VendorGateway, server: DiscordServer, model_server: StartServer
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


def test_what_was_written_while_it_was_killed_is_answered_once_and_in_order(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.settings = {"display": {"busy_input_mode": "queue"}}
    gateway.start()
    server.say("token-1")
    server.wait_for_text("token-1")
    asked = server.say("token-2", channel=GENERAL, mentions=(BOT,))
    thread = int(asked["id"])
    server.wait_for_text("token-2", channel=thread)
    server.wait_for(lambda: asked["id"] in cursor(gateway))
    gateway.kill()
    server.forget_sessions()
    for number in (3, 4, 5):
        server.say(f"token-{number}")
    server.say("token-6", channel=thread)
    last = server.say("token-7", channel=GENERAL, mentions=(BOT,))
    gateway.start()
    server.say("token-8")
    server.wait_for_text("token-8")
    server.wait_for_text("token-6", channel=thread)
    server.wait_for_text("token-7", channel=int(last["id"]))
    texts = server.texts(server.direct(ALICE))
    assert [number for number in (1, 3, 4, 5, 8) for text in texts if f"token-{number}" in text] == [
        1,
        3,
        4,
        5,
        8,
    ]
    assert len(texts) == 5 and len(server.texts(thread)) == 2


def test_a_thread_that_was_not_opened_before_a_kill_is_opened_after_it(
    gateway: VendorGateway, server: DiscordServer, model_server: StartServer
) -> None:
    model = model_server([{"text": "slow", "delay_seconds": 30}, {"text": "token-1"}])
    scripted(gateway, model.base_url)
    server.forbids_threads = True  # typing would open it
    gateway.start()
    asked = server.say("help", channel=GENERAL, mentions=(BOT,))
    server.wait_for(lambda: model.requests)
    gateway.kill()
    server.forbids_threads = False
    gateway.start()
    server.wait_for_text("token-1", channel=int(asked["id"]))
    assert int(asked["id"]) in server.threads


def cursor(gateway: VendorGateway) -> str:
    with sqlite3.connect(f"file:{gateway.home.state_db}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT value FROM platform_state WHERE platform = 'discord' AND name = 'cursor'")
        return str((rows.fetchone() or [""])[0])


def test_a_cut_connection_is_resumed_without_loss(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.start()
    server.say("token-1")
    server.wait_for_text("token-1")
    server.cut()
    server.say("token-2")
    server.wait_for_text("token-2")
    assert server.identifies == 1 and server.resumes >= 1
    assert gateway.state()["reconnects"] == 0


def test_a_session_that_cannot_be_resumed_is_begun_anew_and_caught_up(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    gateway.start()
    server.say("token-1")
    server.wait_for_text("token-1")
    server.is_down = True
    server.forget_sessions()
    server.say("token-2")
    server.say("token-3", channel=GENERAL, mentions=(BOT,))
    server.is_down = False
    server.wait_for_text("token-2")
    server.wait_for_text("token-3")
    assert server.identifies == 2
    assert sum("token-1" in each["content"] for each in server.sent) == 1


def test_discord_may_order_to_reconnect(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.start()
    server.order({"op": 7, "d": None, "s": None, "t": None})
    server.wait_for(lambda: server.resumes == 1)
    server.say("token-1")
    server.wait_for_text("token-1")


def test_a_rate_limit_is_waited_out_and_nothing_is_doubled(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    limited = {"message": "You are being rate limited.", "retry_after": 1.3, "global": False}
    server.failures.append((429, limited, {"Retry-After": "2"}))
    server.failures.append((429, limited | {"retry_after": 0.05}, {"Retry-After": "1"}))
    server.failures.append((429, "banned", {"Retry-After": "1"}))
    server.failures.append((0, None, {}))
    server.failures.append((502, "bad gateway", {}))
    gateway.start()
    server.say("token-1")
    server.wait_for_text("token-1")
    server.say("token-2")
    server.wait_for_text("token-2")
    assert not server.failures
    assert len(server.sent) == 2


def test_a_refused_message_does_not_hold_up_the_next(gateway: VendorGateway, server: DiscordServer) -> None:
    server.failures.append((403, {"message": "Missing Access", "code": 50001}, {}))
    gateway.start()
    server.say("token-1")
    server.wait_for(lambda: not server.failures)
    server.say("token-2")
    server.wait_for_text("token-2")


def test_garbage_from_the_gateway_does_not_end_it(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.start()
    for number, garbage in enumerate(("{", '{"op": 0, "t": "MESSAGE_CREATE", "s": 9, "d": {}}'), 2):
        server.send_raw(garbage)
        server.wait_for(lambda number=number: len(server.sessions) == number)
        server.wait_for(lambda: gateway.state()["state"] == "connected")
    server.say("token-1")
    server.wait_for_text("token-1")


def test_a_message_that_cannot_be_read_is_skipped(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.start()
    server.say("\u202e\x00 <@999999999999999999999> <@&1> <#2> ||||", channel=FREE)
    notes = server.add_file("half \ud800.txt", b"x", "text/plain")
    server.say("token-0 half \ud83d of a smile", channel=FREE, attachments=[notes])
    server.say("token-1", channel=FREE)
    server.wait_for_text("token-0 half ? of a smile", channel=FREE)
    server.wait_for_text("token-1", channel=FREE)
    assert server.identifies == 1


def test_silence_of_the_gateway_is_noticed(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.extra["max_silence_seconds"] = 2
    gateway.start()
    server.is_deaf = True
    server.wait_for(lambda: server.identifies == 2)
    server.is_deaf = False
    server.say("token-1")
    server.wait_for_text("token-1")


def test_a_wrong_token_is_told_with_what_to_do(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.token = "wrong"
    gateway.start()
    state = gateway.state()
    assert state["state"] == "auth_failed"
    assert "Reset Token" in state["error_message"] and "wrong" not in state["error_message"]


def test_a_refused_intent_is_told_with_the_switch(gateway: VendorGateway, server: DiscordServer) -> None:
    server.refuses_intents = True
    gateway.start()
    state = gateway.state()
    assert state["state"] == "auth_failed"
    assert "MESSAGE CONTENT INTENT" in state["error_message"]
    server.refuses_intents = False
    gateway.ask("reload")
    server.wait_for(lambda: server.sessions)
    server.say("token-1")
    server.wait_for_text("token-1")


def test_discord_that_is_down_at_the_start_is_tried_again(
    gateway: VendorGateway, server: DiscordServer
) -> None:
    server.is_down = True
    gateway.start()
    assert gateway.state()["state"] == "retrying"
    server.is_down = False
    server.wait_for(lambda: server.identifies == 1)
    server.say("token-1")
    server.wait_for_text("token-1")


def test_a_message_can_be_sent_to_a_person_by_their_id(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.start()

    def send(chat: str, key: str) -> dict[str, object]:
        return gateway.ask("send", platform="discord", chat_id=chat, text=f"hello {key}", key=key)

    assert send(str(ALICE), "a")["state"] == "sent"
    assert send(str(ALICE), "b")["state"] == "sent"
    assert server.texts(server.direct(ALICE)) == ["hello a", "hello b"]
    assert server.count("POST", "/users/@me/channels") == 1
    refused = send("777", "c")
    assert refused["state"] == "failed" and "no such channel or person" in str(refused["error"])
    assert send("general", "d")["state"] == "failed"


def test_a_bot_whose_sessions_are_used_up_waits(gateway: VendorGateway, server: DiscordServer) -> None:
    server.sessions_left = 0
    gateway.start()
    assert "used up" in gateway.state()["error_message"]
    assert server.identifies == 0
    server.sessions_left = 999
    server.wait_for(lambda: server.identifies == 1)


def test_everything_goes_through_a_proxy(gateway: VendorGateway, server: DiscordServer) -> None:
    server.seen_as = "http://discord.invalid:80"  # only the proxy knows where that is: here
    gateway.extra |= {"api_base": f"{server.seen_as}/api/v10", "proxy": server.url}
    gateway.start()
    notes = server.add_file("notes.txt", b"swordfish", "text/plain")
    server.say("token-1", attachments=[{**notes, "url": f"{server.seen_as}/attachments/notes.txt"}])
    server.wait_for_text("token-1")
    assert server.file_requests


def test_files_come_from_discord_only(
    gateway: VendorGateway, server: DiscordServer, model_server: StartServer
) -> None:
    model = model_server()
    scripted(gateway, model.base_url)
    gateway.start()
    notes = server.add_file("notes.txt", b"the password is swordfish", "text/plain; charset=utf-8")
    elsewhere = {**notes, "id": "5", "url": "http://127.0.0.1:9/secret", "filename": "other.txt"}
    server.say("token-1 look", attachments=[notes, elsewhere])
    server.wait_for_text("token-1")
    asked = str(model.requests[-1])
    assert "notes.txt" in asked and "could not be downloaded" in asked
    assert all("Authorization" not in each for each in server.file_requests)


def test_an_expired_address_of_a_file_is_renewed(
    gateway: VendorGateway, server: DiscordServer, model_server: StartServer
) -> None:
    model = model_server()
    scripted(gateway, model.base_url)
    gateway.start()
    notes = server.add_file("notes.txt", b"swordfish", "text/plain")
    stale = {**notes, "url": notes["url"].replace("notes", "expired")}
    message = server.say("token-1 look", attachments=[stale], announce=False)
    message["attachments"] = [notes]
    server.do(server._announce("MESSAGE_CREATE", {**server._as_event(message), "attachments": [stale]}))
    server.wait_for_text("token-1")
    assert "could not" not in str(model.requests[-1])


def test_files_are_sent(
    gateway: VendorGateway, server: DiscordServer, model_server: StartServer, tmp_path: Path
) -> None:
    report = tmp_path / 'report "1".txt'
    report.write_text("all is well")
    model = model_server([{"text": f"Here it is.\nMEDIA:{report}"}])
    scripted(gateway, model.base_url)
    gateway.start()
    server.say("send it")
    server.wait_for(lambda: len(server.sent) == 2)
    assert list(server.files.values()) == [b"all is well"]


def test_a_mention_in_a_busy_channel_brings_what_was_said_before(
    gateway: VendorGateway, server: DiscordServer, model_server: StartServer
) -> None:
    model = model_server()
    scripted(gateway, model.base_url)
    server.say("before the bot came", channel=GENERAL, user=BOB)
    gateway.start()
    server.say("the deploy failed again", channel=GENERAL, user=MALLORY)
    server.say("token-1 what is this about?", channel=GENERAL, mentions=(BOT,))
    server.wait_for_text("token-1")
    asked = str(model.requests[-1])
    assert "Bob: before the bot came" in asked and "Mallory: the deploy failed again" in asked
    server.say("and something new", channel=GENERAL, user=BOB)
    server.say("token-2 and now?", channel=GENERAL, mentions=(BOT,))
    server.wait_for_text("token-2")
    asked = str(model.requests[-1])
    assert "and something new" in asked and "before the bot came" not in asked


def test_a_long_answer_is_cut_and_nobody_is_pinged(
    gateway: VendorGateway, server: DiscordServer, model_server: StartServer
) -> None:
    text = "@everyone " + "word " * 900 + "\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    scripted(gateway, model_server([{"text": text}]).base_url)
    gateway.start()
    server.say("tell me all")
    server.wait_for(lambda: any("a  b" in each for each in server.texts(server.direct(ALICE))))
    assert len(server.sent) == 3
    assert all(each["request"]["allowed_mentions"]["parse"] == [] for each in server.sent)
