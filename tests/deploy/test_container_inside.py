"""Inside the container, without one: users, homes, sudo, in a directory that stands in for its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.deploy.container import accounts
from hermes_agent.deploy.container.init import Preparation
from hermes_agent.deploy.container.sudo import SudoUsageError, parse

DEBIAN = "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\n"
FACTS: dict[str, Any] = {
    "user": "hermes",
    "uid": 1000,
    "gid": 1000,
    "groups": [1000, 44],
    "home": "/home/hermes",
    "home_target": "/data/home",
    "sudo": True,
}


def prepared(root: Path, **changes: Any) -> Preparation:
    return Preparation({**FACTS, **changes}, root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("etc", "bin", "usr/bin", "home"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/passwd").write_text(DEBIAN)
    (tmp_path / "etc/group").write_text("root:x:0:\nvideo:x:44:ubuntu\nubuntu:x:1000:\n")
    (tmp_path / "etc/shadow").write_text("root:*:1:0:99999:7:::\n")
    (tmp_path / "bin/sh").touch()
    return tmp_path


def test_a_number_of_somebody_else_leads_to_our_name_and_nobody_is_lost(root: Path):
    prepared(root).user()
    users = [line.split(":")[:4] for line in (root / "etc/passwd").read_text().splitlines()]
    assert users == [
        ["root", "x", "0", "0"],
        ["hermes", "x", "1000", "1000"],
        ["ubuntu", "x", "1000", "1000"],
    ]
    assert (root / "etc/group").read_text().splitlines() == [
        "root:x:0:",
        "video:x:44:ubuntu,hermes",
        "hermes:x:1000:",
        "ubuntu:x:1000:",
    ]
    assert "hermes:*:" in (root / "etc/shadow").read_text()


def test_preparing_twice_is_preparing_once(root: Path):
    prepared(root).user()
    before = {path: path.read_text() for path in (root / "etc").iterdir()}
    prepared(root).user()
    assert {path: path.read_text() for path in (root / "etc").iterdir()} == before


def test_new_numbers_replace_the_old_ones_and_are_told(root: Path, capfd: pytest.CaptureFixture[str]):
    prepared(root).user()
    prepared(root, uid=5, gid=6, groups=[6, 777]).user()
    text = (root / "etc/passwd").read_text()
    assert "hermes:x:5:6:" in text
    assert text.count("\nhermes:") == 1
    assert "host-777:x:777:hermes" in (root / "etc/group").read_text()
    assert "5:6 now (1000:1000 before)" in capfd.readouterr().err


def test_an_image_without_any_user_gets_some(tmp_path: Path):
    prepared(tmp_path).user()
    assert (tmp_path / "etc/passwd").read_text().startswith("root:x:0:0")
    assert not (tmp_path / "etc/shadow").exists()


line = st.text(st.characters(exclude_characters="\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40)


@given(st.lists(line, max_size=8), st.integers(1, 3), st.integers(1, 3))
def test_lines_that_nobody_understands_stay(lines: list[str], uid: int, gid: int):
    text = "".join(f"{each}\n" for each in lines)
    once = accounts.with_user(text, "hermes", uid, gid, home="/h", shell="/s")
    assert accounts.with_user(once, "hermes", uid, gid, home="/h", shell="/s") == once
    kept = [each for each in text.splitlines() if each.split(":")[0] != "hermes"]
    assert [each for each in once.splitlines() if not each.startswith("hermes:x:")] == kept
    group = accounts.with_member(accounts.with_group(text, "hermes", gid), 9, "hermes", name="g")
    assert accounts.with_member(accounts.with_group(group, "hermes", gid), 9, "hermes", name="g") == group


@pytest.mark.parametrize("there", ["nothing", "empty directory", "directory", "link", "file", "ours"])
def test_the_home_leads_to_the_state_whatever_the_image_has_there(root: Path, there: str):
    home = root / "home/hermes"
    if there.endswith("directory"):
        home.mkdir()
    if there == "directory":
        (home / "kept").write_text("x")
    elif there in {"link", "ours"}:
        home.symlink_to("/data/home" if there == "ours" else "/etc")
    elif there == "file":
        home.write_text("x")
    prepared(root).home()
    assert home.readlink() == Path("/data/home")
    if there in {"directory", "file"}:
        assert (root / "home/hermes.of-the-image").exists()


@pytest.mark.parametrize(
    ("there", "is_taken"),
    [("nothing", True), ("Etc/UTC", True), ("Europe/Paris", False), ("a file", False), ("ours", True)],
)
def test_the_time_zone_is_the_hosts_unless_somebody_chose_one(root: Path, there: str, is_taken: bool):
    given = root / "opt/hermes-agent/localtime"
    given.parent.mkdir(parents=True)
    given.write_bytes(b"TZif1")
    zone = root / "etc/localtime"
    if there == "ours":
        prepared(root).local_time()
        given.write_bytes(b"TZif2")
    elif there == "a file":
        zone.write_bytes(b"TZif9")
    elif there != "nothing":
        (root / "usr/share/zoneinfo" / there).parent.mkdir(parents=True)
        (root / "usr/share/zoneinfo" / there).write_bytes(b"TZif9")
        zone.symlink_to(f"../usr/share/zoneinfo/{there}")
    prepared(root).local_time()
    assert (zone.read_bytes() == given.read_bytes()) is is_taken
    given.unlink()
    prepared(root).local_time()


def test_sudo_of_the_image_is_allowed_and_taken_back(root: Path):
    (root / "usr/bin/sudo").touch()
    (root / "etc/sudoers").write_text("root ALL=(ALL:ALL) ALL\n")
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/sudo").write_text("# Made by hermes-agent\n")
    prepared(root).sudo()
    rule = root / "etc/sudoers.d/hermes-agent"
    assert "hermes ALL=(ALL:ALL) NOPASSWD: ALL" in rule.read_text()
    assert rule.stat().st_mode & 0o777 == 0o440
    assert "@includedir /etc/sudoers.d" in (root / "etc/sudoers").read_text()
    assert not (root / "usr/local/bin/sudo").exists()
    prepared(root, sudo=False).sudo()
    assert not rule.exists()


def test_an_image_without_sudo_gets_one_that_asks_the_first_process(root: Path):
    prepared(root).sudo()
    command = root / "usr/local/bin/sudo"
    assert os.access(command, os.X_OK)
    assert "hermes-agent-container sudo" in command.read_text()
    prepared(root, sudo=False).sudo()
    assert not command.exists()


def test_somebody_elses_sudo_is_never_removed(root: Path):
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/sudo").write_text("#!/bin/sh\n")
    prepared(root, sudo=False).sudo()
    assert (root / "usr/local/bin/sudo").exists()


def test_an_image_without_a_shell_is_told(root: Path, capfd: pytest.CaptureFixture[str]):
    (root / "bin/sh").unlink()
    prepared(root).sudo()
    assert "cannot become root" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["apt", "install", "-y", "x"], {"user": "root", "command": ["apt", "install", "-y", "x"]}),
        (["-n", "id"], {"command": ["id"]}),
        (["-u", "www", "id"], {"user": "www", "command": ["id"]}),
        (["--user=www", "--", "-x"], {"user": "www", "command": ["-x"]}),
        (["-nE", "A=b", "id"], {"command": ["id"], "environment": {"A": "b", "SECRET": "1", "TERM": "t"}}),
        (["A=b", "id"], {"environment": {"A": "b", "TERM": "t"}}),
        (["-i"], {"shell": "login", "command": []}),
        (["-s", "id"], {"shell": "shell", "command": ["id"]}),
        (["--login"], {"shell": "login"}),
        (["-S", "-H", "id"], {"shell": "", "command": ["id"]}),
    ],
)
def test_command_lines_of_sudo_are_understood(words: list[str], expected: Mapping[str, object]):
    found = parse(words, {"SECRET": "1", "TERM": "t"})
    assert found is not None
    assert {name: found[name] for name in expected} == expected


def test_command_lines_that_make_no_sense_are_refused():
    for words in ([], ["-u"], ["--bogus", "id"], ["-Z", "id"]):
        with pytest.raises(SudoUsageError):
            parse(words, {})
    assert parse(["-v"], {}) is None
    assert parse(["-k"], {}) is None
