"""One question, one answer, in a real process against the demo model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from command_line import CommandLine

if TYPE_CHECKING:
    from conftest import StartServer

DEMO = ("--provider", "demo")
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    (tmp_path / "README.md").write_text("# Hello\n", encoding="utf-8")
    return CommandLine(tmp_path / "home")


def test_z_prints_only_the_final_text(cli: CommandLine) -> None:
    shown = cli.run("-z", "list the files here", *DEMO)
    assert shown.returncode == 0, shown.stderr
    assert "README.md" in shown.stdout
    assert "terminal" not in shown.stdout
    assert shown.stderr == ""


def test_q_shows_the_work_as_plain_text(cli: CommandLine) -> None:
    shown = cli.run("chat", "-q", "list the files here", *DEMO)
    assert shown.returncode == 0, shown.stderr
    assert "> terminal ls" in shown.stdout
    assert "< terminal ok" in shown.stdout
    assert "README.md" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr
    assert "hermes -r " in shown.stderr


def test_quiet_prints_the_answer_only(cli: CommandLine) -> None:
    shown = cli.run("chat", "-Q", "-q", "list the files here", *DEMO)
    assert "terminal" not in shown.stdout
    assert shown.stderr == ""


def test_json_is_one_event_per_line_from_start_to_finish(cli: CommandLine) -> None:
    shown = cli.run("--json", "-q", "run echo Grüße", *DEMO)
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    assert events[0]["type"] == "run_started"
    assert events[-1]["type"] == "run_finished"
    assert events[-1]["outcome"] == "completed"
    types = {event["type"] for event in events}
    assert {"turn_started", "text_delta", "tool_call_started", "tool_call_finished", "usage_updated"} <= types
    assert "Grüße" in shown.stdout


def test_piped_text_is_the_question(cli: CommandLine) -> None:
    for arguments in ((), ("chat",), ("-q", "-"), ("-z", "-")):
        shown = cli.run(*arguments, *DEMO, stdin="list the files here\n")
        assert shown.returncode == 0, shown.stderr
        assert "README.md" in shown.stdout


def test_piped_text_is_added_to_the_question(cli: CommandLine) -> None:
    shown = cli.run("--json", "-q", "list the files here", *DEMO, stdin="some context\n")
    assert shown.returncode == 0
    session = json.loads(shown.stdout.splitlines()[0])["session_id"]
    exported = cli.run("sessions", "export", session, "--output", "-")
    assert "some context" in exported.stdout or exported.returncode != 0


def test_invalid_bytes_on_standard_input_are_survived(cli: CommandLine) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "hermes_agent", "-Q", *DEMO],
        env=cli.environment(),
        cwd=cli.home.parent,
        input=b"list the files here \xff\xfe\x00\n",
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr


def test_nothing_to_ask_is_wrong_usage(cli: CommandLine) -> None:
    for arguments, stdin in (((), ""), (("-q", "  "), ""), (("-z", "-"), "\n\n")):
        shown = cli.run(*arguments, *DEMO, stdin=stdin)
        assert shown.returncode == 2
        assert "nothing to ask" in shown.stderr


def test_without_a_provider_it_names_the_demo_and_exits_4(cli: CommandLine) -> None:
    shown = cli.run("-z", "hello")
    assert shown.returncode == 4
    assert "--provider demo" in shown.stderr
    assert len(shown.stderr.strip().splitlines()) <= 3


def test_risky_calls_are_denied_with_a_word_on_how_to_allow_them(cli: CommandLine) -> None:
    victim = cli.home.parent / "victim"
    victim.mkdir()
    shown = cli.run("-z", "run rm -r victim", *DEMO)
    assert victim.exists()
    assert "--yolo" in shown.stderr
    assert cli.run("-z", "run rm -r victim", "--yolo", *DEMO).returncode == 0
    assert not victim.exists()


def test_a_session_is_resumed_by_id_prefix_and_latest(cli: CommandLine) -> None:
    first = cli.run("--json", "-q", "hello", *DEMO)
    session = json.loads(first.stdout.splitlines()[0])["session_id"]
    for arguments in (("-r", session), ("-r", session[:-2]), ("-c",)):
        again = cli.run(*arguments, "--json", "-q", "hello", *DEMO)
        assert json.loads(again.stdout.splitlines()[0])["session_id"] == session, again.stderr


def test_an_unknown_session_is_exit_code_5(cli: CommandLine) -> None:
    shown = cli.run("-r", "nothing", "-z", "hello", *DEMO)
    assert shown.returncode == 5
    shown = cli.run("-c", "-z", "hello", *DEMO)
    assert shown.returncode == 5


def test_an_image_is_checked_before_anything_is_asked(cli: CommandLine) -> None:
    directory = cli.home.parent
    (directory / "fine.png").write_bytes(PNG)
    (directory / "text.png").write_text("no image")
    assert cli.run("-z", "hello", "--image", "fine.png", *DEMO).returncode == 0
    for name in ("text.png", "missing.png", "."):
        shown = cli.run("-z", "hello", "--image", name, *DEMO)
        assert shown.returncode == 2, name
        assert name in shown.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_the_run_and_its_command(cli: CommandLine, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes_agent", "-q", "run sleep 47", *DEMO],
        env=cli.environment(),
        cwd=cli.home.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("> terminal"):
            break
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "Interrupted" in stderr
    assert "Traceback" not in stderr


def test_max_turns_ends_a_run_with_its_own_exit_code(cli: CommandLine) -> None:
    shown = cli.run("-z", "list the files here", "--max-turns", "1", *DEMO)
    assert shown.returncode == 8
    assert "--max-turns" in shown.stderr


def test_verbose_shows_what_the_tools_print(cli: CommandLine) -> None:
    quiet = cli.run("-q", "run echo abcdef; echo ghijkl", *DEMO)
    loud = cli.run("-v", "-q", "run echo abcdef; echo ghijkl", *DEMO)
    assert len(loud.stdout) > len(quiet.stdout)


def test_a_failed_run_prints_its_error_once_and_logs_it_under_its_session(
    cli: CommandLine, model_server: StartServer
) -> None:
    server = model_server([{"error": {"status": 401, "message": "no such key"}}])
    cli.write("config.yaml", f"model: {{provider: custom, base_url: '{server.base_url}', default: m}}\n")
    shown = cli.run("-z", "hi", OPENAI_API_KEY="sk-1234567890abcdefghij")
    assert shown.returncode == 4
    assert shown.stdout == ""
    assert shown.stderr.startswith("Error: ")
    assert "run run_" not in shown.stderr
    session = json.loads(cli.run("sessions", "list", "--json").stdout.splitlines()[0])
    logged = cli.run("logs", "--session", session["id"]).stdout
    assert "no such key" in logged
    assert "failed" in logged


def test_tool_calls_are_found_in_the_log_by_session(cli: CommandLine) -> None:
    session = json.loads(cli.run("--json", "-q", "run echo hi", *DEMO).stdout.splitlines()[0])["session_id"]
    logged = cli.run("logs", "--session", session).stdout
    assert "tool terminal done" in logged
    assert "completed" in logged


def test_whole_outputs_are_shown_as_lines_not_as_json(cli: CommandLine) -> None:
    shown = cli.run("chat", "-v", "-q", "run printf 'one\\ntwo\\n'", *DEMO)
    assert '{"output"' not in shown.stdout
    assert "  one\n  two\n" in shown.stdout


def test_a_toolset_without_tools_is_named(cli: CommandLine) -> None:
    shown = cli.run("-z", "hello", "-t", "terminal,spotify", *DEMO)
    assert shown.returncode == 0
    assert "spotify" in shown.stderr
