"""`hermes memory` and what a new session knows, as a person sees them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hermes_agent.models.scripted.server import ScriptedServer

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from command_line import CommandLine


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    home = tmp_path / "home"
    home.mkdir()
    return CommandLine(home)


def test_what_the_agent_was_told_is_in_the_prompt_of_the_next_session(cli: CommandLine) -> None:
    asked = cli.run("--provider", "demo", "-z", "remember that my dog is called Rufus")
    assert asked.returncode == 0, asked.stderr
    assert (cli.home / "memories" / "USER.md").read_text() == "my dog is called Rufus\n"
    shown = json.loads(cli.run("memory", "show", "--json").stdout)
    (entry,) = shown["user"]["entries"]
    assert entry["origin"] == "agent" and entry["session_id"]
    parts = json.loads(cli.run("prompt-size", "--json").stdout)
    assert "The user (what you know of them)" in [part["name"] for part in parts["parts"]]
    assert parts["tokens"] == sum(part["tokens"] for part in parts["parts"]) < 9_000
    again = cli.run("--provider", "demo", "-z", "hello")
    assert again.returncode == 0
    exported = cli.run("sessions", "list", "--json").stdout.splitlines()
    newest = json.loads(exported[0])["id"]
    session = json.loads(cli.run("sessions", "show", newest, "--json").stdout)
    assert "my dog is called Rufus" in json.dumps(session)


def test_people_change_memory_and_take_it_back(cli: CommandLine) -> None:
    assert "1 entry" in cli.run("memory", "add", "The server is called atlas.").stdout
    assert "atlas" in cli.run("memory").stdout
    assert "− The server" in cli.run("memory", "remove", "atlas").stdout
    assert "remove" in cli.run("memory", "history").stdout
    assert "Taken back" in cli.run("memory", "undo").stdout
    assert (cli.home / "memories" / "MEMORY.md").read_text() == "The server is called atlas.\n"
    refused = cli.run("memory", "remove", "nothing like it")
    assert refused.returncode == 6 and "no entry contains" in refused.stderr


def test_waiting_changes_are_approved_or_rejected(cli: CommandLine) -> None:
    cli.write("config.yaml", "memory: {write_approval: true}\n")
    cli.run("--provider", "demo", "-z", "remember that I like tea")
    cli.run("--provider", "demo", "-z", "remember that I like rain")
    assert not (cli.home / "memories" / "USER.md").exists()
    lines = [json.loads(line) for line in cli.run("memory", "pending", "--json").stdout.splitlines()]
    assert [line["change"]["content"] for line in lines] == ["I like tea", "I like rain"]
    assert cli.run("memory", "approve", lines[0]["id"]).stdout == "+ I like tea\n"
    assert "Rejected" in cli.run("memory", "reject", lines[1]["id"]).stdout
    assert (cli.home / "memories" / "USER.md").read_text() == "I like tea\n"
    assert cli.run("memory", "approve", "ffffff").returncode == 5


def test_a_review_at_the_end_of_a_one_shot_says_what_it_learned(
    cli: CommandLine, model_server: Callable[..., ScriptedServer]
) -> None:
    saves = {"name": "memory", "arguments": {"action": "add", "target": "user", "content": "Likes tea."}}
    server = model_server(
        {
            "rules": [
                {"when": {"user": "silent review", "after": "user"}, "tool_calls": [saves]},
                {"text": "Nice."},
            ]
        }
    )
    cli.write(
        "config.yaml",
        f"model: {{provider: custom, base_url: '{server.base_url}', default: scripted}}\n"
        "memory: {nudge_interval: 1}\n",
    )
    result = cli.run("chat", "-q", "I like tea")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Nice.\n"
    assert "Learned: memory + Likes tea." in result.stderr
    assert (cli.home / "memories" / "USER.md").read_text() == "Likes tea.\n"
    review = server.requests[1]
    assert review.cached_tokens / review.prompt_tokens > 0.9
    session = json.loads(cli.run("sessions", "list", "--json").stdout.splitlines()[0])
    assert "silent review" not in cli.run("sessions", "show", session["id"], "--json").stdout


def test_a_review_that_hangs_holds_the_process_only_for_a_moment(
    cli: CommandLine, model_server: Callable[..., ScriptedServer]
) -> None:
    rules = [{"when": {"user": "silent review"}, "hang": True}, {"text": "Nice."}]
    server = model_server({"rules": rules})
    cli.write(
        "config.yaml",
        f"model: {{provider: custom, base_url: '{server.base_url}', default: scripted}}\n"
        "memory: {nudge_interval: 1}\n",
    )
    started = time.monotonic()
    result = cli.run("-z", "I like tea")
    assert (result.returncode, result.stdout) == (0, "Nice.\n")
    assert time.monotonic() - started < 12  # two seconds of grace, the rest is a slow machine's start


@pytest.mark.parametrize("place", ["skills", "memories", "pending", "cache"])
def test_a_file_in_the_place_of_a_folder_is_named_and_ends_nothing(cli: CommandLine, place: str) -> None:
    cli.write(place, "in the way")
    cli.write("config.yaml", f"memory: {{write_approval: {str(place == 'pending').lower()}}}\n")
    asked = cli.run("--provider", "demo", "-z", "remember that I like tea")
    assert asked.returncode == 0
    if place != "cache":
        assert f"{cli.home / place} is not a directory" in asked.stdout + asked.stderr
