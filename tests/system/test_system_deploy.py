"""Activation as root: what a hostile service user prepares leads nowhere.

The service user here is `nobody`; the state directory lies below a directory of root.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to see it given up"),
]
PROGRAM = (
    "import sys; sys.path.insert(0, {root!r}); from hermes_agent.deploy.command import main; sys.exit(main())"
)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir="/var/lib", prefix="hermes-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def group() -> str:
    import grp

    return grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name


def activate(base: Path, *options: str, **parts: Any) -> subprocess.CompletedProcess[str]:
    state = base / "state"
    spec = {
        "version": 1,
        "user": "nobody",
        "group": group(),
        "state_directory": str(state),
        "home": str(state / ".hermes"),
        "working_directory": str(state / "workspace"),
        "settings": {"a": 1},
        "managed": {},
        **parts,
    }
    (base / "spec.json").write_text(json.dumps(spec))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=str(ROOT)), "--spec", str(base / "spec.json"), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )


def test_everything_belongs_to_the_service_user_and_only_root_reads_the_secrets(
    base: Path, nobody: pwd.struct_passwd
):
    (base / "secrets.env").write_text("KEY=sk-secret\n")
    (base / "secrets.env").chmod(0o600)
    outcome = activate(base, environment_files=[str(base / "secrets.env")], container_mode={})
    assert outcome.returncode == 0, outcome.stderr
    home = base / "state/.hermes"
    for path in (base / "state", home, home / "config.yaml", home / ".env", home / "plugins"):
        assert path.stat().st_uid == nobody.pw_uid, path
    assert "sk-secret" in (home / ".env").read_text()
    marker = (home / ".container-mode").stat()
    assert (marker.st_uid, stat.S_IMODE(marker.st_mode)) == (0, 0o644)
    assert "container_name=hermes-agent" in (home / ".container-mode").read_text()
    assert activate(base, environment_files=[str(base / "secrets.env")], container_mode={}).stdout == ""


@pytest.mark.parametrize("name", ["config.yaml", ".env", ".managed", "auth.json", "plugins", "logs"])
def test_a_link_to_a_file_of_root_changes_nothing_of_root(base: Path, nobody: pwd.struct_passwd, name: str):
    target = base / "precious"
    target.write_text("precious: true\n")
    target.chmod(0o644)
    prepare(base, nobody)
    (base / "state/.hermes" / name).symlink_to(target)
    (base / "seed").write_text("{}")
    outcome = activate(
        base, environment={"A": "1"}, auth_file=str(base / "seed"), auth_file_force_overwrite=True
    )
    assert outcome.returncode == 1
    assert "symbolic link" in outcome.stderr
    assert target.read_text() == "precious: true\n"
    assert target.stat().st_uid == 0


def test_secrets_of_others_are_not_read_through_a_link_of_the_service_user(
    base: Path, nobody: pwd.struct_passwd
):
    (base / "foreign.env").write_text("FOREIGN_KEY=not-yours\n")
    (base / "foreign.env").chmod(0o600)
    prepare(base, nobody)
    mine = base / "state/secrets.env"
    mine.symlink_to(base / "foreign.env")
    outcome = activate(base, environment_files=[str(mine)], documents={"x": {"path": str(mine)}})
    assert outcome.returncode == 3
    assert "Cannot read the secrets" in outcome.stderr
    assert not any(
        "not-yours" in path.read_text()
        for path in (base / "state").rglob("*")
        if path.is_file() and path != mine
    )
    mine.unlink()
    mine.write_text("OWN_KEY=mine\n")
    os.chown(mine, nobody.pw_uid, nobody.pw_gid)
    assert activate(base, environment_files=[str(mine)]).returncode == 0
    assert "OWN_KEY=mine" in (base / "state/.hermes/.env").read_text()


def test_a_link_of_root_to_secrets_is_followed(base: Path):
    (base / "generation-1").mkdir()
    (base / "generation-1/hermes.env").write_text("KEY=one\n")
    (base / "generation-1/hermes.env").chmod(0o600)
    (base / "secrets").symlink_to("generation-1")
    assert activate(base, environment_files=[str(base / "secrets/hermes.env")]).returncode == 0
    assert "KEY=one" in (base / "state/.hermes/.env").read_text()


def test_a_home_that_leads_to_a_directory_of_root_is_refused(base: Path, nobody: pwd.struct_passwd):
    (base / "etc").mkdir(mode=0o755)
    (base / "state").mkdir()
    os.chown(base / "state", nobody.pw_uid, nobody.pw_gid)
    (base / "state/.hermes").symlink_to(base / "etc")
    outcome = activate(base, container_mode={})
    assert outcome.returncode == 1
    assert list((base / "etc").iterdir()) == []


def test_a_state_directory_that_is_a_link_is_refused(base: Path):
    (base / "etc").mkdir()
    (base / "state").symlink_to(base / "etc")
    outcome = activate(base)
    assert outcome.returncode != 0
    assert "symbolic link" in outcome.stderr
    assert list((base / "etc").iterdir()) == []


def test_a_prepared_marker_is_replaced_not_written_through(base: Path, nobody: pwd.struct_passwd):
    precious = base / "precious"
    precious.write_text("precious\n")
    prepare(base, nobody)
    marker = base / "state/.hermes/.container-mode"
    for attempt in ("link", "hard link", "own file", "fifo"):
        if marker.exists() or marker.is_symlink():
            marker.unlink()
        if attempt == "link":
            marker.symlink_to(precious)
        elif attempt == "hard link":
            marker.hardlink_to(precious)
        elif attempt == "own file":
            marker.write_text("backend=docker\nhermes_bin=/evil\n")
            os.chown(marker, nobody.pw_uid, nobody.pw_gid)
        else:
            os.mkfifo(marker)
        outcome = activate(base, container_mode={})
        assert outcome.returncode == 0, (attempt, outcome.stderr)
        known = marker.lstat()
        assert stat.S_ISREG(known.st_mode) and known.st_uid == 0 and known.st_nlink == 1, attempt
        assert "/evil" not in marker.read_text()
        assert precious.read_text() == "precious\n", attempt


def test_a_directory_in_place_of_the_marker_is_named(base: Path, nobody: pwd.struct_passwd):
    prepare(base, nobody)
    (base / "state/.hermes/.container-mode").mkdir()
    outcome = activate(base, container_mode={})
    assert outcome.returncode == 1
    assert "Traceback" not in outcome.stderr


def test_the_marker_leaves_with_the_mode(base: Path):
    activate(base, container_mode={})
    assert activate(base).returncode == 0
    assert not (base / "state/.hermes/.container-mode").exists()


@pytest.fixture
def alice(base: Path) -> Iterator[pwd.struct_passwd]:
    """A person on this machine, with a home of her own."""
    name = f"hermes-t-{os.getpid()}"
    subprocess.run(["useradd", "-m", "-d", str(base / "alice"), name], check=True, capture_output=True)
    yield pwd.getpwnam(name)
    subprocess.run(["userdel", name], check=True, capture_output=True)


def test_a_host_user_gets_a_link_to_the_home_and_loses_it_with_the_mode(
    base: Path, alice: pwd.struct_passwd
) -> None:
    link = base / "alice/.hermes"
    link.mkdir()
    (link / "config.yaml").write_text("mine: true\n")
    os.chown(link, alice.pw_uid, alice.pw_gid)
    outcome = activate(base, container_mode={}, host_users=[alice.pw_name])
    assert outcome.returncode == 0, outcome.stderr
    assert link.readlink() == base / "state/.hermes"
    assert link.lstat().st_uid == alice.pw_uid, "made as that user, not as root"
    (kept,) = (base / "alice").glob(".hermes.bak.*")
    assert (kept / "config.yaml").read_text() == "mine: true\n"
    assert str(kept) in outcome.stdout
    assert activate(base, container_mode={}, host_users=[alice.pw_name]).stdout == ""
    assert activate(base, host_users=[alice.pw_name]).returncode == 0
    assert not link.is_symlink()
    assert kept.exists()


def test_a_link_that_leads_elsewhere_is_left_alone_and_named(base: Path, alice: pwd.struct_passwd) -> None:
    link = base / "alice/.hermes"
    link.symlink_to("/srv/somewhere")
    outcome = activate(base, container_mode={}, host_users=[alice.pw_name])
    assert outcome.returncode == 0
    assert f"{link} leads to /srv/somewhere" in outcome.stderr
    assert activate(base, host_users=[alice.pw_name]).returncode == 0
    assert str(link.readlink()) == "/srv/somewhere"


def test_a_host_user_that_does_not_exist_is_named_and_the_others_get_theirs(
    base: Path, alice: pwd.struct_passwd
) -> None:
    outcome = activate(base, container_mode={}, host_users=["hermes-nobody-has-this-name", alice.pw_name])
    assert outcome.returncode == 1
    assert "hermes-nobody-has-this-name" in outcome.stderr
    assert (base / "alice/.hermes").readlink() == base / "state/.hermes"


def test_a_home_of_a_host_user_that_leads_to_root_gets_nothing(base: Path, alice: pwd.struct_passwd) -> None:
    (base / "roots").mkdir(mode=0o755)
    (base / "alice").rename(base / "moved")
    (base / "alice").symlink_to(base / "roots")
    outcome = activate(base, container_mode={}, host_users=[alice.pw_name])
    assert outcome.returncode == 1
    assert "Cannot link" in outcome.stderr
    assert list((base / "roots").iterdir()) == []


def test_a_user_that_does_not_exist_stops_before_anything_is_made(base: Path):
    outcome = activate(base, user="hermes-nobody-has-this-name")
    assert outcome.returncode == 3
    assert "There is no user" in outcome.stderr
    assert not (base / "state").exists()


def test_a_read_only_file_system_is_named(base: Path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", str(base)], capture_output=True, check=False
    ).returncode
    if mounted:
        pytest.skip("nothing can be mounted here")
    try:
        (base / "spec.json").write_text("")
        activate(base)
        subprocess.run(["mount", "-o", "remount,ro", str(base)], check=True)
        outcome = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(root=str(ROOT)), "--spec", str(changed_spec(base))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome.returncode == 1
        assert "read-only" in outcome.stderr.lower()
        assert "Traceback" not in outcome.stderr
    finally:
        subprocess.run(["umount", str(base)], check=True)


def changed_spec(base: Path) -> Path:
    spec = json.loads((base / "spec.json").read_text())
    spec["settings"] = {"a": 2}
    path = Path(tempfile.gettempdir()) / f"{base.name}.json"
    path.write_text(json.dumps(spec))
    return path


def prepare(base: Path, nobody: pwd.struct_passwd) -> None:
    """A home that the service user owns."""
    for path in (base / "state", base / "state/.hermes"):
        path.mkdir()
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
