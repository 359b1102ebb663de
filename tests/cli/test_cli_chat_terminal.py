"""The interactive chat in a real terminal, against the demo model."""

from __future__ import annotations

import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from virtual_terminal import VirtualTerminal, terminal

DEMO = ("--provider", "demo")
WORKING = "Ctrl+C stops"
ASKING = "denied in"
DONE = "↓"  # the line under a finished run
ARMED_SECONDS = 0.6


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    (tmp_path / "README.md").write_text("# Hello\n", encoding="utf-8")
    return CommandLine(tmp_path / "home")


def leave(shown: VirtualTerminal, key: str = "\x04") -> str:
    """Leave with Ctrl+D; returns all that was shown."""
    shown.send(key)
    assert shown.wait_for_end() == 0, shown.text
    return shown.text


def press(shown: VirtualTerminal, key: str) -> None:
    """Answer a question once it takes keys (not in its first moments)."""
    shown.wait_for(ASKING, where="screen")
    shown.read_for(ARMED_SECONDS)
    shown.send(key)
    shown.wait_while(ASKING)


def session_of(cli: CommandLine) -> str:
    listed = cli.run("sessions", "list").stdout
    found = re.search(r"\d{8}_\d{6}_[0-9a-f]{6}", listed)
    assert found, listed
    return found[0]


def command_lines() -> Iterator[bytes]:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield entry.read_bytes()
        except OSError:
            continue


