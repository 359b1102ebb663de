"""`hermes-agent-container` as a person types it, without an engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.errors import ConfigError
from hermes_agent.deploy.container.spec import parse_container_spec

COMMAND = [sys.executable, "-m", "hermes_agent.deploy.container.command"]


def run(*words: str, module: list[str] = COMMAND) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*module, *words], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )


def write_spec(tmp_path: Path, **changes: object) -> str:
    package = tmp_path / "store/p/bin"
    package.mkdir(parents=True)
    for name in ("hermes", "hermes-agent-container"):
        (package / name).touch(mode=0o755)
    facts = {
        "version": 1,
        "uid": os.geteuid() or 4321,
        "gid": os.getegid() or 4321,
        "state_directory": str(tmp_path / "state"),
        "home": str(tmp_path / "state/.hermes"),
        "working_directory": str(tmp_path / "state/workspace"),
        "package": "/nix/store/p",
        "store": {"source": str(tmp_path / "store")},
        "control_directory": str(tmp_path / "control"),
        "gc_roots_directory": None,
        "socket": str(tmp_path / "engine.sock"),
        **changes,
    }
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(facts))
    return str(path)


def test_help_names_the_commands_and_the_codes_of_plan():
    said = run("--help")
    assert said.returncode == 0
    for word in ("run", "plan", "stop", "remove", "--spec"):
        assert word in said.stdout
    assert "12 make it again and keep" in run("--spec", "x", "plan", "--help").stdout


@pytest.mark.parametrize("words", [(), ("plan",), ("--spec", "x"), ("--spec", "x", "dance"), ("init",)])
def test_wrong_usage_is_2(words: tuple[str, ...]):
    assert run(*words).returncode == 2


def test_a_spec_that_is_missing_or_wrong_is_3_and_named(tmp_path: Path):
    missing = run("--spec", str(tmp_path / "none.json"), "plan")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert f"Cannot read the container spec {tmp_path}/none.json" in missing.stderr
    wrong = run("--spec", write_spec(tmp_path, imagee="x"), "run")
    assert wrong.returncode == 3
    assert "imagee: Extra inputs are not permitted" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("command", ["plan", "stop"])
def test_an_engine_that_is_missing_is_6_and_says_how_to_get_one(tmp_path: Path, command: str):
    said = run("--spec", write_spec(tmp_path), command)
    assert said.returncode == 6
    assert "virtualisation.docker.enable = true" in said.stderr
    podman = write_spec(tmp_path / "p", backend="podman")
    assert "virtualisation.podman.enable = true" in run("--spec", podman, command).stderr


def test_an_option_that_cannot_be_is_told_before_anything_is_touched(tmp_path: Path):
    said = run("--spec", write_spec(tmp_path, extra_options=["--rm"]), "run")
    assert said.returncode == 3
    assert not (tmp_path / "control").exists()
    assert not (tmp_path / "state").exists()


def test_the_first_process_says_what_it_cannot_read(tmp_path: Path):
    said = run("init", str(tmp_path / "start.json"))
    assert said.returncode == 70
    assert "cannot be prepared: FileNotFoundError" in said.stderr


def test_sudo_outside_a_container_fails_in_one_line():
    if Path("/run/hermes-agent-sudo").exists():
        pytest.skip("this is such a container")
    said = run("sudo", "id")
    assert said.returncode == 1
    assert said.stderr == "sudo: cannot become root: No such file or directory\n"


def test_what_runs_in_the_container_starts_without_the_heavy_libraries():
    code = (
        "import sys; from hermes_agent.deploy.container import command, init, sudo; "
        "print([name for name in ('docker', 'pydantic', 'asyncio', 'requests') if name in sys.modules])"
    )
    assert run("-c", code, module=[sys.executable]).stdout == "[]\n"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("version", "name", "image", "home", "state_directory", "package", "store", "uid", "environment")


@given(st.dictionaries(st.sampled_from(FIELDS), anything, max_size=9) | anything)
def test_json_of_any_kind_is_a_spec_or_an_error_for_people(data: object):
    try:
        parse_container_spec(data)
    except ConfigError as error:
        assert error.lines
