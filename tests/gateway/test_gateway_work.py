"""What chats have beside messages and answers: skills, memory, processes, busy modes; the real process."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_process import Gateway
from loopback_server import LoopbackServer

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError

SLOW = {"when": {"user": "slowly"}, "text": "one two three four five six", "chunk_size": 4}
ECHO = {"text": "You said: {{user}}"}


def follow(gateway: Gateway, model_server: Any, rules: list[dict[str, Any]], **settings: Any) -> Any:
    """Start the gateway with a model that follows these rules, then echoes."""
    server = model_server({"rules": [*rules, ECHO]})
    gateway.settings = {
        "model": {"provider": "custom", "base_url": server.base_url, "default": "scripted"},
        "terminal": {"cwd": str(gateway.home.root.parent)},
        **settings,
    }
    gateway.start()
    return server


def said(server: Any) -> list[str]:
    """The newest message of each request, as text."""
    return [json.dumps(each.body["messages"][-1], ensure_ascii=False) for each in server.requests]


def one(database: Path, query: str) -> object:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        (value,) = db.execute(query).fetchone()
    return value


def busy(gateway: Gateway) -> bool:
    return bool(gateway.ask("status")["services"]["messaging"]["active"])


def terminal(command: str, **more: Any) -> dict[str, Any]:
    return {"name": "terminal", "arguments": {"command": command, **more}}


# Skills and memory.


def make_skill(home: Home) -> None:
    folder = home.root / "skills" / "greet"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: greet\ndescription: Greets.\n---\nSay hello in Latin.\n")


def test_a_skill_is_called_by_its_name_like_a_command(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    make_skill(gateway.home)
    server = follow(gateway, model_server, [{"when": {"user": "Latin"}, "text": "Salve!"}])
    chat_server.say("/greet my uncle")
    chat_server.wait_for_text("Salve!")
    assert any("my uncle" in each and "Latin" in each for each in said(server))
    chat_server.say("/skills")
    chat_server.wait_for_text("/greet  Greets.")


def test_a_skill_called_during_a_run_is_treated_like_any_message(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    make_skill(gateway.home)
    rules = [{"when": {"user": "Latin"}, "text": "Salve!"}, {**SLOW, "chunk_delay_seconds": 3}]
    follow(gateway, model_server, rules)
    chat_server.say("slowly")
    chat_server.wait_for(lambda: busy(gateway))
    chat_server.say("/nonsense")
    chat_server.wait_for_text("no command /nonsense")
    assert busy(gateway)
    chat_server.say("/greet now")
    chat_server.wait_for_text("Salve!")


def test_everybody_in_a_group_has_a_memory_of_their_own(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    remember = {
        "name": "memory",
        "arguments": {"action": "add", "target": "user", "content": "Likes {{match.1}}."},
    }
    rules = [
        {"when": {"after": "tool"}, "text": "Noted."},
        {"when": {"user": "I like (\\w+)"}, "tool_calls": [remember]},
    ]
    follow(gateway, model_server, rules)
    group: dict[str, Any] = {"chat": "g1", "chat_type": "group"}
    chat_server.say("I like tea", sender="u1", **group)
    chat_server.wait_for_text("Noted.", chat="g1")
    chat_server.say("/memory", sender="u1", **group)
    chat_server.wait_for_text("USER.md", chat="g1")
    chat_server.say("/memory", sender="u2", **group)
    chat_server.wait_for(lambda: sum("USER.md" in each for each in chat_server.texts("g1")) == 2)
    shown = [each for each in chat_server.texts("g1") if "USER.md" in each]
    assert ["Likes tea." in each for each in shown] == [True, False]
    chat_server.say("/memory undo", sender="u1", **group)
    chat_server.wait_for_text("Taken back", chat="g1")
    assert not (gateway.home.memories / "USER.md").exists()


def test_only_the_owner_decides_on_skills_and_sees_owners_commands(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.settings = {"gateway": {"owners": "u1"}}
    gateway.start()
    chat_server.say("/skills proposals", sender="u2", chat="c2")
    chat_server.wait_for_text("the owner of this gateway decides", chat="c2")
    for command in ("/rollback", "/insights", "/restart"):
        chat_server.say(command, sender="u2", chat="c2")
        chat_server.wait_for_text(f"{command} is for the owner", chat="c2")
    chat_server.say("/help", sender="u2", chat="c2")
    assert "/restart" not in chat_server.wait_for_text("**Conversation**", chat="c2")
    chat_server.say("/help", sender="u1")
    assert "/restart" in chat_server.wait_for_text("**Conversation**")


def test_every_command_that_help_lists_is_answered(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("/help")
    listed = chat_server.wait_for_text("**Conversation**")
    names = [line.split("`")[1].split()[0] for line in listed.splitlines() if line.startswith("- `/")]
    assert len(names) > 20
    for name in names:
        if name in ("/restart", "/reload"):
            continue
        before = len(chat_server.texts())
        chat_server.say(name)
        chat_server.wait_for(lambda before=before: len(chat_server.texts()) > before)
        assert "terminal only" not in chat_server.texts()[-1]
    for name in ("/quit", "/image x.png", "/statusbar"):
        chat_server.say(name)
        chat_server.wait_for_text(f"{name.split()[0]} works in the terminal only")


# Background processes.


def start_process(command: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"when": {"after": "tool"}, "text": "Started."},
        {"when": {"user": "begin"}, "tool_calls": [terminal(command, background=True, **more)]},
    ]


def test_a_background_process_reports_its_end_to_its_chat(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    follow(gateway, model_server, start_process("sleep 0.5; echo the-end; exit 3"))
    chat_server.say("begin")
    notice = chat_server.wait_for_text("ended with exit code 3")
    assert notice.startswith("❌")
    assert "the-end" in notice


def test_processes_can_be_kept_quiet(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    gateway.env = {"HERMES_BACKGROUND_NOTIFICATIONS": "off"}
    marker = gateway.home.root.parent / "ended"
    follow(gateway, model_server, start_process(f"sleep 0.3; touch {marker}"))
    chat_server.say("begin")
    chat_server.wait_for_text("Started.")
    chat_server.wait_for(marker.exists)
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    assert not any("ended with" in each for each in chat_server.texts())


def test_the_agent_goes_on_by_itself_when_it_asked_to_be_told(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    rules = [
        {"when": {"user": "asked to be told"}, "text": "The build is done."},
        *start_process("sleep 1; echo built", notify_on_complete=True),
    ]
    server = follow(gateway, model_server, rules, display={"background_process_notifications": "off"})
    sent = chat_server.say("begin")
    chat_server.wait_for_text("Started.")
    chat_server.wait_for_text("The build is done.")
    (told,) = [each for each in said(server) if "asked to be told" in each]
    assert "built" in told
    quotes = {each.text: each.reply_to_id for each in chat_server.shown}
    assert quotes["Started."] == sent
    assert quotes["The build is done."] == ""


def test_a_process_that_a_kill_took_along_is_told_after_the_restart(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    follow(gateway, model_server, start_process("sleep 600"))
    chat_server.say("begin")
    chat_server.wait_for_text("Started.")
    chat_server.say("/status")
    chat_server.wait_for_text("Background process proc_")
    gateway.kill()
    gateway.start()
    chat_server.wait_for_text("`sleep 600` ended when I was restarted")
    gateway.stop()
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    assert sum("when I was restarted" in each for each in chat_server.texts()) == 1


# A message while the agent works.


def test_steer_tells_the_run_without_stopping_it(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    gate = gateway.home.root.parent / "gate"
    rules = [
        {"when": {"after": "tool", "tool_result": "use blue"}, "text": "Blue it is."},
        {"when": {"user": "paint"}, "tool_calls": [terminal(f"while ! test -e {gate}; do sleep 0.05; done")]},
    ]
    follow(gateway, model_server, rules, display={"busy_input_mode": "steer"})
    chat_server.say("paint")
    chat_server.wait_for_text("💻")
    chat_server.say("use blue")
    chat_server.wait_for(
        lambda: one(gateway.home.state_db, "SELECT count(*) FROM inbox WHERE position = -1") == 1
    )
    chat_server.say("", attachments=[{"kind": "document", "reference": "plan.txt", "file_name": "plan.txt"}])
    chat_server.say("/background look at this", attachments=[{"kind": "document", "reference": "b.txt"}])
    chat_server.wait_for_text("✅ Background task complete")
    assert "b.txt" in chat_server.texts()[-1] or "document" in chat_server.texts()[-1]
    gate.touch()
    chat_server.wait_for_text("Blue it is.")
    chat_server.wait_for_text("content of plan.txt")
    chat_server.wait_for(
        lambda: one(gateway.home.state_db, "SELECT count(*) FROM inbox WHERE state != 'done'") == 0
    )


def test_queue_and_steer_as_commands_and_busy_that_lasts(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    gate = gateway.home.root.parent / "gate"
    rules = [
        {"when": {"after": "tool"}, "text": "Painted; {{tool_result | find:use \\w+}}."},
        {"when": {"user": "paint"}, "tool_calls": [terminal(f"while ! test -e {gate}; do sleep 0.05; done")]},
    ]
    follow(gateway, model_server, rules)
    chat_server.say("/busy queue")
    chat_server.wait_for_text("waits its turn (queue)")
    gateway.stop()
    gateway.start()
    chat_server.say("paint")
    chat_server.wait_for_text("💻")
    chat_server.say("token-1")
    chat_server.say("/queue token-2")
    chat_server.say("/steer use red")
    chat_server.wait_for(
        lambda: one(gateway.home.state_db, "SELECT count(*) FROM inbox WHERE position = -1") == 1
    )
    gate.touch()
    chat_server.wait_for_text("token-2")
    answers = [each for each in chat_server.texts() if each.startswith(("Painted", "You said"))]
    assert answers == ["Painted; use red.", "You said: token-1", "You said: token-2"]


def test_a_background_task_can_be_approved_and_stopped_from_its_chat(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    folder = gateway.home.root.parent / "hello"
    folder.mkdir()
    rules = [
        {"when": {"after": "tool"}, "text": "Gone."},
        {"when": {"user": "clean"}, "tool_calls": [terminal(f"rm -r {folder}")]},
        {**SLOW, "chunk_delay_seconds": 5},
    ]
    follow(gateway, model_server, rules)
    chat_server.say("/background clean")
    chat_server.wait_for_text("May I run this?")
    chat_server.say("/approve", sender="u2")
    chat_server.wait_for_text("Nothing waits")
    chat_server.say("/approve")
    chat_server.wait_for_text("Gone.")
    assert not folder.exists()
    chat_server.say("/background slowly")
    chat_server.wait_for(lambda: busy(gateway))
    chat_server.say("/stop")
    told = chat_server.wait_for_text("Nothing is running. In the background: bg_")
    chat_server.say(f"/stop {told.split('background: ')[1].split()[0]}")
    chat_server.wait_for_text("⏹ Stopped bg_")
    chat_server.wait_for(lambda: not busy(gateway))


def test_steering_a_run_that_ends_this_moment_is_answered_all_the_same(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    follow(gateway, model_server, [{"when": {"user": "token"}, "text": "yes {{user | last:40}}"}])
    for number in range(30):
        chat_server.say(f"token-{number}")
        chat_server.say(f"/steer token-{number}-more")
    chat_server.wait_for_text("token-29-more")
    chat_server.wait_for(
        lambda: one(gateway.home.state_db, "SELECT count(*) FROM inbox WHERE state != 'done'") == 0
    )


def test_a_background_task_is_work_whatever_it_begins_with(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    make_skill(gateway.home)
    follow(gateway, model_server, [{"when": {"user": "Latin"}, "text": "Salve!"}])
    chat_server.say("/background /new thing")
    assert "You said: /new thing" in chat_server.wait_for_text("✅ Background task complete")
    chat_server.say("/background /greet him")
    chat_server.wait_for_text("Salve!")


# What is shown.


@pytest.mark.parametrize("streams", [False, True])
def test_an_answer_that_asks_for_silence_is_not_sent(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any, streams: bool
) -> None:
    quiet = {"when": {"user": "quiet"}, "text": "[SILENT]", "chunk_size": 3, "chunk_delay_seconds": 0.2}
    streaming = {"enabled": streams, "edit_interval": 0.1, "buffer_threshold": 1}
    follow(gateway, model_server, [quiet], streaming=streaming)
    chat_server.say("quiet")
    chat_server.wait_for(lambda: busy(gateway))
    chat_server.wait_for(lambda: not busy(gateway))
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    assert not any("SIL" in text for each in chat_server.shown for text in each.texts)


def test_what_the_model_thinks_is_shown_where_somebody_wants_it(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    follow(
        gateway, model_server, [{"when": {"user": "think"}, "text": "42", "reasoning": "6 times 7\nis it"}]
    )
    chat_server.say("think")
    chat_server.wait_for_text("42")
    chat_server.say("/reasoning show")
    chat_server.wait_for_text("is shown in this chat")
    chat_server.say("think again")
    chat_server.wait_for(lambda: chat_server.texts().count("42") == 2)
    assert [each for each in chat_server.texts() if "6 times" in each] == ["💭\n> 6 times 7\n> is it"]


def test_tool_progress_has_four_modes(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    rules = [
        {"when": {"user": "work", "round": 0}, "tool_calls": [terminal("echo a")]},
        {"when": {"user": "work", "round": 1}, "tool_calls": [terminal("echo b")]},
        {"when": {"after": "tool"}, "text": "finished {{user}}"},
    ]
    gateway.extra = {"can_edit": False}
    follow(gateway, model_server, rules)
    lines: dict[str, list[str]] = {}
    for number, mode in enumerate(("off", "new", "all", "verbose")):
        chat = f"c{number}"
        chat_server.say(f"/verbose {mode}", chat=chat)
        chat_server.wait_for_text("shown in this chat", chat=chat)
        chat_server.say("work", chat=chat)
        chat_server.wait_for_text("finished", chat=chat)
        lines[mode] = [each for each in chat_server.texts(chat) if each.startswith("💻")]
    assert lines["off"] == []
    assert lines["new"] == ["💻 terminal: `echo a`"]
    assert lines["all"] == ["💻 terminal: `echo a`", "💻 terminal: `echo b`"]
    assert lines["verbose"][0] == '💻 terminal {"command": "echo a"}'


def test_files_of_an_answer_are_sent_and_secret_ones_refused(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    report = gateway.home.root.parent / "report.txt"
    report.write_text("figures")
    (gateway.home.root.parent / ".env").write_text("KEY=1")
    answer = f"Here.\nMEDIA:{report}\nMEDIA:{gateway.home.root.parent}/.env\nMEDIA:{gateway.home.env_file}"
    server = follow(gateway, model_server, [{"when": {"user": "report"}, "text": answer}])
    chat_server.say("the report")
    chat_server.wait_for(lambda: any(each.file for each in chat_server.shown))
    (sent,) = [each.file for each in chat_server.shown if each.file]
    assert (sent["name"], base64.b64decode(sent["data"])) == ("report.txt", b"figures")
    assert chat_server.texts()[0].count("was not sent") == 2
    prompt = json.dumps(server.requests[0].body["messages"][0])
    assert "Your answers are messages on loopback." in prompt
    assert "MEDIA:/absolute/path" in prompt


def test_a_file_named_before_a_tool_call_is_sent_too(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    chart = gateway.home.root.parent / "chart.png"
    chart.write_bytes(b"x")
    step = {"text": f"First this.\nMEDIA:{chart}", "tool_calls": [terminal("true")]}
    rules = [{"when": {"after": "tool"}, "text": "Done."}, {"when": {"user": "chart"}, **step}]
    follow(gateway, model_server, rules)
    chat_server.say("the chart")
    chat_server.wait_for_text("Done.")
    assert "First this." in chat_server.texts()
    assert [each.file["kind"] for each in chat_server.shown if each.file] == ["image"]


# Sessions.


def test_a_named_conversation_goes_on_in_another_chat_and_a_copy_beside_it(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    rules = [{"when": {"user": "which token", "messages": 3}, "text": "{{first_user}}"}]
    follow(gateway, model_server, rules)
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    chat_server.say("/title Tokens")
    chat_server.wait_for_text("Title: Tokens")
    chat_server.say("/new")
    chat_server.wait_for_text("🆕")
    chat_server.say("/resume Tokens", chat="c2")
    chat_server.wait_for_text("Going on with Tokens", chat="c2")
    chat_server.say("which token", chat="c2")
    chat_server.wait_for(lambda: "token-1" in chat_server.texts("c2"))
    chat_server.say("/branch Other tokens", chat="c2")
    chat_server.wait_for_text("A copy goes on here", chat="c2")
    assert one(gateway.home.state_db, "SELECT count(*) FROM sessions WHERE title = 'Other tokens'") == 1


def test_one_conversation_goes_on_in_two_chats_and_in_the_terminal_by_turns(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    follow(gateway, model_server, [{"when": {"user": "count"}, "text": "{{messages}} messages"}])
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    chat_server.say("/title Both")
    chat_server.wait_for_text("Title: Both")
    chat_server.say("/resume Both", chat="c2")
    chat_server.wait_for_text("Going on with Both", chat="c2")
    chat_server.say("token-2", chat="c2")
    chat_server.wait_for_text("token-2", chat="c2")
    chat_server.say("count")
    chat_server.wait_for_text("5 messages")
    done = subprocess.run(
        [sys.executable, "-m", "hermes_agent", "-r", "Both", "-z", "count"],
        env=gateway.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "7 messages"), done.stderr
    chat_server.say("count", chat="c2")
    chat_server.wait_for_text("9 messages", chat="c2")


def test_the_terminal_hands_a_conversation_over_to_the_home_channel(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    chat_server.say("token-1", chat="c5")
    chat_server.wait_for_text("token-1", chat="c5")
    session_id = str(one(gateway.home.state_db, "SELECT id FROM sessions"))
    with pytest.raises(GatewayError, match="no home channel"):
        gateway.ask("session.handoff", platform="loopback", session_id=session_id)
    with pytest.raises(GatewayError, match="not connected"):
        gateway.ask("session.handoff", platform="telegram", session_id=session_id)
    chat_server.say("/sethome")
    chat_server.wait_for_text("come to this chat")
    gateway.ask("session.handoff", platform="loopback", session_id=session_id)
    chat_server.wait_for_text("“token-1” goes on here")
    chat_server.say("/status")
    chat_server.wait_for_text(f"Session: {session_id}")


def test_somebody_elses_conversation_cannot_be_resumed(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.settings = {"gateway": {"owners": "u2"}}
    gateway.start()
    chat_server.say("token-1", sender="u2", chat="c2")
    chat_server.wait_for_text("token-1", chat="c2")
    chat_server.say("/title Private", sender="u2", chat="c2")
    chat_server.wait_for_text("Title: Private", chat="c2")
    chat_server.say("/resume Private", sender="u1")
    chat_server.wait_for_text("No conversation of yours")
    chat_server.say("token-2", sender="u1")
    chat_server.wait_for_text("token-2")
    chat_server.say("/title Open", sender="u1")
    chat_server.wait_for_text("Title: Open")
    chat_server.say("/new now", sender="u1")
    chat_server.wait_for_text("🆕")
    chat_server.say("/resume Open", sender="u2", chat="c2")
    chat_server.wait_for_text("Going on with Open", chat="c2")


def test_people_who_share_a_thread_share_its_sessions_and_its_memory_only(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    thread: dict[str, Any] = {"chat": "g1", "chat_type": "group", "thread_id": "t1"}
    chat_server.say("token-1 of mine", sender="u1")
    chat_server.wait_for_text("token-1")
    chat_server.say("token-2", sender="u1", **thread)
    chat_server.wait_for_text("token-2", chat="g1")
    chat_server.say("/new now", sender="u2", **thread)
    chat_server.wait_for_text("🆕", chat="g1")
    chat_server.say("/sessions", sender="u1", **thread)
    listed = chat_server.wait_for_text("[Name of u1] token-2", chat="g1")
    assert "token-1" not in listed
    assert one(gateway.home.state_db, "SELECT count(*) FROM sessions WHERE user_id = 'chat:g1:t1'") == 2


def test_the_chats_of_an_older_agent_go_on(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    gateway.stop()
    session_id = str(one(gateway.home.state_db, "SELECT id FROM sessions"))
    with sqlite3.connect(gateway.home.state_db) as db:
        db.execute("DELETE FROM chats")
    db.close()
    index = json.loads(gateway.home.chat_index.read_text())
    index["agent:main:loopback:dm:gone"] = {"session_id": "not-there", "origin": None}
    index["broken"] = "text"
    gateway.home.chat_index.write_text(json.dumps(index))
    gateway.start()
    chat_server.say("/status")
    chat_server.wait_for_text(f"Session: {session_id}")
    chat_server.wait_for_text("Messages: 2")


def test_a_platform_without_a_reset_never_starts_afresh(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.settings = {"session_reset": {"by_platform": {"loopback": {"mode": "none"}}}}
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for_text("token-1")
    gateway.stop()
    with sqlite3.connect(gateway.home.state_db) as db:
        db.execute("UPDATE chats SET updated_at = updated_at - 30 * 86400")
    db.close()
    gateway.start()
    chat_server.say("token-2")
    chat_server.wait_for_text("token-2")
    assert one(gateway.home.state_db, "SELECT count(*) FROM sessions") == 1


def test_conversations_begin_where_the_settings_say_and_afresh_with_the_word_they_name(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    place = gateway.home.root.parent / "place"
    place.mkdir()
    gateway.settings = {"gateway": {"cwd": str(place)}, "session_reset": {"triggers": ["Fang neu an"]}}
    gateway.start()
    chat_server.say("/status")
    chat_server.wait_for_text(f"Directory: {place}")
    chat_server.say("fang NEU an")
    chat_server.wait_for_text("🆕")


def test_every_part_quotes_the_message_where_the_settings_say_so(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    server = model_server({"rules": [{"text": "word " * 60}]})
    gateway.extra = {"max_text": 120}
    gateway.configure()
    config = yaml.safe_load(gateway.home.config_file.read_text())
    config["platforms"]["loopback"]["reply_to_mode"] = "all"
    config["model"] = {"provider": "custom", "base_url": server.base_url, "default": "scripted"}
    gateway.home.config_file.write_text(yaml.safe_dump(config))
    gateway.start()
    sent = chat_server.say("go")
    chat_server.wait_for(lambda: len(chat_server.shown) == 3)
    assert [each.reply_to_id for each in chat_server.shown] == [sent] * 3


def test_restart_ends_for_the_service_manager_and_says_when_it_is_back(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    chat_server.say("/restart")
    chat_server.wait_for_text("♻️ Restarting")
    assert gateway.process is not None
    assert gateway.process.wait(20) == 75
    gateway.start()
    chat_server.wait_for_text("♻️ I am back")


def test_a_new_key_of_the_model_counts_after_a_reload(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    server = model_server({"api_key": "right-key-123456", "rules": [ECHO]})
    gateway.home.env_file.write_text("MODEL_KEY=wrong-key-123456\n")
    gateway.home.env_file.chmod(0o600)
    model = {"provider": "custom", "base_url": server.base_url, "default": "scripted"}
    gateway.settings = {"model": {**model, "api_key": "${MODEL_KEY}"}}
    gateway.start()
    chat_server.say("token-1")
    chat_server.wait_for_text("❌")
    gateway.home.env_file.write_text("MODEL_KEY=right-key-123456\n")
    chat_server.say("/reload")
    chat_server.wait_for_text("Settings are read again")
    chat_server.say("token-2")
    chat_server.wait_for_text("token-2")


def test_unasked_messages_go_to_the_home_channel_that_was_chosen(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    chat_server.say("/sethome", chat="g7", chat_type="group", thread_id="t1")
    chat_server.wait_for_text("come to this chat", chat="g7")
    assert (
        one(gateway.home.state_db, "SELECT value FROM platform_state WHERE name = 'home_channel'") == "g7:t1"
    )


def test_a_voice_message_is_written_down_for_the_agent_or_it_says_that_it_was_not(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    memo = {"kind": "voice", "reference": "memo.ogg", "file_name": "memo.ogg"}
    server = follow(gateway, model_server, [], stt={"provider": "command", "command": "cat {file}"})
    chat_server.say("", attachments=[memo])
    chat_server.wait_for_text("content of memo.ogg")
    assert "as the command stt.command heard it" in said(server)[-1]
    gateway.settings["stt"] = {"provider": "openai"}
    gateway.configure()
    chat_server.say("/reload")
    chat_server.wait_for_text("Settings are read again")
    chat_server.say("", attachments=[memo])
    chat_server.wait_for_text("no speech recognition is set up")
