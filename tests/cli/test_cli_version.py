"""`hermes version`: facts, and where they come from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from command_line import CommandLine

from hermes_agent import __version__
from hermes_agent.cli.checks.installation import _clone_revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


def test_json_names_version_python_method_and_home(cli: CommandLine) -> None:
    facts = json.loads(cli.run("version", "--json").stdout)
    assert facts["version"] == __version__
    assert facts["method"] == "clone"
    assert facts["home"] == str(cli.home)
    assert facts["python"].startswith("3.")
    assert set(facts) >= {"revision", "location", "executable", "system", "update"}


def test_revision_of_a_package_comes_from_its_wrapper(cli: CommandLine) -> None:
    facts = json.loads(cli.run("version", "--json", HERMES_REVISION=COMMIT).stdout)
    assert facts["revision"] == COMMIT


def test_nothing_is_created(cli: CommandLine) -> None:
    cli.run("version", "--json")
    assert not cli.home.exists()


def test_broken_configuration_does_not_matter(cli: CommandLine) -> None:
    cli.write("config.yaml", "{{{")
    assert cli.run("version", "--json").returncode == 0


def test_short_forms_agree(cli: CommandLine) -> None:
    for arguments in (("--version",), ("-V",), ("version",)):
        assert cli.run(*arguments).stdout.splitlines()[0].split(" (")[0] == f"hermes-agent {__version__}"


def test_commit_is_read_from_branch_detached_packed_and_worktree(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text(COMMIT + "\n")
    assert _clone_revision(tmp_path) == COMMIT

    (git / "refs" / "heads" / "main").unlink()
    (git / "packed-refs").write_text(f"# pack-refs\n{COMMIT} refs/heads/main\n")
    assert _clone_revision(tmp_path) == COMMIT

    (git / "HEAD").write_text(COMMIT + "\n")
    assert _clone_revision(tmp_path) == COMMIT
    assert _clone_revision(tmp_path / "elsewhere") is None


def test_commit_of_a_real_worktree_is_the_one_git_names(tmp_path: Path) -> None:
    clone, tree = tmp_path / "clone", tmp_path / "tree"

    def git(where: Path, *arguments: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main")
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=where, check=True, capture_output=True, text=True).stdout.strip()

    clone.mkdir()
    try:
        git(clone, "init", "-q")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    git(clone, "commit", "-q", "--allow-empty", "-m", "x")
    git(clone, "worktree", "add", "-q", str(tree), "-b", "other")
    assert _clone_revision(tree) == git(tree, "rev-parse", "HEAD")
