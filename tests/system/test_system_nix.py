"""The flake with a real Nix; with mirrors of its inputs also the build, the module and the booted unit.

`HERMES_TEST_NIX` names a folder with `nix` (default: the one on PATH); `HERMES_NIX_TESTBED` the scripts that
stand in for nixpkgs, `HERMES_NIX_MIRRORS` git mirrors of the flake's inputs. What is missing is skipped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def verified(nix: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The testbed's scripts, after everything was built and both configurations evaluated."""
    scripts, mirrors = find_testbed(), os.environ.get("HERMES_NIX_MIRRORS")
    if scripts is None or not mirrors or os.geteuid() != 0:
        pytest.skip("needs root, the testbed and HERMES_NIX_MIRRORS (mirrors of the flake's inputs)")
    settings = tmp_path_factory.mktemp("settings")
    for name in ("machine.nix", "container.nix"):
        shutil.copy(SCENARIO / name, settings)
    found = run(
        scripts / "verify.sh",
        ROOT,
        WORK,
        mirrors,
        timeout=600,
        env={
            **nix,
            "SETTINGS": f"{settings}/machine.nix {settings}/container.nix",
            "OPTION_PREFIX": "services.hermes-agent",
        },
    )
    assert found.returncode == 0, found.stdout
    return scripts


@pytest.mark.timeout(900)
def test_the_flake_builds_and_its_unit_does_what_it_should(verified: Path, tmp_path: Path):
    rootfs = run(verified.parent / "rootfs", timeout=200).stdout.strip()
    inside = tmp_path / "scenario"
    shutil.copytree(SCENARIO, inside)
    booted = run(
        verified / "boot-module.sh",
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


@pytest.fixture
def machine(verified: Path, tmp_path: Path) -> Iterator[list[object]]:
    """A command that runs another inside a booted machine; it reaches the engine and the state out here."""
    docker = shutil.which("docker")
    image = docker and run(docker, "image", "inspect", "testbed/debian:trixie").returncode == 0
    if not docker or not image:
        pytest.skip("needs a Docker engine with the image testbed/debian:trixie")
    # The engine mounts the state by the name that the unit uses, so it has to be the same out here.
    states = [Path("/var/lib/hermes"), Path("/var/lib/hermes-agent-container")]
    roots = Path("/nix/var/nix/gcroots")
    if any(state.exists() for state in states) or run(docker, "inspect", "hermes-agent").returncode == 0:
        pytest.skip("a hermes-agent lives on this machine already")
    shutil.copytree(SCENARIO, tmp_path / "scenario")
    program, name = verified.parent / "machine", f"hermes-test-{os.getpid()}"
    for path in (*states, roots):
        path.mkdir(parents=True, exist_ok=True)
    try:
        started = run(
            program,
            "start",
            name,
            "--private-users=no",
            "--bind-ro=/nix",
            f"--bind={roots}",
            *(f"--bind={state}" for state in states),
            "--bind=/run/docker.sock:/run/docker.sock",
            f"--bind-ro={docker}:/usr/local/bin/docker",
            f"--bind-ro={tmp_path / 'scenario'}:/srv/scenario",
        )
        assert started.returncode == 0, started.stderr
        yield [program, "exec", name, "--"]
    finally:
        run(program, "stop", name)
        run(docker, "rm", "-f", "hermes-agent")
        for path in (*states, roots / "hermes-agent"):
            shutil.rmtree(path, ignore_errors=True)


@pytest.mark.timeout(900)
def test_the_container_unit_does_what_it_should(machine: list[object]):
    system = (WORK / "module-container/system").resolve()
    prepared = run(*machine, "sh", "/srv/scenario/prepare.sh", system)
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    place = "/srv/scenario"
    done = run(*machine, "python3", f"{place}/container_scenario.py", f"{place}/model.yaml", timeout=400)
    assert "all steps done" in done.stdout, done.stdout + done.stderr
