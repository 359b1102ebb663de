"""Log files: contents, rotation, several processes, and homes that cannot be written."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_agent.app.logging import (
    RotatingFile,
    log_file,
    log_generations,
    start_logging,
    stop_logging,
)
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.logging import LoggingSettings
from hermes_agent.core.redaction import Redactor

SECRET = "sk-or-v1-0123456789abcdef0123456789abcdef"
HEADER = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+( \[\S+\])? [\w.]+: ")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    before = logging.root.level, logging.getLogger("hermes_agent").level
    yield Home(tmp_path / "home")
    stop_logging()
    logging.root.setLevel(before[0])
    logging.getLogger("hermes_agent").setLevel(before[1])


def _start(home: Home, **values: object) -> logging.Logger:
    start_logging(home, LoggingSettings.model_validate(values), Redactor([SECRET]))
    return logging.getLogger("hermes_agent.test")


def test_records_reach_their_files_with_private_modes(home: Home) -> None:
    logger = _start(home)
    logger.debug("too fine")
    logger.info("all is well", extra={"session_id": "20260101_000000_abcdef"})
    logger.error("all is not well")
    agent = log_file(home, "agent").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in agent] == [
        "INFO [20260101_000000_abcdef] hermes_agent.test: all is well",
        "ERROR hermes_agent.test: all is not well",
    ]
    assert all(HEADER.match(line) for line in agent)
    assert log_file(home, "errors").read_text() == agent[1] + "\n"
    assert log_file(home, "agent").stat().st_mode & 0o777 == 0o600
    assert home.logs.stat().st_mode & 0o777 == 0o700


def test_nothing_is_made_before_the_first_record(home: Home) -> None:
    _start(home)
    assert not home.root.exists()


def test_level_comes_from_the_settings_and_libraries_are_quiet(home: Home) -> None:
    logger = _start(home, level="debug")
    logger.debug("fine")
    logging.getLogger("httpx").info("Authorization: Bearer x")
    logging.getLogger("httpx").warning("odd")
    text = log_file(home, "agent").read_text()
    assert "fine" in text
    assert "Bearer" not in text
    assert "odd" in text


def test_secrets_are_redacted_in_messages_arguments_and_tracebacks(home: Home) -> None:
    logger = _start(home)
    try:
        int(f"bad key {SECRET}")
    except ValueError:
        logger.exception("while using %s", SECRET)
    for name in ("agent", "errors"):
        text = log_file(home, name).read_text()
        assert SECRET not in text
        assert "ValueError: invalid literal" in text


def test_no_message_can_pass_for_another_record_or_control_the_terminal(home: Home) -> None:
    _start(home).info("one\n2026-01-01 00:00:00,000 CRITICAL forged: x\x1b[2J\r\x07")
    lines = log_file(home, "agent").read_bytes().decode().splitlines()
    assert sum(bool(HEADER.match(line)) for line in lines) == 1
    assert "\x1b" not in "".join(lines)
    assert "\\x1b[2J\\x0d\\x07" in lines[1]


def test_arguments_that_do_not_fit_are_reported_and_not_raised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = _handler(tmp_path / "x.log", 1000, 1)
    logger.info("%d apples", "no")
    logger.handlers[0].close()
    assert (tmp_path / "x.log").read_text() == "cannot format '%d apples'\n"
    assert capsys.readouterr().err == ""


def test_lone_surrogates_are_written_all_the_same(home: Home) -> None:
    _start(home).info("broken \udcff text")
    assert "broken ? text" in log_file(home, "agent").read_text()


def _handler(path: Path, limit: int, backups: int) -> logging.Logger:
    logger = logging.Logger("rotation")
    logger.addHandler(RotatingFile(path, limit, backups))
    return logger


def test_full_files_are_rotated_and_only_so_many_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logger = _handler(path, 100, 2)
    for number in range(50):
        logger.info("line %02d %s", number, "." * 40)
    files = log_generations(path)
    assert [file.name for file in files] == ["x.log", "x.log.1", "x.log.2"]
    assert all(file.stat().st_size <= 100 for file in files)
    assert "line 49" in path.read_text()
    logger.handlers[0].close()


def test_without_backups_a_full_file_starts_over(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logger = _handler(path, 100, 0)
    for number in range(9):
        logger.info("line %s %s", number, "." * 40)
    assert [file.name for file in log_generations(path)] == ["x.log"]
    assert path.stat().st_size <= 100
    logger.handlers[0].close()


def test_record_longer_than_a_whole_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logger = _handler(path, 100, 1)
    logger.info("short")
    logger.info("x" * 500)
    assert path.stat().st_size == 501
    logger.handlers[0].close()


def test_removed_file_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    logger = _handler(path, 1000, 1)
    logger.info("one")
    path.unlink()
    logger.info("two")
    assert path.read_text() == "two\n"
    logger.handlers[0].close()


def test_threads_and_processes_share_a_file_without_losing_or_mixing_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    program = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from hermes_agent.app.logging import RotatingFile\n"
        "logger = logging.Logger('x')\n"
        "logger.addHandler(RotatingFile(Path(sys.argv[1]), 4000, 1000))\n"
        "for number in range(300): logger.info('%s-%03d %s', sys.argv[2], number, '.' * 60)\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", program, path, f"p{each}"]) for each in range(3)]
    logger = _handler(path, 4000, 1000)
    threads = [
        threading.Thread(
            target=lambda each=each: [logger.info("t%s-%03d %s", each, n, "." * 60) for n in range(300)]
        )
        for each in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.wait(60) for child in children] == [0, 0, 0]
    logger.handlers[0].close()
    lines = [line for file in log_generations(path) for line in file.read_text().splitlines()]
    expected = {f"{who}-{n:03d}" for who in ("p0", "p1", "p2", "t0", "t1") for n in range(300)}
    assert {line.split()[0] for line in lines} == expected
    assert len(lines) == len(expected)
    assert all(line.endswith(" " + "." * 60) for line in lines)


def test_directory_that_cannot_be_made_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").write_text("a file is in the way")
    logger = _handler(tmp_path / "home" / "logs" / "x.log", 100, 1)
    logger.error("lost")
    assert capsys.readouterr() == ("", "")


def test_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "x.log").symlink_to(target)
    _handler(tmp_path / "x.log", 100, 1).error("x")
    assert target.read_text() == "mine"


def test_shared_directory_gets_files_its_group_can_write(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    logs.chmod(0o2770)
    umask = os.umask(0o007)
    try:
        logger = _handler(logs / "x.log", 100, 1)
        logger.info("x")
    finally:
        os.umask(umask)
    assert (logs / "x.log").stat().st_mode & 0o777 == 0o660
    logger.handlers[0].close()


def test_second_start_replaces_the_first(home: Home) -> None:
    _start(home)
    _start(home).info("once")
    assert log_file(home, "agent").read_text().count("once") == 1
