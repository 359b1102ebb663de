"""Host commands that belong into the container: `hermes` with a program that stands in for the engine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from hermes_agent.deploy.host_routing import is_inside

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the marker has to belong to root")

ROUTE = """
import os, sys
from hermes_agent.deploy.host_routing import route
marker = os.environ["HERMES_HOME"] + "/.container-mode"
code = route(marker, sys.argv[1:], os.environ, root=os.environ["ROOT"])
print("here")
sys.exit(code)
"""
"""Without what this machine itself may show of being a container."""

ENGINE = """#!/bin/sh
echo "$*" >>"$LOG"
case "$1" in
  inspect)
    n=$(wc -l <"$LOG")
    [ "$n" -gt "${FAIL_TIMES:-0}" ] || { echo "no such object" >&2; exit 1; }
    echo "${RUNNING:-true} ${STARTED:-2020-01-01T00:00:00Z}" ;;
  exec)
    case "$*" in
      *" true") [ -z "${NO_USER:-}" ] || { echo "unable to find user" >&2; exit 126; }; exit 0 ;;
    esac
    cat; exit "${CODE:-0}" ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    (path / ".container-mode").write_text("# note\nbackend=docker\ncontainer_name=box\nexec_user=agent\n")
    (path / ".container-mode").chmod(0o644)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(ENGINE)
    (tmp_path / "bin/docker").chmod(0o755)
    return path


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        "HERMES_HOME": str(home),
        "PATH": f"{home.parent / 'bin'}:{os.environ['PATH']}",
        "LOG": str(home.parent / "log"),
        "ROOT": f"{home.parent}/root/",
        "DOCKER_HOST": "unix:///nonexistent",
        "LANG": "C.UTF-8",
        **more,
    }


def hermes(home: Path, *args: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ROUTE, *args],
        env=environment(home, **more),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_command_goes_into_the_container_as_it_was_typed(home: Path):
    outcome = hermes(home, "-p", "work", "chat", "-q", "two words", "--x=*", stdin="piped", CODE="7")
    assert outcome.returncode == 7
    assert outcome.stdout == "piped"
    last = (home.parent / "log").read_text().splitlines()[-1]
    assert last == (
        "exec -i -u agent -e LANG=C.UTF-8 box /data/current-package/bin/hermes "
        "-p work chat -q two words --x=*"
    )


def test_even_the_version_is_that_of_the_container(home: Path):
    assert hermes(home, "--version").returncode == 0
    assert (home.parent / "log").read_text().endswith("bin/hermes --version\n")


def test_what_the_host_declares_beats_what_a_root_in_the_container_wrote(home: Path):
    declared = home.parent / "root/etc/hermes-agent/container-mode"
    declared.mkdir(parents=True)
    (declared / "another").write_text(f"home={home.parent}/other\ncontainer_name=other\n")
    (declared / "hermes-agent").write_text(f"home={home}\ncontainer_name=declared\nexec_user=hermes\n")
    link = home.parent / "link"
    link.symlink_to(home)
    (home / ".container-mode").write_text("container_name=victim\nexec_user=root\nhermes_bin=/bin/sh\n")
    assert hermes(link, "config").returncode == 0
    calls = (home.parent / "log").read_text()
    assert "-u hermes" in calls
    assert "declared /data/current-package/bin/hermes config" in calls
    assert "victim" not in calls


def test_hermes_dev_stays_on_the_host(home: Path):
    outcome = hermes(home, "--version", HERMES_DEV="1")
    assert outcome.stdout == "here\n"
    assert not (home.parent / "log").exists()


def test_a_command_inside_a_container_stays_there(home: Path):
    assert hermes(home, "--version", KUBERNETES_SERVICE_HOST="10.0.0.1").stdout == "here\n"


def test_a_container_that_starts_late_is_waited_for(home: Path):
    assert hermes(home, "config", FAIL_TIMES="3").returncode == 0


def test_a_container_without_its_user_is_waited_for_and_then_named(home: Path):
    began = time.monotonic()
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    outcome = hermes(home, "config", NO_USER="1", STARTED=started)
    assert outcome.returncode == 6
    assert "unable to find user" in outcome.stderr
    assert 9 < time.monotonic() - began < 60
    assert "bin/hermes config" not in (home.parent / "log").read_text()


