"""People talk to the real gateway process over a real HTTP platform."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
from pathlib import Path

import pytest
from gateway_process import Gateway
from loopback_server import LoopbackServer

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError
from hermes_agent.store.locks import SessionLock

SLOW = "count to 200 slowly"


def one(database: Path, query: str) -> object:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        (value,) = db.execute(query).fetchone()
    return value


def busy(gateway: Gateway) -> bool:
    return bool(gateway.ask("status")["services"]["messaging"]["active"])


def test_a_message_is_answered_in_its_chat(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    sent = chat_server.say("token-1")
    answer = chat_server.wait_for_text("token-1")
    assert "understand" in answer
    assert chat_server.shown[0].reply_to_id == sent
    chat_server.wait_for(lambda: chat_server.acknowledged >= 1)
    assert gateway.stop() == 0


def test_a_redelivered_message_is_answered_once(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("token-1", message_id="same")
    chat_server.say("token-1", message_id="same")
    chat_server.say("token-2")
    chat_server.wait_for_text("token-2")
    assert sum("token-1" in text for text in chat_server.texts()) == 1


def test_a_burst_is_answered_in_order_and_none_is_lost(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.settings = {"display": {"busy_input_mode": "queue"}}
    gateway.start()
    for number in range(30):
        chat_server.say(f"token-{number:03}")
    chat_server.wait_for(lambda: len(chat_server.texts()) == 30)
    for number, text in enumerate(chat_server.texts()):
        assert f"token-{number:03}" in text


def test_a_new_message_interrupts_and_waiting_ones_are_joined(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    chat_server.say(SLOW)
    chat_server.wait_for(lambda: busy(gateway))
    chat_server.say("token-2")
    chat_server.wait_for_text("token-2")
    assert not any("200" in text for text in chat_server.texts())


def test_stop_ends_the_run(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say(SLOW)
    chat_server.wait_for(lambda: busy(gateway))
    chat_server.say("/stop")
    chat_server.wait_for_text("Stopped")
    chat_server.wait_for(lambda: not busy(gateway))
    chat_server.say("token-3")
    chat_server.wait_for_text("token-3")


def test_strangers_in_groups_get_nothing_and_members_have_their_own_conversations(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    group = {"chat": "g1", "chat_type": "group"}
    chat_server.say("token-1", sender="stranger", **group)
    chat_server.say("token-2", sender="u1", is_addressed=False, **group)
    chat_server.say("token-3", sender="u1", **group)
    chat_server.say("token-4", sender="u2", **group)
    chat_server.wait_for(lambda: len(chat_server.texts("g1")) == 2)
    assert one(gateway.home.state_db, "SELECT count(*) FROM chats") == 2
    gateway.stop()
    index = json.loads(gateway.home.chat_index.read_text())
    assert index["agent:main:loopback:group:g1:u2"]["origin"]["user_id"] == "u2"
    keys = one(gateway.home.state_db, "SELECT group_concat(session_key) FROM chats")
    assert "agent:main:loopback:group:g1:u1" in str(keys)


def test_a_risky_command_asks_and_only_the_asker_decides(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    work = gateway.home.root.parent / "hello"
    work.mkdir()
    gateway.settings = {"terminal": {"cwd": str(work.parent)}}
    gateway.start()
    group = {"chat": "g1", "chat_type": "group"}
    chat_server.say("delete the folder hello", sender="u1", **group)
    question = chat_server.wait_for_text("May I run this?", chat="g1")
    assert "rm -r" in question
    buttons = next(each.buttons for each in chat_server.shown if "May I" in each.text)
    assert [each["label"] for each in buttons] == ["Once", "This session", "Always", "Deny"]
    chat_server.say("/approve", sender="u2", **group)
    chat_server.wait_for_text("Nothing waits", chat="g1")
    assert work.exists()
    chat_server.press(buttons[0]["value"], chat="g1", sender="u2")
    chat_server.press(buttons[0]["value"], chat="g1", sender="u1")
    chat_server.wait_for(lambda: not work.exists())


def test_a_denied_command_does_not_run(gateway: Gateway, chat_server: LoopbackServer) -> None:
    work = gateway.home.root.parent / "hello"
    work.mkdir()
    gateway.settings = {"terminal": {"cwd": str(work.parent)}}
    gateway.start()
    chat_server.say("delete the folder hello")
    chat_server.wait_for_text("May I run this?")
    chat_server.say("/deny")
    chat_server.wait_for_text("Not run")
    chat_server.wait_for(lambda: not busy(gateway))
    assert work.exists()


def test_an_approval_given_while_the_gateway_was_away_counts_for_exactly_that_action(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    work = gateway.home.root.parent / "hello"
    work.mkdir()
    gateway.settings = {"terminal": {"cwd": str(work.parent)}}
    gateway.start()
    chat_server.say("delete the folder hello")
    chat_server.wait_for_text("May I run this?")
    buttons = next(each.buttons for each in chat_server.shown if "May I" in each.text)
    gateway.kill()
    chat_server.press(buttons[0]["value"])
    assert work.exists()
    gateway.start()
    chat_server.wait_for(lambda: not work.exists())


def test_a_question_is_answered_by_the_next_message(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("ask me a question")
    chat_server.wait_for_text("❓")
    chat_server.say("token-green")
    chat_server.wait_for_text("token-green")


def test_a_background_task_runs_beside_the_conversation_and_survives_a_kill(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    chat_server.say("/background count to 8 slowly")
    started = chat_server.wait_for_text("Task ID: bg_")
    assert started.startswith("🔄")
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    gateway.kill()
    gateway.start()
    done = chat_server.wait_for_text("✅ Background task complete")
    assert started.split("Task ID: ")[1].strip() in done
    assert sum("Background task complete" in text for text in chat_server.texts()) == 1


def test_commands_answer_and_unknown_ones_help(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    for command, expected in (
        ("/help", "/background"),
        ("/status", "Model: demo"),
        ("/whoami", "User id: u1"),
        ("/version", "hermes-agent"),
        ("/usage", "Requests"),
        ("/platform", "loopback: connected"),
        ("/title My plan", "My plan"),
        ("/nonsense", "no command"),
        ("/start", "👋 Hello!"),
        ("/clear", "works in the terminal only. /new begins"),
        ("/memory", "MEMORY.md: 0 of"),
        ("/skills", "/"),
        ("/busy queue", "waits its turn (queue)"),
        ("/verbose off", "shown in this chat: off"),
        ("/stop", "Nothing is running"),
    ):
        chat_server.say(command)
        chat_server.wait_for_text(expected)
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    chat_server.say("/undo now")
    chat_server.wait_for_text("Took back")
    chat_server.say("/new")
    chat_server.wait_for_text("🆕")
    chat_server.say("/resume My plan")
    chat_server.wait_for_text("Going on with My plan")


def test_owner_only_commands_are_refused_to_others(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.settings = {"gateway": {"owners": "u1"}}
    gateway.start()
    chat_server.say("/yolo on", chat="c2", sender="u2")
    chat_server.wait_for_text("for the owner", chat="c2")
    chat_server.say("/yolo on", sender="u1")
    chat_server.wait_for_text("YOLO is on")


def test_a_streamed_answer_is_one_message_and_its_final_text_stands_there_once(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.settings = {"streaming": {"enabled": True, "edit_interval": 0.1, "buffer_threshold": 1}}
    gateway.start()
    chat_server.say("count to 12 slowly")
    chat_server.wait_for(lambda: any("12" in each for each in chat_server.texts()))
    chat_server.wait_for(lambda: not busy(gateway))
    gateway.stop()
    (shown,) = chat_server.shown
    assert len(shown.texts) > 3
    assert "▉" in shown.texts[0]
    assert "▉" not in shown.text


def test_a_streamed_answer_cut_off_by_a_kill_goes_on_in_the_same_message(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.settings = {"streaming": {"enabled": True, "edit_interval": 0.1, "buffer_threshold": 1}}
    gateway.start()
    chat_server.say("count to 10 slowly")
    chat_server.wait_for_text("3")
    gateway.kill()
    gateway.start()
    chat_server.wait_for(lambda: "10" in chat_server.texts()[0] and "▉" not in chat_server.texts()[0])
    gateway.stop()
    assert len(chat_server.shown) == 1


def test_tool_progress_is_shown_in_one_message(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("run uname -a")
    chat_server.wait_for_text("Linux")
    chat_server.wait_for(lambda: any("terminal: `" in text for text in chat_server.texts()))


def test_a_conversation_starts_afresh_by_policy(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    gateway.stop()
    with sqlite3.connect(gateway.home.state_db) as db:
        db.execute("UPDATE chats SET updated_at = updated_at - 3 * 86400")
    gateway.start()
    chat_server.say("token-2")
    chat_server.wait_for_text("We start afresh")
    chat_server.wait_for_text("token-2")
    assert one(gateway.home.state_db, "SELECT count(*) FROM sessions") == 2


def test_a_session_that_the_terminal_has_open_is_waited_for(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    session_id = str(one(gateway.home.state_db, "SELECT id FROM sessions"))
    gateway.stop()
    with SessionLock(gateway.home.run, session_id):
        gateway.start()
        chat_server.say("token-2")
        chat_server.wait_for_text("⏳")
    chat_server.wait_for_text("token-2")


def test_beside_a_session_that_the_terminal_has_open_a_new_one_can_begin(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    session_id = str(one(gateway.home.state_db, "SELECT id FROM sessions"))
    gateway.stop()
    with SessionLock(gateway.home.run, session_id):
        gateway.start()
        chat_server.say("token-2")
        chat_server.wait_for_text("⏳")
        chat_server.say("/new")
        chat_server.wait_for_text("🆕")
        chat_server.wait_for_text("token-2")


def test_a_stop_does_not_wait_for_a_person_and_the_question_is_asked_again(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    work = gateway.home.root.parent / "hello"
    work.mkdir()
    gateway.settings = {"terminal": {"cwd": str(work.parent)}}
    gateway.start()
    chat_server.say("delete the folder hello")
    chat_server.wait_for_text("May I run this?")
    assert gateway.stop() == 0
    gateway.start()
    chat_server.wait_for(lambda: sum("May I run this?" in each for each in chat_server.texts()) == 2)
    chat_server.say("/approve")
    chat_server.wait_for(lambda: not work.exists())


def test_an_outage_delays_answers_and_loses_none(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.settings = {"display": {"busy_input_mode": "queue"}}
    gateway.start()
    chat_server.failures.extend([(503, None), (429, "1")])
    chat_server.say("token-1")
    chat_server.say("token-2")
    chat_server.wait_for_text("token-2")
    assert [("token-1" in text, "token-2" in text) for text in chat_server.texts()] == [
        (True, False),
        (False, True),
    ]


def test_a_send_without_an_answer_is_unknown_and_not_repeated(home: Home) -> None:
    with LoopbackServer(recognises_resends=False) as server:
        gateway = Gateway(home, server, extra={"recognises_resends": False})
        gateway.start()
        try:
            server.failures.append((0, None))
            server.say("token-1")
            server.wait_for_text("token-1")
            server.wait_for(lambda: one(home.state_db, "SELECT count(*) FROM outbox WHERE state = 'unknown'"))
            server.say("token-2")
            server.wait_for_text("token-2")
            assert len(server.texts()) == 2
        finally:
            gateway.stop()


def test_a_refused_chat_does_not_block_others(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.failures.append((403, None))
    chat_server.say("token-1", chat="c1")
    chat_server.wait_for(
        lambda: one(gateway.home.state_db, "SELECT count(*) FROM outbox WHERE state = 'failed'")
    )
    chat_server.say("token-2", chat="c2")
    chat_server.wait_for_text("token-2", chat="c2")


def test_a_very_long_answer_is_a_preview_and_a_file(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.extra = {"max_text": 64}
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for(lambda: any(each.file for each in chat_server.shown))
    sent = next(each.file for each in chat_server.shown if each.file)
    assert sent is not None
    assert sent["name"] == "answer.md"
    assert "token-1" in base64.b64decode(sent["data"]).decode()
    assert len(chat_server.shown) == 2


def test_a_silent_connection_is_rebuilt(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.extra = {"poll_seconds": 0.2, "max_silence_seconds": 1.0}
    gateway.start()
    chat_server.is_deaf.set()
    begun = sum(path == "/me" for _, _, path in list(chat_server.requests))
    chat_server.wait_for(lambda: sum(path == "/me" for _, _, path in list(chat_server.requests)) > begun)
    chat_server.is_deaf.clear()
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")


def test_a_connection_that_stays_silent_ends_the_process_with_an_error(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.extra = {"poll_seconds": 0.2, "max_silence_seconds": 0.4}
    gateway.start()
    chat_server.is_deaf.set()
    assert gateway.process is not None
    assert gateway.process.wait(30) == 1
    assert "no progress" in gateway.output()


def test_a_refused_token_is_shown_as_degraded_and_a_reload_mends_it(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.configure()
    right = gateway.home.config_file.read_text()
    gateway.home.config_file.write_text(right.replace("loopback-test-token", "wrong"))
    gateway.start()
    state = gateway.ask("status")["services"]["messaging"]["platforms"]["loopback"]
    assert state["state"] == "auth_failed"
    gateway.home.config_file.write_text(right)
    gateway.ask("reload")
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")


def test_a_broken_configuration_is_not_taken_by_a_reload(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    gateway.home.config_file.write_text("model: [")
    with pytest.raises(GatewayError):
        gateway.ask("reload")
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")


def test_a_paused_platform_stays_paused_until_it_is_resumed(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    gateway.ask("platform", action="pause", name="loopback")
    chat_server.say("token-1")
    gateway.stop()
    gateway.start()
    assert gateway.ask("status")["services"]["messaging"]["platforms"]["loopback"]["state"] == "paused"
    assert not chat_server.texts()
    gateway.ask("platform", action="resume", name="loopback")
    chat_server.wait_for_text("token-1")


def test_an_attachment_is_kept_for_the_agent(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say(
        "token-1",
        attachments=[{"kind": "document", "reference": "plan.txt", "file_name": "plan.txt", "size": 5}],
    )
    answer = chat_server.wait_for_text("token-1")
    assert "plan.txt" in answer
    (saved,) = (gateway.home.cache / "attachments").iterdir()
    assert saved.read_text() == "content of plan.txt"


def test_a_streamed_answer_of_several_parts_ends_with_each_part_once(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.settings = {"streaming": {"enabled": True, "edit_interval": 0.1, "buffer_threshold": 1}}
    gateway.extra = {"max_text": 40}
    gateway.start()
    chat_server.say("count to 20 slowly")
    chat_server.wait_for(lambda: any("20" in each for each in chat_server.texts()))
    chat_server.wait_for(lambda: not busy(gateway))
    gateway.stop()
    numbers = re.findall(r"\d+", " ".join(chat_server.texts()))
    assert numbers == [str(number) for number in range(1, 21)]


def test_a_stop_waits_for_the_run(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("count to 6 slowly")
    chat_server.wait_for(lambda: busy(gateway))
    assert gateway.stop() == 0
    assert "6" in chat_server.texts()[0]


def test_a_run_that_the_stop_did_not_wait_for_goes_on_after_the_start(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.settings = {"agent": {"restart_drain_timeout": 0.2}}
    gateway.start()
    chat_server.say("count to 8 slowly")
    chat_server.wait_for(lambda: busy(gateway))
    assert gateway.stop() == 0
    assert chat_server.texts() == []
    gateway.start()
    chat_server.wait_for(chat_server.texts)
    assert gateway.stop() == 0
    (text,) = chat_server.texts()
    assert "8" in text
