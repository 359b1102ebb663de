"""People talk to the real gateway over a Bot API that behaves like Telegram's."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from telegram_server import OWNER, TOKEN, Failure, Proxy, TelegramGateway, TelegramServer

from hermes_agent.config.paths import Home
from hermes_agent.gateway.pairing import PairingBook

GROUP = -1001234


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer() as server:
        yield server


@pytest.fixture
def bot(home: Home, telegram: TelegramServer) -> Iterator[TelegramGateway]:
    made = TelegramGateway(home, telegram)  # type: ignore[arg-type]
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait(10)


def scripted(bot: TelegramGateway, base_url: str, **more: Any) -> None:
    bot.settings = {"model": {"provider": "custom", "base_url": base_url, "default": "scripted"}, **more}


def platform_state(bot: TelegramGateway) -> dict[str, Any]:
    found = bot.ask("status")["services"]["messaging"]["platforms"]["telegram"]
    assert isinstance(found, dict)
    return found


def test_a_message_is_answered_and_acknowledged_only_when_it_is_stored(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    bot.start()
    message = telegram.say("token-1")
    answer = telegram.wait_for_text("token-1")
    assert answer.body["reply_parameters"]["message_id"] == message["message_id"]
    telegram.wait_for(lambda: telegram.offset > 500_001)
    assert telegram.called("sendChatAction")
    assert platform_state(bot)["bot"] == "@hermes_test_bot"
    assert bot.stop() == 0
    assert TOKEN not in bot.output()


def test_the_menu_has_the_commands_and_they_work_as_telegram_writes_them(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    bot.start()
    telegram.wait_for(lambda: telegram.commands)
    names = {each["command"] for each in telegram.commands}
    assert {"new", "stop", "help", "reload_mcp"} <= names
    telegram.say("/start")
    telegram.wait_for_text("/background")
    telegram.say("/whoami@hermes_test_bot")
    telegram.wait_for_text(f"User id: {OWNER}")
    telegram.say("/reload_mcp")
    telegram.wait_for(lambda: len(telegram.sent) == 3)
    assert not any("no command" in text for text in telegram.texts())


def test_a_stranger_gets_a_code_and_talks_after_it_was_approved(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    bot.env = {"TELEGRAM_ALLOWED_USERS": ""}
    bot.start()
    telegram.say("hello", chat=99, user=99)
    shown = telegram.wait_for_text("I do not know you yet", chat=99)
    code = next(text for tag, text in shown.entities if tag == "code" and len(text) == 8)
    user = PairingBook(bot.home).approve("telegram", code)
    assert (user.user_id, user.name) == ("99", "Ada No 99")
    bot.ask("pairing.approved", platform="telegram", user_id="99")
    telegram.wait_for_text("You may talk to me now", chat=99)
    telegram.say("token-9", chat=99, user=99)
    telegram.wait_for_text("token-9", chat=99)


def test_in_groups_the_bot_listens_when_it_is_meant(bot: TelegramGateway, telegram: TelegramServer) -> None:
    bot.start()
    group = {"chat": GROUP}
    telegram.say("token-0 not for you", **group)
    telegram.say("/status@other_bot", **group)
    telegram.say("@hermes_test_bot token-1", **group)
    first = telegram.wait_for_text("token-1", chat=GROUP)
    assert "@hermes_test_bot" not in first.text
    from_bot = {"message_id": first.message_id, "from": {"id": 7000001}, "text": "earlier"}
    telegram.say("token-2", reply_to_message=from_bot, **group)
    telegram.wait_for_text("token-2", chat=GROUP)
    telegram.say("/whoami", **group)
    telegram.wait_for_text("User id", chat=GROUP)
    telegram.say("token-3 for @Hermes_Test_Bot, please", user=5, **group)  # a stranger
    telegram.say("@HERMES_test_bot, token-4", **group)
    telegram.wait_for_text("token-4", chat=GROUP)
    texts = telegram.texts(GROUP)
    assert not any("token-0" in text or "token-3" in text or "Model:" in text for text in texts)


def test_topics_are_conversations_of_their_own_and_a_closed_one_loses_nothing(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    telegram.topics = {(GROUP, 7), (GROUP, 8)}
    bot.start()
    for thread, text in ((7, "/title Seven"), (8, "/title Eight")):
        telegram.say(text, chat=GROUP, message_thread_id=thread, is_topic_message=True)
        telegram.wait_for_text(text.split()[1], chat=GROUP)
    assert [each.body.get("message_thread_id") for each in telegram.sent] == [7, 8]
    telegram.topics = set()
    telegram.say("@hermes_test_bot token-1", chat=GROUP, message_thread_id=8, is_topic_message=True)
    assert "message_thread_id" not in telegram.wait_for_text("token-1", chat=GROUP).body
    with sqlite3.connect(f"file:{bot.home.state_db}?mode=ro", uri=True) as db:
        keys = [row[0] for row in db.execute("SELECT session_key FROM chats ORDER BY 1")]
    assert keys == [f"agent:main:telegram:group:{GROUP}:{thread}" for thread in (7, 8)]


def test_a_risky_command_is_approved_by_a_button_and_only_by_the_asker(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    work = bot.home.root.parent / "hello"
    work.mkdir()
    bot.settings = {"terminal": {"cwd": str(work.parent)}}
    bot.env = {"TELEGRAM_ALLOWED_USERS": f"{OWNER},5"}
    bot.start()
    telegram.say("delete the folder hello @hermes_test_bot", chat=GROUP)
    question = telegram.wait_for_text("May I run this?", chat=GROUP)
    assert "rm -r" in question.text
    assert any(tag == "pre" for tag, _ in question.entities)
    value = question.buttons["✅ Once"]
    refused = telegram.press(question, value, user=5)
    telegram.wait_for(lambda: refused in telegram.answered_queries)
    assert work.exists()
    pressed = telegram.press(question, value)
    telegram.wait_for(lambda: not work.exists())
    telegram.wait_for(lambda: pressed in telegram.answered_queries)
    telegram.wait_for(lambda: not question.keyboard)
    assert question.text.endswith("\n\n→ Approved. (Ada)")
    assert ("b", "May I run this?") in question.entities
    assert telegram.answered_queries == {
        refused: "This is not yours to decide, or it is too late.",
        pressed: "Approved.",
    }


def test_a_question_whose_buttons_are_refused_is_asked_without_them(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    work = bot.home.root.parent / "hello"
    work.mkdir()
    bot.settings = {"terminal": {"cwd": str(work.parent)}}
    telegram.failures.append(
        Failure("sendMessage", 400, "Bad Request: BUTTON_DATA_INVALID", having="reply_markup")
    )
    bot.start()
    telegram.say("delete the folder hello")
    assert not telegram.wait_for_text("May I run this?").keyboard
    telegram.say("/approve")
    telegram.wait_for(lambda: not work.exists())


def test_an_album_is_one_message(bot: TelegramGateway, telegram: TelegramServer, model_server: Any) -> None:
    model = model_server([{"text": "Two photos."}])
    scripted(bot, model.base_url)
    telegram.files = {"big1": b"\xff\xd8\xffone", "big2": b"\xff\xd8\xfftwo"}
    bot.start()
    sizes = [[{"file_id": "small", "file_size": 1}, {"file_id": f"big{n}", "file_size": 5}] for n in (1, 2)]
    first = telegram.update(
        "message", telegram.message(caption="What is this?", photo=sizes[0], media_group_id="a")
    )
    second = telegram.update("message", telegram.message(photo=sizes[1], media_group_id="a"))
    telegram.push(first)
    telegram.wait_for(lambda: telegram.deliveries == 1)
    telegram.push(second)
    telegram.wait_for_text("Two photos.")
    told = json.dumps(model.requests[0].body["messages"][-1])
    assert max(told.count("image_url"), told.count("[image")) >= 2, told
    assert len(model.requests) == 1


def test_voice_comes_in_and_a_document_goes_out(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    report = bot.home.root.parent / "report.txt"
    report.write_text("figures")
    model = model_server([{"text": f"Here it is.\nMEDIA:{report}"}, {"text": "Too large, then."}])
    scripted(bot, model.base_url)
    telegram.files = {"voice1": b"OggS-voice"}
    bot.start()
    voice = {"file_id": "voice1", "duration": 2, "mime_type": "audio/ogg", "file_size": 10}
    telegram.say(voice=voice)
    telegram.wait_for(lambda: any(each.file for each in telegram.sent))
    text, document = telegram.sent
    assert text.text == "Here it is."
    assert (document.method, document.file) == ("sendDocument", ("report.txt", b"figures"))
    (saved,) = (bot.home.cache / "attachments").iterdir()
    assert saved.read_bytes() == b"OggS-voice"
    telegram.say(document={"file_id": "huge", "file_name": "film.mkv", "file_size": 3_000_000_000})
    telegram.wait_for_text("Too large, then.")
    told = json.dumps(model.requests[1].body["messages"][-1])
    assert "20 MB" in told
    assert not telegram.called("getFile")[1:]


def test_a_picture_that_telegram_cannot_show_goes_as_a_document(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    picture, voice = (bot.home.root.parent / name for name in ("wide.png", "words.ogg"))
    picture.write_bytes(b"\x89PNG")
    voice.write_bytes(b"OggS")
    telegram.failures.append(Failure("sendPhoto", 400, "Bad Request: PHOTO_INVALID_DIMENSIONS"))
    model = model_server([{"text": f"MEDIA:{picture}\nMEDIA:{voice}"}])
    scripted(bot, model.base_url)
    bot.start()
    telegram.say("show me")
    telegram.wait_for(lambda: len(telegram.sent) == 2)
    assert [(each.method, each.file) for each in telegram.sent] == [
        ("sendDocument", ("wide.png", b"\x89PNG")),
        ("sendVoice", ("words.ogg", b"OggS")),
    ]


def test_a_streamed_answer_is_one_message_that_grows(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    words = [f"word{number} " for number in range(40)]
    model = model_server([{"text": ["**Bold** ", *words], "chunk_delay_seconds": 0.03}])
    scripted(bot, model.base_url, streaming={"enabled": True, "edit_interval": 0.1, "buffer_threshold": 10})
    bot.start()
    telegram.say("go")
    telegram.wait_for(lambda: telegram.sent and telegram.sent[0].text.endswith("word39"))
    (shown,) = telegram.sent
    assert len(shown.texts) > 2
    assert ("b", "Bold") in shown.entities


def test_a_streamed_answer_keeps_still_when_telegram_asks_for_patience(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    words = [f"word{number} " for number in range(60)]
    model = model_server([{"text": words, "chunk_delay_seconds": 0.03}])
    scripted(bot, model.base_url, streaming={"enabled": True, "edit_interval": 0.1, "buffer_threshold": 5})
    telegram.failures.append(Failure("editMessageText", 429, "Too Many Requests", {"retry_after": 3}))
    bot.start()
    telegram.say("go")
    telegram.wait_for(lambda: telegram.sent and telegram.sent[0].text.endswith("word59"))
    refused, *others = (moment for moment, name, _ in telegram.calls if name == "editMessageText")
    assert all(moment - refused >= 2.9 for moment in others)
    assert len(telegram.sent) == 1


def test_a_streamed_piece_whose_fate_is_unknown_is_not_sent_again_and_again(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    words = [f"word{number} " for number in range(30)]
    model = model_server([{"text": words, "chunk_delay_seconds": 0.03}])
    scripted(bot, model.base_url, streaming={"enabled": True, "edit_interval": 0.1, "buffer_threshold": 5})
    telegram.failures += [Failure("sendMessage", 0), Failure("sendMessage", 429, "", {"retry_after": 1})]
    bot.start()
    telegram.say("go")
    telegram.wait_for(lambda: telegram.sent and telegram.sent[-1].text.endswith("word29"))
    piece, whole = telegram.sent
    assert whole.text.startswith(piece.text.split(" ▉")[0])


def test_a_very_long_streamed_answer_becomes_a_few_messages_and_a_file(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    answer = "".join(f"Line {number} of a **very** long answer.\n\n" for number in range(1500))
    model = model_server([{"text": answer, "chunk_size": 4000, "chunk_delay_seconds": 0.05}])
    scripted(bot, model.base_url, streaming={"enabled": True, "edit_interval": 0.1})
    bot.start()
    telegram.say("go")
    telegram.wait_for(lambda: any(each.file for each in telegram.sent), timeout=40)
    *texts, document = telegram.sent
    assert 1 <= len(texts) <= 5
    assert document.file == ("answer.md", answer.strip().encode())
    assert not any("▉" in each.text for each in telegram.sent)


def test_what_telegram_cannot_parse_is_sent_as_it_was_written(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    telegram.failures.append(
        Failure("sendMessage", 400, "Bad Request: can't parse entities: Unsupported start tag")
    )
    bot.start()
    telegram.say("token-1")
    telegram.wait_for_text("token-1")
    first, second = telegram.called("sendMessage")
    assert (first["parse_mode"], "parse_mode" in second) == ("HTML", False)


def test_patience_is_kept_when_telegram_asks_for_it(bot: TelegramGateway, telegram: TelegramServer) -> None:
    telegram.failures.append(
        Failure("sendMessage", 429, "Too Many Requests: retry after 1", {"retry_after": 1})
    )
    bot.start()
    telegram.say("token-1")
    telegram.wait_for_text("token-1")
    first, second = (moment for moment, name, _ in telegram.calls if name == "sendMessage")
    assert second - first >= 0.9


def test_an_answer_whose_fate_is_unknown_is_not_sent_twice(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    telegram.failures.append(Failure("sendMessage", 0))
    bot.start()
    telegram.say("token-1")
    telegram.wait_for_text("token-1")
    telegram.say("token-2")
    telegram.wait_for_text("token-2")
    assert len(telegram.sent) == 2
    bot.stop()
    with sqlite3.connect(f"file:{bot.home.state_db}?mode=ro", uri=True) as db:
        assert [row[0] for row in db.execute("SELECT state FROM outbox ORDER BY id")] == ["unknown", "sent"]


def test_a_group_that_moved_gets_its_answer_in_its_new_place(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    telegram.failures.append(
        Failure(
            "sendMessage",
            400,
            "Bad Request: group chat was upgraded to a supergroup chat",
            {"migrate_to_chat_id": GROUP},
        )
    )
    bot.start()
    telegram.say("@hermes_test_bot token-1", chat=-55, chat_type="group")
    telegram.wait_for_text("token-1", chat=GROUP)
    telegram.say("@hermes_test_bot token-2", chat=-55, chat_type="group")
    telegram.wait_for_text("token-2", chat=GROUP)


def test_someone_who_blocked_the_bot_is_not_written_to_again(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    telegram.failures.append(Failure("sendMessage", 403, "Forbidden: bot was blocked by the user"))
    bot.start()
    telegram.say("token-1")
    telegram.wait_for(lambda: telegram.called("sendMessage"))
    telegram.say("token-2")
    telegram.wait_for_text("token-2")
    assert not any("token-1" in text for text in telegram.texts())


def test_a_message_survives_a_kill_and_is_answered_once(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    model = model_server(
        {"rules": [{"text": "Answer to {{user}}", "delay_seconds": 1.5, "times": 1}, "{{user}}!"]}
    )
    scripted(bot, model.base_url, display={"busy_input_mode": "queue"})
    bot.start()
    telegram.say("token-1")
    telegram.wait_for(lambda: telegram.offset > 500_001)
    bot.kill()
    telegram.say("token-2")
    telegram.push(telegram.update("message", telegram.message("token-3")))
    bot.start()
    telegram.wait_for_text("token-3")
    texts = telegram.texts()
    assert [sum(f"token-{n}" in text for text in texts) for n in (1, 2, 3)] == [1, 1, 1]


def test_a_wrong_token_is_said_and_mended_by_a_reload(bot: TelegramGateway, telegram: TelegramServer) -> None:
    wrong = "7000001:AAEwrong-wrong-wrong"
    bot.configure()
    right = bot.home.env_file.read_text()
    bot.home.env_file.write_text(right.replace(TOKEN, wrong))
    bot.start()
    state = platform_state(bot)
    assert state["state"] == "auth_failed"
    assert "@BotFather" in state["error_message"]
    assert wrong not in bot.output()
    bot.home.env_file.write_text(right)
    bot.ask("reload")
    telegram.say("token-1")
    telegram.wait_for_text("token-1")


def test_a_second_gateway_with_the_same_bot_is_noticed(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    bot.start()
    telegram.wait_for(lambda: telegram.called("getUpdates"))
    request = urllib.request.Request(
        f"{telegram.url}/bot{TOKEN}/getUpdates",
        json.dumps({"timeout": 0, "allowed_updates": ["message"]}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    telegram.wait_for(lambda: "Only one gateway may use a bot" in bot.output())
    telegram.say("token-1")
    telegram.wait_for_text("token-1")


def test_a_proxy_is_used(bot: TelegramGateway, telegram: TelegramServer) -> None:
    proxy = Proxy(telegram.url)
    proxy.start()
    bot.extra = {"base_url": "http://api.telegram.test", "proxy": proxy.url, "poll_seconds": 1}
    bot.start()
    telegram.say("token-1")
    telegram.wait_for_text("token-1")
    proxy.close()
    assert {address.split("/bot")[0] for address in proxy.asked} == {"http://api.telegram.test"}
    assert TOKEN not in bot.output()


def test_cut_polls_and_garbage_are_outlived(bot: TelegramGateway, telegram: TelegramServer) -> None:
    telegram.failures += [
        Failure("getUpdates", -1),
        Failure("getUpdates", 200, garbage=True),
        Failure("getUpdates", 502, garbage=True),
        Failure("getUpdates", 404, garbage=True),
        Failure("setMyCommands", 400),
    ]
    telegram.push(
        {"update_id": "x"}, {"update_id": 500_001}, telegram.update("message", {"chat": 5, "text": 3})
    )
    bot.start()
    telegram.say("token-1")
    telegram.wait_for_text("token-1")


def test_an_edited_message_is_not_answered_again_and_a_garbled_one_harms_nobody(
    bot: TelegramGateway, telegram: TelegramServer
) -> None:
    bot.start()
    message = telegram.say("token-1")
    telegram.wait_for_text("token-1")
    telegram.push(telegram.update("edited_message", {**message, "text": "token-1 changed"}))
    telegram.push(
        telegram.update("message", {**telegram.message(), "text": None, "photo": [], "entities": 5})
    )
    telegram.push(telegram.update("message", telegram.message(location={"latitude": 1.5, "longitude": 2})))
    telegram.wait_for_text("[location 1.5, 2]")
    assert len(telegram.sent) == 2


def test_a_channel_post_is_answered_in_the_channel(bot: TelegramGateway, telegram: TelegramServer) -> None:
    bot.env = {"TELEGRAM_ALLOWED_USERS": "-100777"}
    bot.start()
    post = telegram.message("@hermes_test_bot token-1", chat=-100777, chat_type="channel")
    del post["from"]
    post["sender_chat"] = post["chat"]
    telegram.push(telegram.update("channel_post", post))
    telegram.wait_for_text("token-1", chat=-100777)


def test_a_pasted_text_that_telegram_cut_is_one_message(
    bot: TelegramGateway, telegram: TelegramServer, model_server: Any
) -> None:
    model = model_server([{"text": "Read."}])
    scripted(bot, model.base_url)
    bot.start()
    pasted = "paste " * 682
    telegram.push(
        telegram.update("message", telegram.message(pasted)),
        telegram.update("message", telegram.message("token-end")),
    )
    telegram.wait_for_text("Read.")
    told = json.dumps(model.requests[0].body["messages"][-1])
    assert told.count("paste ") > 600
    assert "token-end" in told


def test_a_file_of_the_state_directory_names_no_token(bot: TelegramGateway, telegram: TelegramServer) -> None:
    bot.settings = {"logging": {"level": "DEBUG"}}
    telegram.failures.append(Failure("getUpdates", -1))
    bot.start("-v")
    telegram.say("token-1")
    telegram.wait_for_text("token-1")
    bot.stop()
    files = [path for path in bot.home.root.rglob("*") if path.is_file() and path != bot.home.env_file]
    assert not [path for path in files if TOKEN.split(":")[1].encode() in Path(path).read_bytes()]
    assert TOKEN.split(":")[1] not in bot.output()
