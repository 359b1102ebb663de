"""Conversations as JSON files beside the database."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hermes_agent.app.container import App
from hermes_agent.app.snapshots import SnapshotWriter
from hermes_agent.config.paths import Home
from hermes_agent.core.messages import AssistantMessage, UserMessage

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from command_line import CommandLine


def test_each_run_leaves_a_file_if_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    cli = CommandLine(tmp_path / "home")
    assert cli.run("--provider", "demo", "-z", "hello").returncode == 0
    assert not list((cli.home / "sessions").glob("*.json"))
    cli.write("config.yaml", "sessions: {write_json_snapshots: true}\n")
    assert cli.run("--provider", "demo", "-z", "hello again").returncode == 0
    (path,) = (cli.home / "sessions").glob("session_*.json")
    data = json.loads(path.read_text())
    assert path.stem == f"session_{data['id']}" and path.stat().st_mode & 0o077 == 0
    assert data["message_count"] == 2
    assert [message["role"] for message in data["messages"]] == ["user", "assistant"]
    assert data["messages"][0]["content"] == "hello again" and data["system_prompt"]


async def test_a_longer_file_is_never_overwritten_and_a_broken_one_is(home: Home) -> None:
    app = App.load(home=home)
    store = await app.store()
    record = await store.create(source="cli")
    await store.append(
        record.id,
        [
            UserMessage.of("hi"),
            AssistantMessage("<REASONING_SCRATCHPAD>hm</REASONING_SCRATCHPAD>hello"),
            UserMessage.of("bye"),
        ],
    )
    writer = SnapshotWriter(home, app.store)
    path = home.sessions / f"session_{record.id}.json"
    home.sessions.mkdir()
    path.write_text("{broken")
    await writer.write(record.id)
    first = json.loads(path.read_text())
    assert first["messages"][1]["content"] == "<think>hm</think>hello"
    await store.rewind(record.id, first["messages"][2]["id"])
    await writer.write(record.id)
    assert json.loads(path.read_text()) == first
    await writer.write("../outside")
    await writer.write("unknown")
    assert [each.name for each in home.sessions.iterdir()] == [path.name]
    await app.aclose()


async def test_a_place_that_cannot_be_written_costs_a_line_in_the_log(home: Home) -> None:
    app = App.load(home=home)
    record = await (await app.store()).create(source="cli")
    home.sessions.write_text("in the way")
    await SnapshotWriter(home, app.store).write(record.id)
    await app.aclose()
