"""`hermes-agent-activate` on real directories."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from deploy_specs import activate, spec

from hermes_agent.config.env_file import parse as parse_env
from hermes_agent.core.errors import ConfigError
from hermes_agent.deploy.spec import parse_spec


def tree(root: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything below a directory: mode, and content or target."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            found[str(path.relative_to(root))] = (0, str(path.readlink()))
        elif path.is_file():
            found[str(path.relative_to(root))] = (mode, path.read_bytes())
        else:
            found[str(path.relative_to(root))] = (mode, "")
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state" / ".hermes"


def plugin(root: Path, name: str) -> dict[str, str]:
    path = root / "store" / name
    path.mkdir(parents=True)
    (path / "plugin.yaml").write_text("name: x\n")
    return {"name": name, "path": str(path)}


def test_everything_is_put_in_place_and_a_second_time_changes_nothing(tmp_path: Path, home: Path):
    (tmp_path / "secrets.env").write_text("OPENAI_API_KEY=sk-secret\n")
    (tmp_path / "auth.json").write_text("{}")
    parts: dict[str, Any] = {
        "settings": {"model": {"default": "a"}},
        "environment": {"LANG": "de"},
        "environment_files": [str(tmp_path / "secrets.env")],
        "auth_file": str(tmp_path / "auth.json"),
        "documents": {"USER.md": {"text": "hello\n"}, "notes/deep.md": {"text": "x"}},
        "plugins": [plugin(tmp_path, "one")],
        "managed": {"manager": "NixOS", "allow": ["display.skin"]},
    }
    first = activate(tmp_path, **parts)
    assert first.returncode == 0, first.stderr
    assert "sk-secret" not in first.stdout + first.stderr
    before = tree(tmp_path / "state")
    assert (home / "config.yaml").read_text() == "model:\n  default: a\n"
    assert parse_env((home / ".env").read_text()).values == {"LANG": "de", "OPENAI_API_KEY": "sk-secret"}
    modes = {name: f"{mode:04o}" for name, (mode, _) in before.items()}
    assert modes[".hermes"] == modes["workspace"] == modes[".hermes/plugins"] == "2770"
    assert modes[".hermes/.env"] == modes[".hermes/config.yaml"] == modes["workspace/USER.md"] == "0640"
    assert modes[".hermes/auth.json"] == "0600"
    assert (home / ".managed").read_text() == "NixOS\nallow=display.skin\n"
    assert (home / "plugins/nix-managed-one").readlink() == tmp_path / "store/one"
    second = activate(tmp_path, **parts)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert tree(tmp_path / "state") == before


def test_what_left_the_declaration_leaves_the_machine(tmp_path: Path, home: Path):
    activate(
        tmp_path,
        settings={"a": 1, "b": 2},
        documents={"USER.md": {"text": "u"}, "EDITED.md": {"text": "e"}},
        plugins=[plugin(tmp_path, "one"), plugin(tmp_path, "two")],
    )
    (tmp_path / "state/workspace/EDITED.md").write_text("mine now")
    (home / "plugins/own").symlink_to("/somewhere")
    outcome = activate(
        tmp_path, settings={"b": 2}, plugins=[{"name": "two", "path": str(tmp_path / "store/two")}]
    )
    assert outcome.returncode == 0
    assert (home / "config.yaml").read_text() == "b: 2\n"
    assert not (tmp_path / "state/workspace/USER.md").exists()
    assert (tmp_path / "state/workspace/EDITED.md").read_text() == "mine now"
    assert sorted(path.name for path in (home / "plugins").iterdir()) == ["nix-managed-two", "own"]


def test_a_dry_run_shows_a_diff_and_writes_nothing(tmp_path: Path, home: Path):
    activate(tmp_path, settings={"a": 1}, environment={"KEY": "sk-old"})
    before = tree(tmp_path / "state")
    outcome = activate(tmp_path, "--dry-run", settings={"a": 2}, environment={"KEY": "sk-new"})
    assert outcome.returncode == 0
    assert "-a: 1\n+a: 2\n" in outcome.stdout
    assert f"would be: {home}/.env: changed" in outcome.stdout
    assert "sk-" not in outcome.stdout
    assert tree(tmp_path / "state") == before


def test_a_dry_run_works_before_anything_exists(tmp_path: Path):
    outcome = activate(tmp_path, "--dry-run", settings={"a": 2}, documents={"x.md": {"text": "x"}})
    assert outcome.returncode == 0, outcome.stderr
    assert not (tmp_path / "state").exists()


def test_a_config_file_is_copied_as_it_is(tmp_path: Path, home: Path):
    (tmp_path / "own.yaml").write_text("# mine\na: 1\n")
    activate(tmp_path, settings={"b": 1}, config_file=str(tmp_path / "own.yaml"))
    assert (home / "config.yaml").read_text() == "# mine\na: 1\n"


def test_a_broken_config_is_set_aside_and_named(tmp_path: Path, home: Path):
    activate(tmp_path, settings={"a": 1})
    (home / "config.yaml").write_text("a: [1,\nb: }")
    outcome = activate(tmp_path, settings={"a": 1})
    assert outcome.returncode == 0
    assert (home / "config.yaml").read_text() == "a: 1\n"
    assert (home / "backups/config.yaml.broken-1").read_text() == "a: [1,\nb: }"
    assert "config.yaml.broken-1" in outcome.stderr


@pytest.mark.parametrize("name", ["config.yaml", ".env", ".managed", ".deployed.json"])
def test_a_link_in_place_of_a_file_is_refused_and_the_rest_is_done(tmp_path: Path, home: Path, name: str):
    target = tmp_path / "elsewhere"
    target.write_text("untouched: true\n")
    home.mkdir(parents=True)
    (home / name).symlink_to(target)
    outcome = activate(tmp_path, settings={"a": 1}, environment={"A": "1"}, documents={"x.md": {"text": "x"}})
    assert outcome.returncode == 1
    assert f"{home / name} is a symbolic link that the activation did not make" in outcome.stderr
    assert target.read_text() == "untouched: true\n"
    if name != ".deployed.json":
        assert (tmp_path / "state/workspace/x.md").read_text() == "x"


def test_a_link_in_place_of_the_home_is_refused(tmp_path: Path, home: Path):
    (tmp_path / "elsewhere").mkdir()
    home.parent.mkdir()
    home.symlink_to(tmp_path / "elsewhere")
    outcome = activate(tmp_path, settings={"a": 1})
    assert outcome.returncode == 1
    assert "symbolic link" in outcome.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_plugin_without_plugin_yaml_stops_before_anything_is_changed(tmp_path: Path):
    (tmp_path / "bare").mkdir()
    outcome = activate(
        tmp_path, settings={"a": 1}, plugins=[{"name": "bare", "path": str(tmp_path / "bare")}]
    )
    assert outcome.returncode == 3
    assert "'bare' has no plugin.yaml" in outcome.stderr
    assert not (tmp_path / "state").exists()


def test_secrets_that_are_not_there_yet_leave_env_as_it_is_until_the_start(tmp_path: Path, home: Path):
    secrets = tmp_path / "late.env"
    secrets.write_text("KEY=one\n")
    parts: dict[str, Any] = {"environment_files": [str(secrets)]}
    activate(tmp_path, **parts)
    secrets.unlink()
    outcome = activate(tmp_path, **parts)
    assert outcome.returncode == 0
    assert f"{secrets} is not there (yet)" in outcome.stderr
    assert parse_env((home / ".env").read_text()).values == {"KEY": "one"}
    secrets.write_text("KEY=two\n")
    assert activate(tmp_path, "--only-secrets", **parts).returncode == 0
    assert parse_env((home / ".env").read_text()).values == {"KEY": "two"}


def test_what_a_killed_activation_left_is_tidied_and_completed(tmp_path: Path, home: Path):
    activate(tmp_path, settings={"a": 1})
    # It had written the new file and noted what it wanted, but not that it was done.
    (home / ".config.yaml.123-abc.tmp").write_text("half")
    (home / "config.yaml").write_text("b: 2\n")
    state = json.loads((home / ".deployed.json").read_text())
    (home / ".deployed.json").write_text(json.dumps({**state, "pending": {"b": 2}}))
    activate(tmp_path, settings={"c": 3})
    assert (home / "config.yaml").read_text() == "c: 3\n"
    assert list(home.glob(".*.tmp")) == []


def test_an_existing_auth_file_is_kept_unless_told_otherwise(tmp_path: Path, home: Path):
    (tmp_path / "seed.json").write_text("seed")
    home.mkdir(parents=True)
    (home / "auth.json").write_text("live tokens")
    activate(tmp_path, auth_file=str(tmp_path / "seed.json"))
    assert (home / "auth.json").read_text() == "live tokens"
    activate(tmp_path, auth_file=str(tmp_path / "seed.json"), auth_file_force_overwrite=True)
    assert (home / "auth.json").read_text() == "seed"


def test_an_existing_directory_is_never_chmodded(tmp_path: Path, home: Path):
    home.mkdir(parents=True, mode=0o700)
    activate(tmp_path, settings={"a": 1})
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"home": "relative"}, "home: must be an absolute path"),
        ({"documents": {"../x": {"text": ""}}}, "must be a relative path"),
        ({"documents": {"x": {}}}, "needs either text or path"),
        (
            {"plugins": [{"name": "a", "path": "/a"}, {"name": "a", "path": "/b"}]},
            "two plug-ins are called 'a'",
        ),
        ({"plugins": [{"name": "a/b", "path": "/a"}]}, "must be a plain file name"),
        ({"container_mode": {"exec_user": "a b"}}, "exec_user"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_place(tmp_path: Path, parts: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as error:
        parse_spec(spec(tmp_path, **parts))
    assert said in " ".join(error.value.lines)


def test_no_value_of_a_wrong_spec_is_shown(tmp_path: Path):
    with pytest.raises(ConfigError) as error:
        parse_spec(spec(tmp_path, environment={"KEY": ["sk-secret"]}))
    assert "sk-secret" not in " ".join(error.value.lines)


def test_a_spec_that_is_missing_or_no_json_is_named(tmp_path: Path):
    import subprocess

    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.json", "none.json"):
        outcome = subprocess.run(
            [sys.executable, "-m", "hermes_agent.deploy.command", "--spec", str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome.returncode == 3
        assert name in outcome.stderr
        assert "Traceback" not in outcome.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_state_directory_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "state").mkdir(mode=0o500)
    outcome = activate(tmp_path, settings={"a": 1})
    assert outcome.returncode == 1
    assert "Cannot put" in outcome.stderr