def test_a_stopped_container_is_an_error_and_never_run_here(home: Path):
    with pexpect.spawn(
        sys.executable,
        ["-c", ROUTE, "config", "path"],
        env=environment(home, RUNNING="false", TERM="xterm"),
        timeout=20,
        encoding="utf-8",
    ) as child:
        child.expect("waiting for box")
        child.expect("The container 'box' cannot be reached: the container 'box' is not running")
        child.expect("sudo hermes")
        child.expect(pexpect.EOF)
    assert child.exitstatus == 6


def test_a_terminal_is_handed_over(home: Path):
    with pexpect.spawn(
        sys.executable,
        ["-c", ROUTE, "chat"],
        env=environment(home, TERM="xterm"),
        timeout=20,
        encoding="utf-8",
    ) as child:
        child.sendeof()
        child.expect(pexpect.EOF)
    assert "exec -it -u agent -e TERM=xterm -e LANG=C.UTF-8 box" in (home.parent / "log").read_text()


@pytest.mark.parametrize("harm", ["owner", "group may write", "link", "other engine", "other name"])
def test_a_marker_that_is_not_roots_own_is_not_believed(home: Path, harm: str):
    marker = home / ".container-mode"
    if harm == "owner":
        os.chown(marker, 65534, 65534)
    elif harm == "group may write":
        marker.chmod(0o664)
    elif harm == "link":
        marker.rename(home / "real")
        marker.symlink_to(home / "real")
    elif harm == "other engine":
        marker.write_text("backend=/tmp/evil\n")
    else:
        marker.write_text("container_name=--privileged\n")
    outcome = hermes(home, "config", "path")
    assert outcome.returncode == 6
    assert outcome.stdout == "here\n"
    assert "sudo nixos-rebuild switch" in outcome.stderr
    assert not (home.parent / "log").exists()


def test_an_engine_that_is_missing_is_named(home: Path):
    (home.parent / "bin/docker").unlink()
    (home / ".container-mode").write_text("backend=podman\n")
    outcome = hermes(home, "config", PATH="/nonexistent")
    if outcome.returncode == 6 and "cannot be reached" in outcome.stderr:
        pytest.skip("podman is installed here")
    assert outcome.returncode == 6
    assert "podman is not installed" in outcome.stderr


def test_containers_are_recognised(tmp_path: Path):
    root = f"{tmp_path}/"
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    assert not is_inside({}, root)
    (tmp_path / "proc/1/cgroup").write_text("0::/system.slice/docker-abc.scope\n")
    assert is_inside({}, root)
    (tmp_path / "proc/1/cgroup").write_text("0::/\n")
    (tmp_path / "run/.containerenv").touch()
    assert is_inside({}, root)
    (tmp_path / "run/.containerenv").unlink()
    (tmp_path / "proc/self").mkdir()
    mounts = tmp_path / "proc/self/mountinfo"
    mounts.write_text(
        "60 27 0:64 / /var/lib/containers/storage/overlay-containers/25fe/userdata/shm rw - tmpfs\n"
    )
    assert not is_inside({}, root)  # a host sees what its engine mounts for others
    mounts.write_text(
        "173 107 254:0 /var/lib/docker/containers/2cd0/hosts /etc/hosts rw - ext4 /dev/vda rw\n"
    )
    assert is_inside({}, root)
    assert is_inside({"container": "podman"}, "/nonexistent/")


def test_routing_costs_little_before_the_engine_runs(home: Path):
    code = (
        "import time, os, sys; began = time.process_time(); "
        "from hermes_agent.deploy import host_routing; "
        f"host_routing.read_mode({str(home / '.container-mode')!r}); host_routing.is_inside({{}}); "
        "print(1000 * (time.process_time() - began))"
    )
    best = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(5)
    )
    assert best < 30


def test_the_fast_door_asks_the_marker_first(home: Path):
    (home / ".container-mode").chmod(0o666)
    outcome = subprocess.run(
        [sys.executable, "-m", "hermes_agent", "--version"],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    # On a machine that is a container itself the command belongs here.
    assert (outcome.returncode == 0) == is_inside({})