def test_a_conversation_from_greeting_to_resume(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        assert "demo model" in shown.text
        shown.send("list the files here\r")
        shown.wait_for("❯ list the files here", "terminal ls", " • README.md", DONE)
        shown.send("/title My first talk\r")
        shown.wait_for("Title: My first talk")
        resumed = re.search(r"hermes -r (\S+)", leave(shown))
        assert resumed
    history = cli.home / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "list the files here" in history.read_text(encoding="utf-8")
    for arguments in (("-r", resumed[1]), ("-c",), ("-c", "My first talk")):
        with terminal(cli, *arguments, *DEMO, ready="resumed") as shown:
            shown.wait_for("❯ list the files here", " • README.md", "demo model (offline)")
            leave(shown)


def test_ctrl_c_interrupts_the_next_message_redirects_and_ctrl_c_leaves(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run sleep 51\r")
        shown.wait_for("terminal sleep 51", WORKING)
        shown.send("\x03")
        shown.wait_for("What should it do instead", "! Interrupted")
        shown.send("list the files here\r")
        shown.wait_for(" • README.md", "2 turns")
        shown.read_for(2.1)  # so that the next Ctrl+C is not the second of two quick ones
        shown.send("\x03")
        shown.wait_for("again leaves", where="screen")
        leave(shown, "\x03")


def test_two_quick_ctrl_c_leave_and_no_command_stays_behind(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run sleep 52\r")
        shown.wait_for("terminal sleep 52", WORKING)
        shown.send("\x03")
        shown.send("\x03")
        assert shown.wait_for_end() in (0, 130)
        assert "hermes -r" in shown.text
    assert not [line for line in command_lines() if b"sleep\x0052" in line]


def test_a_message_while_it_works_interrupts_and_is_answered(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run sleep 53\r")
        shown.wait_for("terminal sleep 53", WORKING)
        shown.send("list the files here\r")
        shown.wait_for("! Interrupted", " • README.md")
        leave(shown)


def test_queued_messages_wait_and_stop_interrupts(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run sleep 54\r")
        shown.wait_for("terminal sleep 54", WORKING)
        shown.send("/queue list the files here\r")
        shown.wait_for("1 waiting")
        shown.send("/stop\r")
        shown.wait_for("! Interrupted", " • README.md")
        leave(shown)


def test_background_tasks_go_on_beside_the_conversation(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("/background run sleep 55\r")
        shown.wait_for("Background task bg_1 has begun")
        shown.send("/bg list the files here\r")
        shown.wait_for("Background task bg_2 is done: list the files here")
        shown.send("/status\r")
        shown.wait_for("Background task bg_1  run sleep 55")
        shown.send("/stop bg_7\r")
        shown.wait_for("no background task 'bg_7'")
        shown.send("/stop bg_1\r")
        shown.wait_for("Background task bg_1 was stopped")
        shown.send("/background\r")
        shown.wait_for("/background needs the text")
        shown.send("/background run rm -r victim\r")
        shown.wait_for("Background task bg_3 asks:")
        press(shown, "d")
        shown.wait_for("Background task bg_3 is done")
        shown.send("/background run sleep 55\r")
        shown.wait_for("Background task bg_4 has begun")
        leave(shown)
    assert cli.run("sessions", "list", "--json").stdout.count("run sleep 55") == 2


def test_approvals_show_the_exact_command_and_obey_the_keys(cli: CommandLine) -> None:
    victim = cli.home.parent / "victim"
    victim.mkdir()
    with terminal(cli, *DEMO) as shown:
        shown.send("run rm -r victim\r")
        shown.wait_for("Run this?", "    rm -r victim\n", ASKING)
        press(shown, "d")
        shown.wait_for("Not allowed", DONE)
        assert victim.exists()
        shown.send("run rm -r victim\r")
        press(shown, "s")
        shown.wait_for("Allowed for this session")
        shown.wait_for(DONE, times=2)
        assert not victim.exists()
        victim.mkdir()
        shown.send("run rm -r victim\r")
        shown.wait_for(DONE, times=3)
        assert not victim.exists()
        leave(shown)


def test_typing_when_a_question_appears_does_not_answer_it(cli: CommandLine) -> None:
    victim = cli.home.parent / "victim"
    victim.mkdir()
    with terminal(cli, *DEMO) as shown:
        shown.send("run rm -r victim\r")
        shown.wait_for(ASKING, where="screen")
        for letter in "soon":
            shown.send(letter)
            shown.read_for(0.05)
        shown.wait_for("❯ soon", where="screen")
        assert ASKING in shown.screen
        press(shown, "d")
        shown.wait_for("Not allowed", DONE)
        assert victim.exists()
        shown.send("\x15")
        leave(shown)


def test_ctrl_c_at_an_approval_interrupts_and_runs_nothing(cli: CommandLine) -> None:
    victim = cli.home.parent / "victim"
    victim.mkdir()
    with terminal(cli, *DEMO) as shown:
        shown.send("run rm -r victim\r")
        shown.wait_for(ASKING, where="screen")
        shown.send("\x03")
        shown.wait_for("! Interrupted")
        shown.wait_while(ASKING)
        assert victim.exists()
        leave(shown)


def test_a_resize_in_the_middle_loses_nothing(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run for i in 1 2 3 4; do echo line $i; sleep 0.2; done\r")
        shown.wait_for("    line 1\n")
        for rows, columns in ((10, 30), (40, 150), (6, 22), (30, 80)):
            shown.resize(rows, columns)
            shown.read_for(0.05)
        shown.wait_for("exit 0, 4 lines", "    line 4\n", DONE)
        leave(shown)


def test_a_tiny_terminal_is_enough(cli: CommandLine) -> None:
    with terminal(cli, *DEMO, ready="/help", rows=8, columns=24) as shown:
        shown.send("list the files here\r")
        shown.wait_for(" • README.md", DONE)
        leave(shown)


@pytest.mark.parametrize("how", ["hangup", "closed window", "terminate", "kill"])
def test_a_chat_that_ends_hard_is_resumed_with_all_that_was_shown(cli: CommandLine, how: str) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run echo before; sleep 55\r")
        shown.wait_for("terminal echo before; sleep 55", "    before\n")
        if how == "closed window":
            shown.hang_up()
        else:
            number = {"hangup": signal.SIGHUP, "terminate": signal.SIGTERM, "kill": signal.SIGKILL}[how]
            shown.child.kill(number)
            assert shown.wait_for_end() == (128 + number if how != "kill" else -number)
    log = cli.home / "logs" / "errors.log"
    assert not log.exists(), log.read_text(encoding="utf-8")
    with terminal(cli, "-r", session_of(cli), *DEMO, ready="resumed") as shown:
        shown.wait_for("❯ run echo before; sleep 55", "I run", "demo model (offline)")
        leave(shown)


def test_sigint_from_outside_is_ctrl_c(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run sleep 56\r")
        shown.wait_for("terminal sleep 56", WORKING)
        shown.child.kill(signal.SIGINT)
        shown.wait_for("! Interrupted")
        leave(shown)


def test_lines_are_continued_and_paths_and_commands_completed(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("first\\\rsecond\x1b\rthird\x0afourth\r")
        shown.wait_for("❯ first\n  second\n  third\n  fourth\n", DONE)
        shown.send("/stat")
        shown.wait_for("Session, model, directory", where="screen")
        shown.send("\t")
        shown.wait_for("❯ /status", where="screen")
        shown.send("\r")
        shown.wait_for("Directory:")
        shown.send("\x0c")
        shown.wait_while("Directory")
        shown.send("read @READ")
        shown.wait_for("README.md", where="screen")
        shown.send("\t")
        shown.wait_for("❯ read @README.md", where="screen")
        shown.send("\x15")
        leave(shown)


def test_pasted_lines_are_one_message(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("\x1b[200~one\ntwo\nthree\x1b[201~")
        shown.wait_for("❯ one\n  two\n  three", where="screen")
        shown.send("\r")
        shown.wait_for(DONE)
        leave(shown)


def test_slash_commands_answer_and_mistakes_are_explained(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        for line, answer in (
            ("/help", "/quit, /exit"),
            ("/help undo", "Asks first"),
            ("/usage", "Requests: 0"),
            ("/modle", "Did you mean /model"),
            ("/undo", "nothing to undo"),
            ("/retry", "nothing to undo"),
            ("/compress", "left as it is"),
            ("/model", "Model: demo:demo"),
            ("/model nonsense:x", "✗"),
            ("/reasoning high", "effort: high"),
            ("/reasoning show", "is shown"),
            ("/personality pirate", "Personality pirate"),
            ("/personality nobody", "no personality 'nobody'"),
            ("/tools", "read_file"),
            ("/toolsets", "Used here"),
            ("/yolo on", "YOLO is on"),
            ("/yolo", "YOLO is off"),
            ("/verbose verbose", "whole output"),
            ("/config", "Turn limit: "),
            ("/reload", "Reloaded .env (0 var"),
            ("/version", "hermes-agent 0"),
            ("/image missing.png", "cannot be read"),
            ("/busy queue", "queues it"),
            ("/save", "Saved to"),
            ("/sessions", "* 20"),
            ("/resume", "no other conversation"),
            ("/statusbar", "❯ /statusbar"),
        ):
            shown.send(line + "\r")
            shown.wait_for(answer)
        assert "hermes -r" not in leave(shown), "an empty conversation is not worth resuming"
    assert "hermes chat" in cli.run("sessions", "list").stdout or not re.search(
        r"\d{8}_\d{6}_", cli.run("sessions", "list").stdout
    )


def test_retry_undo_and_new_change_the_stored_conversation(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("run echo one\r")
        shown.wait_for(DONE)
        shown.send("/retry\r")
        shown.wait_for("❯ run echo one", DONE, times=2)
        shown.send("/undo\r")
        shown.wait_for("[y] yes", where="screen")
        shown.read_for(ARMED_SECONDS)
        shown.send("y")
        shown.wait_for("Took back 1 exchange")
        shown.wait_for("❯ run echo one", where="screen", times=2)
        shown.send("\x15/undo -y\r")
        shown.wait_for("nothing to undo")
        shown.send("hello\r")
        shown.wait_for(DONE, times=3)
        first = session_of(cli)
        shown.send("/new now\r")
        shown.wait_for("New conversation 20")
        shown.send("hello again\r")
        shown.wait_for(DONE, times=4)
        shown.send(f"/resume {first}\r")
        shown.wait_for("❯ hello\n", times=2)
        shown.send("/status\r")
        shown.wait_for(f"Session: {first}")
        shown.send("/branch copy\r")
        shown.wait_for("A copy goes on")
        shown.send("/quit --delete --yes\r")
        assert shown.wait_for_end() == 0
        assert "Deleted" in shown.text
    assert "copy" not in cli.run("sessions", "list").stdout


def test_without_a_model_one_key_starts_the_demo(cli: CommandLine) -> None:
    with terminal(cli, ready="Press a key") as shown:
        assert "No model provider is set up" in shown.text
        assert "hermes setup" in shown.text
        shown.send("xd")
        shown.wait_for("This is the demo model")
        shown.send("hello\r")
        shown.wait_for(DONE)
        shown.send("/reload\r")
        shown.wait_for("Reloaded .env")
        leave(shown)


@pytest.mark.parametrize(("key", "code"), [("q", 4), ("\x04", 4), ("\x03", 130)])
def test_without_a_model_one_may_leave(cli: CommandLine, key: str, code: int) -> None:
    with terminal(cli, ready="Press a key") as shown:
        shown.send(key)
        assert shown.wait_for_end() == code
        assert "Traceback" not in shown.text


def test_two_chats_cannot_share_a_session(cli: CommandLine) -> None:
    with terminal(cli, *DEMO) as shown:
        shown.send("hello\r")
        shown.wait_for(DONE)
        refused = cli.run("-r", session_of(cli), "-z", "hello", *DEMO)
        assert refused.returncode == 5
        assert len(refused.stderr.strip().splitlines()) <= 3
        leave(shown)


def test_a_dumb_terminal_gets_lines_without_escapes(cli: CommandLine) -> None:
    with terminal(cli, *DEMO, ready="\n>", TERM="dumb") as shown:
        shown.send("list the files here\r")
        shown.wait_for("- `README.md`")
        shown.wait_for("\n>", times=2)
        shown.send("run rm -r nothing\r")
        shown.wait_for("[d]eny:")
        shown.send("d\r")
        shown.wait_for("Denied", "not approved")
        shown.send("/status\r")
        shown.wait_for("Session: ")
        shown.send("/quit\r")
        assert shown.wait_for_end() == 0
        assert "hermes -r" in shown.text
        assert "\x1b" not in shown.raw


def test_no_color_uses_no_colour(cli: CommandLine) -> None:
    with terminal(cli, *DEMO, NO_COLOR="1") as shown:
        shown.send("list the files here\r")
        shown.wait_for(DONE)
        codes = {code for group in re.findall(r"\x1b\[([0-9;]*)m", shown.raw) for code in group.split(";")}
        assert codes <= {"", "0", "1", "2", "3", "4", "7", "22", "23", "24", "39", "49"}, codes
        leave(shown)


def test_q_on_a_terminal_shows_the_work_live_and_can_be_asked(cli: CommandLine) -> None:
    victim = cli.home.parent / "victim"
    victim.mkdir()
    with terminal(cli, "-q", "run rm -r victim", *DEMO, ready=ASKING) as shown:
        press(shown, "o")
        assert shown.wait_for_end() == 0
        assert "hermes -r" in shown.text
    assert not victim.exists()


def test_q_on_a_terminal_is_interrupted_by_ctrl_c(cli: CommandLine) -> None:
    with terminal(cli, "-q", "run sleep 57", *DEMO, ready="terminal sleep 57") as shown:
        shown.send("\x03")
        assert shown.wait_for_end() == 130


def test_a_history_that_cannot_be_written_does_not_break_the_chat(cli: CommandLine) -> None:
    (cli.home / "history").mkdir(parents=True)
    with terminal(cli, *DEMO) as shown:
        shown.send("hello\r")
        shown.wait_for(DONE)
        leave(shown)
