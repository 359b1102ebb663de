"""`hermes config` as a person uses it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_agent.cli.main import main
from hermes_agent.config.paths import Home

SECRET = "sk-very-secret-9f3a"


class Shell:
    """Runs `hermes config …` in this process against one home."""

    def __init__(self, home: Home, capture: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capture = capture
        self.code = 0
        self.err = ""
        self.flags: list[str] = []

    def __call__(self, *args: str) -> str:
        self.code = main([*self.flags, "config", *args], os.environ)
        out, self.err = self._capture.readouterr()
        return out

    def write(self, text: str) -> None:
        self.home.config_file.write_text(text, encoding="utf-8")


@pytest.fixture
def shell(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Shell:
    for name in list(os.environ):
        if name.startswith(("HERMES_", "TERMINAL_")) or name in {"EDITOR", "VISUAL"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HERMES_HOME", str(home.root))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return Shell(home, capsys)


def test_bare_config_shows_what_is_in_force(shell: Shell) -> None:
    shell.write(f"model: {{default: a/b, api_key: {SECRET}}}\nterminal: {{backend: docker}}\n")
    out = shell()
    assert shell.code == 0
    assert "* model.default" in out
    assert "* terminal.backend" in out
    assert "config.yaml line 2" in out
    assert "  agent.max_turns" in out
    assert SECRET not in out
    assert "sk-…9f3a" in out
    assert shell("show") == out


def test_show_all_and_json(shell: Shell) -> None:
    shell.write(f"model: {{api_key: {SECRET}}}\n")
    assert len(shell("show", "--all").splitlines()) > 200
    report = json.loads(shell("show", "--json"))
    assert report["settings"]["terminal.backend"] == "local"
    assert report["settings"]["model.api_key"] == "sk-…9f3a"
    assert report["sources"] == {"model.api_key": "config.yaml line 1"}


def test_set_get_and_unset(shell: Shell) -> None:
    assert "terminal.timeout" in shell("set", "terminal.timeout", "60")
    assert shell("get", "terminal.timeout") == "60\n"
    assert shell("get", "terminal.timeout", "--json") == "60.0\n"
    assert shell("get", "toolsets", "--json") == '["hermes-cli"]\n'
    assert json.loads(shell("get", "terminal"))["timeout"] == 60
    assert "Removed" in shell("unset", "terminal.timeout")
    assert "was not set" in shell("unset", "terminal.timeout")
    assert shell("get", "terminal.timeout") == "180\n"


def test_negative_numbers_and_texts_with_dashes_are_values(shell: Shell) -> None:
    shell("set", "my.number", "-5", "--force")
    assert shell.code == 0
    shell("set", "agent.personalities.x", "--verbose please")
    assert "-5" in shell.home.config_file.read_text()
    assert "--verbose please" in shell.home.config_file.read_text()


def test_wrong_sets_are_explained(shell: Shell) -> None:
    shell("set", "terminal.timeout", "fast")
    assert shell.code == 3
    assert "must be a number" in shell.err
    shell("set", "terminal.timout", "5")
    assert "Did you mean 'terminal.timeout'?" in shell.err
    assert not shell.home.config_file.exists()


def test_secrets_are_stored_in_the_env_file_and_never_shown(shell: Shell) -> None:
    out = shell("set", "OPENAI_API_KEY", SECRET)
    out += shell("get", "OPENAI_API_KEY") + shell("explain", "OPENAI_API_KEY") + shell()
    assert SECRET not in out + shell.err
    assert "sk-…9f3a" in out
    assert shell.home.env_file.read_text() == f"OPENAI_API_KEY={SECRET}\n"
    assert not shell.home.config_file.exists()
    shell("set", "PATH", "/evil")
    assert shell.code == 3
    shell("get", "NOT_SET_AT_ALL")
    assert shell.code == 3


def test_a_value_can_come_from_standard_input(shell: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hermes_agent", "config", "set", "OPENAI_API_KEY"],
        input=f"{SECRET}\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout
    assert shell.home.env_file.read_text() == f"OPENAI_API_KEY={SECRET}\n"


def test_paths_are_printed_even_when_all_is_broken(shell: Shell) -> None:
    shell.write("a: [\n")
    assert shell("path") == f"{shell.home.config_file}\n"
    assert shell("env-path") == f"{shell.home.env_file}\n"


def test_check_of_a_good_file(shell: Shell) -> None:
    assert "no " in shell("check")
    shell.write("agent: {max_turns: 3}\n")
    assert "valid" in shell("check")
    assert shell.code == 0


def test_check_names_everything_that_is_wrong(shell: Shell) -> None:
    shell.write("agent: {max_turns: x, api_max_retries: y}\nterminl: 1\n")
    out = shell("check")
    assert shell.code == 3
    assert "terminl" in out
    assert "agent.max_turns" in shell.err
    assert "agent.api_max_retries" in shell.err
    shell.write("a: 1\n\tb: 2\n")
    shell("check")
    assert shell.code == 3
    assert "line 2" in shell.err


def test_check_advises(shell: Shell) -> None:
    shell.write(f"model: {{default: a, api_key: {SECRET}}}\nfallback_model: {{provider: a, model: b}}\n")
    shell.home.env_file.write_text("A_KEY=1\n")
    shell.home.env_file.chmod(0o644)
    out = shell("check")
    assert "hermes config migrate" in out
    assert "chmod o-rwx" in out
    assert "model.api_key" in out
    assert SECRET not in out
    assert shell.code == 0


def test_show_works_with_a_broken_file(shell: Shell) -> None:
    shell.write("a: [\n")
    out = shell()
    assert "agent.max_turns" in out
    assert "line 2" in shell.err


def test_explain_names_every_layer(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write("# c\nterminal:\n  backend: docker\n  ssh_host: ${BOX}\n")
    monkeypatch.setenv("BOX", "box.example")
    assert "from      config.yaml line 3" in shell("explain", "terminal.backend")
    monkeypatch.setenv("TERMINAL_ENV", "ssh")
    lines = shell("explain", "terminal.backend").splitlines()
    assert "terminal.backend = ssh" in lines
    assert "  from      environment variable TERMINAL_ENV" in lines
    assert [line.strip() for line in lines if line.startswith("    ")] == [
        "environment variable TERMINAL_ENV: ssh",
        "config.yaml line 3: docker",
        "default: local",
    ]
    shell.home.env_file.write_text("TERMINAL_ENV=local\n")
    assert f"from      TERMINAL_ENV in {shell.home.env_file}" in shell("explain", "terminal.backend")
    out = shell("explain", "terminal.ssh_host")
    assert "box.example" in out
    assert "${BOX}" in out
    assert "from      default" in shell("explain", "agent.max_turns")
    assert "terminal.ssh_host = box.example" in shell("explain", "terminal")
    assert "agent.max_turns" in shell("explain", "HERMES_MAX_ITERATIONS")


def test_explain_knows_flags(shell: Shell) -> None:
    shell.write("approvals: {mode: smart}\n")
    shell.flags = ["--yolo", "--max-turns", "7"]
    assert "from      the command line" in shell("explain", "approvals.mode")
    assert "approvals: " not in shell("explain", "agent.max_turns")
    assert shell("get", "agent.max_turns") == "7\n"
    shell.flags = ["--ignore-user-config"]
    assert shell("get", "approvals.mode") == "manual\n"


def test_explain_of_a_wrong_value_says_that_it_is_not_used(shell: Shell) -> None:
    shell.write("agent: {max_turns: x}\n")
    out = shell("explain", "agent.max_turns")
    assert "agent.max_turns = 90" in out
    assert "from      default" in out
    assert "wrong, not used" in out


def test_get_gives_no_default_for_what_is_set_wrongly(shell: Shell) -> None:
    shell.write("agent: {max_turns: x}\n")
    assert shell("get", "agent.max_turns") == ""
    assert shell.code == 3
    assert shell("get", "terminal.backend") == "local\n"
    shell.write("a: [\n")
    assert shell("get", "terminal.backend") == ""
    assert shell.code == 3


def test_explain_of_nothing_suggests(shell: Shell) -> None:
    shell("explain", "terminal.bakend")
    assert shell.code == 3
    assert "terminal.backend" in shell.err


@pytest.mark.parametrize("key", ["", ".", "a..b", "terminal.", "model.default.x", "toolsets.9", "nothing"])
def test_odd_keys_are_clear_errors(shell: Shell, key: str) -> None:
    for verb in ("get", "explain"):
        shell(verb, key)
        assert shell.code == 3
        assert shell.err.startswith("Error:")


def test_keys_and_schema(shell: Shell) -> None:
    keys = shell("keys").splitlines()
    assert keys == sorted(keys)
    assert "terminal.backend" in keys
    assert json.loads(shell("schema"))["type"] == "object"


def editor(tmp_path: Path, body: str) -> str:
    script = tmp_path / "editor"
    script.write_text(f"#!{sys.executable}\nimport sys, pathlib\npath = pathlib.Path(sys.argv[-1])\n{body}\n")
    script.chmod(0o755)
    return f"'{script}' --wait"


def test_edit_saves_what_is_valid_and_keeps_the_old_one(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.write("agent: {max_turns: 1}\n")
    monkeypatch.setenv("EDITOR", editor(tmp_path, "path.write_text('agent: {max_turns: 2}\\n')"))
    assert "Saved" in shell("edit")
    assert shell.home.config_file.read_text() == "agent: {max_turns: 2}\n"
    assert (shell.home.backups / "config.yaml.last-good").read_text() == "agent: {max_turns: 1}\n"


@pytest.mark.parametrize("text", ["a: [", "agent: {max_turns: x}", "- a"])
def test_edit_never_saves_what_is_broken_and_loses_no_work(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    shell.write("agent: {max_turns: 1}\n")
    monkeypatch.setenv("EDITOR", editor(tmp_path, f"path.write_text({text!r})"))
    shell("edit")
    assert shell.code == 3
    assert shell.home.config_file.read_text() == "agent: {max_turns: 1}\n"
    assert (shell.home.backups / "config.yaml.draft").read_text() == text


def test_edit_mends_a_broken_file(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.write("a: [\n")
    monkeypatch.setenv("EDITOR", editor(tmp_path, "path.write_text('agent: {max_turns: 2}\\n')"))
    shell("edit")
    assert shell.code == 0
    assert not (shell.home.backups / "config.yaml.last-good").exists()


def test_edit_starts_a_new_file_and_notices_when_nothing_changed(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor(tmp_path, ""))
    assert "Nothing was changed" in shell("edit")
    assert not shell.home.config_file.exists()
    monkeypatch.setenv("VISUAL", editor(tmp_path, "path.write_text(path.read_text() + 'agent: {}\\n')"))
    shell("edit")
    assert shell.home.config_file.read_text().startswith("# Settings")


def test_edit_does_not_overwrite_what_somebody_else_wrote(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.write("agent: {max_turns: 1}\n")
    body = (
        f"pathlib.Path({str(shell.home.config_file)!r}).write_text('agent: {{max_turns: 9}}\\n')\n"
        "path.write_text('agent: {max_turns: 2}\\n')"
    )
    monkeypatch.setenv("EDITOR", editor(tmp_path, body))
    shell("edit")
    assert shell.code == 3
    assert shell.home.config_file.read_text() == "agent: {max_turns: 9}\n"
    assert (shell.home.backups / "config.yaml.draft").read_text() == "agent: {max_turns: 2}\n"


@pytest.mark.parametrize("value", ["/nonexistent/editor", "false", "'unclosed"])
def test_an_editor_that_fails_is_a_clear_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    shell.write("agent: {max_turns: 1}\n")
    monkeypatch.setenv("EDITOR", value)
    shell("edit")
    assert shell.code == 2
    assert shell.err.startswith("Error:")


def test_migrate(shell: Shell) -> None:
    shell.write("model: a\n")
    assert "dry run" in shell("migrate", "--dry-run")
    assert shell.home.config_file.read_text() == "model: a\n"
    assert "the old file is" in shell("migrate")
    assert shell("migrate") == "Nothing to migrate.\n"


@pytest.mark.parametrize(
    "args",
    [("set", "terminal.timeout", "60"), ("unset", "terminal.timeout"), ("edit",), ("migrate",),
     ("set", "OPENAI_API_KEY", "x")],
)  # fmt: skip
def test_managed_installations_refuse_to_write(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    shell.write("terminal: {timeout: 3}\n")
    monkeypatch.setenv("HERMES_MANAGED", "true")
    shell(*args)
    assert shell.code == 7
    assert "managed by NixOS" in shell.err
    assert "configuration.nix" in shell.err
    monkeypatch.setenv("HERMES_MANAGED_EXIT_ZERO", "1")
    shell(*args)
    assert shell.code == 0
    assert "managed by NixOS" in shell.err
    assert shell.home.config_file.read_text() == "terminal: {timeout: 3}\n"
    assert "Managed   by NixOS" in shell()


def test_a_read_only_home_is_a_clear_error(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_HOME", "/proc/nothing/here")
    shell()
    assert shell.code == 0
    shell("set", "terminal.timeout", "60")
    assert shell.code == 5
    assert "HERMES_HOME" in shell.err


def test_nothing_heavy_is_imported(shell: Shell) -> None:
    shell.write("model: a/b\nterminal: {backend: docker}\n")
    code = (
        "import sys, os\nbefore = set(sys.modules)  # coverage may have loaded some\n"
        "from hermes_agent.cli.main import main\nmain(['config'], os.environ)\n"
        "heavy = {'rich', 'ruamel', 'openai', 'httpx', 'prompt_toolkit', 'docker', 'sqlite3', 'asyncio'}\n"
        "heavy &= set(sys.modules) - before\nsys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
