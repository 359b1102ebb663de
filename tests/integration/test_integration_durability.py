"""Real processes that are killed, locked out or starved: nothing that was shown is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from hermes_agent.store import open_store

KEY = "sk-test-0123456789abcdef"


def configure(home: Home, base_url: str, *, more: str = "") -> None:
    home.config_file.write_text(
        "model:\n  provider: custom:test\n  default: script\n"
        f"custom_providers:\n  - name: test\n    base_url: {base_url}\n    key_env: TEST_KEY\n{more}"
    )
    home.env_file.write_text(f"TEST_KEY={KEY}\n")
    home.env_file.chmod(0o600)


def environment(home: Home) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE")
    }
    return {**kept, "HERMES_HOME": str(home.root), "HOME": str(home.root.parent), "LANG": "C.UTF-8"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hermes_agent", *arguments]


def run(home: Home, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment(home),
        cwd=home.root.parent,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def events_of(
    home: Home, *arguments: str
) -> Iterator[tuple[subprocess.Popen[str], Iterator[dict[str, Any]]]]:
    process = subprocess.Popen(
        command("chat", "--json", *arguments),
        env=environment(home),
        cwd=home.root.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, (json.loads(line) for line in process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def history(home: Home, session_id: str) -> list[Message]:
    store = await open_store(home.state_db)
    try:
        return [item.message for item in await store.messages(session_id)]
    finally:
        await store.aclose()


@pytest.mark.parametrize("after", [1, 7, 23])
async def test_kill_9_in_the_middle_of_an_answer_keeps_all_that_was_shown(
    home: Home, model_server, after: int
) -> None:
    words = [f"word{number} " for number in range(40)]
    server = model_server([{"text": words, "chunk_delay_seconds": 0.01, "hang": 30}, {"text": "resumed"}])
    configure(home, server.base_url)
    shown, session_id = "", ""
    with events_of(home, "-q", "tell me") as (process, events):
        count = 0
        for event in events:
            session_id = event.get("session_id", session_id)
            if event["type"] == "text_delta":
                shown += event["text"]
                count += 1
                if count >= after:
                    break
        process.send_signal(signal.SIGKILL)
        process.wait()
        # What was already in the pipe counts as shown too.
        shown += "".join(event["text"] for event in events if event["type"] == "text_delta")
    messages = await history(home, session_id)
    assert isinstance(messages[0], UserMessage)
    assert isinstance(messages[-1], AssistantMessage)
    assert messages[-1].text.startswith(shown)
    again = run(home, "-r", session_id, "-z", "go on")
    assert (again.returncode, again.stdout.strip()) == (0, "resumed")
    request = server.requests[-1]
    assert any(shown.strip() in getattr(message, "text", "") for message in request.messages)


async def test_kill_9_during_a_command_answers_the_call_on_resume(home: Home, model_server) -> None:
    slow = {"name": "terminal", "arguments": {"command": "echo started; sleep 60"}}
    server = model_server([{"text": "I run it.", "tool_calls": [slow]}, {"text": "fine"}])
    configure(home, server.base_url)
    session_id = ""
    with events_of(home, "-q", "run it") as (process, events):
        for event in events:
            session_id = event.get("session_id", session_id)
            if event["type"] == "tool_call_progress" and "started" in event["text"]:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run(home, "-r", session_id, "-z", "and?").stdout.strip() == "fine"
    messages = await history(home, session_id)
    result = next(message for message in messages if isinstance(message, ToolMessage))
    assert "hermes stopped before" in result.text


def test_two_chats_cannot_run_one_session(home: Home, model_server) -> None:
    server = model_server([{"text": "a", "hang": 1}])
    configure(home, server.base_url)
    with events_of(home, "-q", "first") as (process, events):
        session_id = next(event["session_id"] for event in events if event["type"] == "run_started")
        second = run(home, "-r", session_id, "-z", "second")
        assert second.returncode == 5
        assert str(process.pid) in second.stderr
        assert len(second.stderr.strip().splitlines()) <= 4


def test_an_interrupt_signal_ends_with_130_and_keeps_the_session(home: Home, model_server) -> None:
    server = model_server([{"text": ["half ", "x"], "hang": 1}, {"text": "resumed"}])
    configure(home, server.base_url)
    with events_of(home, "-q", "go") as (process, events):
        session_id = ""
        kinds = []
        for event in events:
            session_id = event.get("session_id", session_id)
            kinds.append(event["type"])
            if event["type"] == "text_delta":
                process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert kinds[-1] == "run_finished"
    assert run(home, "-r", session_id, "-z", "go on").stdout.strip() == "resumed"


@pytest.mark.parametrize(
    ("step", "code", "expected"),
    [
        ({"error": {"status": 401, "message": f"Incorrect key {KEY}"}}, 4, "refused"),
        ({"error": {"status": 404, "message": "no such model"}}, 4, "no such model"),
        ({"error": {"status": 400, "message": "bad request, says the server"}}, 4, "says the server"),
        ({"error": {"status": 429, "headers": {"Retry-After": "3600"}}, "times": 9}, 4, ""),
    ],
)
def test_refusals_are_told_in_three_lines_without_the_key(
    home: Home, model_server, step: dict[str, Any], code: int, expected: str
) -> None:
    server = model_server([step])
    configure(home, server.base_url)
    result = run(home, "-z", "hi")
    assert result.returncode == code
    assert KEY not in result.stderr + result.stdout
    assert KEY[-8:] not in result.stderr
    assert 1 <= len(result.stderr.strip().splitlines()) <= 6
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_a_stream_that_is_cut_once_is_asked_again(home: Home, model_server) -> None:
    server = model_server([{"text": ["lost ", "x"], "cut": 1}, {"text": "whole"}])
    configure(home, server.base_url)
    result = run(home, "-z", "hi")
    assert (result.returncode, result.stdout.strip()) == (0, "whole")


def test_a_stream_cut_inside_a_tool_call_runs_nothing(home: Home, model_server, tmp_path: Path) -> None:
    target = tmp_path / "made"
    write = {"name": "write_file", "arguments": {"path": str(target), "content": "half"}}
    server = model_server([{"tool_calls": [write], "cut": "tool_call"}, {"text": "gave up"}])
    configure(home, server.base_url)
    assert run(home, "-z", "hi").stdout.strip() == "gave up"
    assert not target.exists()


def test_an_unreachable_endpoint_names_host_and_port(home: Home) -> None:
    configure(home, "http://127.0.0.1:9/v1", more="agent:\n  api_max_retries: 0\n")
    result = run(home, "-z", "hi")
    assert result.returncode == 4
    assert "127.0.0.1:9" in result.stderr


def test_huge_and_broken_output_of_a_command_is_cut_and_the_rest_kept(home: Home, model_server) -> None:
    line = "printf '\\377\\376broken\\n'; head -c 100000000 /dev/zero | tr '\\0' x; printf 'the end'"
    server = model_server(
        [{"tool_calls": [{"name": "terminal", "arguments": {"command": line}}]}, {"text": "seen"}]
    )
    configure(home, server.base_url)
    result = run(home, "-z", "hi")
    assert (result.returncode, result.stdout.strip()) == (0, "seen")
    text = server.requests[-1].messages[-1].text
    assert "broken" in text
    assert "the end" in text
    assert len(text) < 60_000


def test_a_directory_in_place_of_the_database_is_said_plainly(home: Home) -> None:
    home.state_db.mkdir()
    result = run(home, "--provider", "demo", "-z", "hi")
    assert result.returncode == 5
    assert "state.db" in result.stderr


def test_without_any_key_the_way_out_is_named(home: Home) -> None:
    result = run(home, "-z", "hi")
    assert result.returncode == 4
    assert "--provider demo" in result.stderr
    assert "hermes setup" in result.stderr


def test_commands_do_not_see_keys(home: Home, model_server) -> None:
    look = {"name": "terminal", "arguments": {"command": "env; cat $HERMES_HOME/.env || true"}}
    server = model_server([{"tool_calls": [look]}, {"text": "{{tool_result}}"}])
    configure(home, server.base_url)
    result = run(home, "-z", "show me", "--yolo")
    assert KEY not in result.stdout
    assert all(KEY not in getattr(message, "text", "") for message in server.requests[-1].messages)
