"""The flake with a real Nix; with mirrors of its inputs also the build, the module and the booted unit.

`HERMES_TEST_NIX` names a folder with `nix` (default: the one on PATH); `HERMES_NIX_TESTBED` the scripts that
stand in for nixpkgs, `HERMES_NIX_MIRRORS` git mirrors of the flake's inputs. What is missing is skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIO = Path(__file__).parent / "nix"
WORK = Path("/var/tmp/hermes-test-nix")

pytestmark = pytest.mark.system


def run(
    *command: object, timeout: float = 100, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )


def find_testbed() -> Path | None:
    named = os.environ.get("HERMES_NIX_TESTBED")
    path = Path(named) if named else ROOT.parent / "shared" / "testbed" / "nix"
    return path if (path / "get-nix.sh").is_file() else None


@pytest.fixture(scope="session")
def nix() -> dict[str, str]:
    """Variables with which `nix` is found."""
    named = os.environ.get("HERMES_TEST_NIX")
    if named or shutil.which("nix"):
        return {"PATH": f"{named or ''}:{os.environ['PATH']}".lstrip(":")}
    scripts = find_testbed()
    if scripts is None or os.geteuid() != 0:
        pytest.skip("there is no nix here, and none can be had")
    WORK.mkdir(exist_ok=True)
    with (WORK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Test processes run side by side.
        if not (WORK / "nix/bin/nix").exists():
            got = run(scripts / "get-nix.sh", WORK / "nix", timeout=110)
            if got.returncode:
                pytest.skip(f"nix cannot be had: {got.stderr.strip()[-200:]}")
    return {"PATH": f"{WORK / 'nix/bin'}:{os.environ['PATH']}"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What is committed, without a git directory."""
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], capture_output=True, check=False)
    if archive.returncode:
        pytest.skip("not a git checkout")
    target = tmp_path / "tree"
    target.mkdir()
    subprocess.run(["tar", "x", "-C", target], input=archive.stdout, check=True)
    return target


def test_every_nix_file_parses(nix: dict[str, str], tree: Path):
    files = sorted(tree.rglob("*.nix"))
    assert len(files) > 15
    parsed = run("nix-instantiate", "--parse", *files, env=nix)
    assert parsed.returncode == 0, parsed.stderr


def test_the_lock_file_fits_the_flake(nix: dict[str, str], tree: Path):
    features = ("--extra-experimental-features", "nix-command flakes")
    locked = run(
        "nix", *features, "flake", "lock", "--offline", "--no-update-lock-file", f"path:{tree}", env=nix
    )
    assert locked.returncode == 0, locked.stderr


def test_the_option_types_evaluate_without_anything_fetched(nix: dict[str, str], tree: Path):
    schema = tree / "nix/module/settings-schema.json"
    counted = run(
        "nix-instantiate",
        "--eval",
        "--expr",
        f"builtins.length (builtins.attrNames (builtins.fromJSON (builtins.readFile {schema})).properties)",
        env=nix,
    )
    assert int(counted.stdout) > 40


@pytest.mark.timeout(900)
def test_the_flake_builds_and_its_unit_does_what_it_should(nix: dict[str, str], tmp_path: Path):
    scripts, mirrors = find_testbed(), os.environ.get("HERMES_NIX_MIRRORS")
    if scripts is None or not mirrors or os.geteuid() != 0:
        pytest.skip("needs root, the testbed and HERMES_NIX_MIRRORS (mirrors of the flake's inputs)")
    settings = tmp_path / "machine.nix"
    shutil.copy(SCENARIO / "machine.nix", settings)
    verified = run(
        scripts / "verify.sh",
        ROOT,
        WORK,
        mirrors,
        timeout=600,
        env={**nix, "SETTINGS": str(settings), "OPTION_PREFIX": "services.hermes-agent"},
    )
    assert verified.returncode == 0, verified.stdout
    rootfs = run(scripts.parent / "rootfs", timeout=200).stdout.strip()
    inside = tmp_path / "scenario"
    shutil.copytree(SCENARIO, inside)
    booted = run(
        scripts / "boot-module.sh",
        rootfs,
        WORK / "module-machine",
        "hermes-agent.service",
        "python3",
        inside / "scenario.py",
        inside / "model.yaml",
        timeout=250,
        # The unit's secrets are written by the scenario: it need not be up before.
        env={"BINDS": str(tmp_path), "WAIT": "2"},
    )
    assert "all steps done" in booted.stdout, booted.stdout + booted.stderr
