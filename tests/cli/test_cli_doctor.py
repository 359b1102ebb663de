"""`hermes doctor`: on sound, fresh, broken and managed homes."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine

KEY = "sk-or-v1-0123456789abcdef0123456789abcdef"


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


def _report(cli: CommandLine, *options: str, **extra: str) -> dict[str, list[dict[str, Any]]]:
    result = cli.run("doctor", "--json", *options, **extra)
    assert result.stderr == "", result.stderr
    report = json.loads(result.stdout)
    assert result.returncode == (1 if report["status"] == "fail" else 0)
    found: dict[str, list[dict[str, Any]]] = {"all": report["checks"]}
    for check in report["checks"]:
        found.setdefault(check["name"], []).append(check)
    return found


def _sound(cli: CommandLine) -> None:
    cli.home.mkdir(mode=0o700)
    cli.write("config.yaml", "model:\n  provider: demo\n")


def test_sound_home_passes(cli: CommandLine) -> None:
    _sound(cli)
    result = cli.run("doctor")
    assert result.returncode == 0, result.stdout
    assert "demo:demo" in result.stdout
    assert "✓" in result.stdout or "ok" in result.stdout


def test_fresh_machine_without_key_fails_only_for_the_model(cli: CommandLine) -> None:
    report = _report(cli)
    assert [check["name"] for check in report["all"] if check["status"] == "fail"] == ["Model"]
    assert "hermes setup" in report["Model"][0]["remedy"]
    assert not cli.home.exists(), "a check must not create anything"


def test_key_is_named_by_its_source_and_never_shown(cli: CommandLine) -> None:
    _sound(cli)
    cli.write("config.yaml", "model: openrouter:some/model\n")
    cli.write(".env", f"OPENROUTER_API_KEY={KEY}\n")
    result = cli.run("doctor")
    assert "OPENROUTER_API_KEY" in result.stdout
    assert KEY not in result.stdout
    assert KEY[:12] not in result.stdout


def test_broken_config_is_named_with_its_line_and_the_rest_is_checked(cli: CommandLine) -> None:
    _sound(cli)
    cli.write("config.yaml", "model:\n  provider: demo\nagent: [1,\nmore: x\n")
    report = _report(cli)
    assert report["config.yaml"][0]["status"] == "fail"
    assert "line" in json.dumps(report["config.yaml"])
    assert {"Python", "SQLite", "Model", "git"} <= set(report)


def test_wrong_value_unknown_key_and_old_form_are_told_apart(cli: CommandLine) -> None:
    _sound(cli)
    cli.write("config.yaml", "model: demo:demo\nagent:\n  max_turns: many\n  max_turn: 3\n")
    found = _report(cli)["config.yaml"]
    assert {check["status"] for check in found} == {"fail", "warn"}
    assert any("max_turns" in check["message"] + str(check["remedy"]) for check in found)


def test_old_form_is_migrated_only_when_asked(cli: CommandLine) -> None:
    _sound(cli)
    file = cli.write("config.yaml", "# mine\nmodel: demo:demo\n")
    assert _report(cli)["config.yaml"][0]["status"] == "warn"
    assert file.read_text() == "# mine\nmodel: demo:demo\n"
    fixed = _report(cli, "--fix")["config.yaml"][0]
    assert fixed["fixed"]
    assert "# mine" in file.read_text()
    assert list((cli.home / "backups").glob("config.yaml*"))
    assert _report(cli)["config.yaml"][0]["status"] == "ok"


def test_open_modes_are_reported_and_mended(cli: CommandLine) -> None:
    _sound(cli)
    cli.home.chmod(0o755)
    cli.write(".env", f"OPENROUTER_API_KEY={KEY}\n", mode=0o644)
    report = _report(cli)
    assert (report["Home"][0]["status"], report[".env"][0]["status"]) == ("warn", "fail")
    report = _report(cli, "--fix")
    assert report["Home"][0]["fixed"]
    assert report[".env"][0]["fixed"]
    assert cli.home.stat().st_mode & 0o777 == 0o700
    assert (cli.home / ".env").stat().st_mode & 0o777 == 0o600


def test_broken_lines_of_env_are_named_without_their_values(cli: CommandLine) -> None:
    _sound(cli)
    cli.write(".env", f"this is nonsense {KEY}\nOPENAI_API_KEY=abcdefghij0123456789\n")
    result = cli.run("doctor", "--json")
    assert "line 1" in result.stdout
    assert KEY not in result.stdout
    assert "abcdefghij0123456789" not in result.stdout


@pytest.mark.parametrize("name", [".env", "config.yaml", "state.db"])
def test_directory_in_place_of_a_file_fails_with_a_remedy(cli: CommandLine, name: str) -> None:
    _sound(cli)
    (cli.home / name).unlink(missing_ok=True)
    (cli.home / name).mkdir()
    check = _report(cli)[name][0]
    assert check["status"] == "fail"
    assert check["remedy"]


def test_file_in_place_of_the_home_fails_with_a_remedy(cli: CommandLine) -> None:
    cli.home.write_text("")
    check = _report(cli)["Home"][0]
    assert check["status"] == "fail"
    assert "mv " in check["remedy"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_home_fails(cli: CommandLine) -> None:
    _sound(cli)
    cli.home.chmod(0o500)
    assert _report(cli)["Home"][0]["status"] == "fail"
    cli.home.chmod(0o700)


def test_file_that_is_no_database_fails_and_is_kept_when_mended(cli: CommandLine) -> None:
    _sound(cli)
    (cli.home / "state.db").write_bytes(b"this is no database, but it may matter" * 100)
    assert _report(cli)["state.db"][0]["status"] == "fail"
    fixed = _report(cli, "--fix")["state.db"][0]
    assert fixed["fixed"]
    kept = list((cli.home / "backups").rglob("state.db"))
    assert kept
    assert kept[0].read_bytes().startswith(b"this is no database")
    assert _report(cli)["state.db"][0]["status"] == "ok"


def test_database_of_a_newer_program_is_refused_and_untouched(cli: CommandLine) -> None:
    _sound(cli)
    path = cli.home / "state.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE schema_version (version INTEGER)")
    connection.execute("INSERT INTO schema_version VALUES (9999)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    for options in ((), ("--fix",)):
        check = _report(cli, *options)["state.db"][0]
        assert check["status"] == "fail"
        assert "newer" in json.dumps(check)
    assert path.read_bytes() == before


def test_managed_home_is_checked_and_not_changed(cli: CommandLine) -> None:
    _sound(cli)
    cli.write("config.yaml", "model: demo:demo\n")
    cli.write(".managed", "")
    before = (cli.home / "config.yaml").read_bytes()
    report = _report(cli, "--fix")
    assert "managed by NixOS" in report["Home"][0]["message"]
    assert (cli.home / "config.yaml").read_bytes() == before
    assert any("managed by NixOS" in str(check) and check["status"] == "warn" for check in report["all"][1:])


def test_left_locks_are_removed_when_asked(cli: CommandLine) -> None:
    _sound(cli)
    lock = cli.write("run/session-20260101_000000_abcdef.lock", "999999 cli\n")
    assert "harmless" in _report(cli)["Locks"][0]["message"]
    assert _report(cli, "--fix")["Locks"][0]["fixed"]
    assert not lock.exists()


def test_missing_programs_are_warnings(cli: CommandLine, tmp_path: Path) -> None:
    _sound(cli)
    report = _report(cli, PATH=str(tmp_path))
    assert report["git"][0]["status"] == "warn"
    assert report["ripgrep"][0]["status"] == "warn"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Path]:
    """A socket that answers like a Docker engine."""
    path = tmp_path / "docker.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOK")

    thread = threading.Thread(target=serve)
    thread.start()
    yield path
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_docker_back_end_is_pinged(cli: CommandLine, engine: Path) -> None:
    _sound(cli)
    cli.write("config.yaml", "model: {provider: demo}\nterminal: {backend: docker}\n")
    assert _report(cli, DOCKER_HOST=f"unix://{engine}")["Commands"][0]["status"] == "ok"
    failed = _report(cli, DOCKER_HOST="unix:///nonexistent.sock")["Commands"][0]
    assert failed["status"] == "fail"
    assert "systemctl start docker" in failed["remedy"]


def test_ssh_back_end_needs_a_host(cli: CommandLine) -> None:
    _sound(cli)
    cli.write("config.yaml", "model: {provider: demo}\nterminal: {backend: ssh}\n")
    assert "ssh_host" in _report(cli)["Commands"][0]["remedy"]


def test_online_asks_the_model(cli: CommandLine) -> None:
    _sound(cli)
    request = _report(cli, "--online")["Request"][0]
    assert request["status"] == "ok"
    assert "answered in" in request["message"]


def test_online_failure_shows_what_the_endpoint_said_without_the_key(cli: CommandLine) -> None:
    _sound(cli)
    cli.write(
        "config.yaml",
        "model:\n  default: some-model\n  provider: custom\n  base_url: http://127.0.0.1:9/v1\n"
        f"  api_key: {KEY}\nagent: {{api_max_retries: 0}}\n",
    )
    result = cli.run("doctor", "--online")
    assert result.returncode == 1
    assert "Request" in result.stdout
    assert KEY not in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_report_is_readable_in_a_narrow_terminal_without_unicode(cli: CommandLine) -> None:
    result = cli.run("doctor", COLUMNS="40", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert "FAIL" in result.stdout
    assert result.stdout.isascii()


def test_auth_file_is_checked_and_made_private(cli: CommandLine) -> None:
    _sound(cli)
    assert "auth.json" not in _report(cli)
    path = cli.write("auth.json", "{broken")
    assert "not JSON" in _report(cli)["auth.json"][0]["message"]
    path.write_text('{"credential_pool": {}}')
    path.chmod(0o644)
    assert _report(cli)["auth.json"][0]["status"] == "fail"
    assert _report(cli, "--fix")["auth.json"][0]["fixed"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_persona_that_cannot_be_read_is_a_warning_here_and_in_the_chat(cli: CommandLine) -> None:
    _sound(cli)
    (cli.home / "SOUL.md").mkdir()
    assert _report(cli)["SOUL.md"][0]["status"] == "warn"
    shown = cli.run("-z", "hello")
    assert shown.returncode == 0
    assert "SOUL.md" in shown.stderr
