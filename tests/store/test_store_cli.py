"""`hermes sessions`, `hermes backup` and `hermes import`, as a person runs them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from hermes_agent.cli.commands.sessions_browse import choose
from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from hermes_agent.store import open_store
from hermes_agent.store.locks import SessionLock

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    def call(*arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "HERMES_HOME": str(home),
            "HOME": str(home.parent),
            "PATH": os.environ["PATH"],
            **extra,
        }
        command = [sys.executable, "-m", "hermes_agent", *arguments]
        return subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    return call


@pytest.fixture
async def filled(home: Path) -> Path:
    store = await open_store(home / "state.db")
    for name, title in (("20250101_000000_aaaaaa", "Holiday plan"), ("20250102_000000_bbbbbb", None)):
        await store.create(source="cli", session_id=name, title=title, model="demo:demo", cwd="/srv")
    await store.append(
        "20250101_000000_aaaaaa",
        [
            UserMessage.of("where is the 独角兽?"),
            AssistantMessage(
                "",
                (ToolCall("c", "terminal", '{"command":"ls"}'),),
                reasoning="hm",
                finish_reason="tool_calls",
            ),
            ToolMessage("c", "terminal", "\x1b[2Jmeadow " + "x" * 1000),
            AssistantMessage("In the meadow."),
        ],
    )
    await store.append("20250102_000000_bbbbbb", [UserMessage.of("second talk")])
    await store.append_draft("20250102_000000_bbbbbb", "text", "I was about")
    await store.aclose()
    return home


def test_an_empty_home_says_so(run: Run) -> None:
    for arguments in (["sessions"], ["sessions", "list"], ["sessions", "browse"]):
        done = run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "There are no sessions yet.\n", "")
    assert run("sessions", "list", "--json").stdout == ""
    assert run("sessions", "prune").stdout == "No session is older than 90 days.\n"
    assert "Nothing found" in run("sessions", "search", "x").stdout
    assert run("sessions", "stats").returncode == 0


def test_sessions_are_listed(filled: Path, run: Run) -> None:
    lines = run("sessions", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "LAST", "USED", "MSGS", "SOURCE", "TITLE"]
    assert lines[1].startswith("20250102_000000_bbbbbb")
    assert lines[1].endswith("second talk")
    assert lines[2].endswith("4  cli       Holiday plan")
    assert len(run("sessions", "list", "-n", "1").stdout.splitlines()) == 2
    assert "no sessions" in run("sessions", "list", "--source", "telegram").stdout
    records = [json.loads(line) for line in run("sessions", "list", "--json").stdout.splitlines()]
    assert [record["title"] for record in records] == [None, "Holiday plan"]
    assert records[0]["preview"] == "second talk"


def test_a_conversation_is_shown(filled: Path, run: Run) -> None:
    done = run("sessions", "show", "holiday plan")
    assert done.returncode == 0
    assert "where is the 独角兽?" in done.stdout
    assert '→ terminal {"command":"ls"}' in done.stdout
    assert "--tools shows all" in done.stdout
    assert "\x1b" not in done.stdout
    assert "x" * 1000 in run("sessions", "show", "20250101", "--tools").stdout
    assert "(interrupted)" in run("sessions", "show", "20250102").stdout
    shown = json.loads(run("sessions", "show", "20250101", "--json").stdout)
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert shown["messages"][1]["tool_calls"][0]["function"] == {
        "name": "terminal",
        "arguments": '{"command":"ls"}',
    }


def test_an_unknown_session_is_exit_code_5_with_a_hint(filled: Path, run: Run) -> None:
    for arguments in (
        ["show", "Holi"],
        ["rename", "Holi", "x"],
        ["delete", "Holi", "-y"],
        ["export", "Holi"],
    ):
        done = run("sessions", *arguments)
        assert (done.returncode, done.stdout) == (5, "")
        assert "There is no session 'Holi'" in done.stderr
        assert "Did you mean 20250101_000000_aaaaaa (Holiday plan)?" in done.stderr
    done = run("sessions", "show", "2025")
    assert "More than one" in done.stderr


def test_messages_are_found(filled: Path, run: Run) -> None:
    done = run("sessions", "search", "独角")
    assert ">>>独角<<<兽" in done.stdout
    assert "20250101_000000_aaaaaa Holiday plan" in done.stdout
    hits = [json.loads(line) for line in run("sessions", "search", "--json", "second").stdout.splitlines()]
    assert [(hit["session_id"], hit["role"]) for hit in hits] == [("20250102_000000_bbbbbb", "user")]
    assert "Nothing" in run("sessions", "search", "second", "--session", "20250101").stdout
    assert run("sessions", "search", "--", "-x").returncode == 0


def test_renaming(filled: Path, run: Run) -> None:
    assert "'New name'" in run("sessions", "rename", "20250102", "New", "name").stdout
    done = run("sessions", "rename", "20250101", "New name")
    assert done.returncode == 5
    assert "taken" in done.stderr
    assert run("sessions", "rename", "20250101", "x" * 200).returncode == 5
    assert "no title" in run("sessions", "rename", "20250101", "").stdout


def test_export_gives_json_lines(filled: Path, run: Run, tmp_path: Path) -> None:
    lines = run("sessions", "export", "--all").stdout.splitlines()
    assert [len(json.loads(line)["messages"]) for line in lines] == [4, 2]
    done = run("sessions", "export", "20250101", "-o", str(tmp_path / "one.jsonl"))
    assert "1 session" in done.stderr
    assert json.loads((tmp_path / "one.jsonl").read_text())["title"] == "Holiday plan"
    assert stat.S_IMODE((tmp_path / "one.jsonl").stat().st_mode) == 0o600
    assert run("sessions", "export").returncode == 2
    assert run("sessions", "export", "x", "--all").returncode == 2
    done = run("sessions", "export", "--all", "-o", str(tmp_path / "no" / "where.jsonl"))
    assert done.returncode == 5
    assert "Cannot write" in done.stderr


def test_deleting_needs_a_yes(filled: Path, run: Run) -> None:
    done = run("sessions", "delete", "20250101")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    with SessionLock(filled / "run", "20250101_000000_aaaaaa"):
        done = run("sessions", "delete", "20250101", "--yes")
    assert done.returncode == 5
    assert f"process {os.getpid()}" in done.stderr
    assert run("sessions", "delete", "20250101", "--yes").returncode == 0
    assert "Nothing" in run("sessions", "search", "meadow").stdout


def test_pruning_only_tells_unless_told(filled: Path, run: Run) -> None:
    done = run("sessions", "prune", "--older-than", "0")
    assert "2 sessions would be deleted" in done.stdout
    assert len(run("sessions", "list", "--json").stdout.splitlines()) == 2
    with SessionLock(filled / "run", "20250101_000000_aaaaaa"):
        done = run("sessions", "prune", "--older-than", "0", "--yes")
    assert "Deleted 1 session." in done.stdout
    assert run("sessions", "prune", "--older-than", "0", "--source", "cron", "--yes").returncode == 0
    assert len(run("sessions", "list", "--json").stdout.splitlines()) == 1


def test_statistics_and_optimizing(filled: Path, run: Run) -> None:
    assert "Sessions      2 (cli 2)" in run("sessions", "stats").stdout
    assert json.loads(run("sessions", "stats", "--json").stdout)["messages"] == 5
    assert "Database:" in run("sessions", "optimize").stdout


def test_an_older_database_is_searched_whole(
    home: Path, run: Run, older_database_writer: Callable[..., None]
) -> None:
    home.mkdir()
    older_database_writer(home / "state.db")
    assert "optimize --drop-old-index" in run("sessions", "stats").stdout
    assert ">>>unicorn<<<" in run("sessions", "search", "unicorn").stdout
    assert run("sessions", "optimize", "--drop-old-index").returncode == 0
    assert "drop-old-index" not in run("sessions", "stats").stdout


@pytest.mark.parametrize("content", [b"garbage" * 500, None])
def test_a_bad_database_is_exit_code_5(home: Path, run: Run, content: bytes | None) -> None:
    home.mkdir()
    if content is None:
        (home / "state.db").mkdir()
    else:
        (home / "state.db").write_bytes(content)
    done = run("sessions", "list")
    assert done.returncode == 5
    assert "state.db" in done.stderr
    assert "Traceback" not in done.stderr


def test_backup_and_import(filled: Path, run: Run, tmp_path: Path) -> None:
    (filled / ".env").write_text("KEY=1\n")
    done = run("backup", "-o", str(tmp_path / "b.zip"))
    assert done.returncode == 0
    assert "Saved 2 files" in done.stdout
    assert "keys" in done.stdout
    done = run("import", str(tmp_path / "b.zip"))
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert "Restored 2 files" in run("import", "-f", str(tmp_path / "b.zip")).stdout
    done = run("import", str(tmp_path / "b.zip"), HERMES_HOME=str(tmp_path / "other"))
    assert done.returncode == 0, done.stderr
    done = run("sessions", "list", HERMES_HOME=str(tmp_path / "other"))
    assert "Holiday plan" in done.stdout
    done = run("import", str(tmp_path / "missing.zip"))
    assert done.returncode == 2
    assert run("backup", "--quick").returncode == 0
    assert len(list((filled / "backups").glob("hermes-*.zip"))) == 1
    assert run("backup", HERMES_HOME=str(tmp_path / "nothing")).returncode == 5


def test_a_managed_home_is_not_imported_into(filled: Path, run: Run, tmp_path: Path) -> None:
    run("backup", "-o", str(tmp_path / "b.zip"))
    done = run("import", "-f", str(tmp_path / "b.zip"), HERMES_MANAGED="true")
    assert done.returncode == 7
    assert "managed by NixOS" in done.stderr


def pick(keys: str) -> str | None:
    options = [
        (f"id{number}", f"line {number} of {'cats' if number % 2 else 'dogs'}") for number in range(30)
    ]
    with create_pipe_input() as keyboard:
        keyboard.send_text(keys)
        with create_app_session(input=keyboard, output=DummyOutput()):
            return choose(options)


def test_browsing_picks_a_session() -> None:
    assert pick("\r") == "id0"
    assert pick("\x1b[B\x1b[B\r") == "id2"
    assert pick("\x1b[A\r") == "id0"
    assert pick("cats\x1b[B\r") == "id3"
    assert pick("\x1b[6~\x1b[6~\x1b[6~\r") == "id29"
    assert pick("line 17\r") == "id17"
    assert pick("nothing like this\r\x15\r") == "id0"
    assert pick("\x03") is None
