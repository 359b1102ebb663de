# ruff: noqa: DTZ001 - log files carry local time
"""`hermes logs`: what is shown, filtered, and followed over a rotation."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from command_line import CommandLine
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.cli.log_reader import Filter, Follower, newest_records, parse_since
from hermes_agent.core.errors import UsageError

LINES = """\
2026-01-01 10:00:00,000 INFO hermes_agent.agent.loop: one
2026-01-01 11:00:00,000 WARNING [20260101_110000_aaaaaa] hermes_agent.store.writer: two
  with a second line
2026-01-01 12:00:00,000 ERROR [20260101_120000_bbbbbb] hermes_agent.models.retry: three
2026-01-01 13:00:00,000 INFO hermes_agent.models: four
"""


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


@pytest.fixture
def log(cli: CommandLine) -> Path:
    return cli.write("logs/agent.log", LINES)


def _words(records: list[str]) -> list[str]:
    return [record.split(": ", 1)[1].split()[0] for record in records]


def test_whole_log_is_shown_as_it_is(cli: CommandLine, log: Path) -> None:
    result = cli.run("logs")
    assert (result.stdout, result.stderr, result.returncode) == (LINES, "", 0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("-n", "2"), ["three", "four"]),
        (("--level", "warning"), ["two", "three"]),
        (("--session", "20260101_12"), ["three"]),
        (("--since", "2026-01-01 11:30"), ["three", "four"]),
        (("--component", "models"), ["three", "four"]),
        (("--component", "hermes_agent.models.retry"), ["three"]),
        (("--component", "model"), []),
        (("-n", "1", "--level", "WARNING"), ["three"]),
        (("-n", "0"), []),
    ],
)
def test_options_select_records(
    cli: CommandLine, log: Path, options: tuple[str, ...], expected: list[str]
) -> None:
    result = cli.run("logs", *options)
    shown = [line for line in result.stdout.splitlines() if line.startswith("2026")]
    assert _words(shown) == expected
    assert ("with a second line" in result.stdout) == ("two" in expected)
    assert result.returncode == 0


def test_old_files_are_read_when_the_new_one_is_short(tmp_path: Path) -> None:
    for number, name in enumerate(("x.log.2", "x.log.1", "x.log")):
        (tmp_path / name).write_text(
            "".join(f"2026-01-01 10:00:00,000 INFO a: {number}{each}\n" for each in range(3))
        )
    assert _words(newest_records(tmp_path / "x.log", 5, Filter())) == ["11", "12", "20", "21", "22"]
    assert _words(newest_records(tmp_path / "x.log", 99, Filter()))[0] == "00"


def test_missing_log_is_no_error_and_is_explained(cli: CommandLine) -> None:
    result = cli.run("logs", "errors")
    assert result.returncode == 0
    assert result.stdout == ""
    assert "nothing has been logged" in result.stderr
    assert not cli.home.exists()


def test_nothing_that_matches_is_said(cli: CommandLine, log: Path) -> None:
    assert "No record" in cli.run("logs", "--session", "nobody").stderr


def test_directory_in_place_of_a_log_is_no_traceback(cli: CommandLine) -> None:
    (cli.home / "logs" / "agent.log").mkdir(parents=True)
    result = cli.run("logs")
    assert "Traceback" not in result.stderr


def test_invalid_bytes_are_shown_as_replacements(cli: CommandLine, log: Path) -> None:
    log.write_bytes(b"2026-01-01 10:00:00,000 INFO a: \xff\xfe broken\n")
    assert "\ufffd" in cli.run("logs", PYTHONUTF8="1").stdout


def test_list_names_files_and_sizes(cli: CommandLine, log: Path) -> None:
    cli.write("logs/agent.log.1", LINES)
    result = cli.run("logs", "list")
    assert result.stdout.startswith("agent ")
    assert "in 2" in result.stdout


@pytest.mark.parametrize("text", ["soon", "", "3 fortnights", "2026-13-01", "25:00", "-1h"])
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no point in time"):
        parse_since(text, datetime(2026, 1, 2, 12))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", datetime(2026, 1, 2, 10, 30)),
        ("2 hours ago", datetime(2026, 1, 2, 10)),
        ("1d", datetime(2026, 1, 1, 12)),
        ("9:05", datetime(2026, 1, 2, 9, 5)),
        ("2026-01-01", datetime(2026, 1, 1)),
        ("2026-01-01 08:00", datetime(2026, 1, 1, 8)),
        ("99999999w", datetime(1, 1, 1)),
    ],
)
def test_points_in_time_are_understood(text: str, expected: datetime) -> None:
    assert parse_since(text, datetime(2026, 1, 2, 12)) == expected


@given(st.text(max_size=20))
def test_any_text_is_a_point_in_time_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_since(text, datetime(2026, 1, 2, 12)).tzinfo is None


def test_follower_sees_appended_lines_over_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("2026-01-01 10:00:00,000 INFO a: old\n")
    follower = Follower(path, Filter(level="INFO"))
    assert follower.poll() == []
    with path.open("a") as file:
        file.write("2026-01-01 10:00:01,000 INFO a: one\n2026-01-01 10:00:02,000 DEBUG a: fine\n  more\nhalf")
    assert list(follower.poll()) == ["2026-01-01 10:00:01,000 INFO a: one\n"]
    with path.open("a") as file:
        file.write(" line\n2026-01-01 10:00:03,000 INFO a: before rotation\n")
    path.rename(tmp_path / "x.log.1")
    path.write_text("2026-01-01 10:00:04,000 INFO a: after rotation\n")
    assert [line.split(": ")[1] for line in follower.poll()] == ["before rotation\n", "after rotation\n"]
    path.write_text("")
    assert list(follower.poll()) == []
    path.write_text("2026-01-01 10:00:05,000 INFO a: again\n")
    assert [line.split(": ")[1] for line in follower.poll()] == ["again\n"]
    follower.close()


def test_follower_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "x.log", Filter())
    assert follower.poll() == []
    (tmp_path / "x.log").write_text("2026-01-01 10:00:00,000 INFO a: first\n")
    assert len(follower.poll()) == 1
    follower.close()


def test_follow_shows_new_lines_until_interrupted(cli: CommandLine, log: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes_agent", "logs", "-f", "-n", "1"],
        env=cli.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stderr
    assert "four" in process.stdout.readline()
    with log.open("a") as file:
        file.write("2026-01-01 14:00:00,000 INFO a: five\n")
    line = process.stdout.readline()
    process.send_signal(2)
    _, errors = process.communicate(timeout=20)
    assert "five" in line
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_closed_pipe_ends_it_quietly(cli: CommandLine, log: Path) -> None:
    log.write_text(LINES * 5000)
    command = f"{sys.executable} -m hermes_agent logs -n 20000 | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], env=cli.environment(), capture_output=True, text=True, check=False
    )
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_colours_only_on_a_terminal(cli: CommandLine, log: Path) -> None:
    assert "\x1b" not in cli.run("logs").stdout
    assert "\x1b[31m" in cli.run("logs", FORCE_COLOR="1").stdout
