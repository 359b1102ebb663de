"""Host commands with a real engine: into the service's container and back, with and without a terminal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from container_machine import IMAGE, ROOT, open_engine

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

# Without what this machine itself may show of being a container.
ROUTE = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from hermes_agent.deploy.host_routing import route
code = route(os.environ["HERMES_HOME"] + "/.container-mode", sys.argv[1:], os.environ, root="/nonexistent/")
print("here")
sys.exit(code or 0)
"""

# Stands in for hermes inside: shows what it was given.
HERMES = """#!/bin/sh
case "$1" in
  show) for word; do printf '[%s]' "$word"; done; echo; id -un; pwd; echo "$TERM $LANG" ;;
  fail) echo "to stderr" >&2; exit "$2" ;;
  tty) test -t 0 && echo in-tty; test -t 1 && echo out-tty; stty size; read -r line; echo "got $line" ;;
  cat) cat ;;
  wait) trap 'echo interrupted; exit 130' INT; echo waiting; while :; do sleep 0.1; done ;;
esac
"""


@pytest.fixture(scope="module", params=["docker", "podman"])
def container(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A running container with a user and a stand-in for hermes; its backend and name."""
    api = open_engine(request.param)
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} command")
    place = Path(tempfile.mkdtemp(prefix="hermes-test-route-", dir="/var/lib"))
    place.chmod(0o755)
    (place / "hermes").write_text(HERMES)
    (place / "hermes").chmod(0o755)
    name = f"hermes-test-route-{os.getpid()}-{request.param}"
    api.create_container(
        IMAGE,
        ["sh", "-c", "useradd -u 4321 -d /data hermes; exec sleep 600"],
        name=name,
        working_dir="/data",
        host_config=api.create_host_config(binds=[f"{place}:/data"], init=False),
    )
    api.start(name)
    yield request.param, name
    api.remove_container(name, force=True)
    shutil.rmtree(place)


@pytest.fixture
def home(container: tuple[str, str]) -> Iterator[Path]:
    backend, name = container
    place = Path(tempfile.mkdtemp(prefix="hermes-test-home-", dir="/var/lib"))
    place.chmod(0o755)
    (place / ".container-mode").write_text(
        f"backend={backend}\ncontainer_name={name}\nhermes_bin=/data/hermes\n"
    )
    (place / ".container-mode").chmod(0o644)
    yield place
    shutil.rmtree(place)


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HERMES_HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm", **more}


def hermes(home: Path, *words: str, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", ROUTE, *words],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(home, **more),
    )


def test_words_arrive_as_they_were_typed(home: Path):
    words = ("-p", "work", "--x=*", "two words", "", "$HOME", "'\"", "ünïcode", "--", "-it")
    outcome = hermes(home, "show", *words)
    assert outcome.returncode == 0, outcome.stderr
    first, *rest = outcome.stdout.decode().splitlines()
    assert first == "".join(f"[{word}]" for word in ("show", *words))
    assert rest == ["hermes", "/data", "xterm C.UTF-8"]


@pytest.mark.parametrize("code", [0, 1, 7, 75, 125, 130, 255])
def test_the_exit_code_is_that_of_the_container(home: Path, code: int):
    outcome = hermes(home, "fail", str(code))
    assert outcome.returncode == code
    assert outcome.stderr == b"to stderr\n"
    assert outcome.stdout == b""


def test_bytes_go_through_without_a_terminal(home: Path):
    data = bytes(range(256)) * 2000
    assert hermes(home, "cat", stdin=data).stdout == data


def test_a_terminal_is_a_terminal_inside(home: Path):
    with pexpect.spawn(
        sys.executable,
        ["-c", ROUTE, "tty"],
        env=environment(home),
        dimensions=(33, 99),
        timeout=20,
        encoding="utf-8",
    ) as child:
        child.expect("in-tty")
        child.expect("out-tty")
        child.expect(r"\d+ \d+")
        child.sendline("typed")
        child.expect("got typed")
        child.expect(pexpect.EOF)
    assert child.exitstatus == 0


def test_ctrl_c_reaches_the_command_inside(home: Path):
    with pexpect.spawn(
        sys.executable, ["-c", ROUTE, "wait"], env=environment(home), timeout=20, encoding="utf-8"
    ) as child:
        child.expect("waiting")
        child.sendintr()
        child.expect("interrupted")
        child.expect(pexpect.EOF)
    assert child.exitstatus == 130


def test_hermes_dev_stays_on_the_host(home: Path):
    assert hermes(home, "show", HERMES_DEV="1").stdout == b"here\n"


def test_a_container_that_stopped_is_waited_for_and_never_replaced_by_the_host(
    container: tuple[str, str], home: Path
):
    backend, name = container
    api = open_engine(backend)
    api.kill(name)
    began = time.monotonic()
    outcome = hermes(home, "show")
    assert outcome.returncode == 6
    assert 9 < time.monotonic() - began < 60
    assert b"is not running" in outcome.stderr
    assert outcome.stdout == b"here\n"  # the stand-in for the host program, after the routing gave up
    with pexpect.spawn(
        sys.executable, ["-c", ROUTE, "show"], env=environment(home), timeout=20, encoding="utf-8"
    ) as child:
        child.expect(f"waiting for {name}")
        api.start(name)
        child.expect_exact("[show]")
        child.expect(pexpect.EOF)
    assert child.exitstatus == 0


def test_whoever_may_not_use_the_engine_goes_through_sudo(container: tuple[str, str], home: Path):
    backend, _ = container
    if backend == "podman":
        pytest.skip("podman without a daemon sees the containers of each user only")
    places = home / "bin"
    places.mkdir()
    (places / "sudo").write_text(
        f'#!/bin/sh\necho "$*" >>{home}/asked\necho "a password is required" >&2; exit 1\n'
    )
    (places / "sudo").chmod(0o755)
    (home / "asked").touch()
    (home / "asked").chmod(0o666)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    code = ROUTE.replace(str(ROOT), str(home / "code"))
    shutil.copytree(ROOT / "hermes_agent/deploy", home / "code/hermes_agent/deploy")
    shutil.copy(ROOT / "hermes_agent/__init__.py", home / "code/hermes_agent/__init__.py")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("there is no interpreter that everybody may run")
    outcome = subprocess.run(
        [*as_nobody, python, "-c", code, "show"],
        capture_output=True,
        check=False,
        timeout=60,
        env=environment(home, PATH=f"{places}:{os.environ['PATH']}"),
        stdin=subprocess.DEVNULL,
    )
    assert outcome.returncode == 6, outcome.stderr
    assert b"security.sudo.extraRules" in outcome.stderr
    assert b"sudo hermes" in outcome.stderr
    assert "-n " in (home / "asked").read_text()


def test_a_marker_of_the_agent_is_not_believed(home: Path):
    os.chown(home / ".container-mode", 4321, 4321)
    outcome = hermes(home, "show")
    assert outcome.returncode == 6
    assert b"is not believed" in outcome.stderr


def test_a_killed_host_command_does_not_hang_the_next_one(home: Path):
    running = subprocess.Popen(
        [sys.executable, "-c", ROUTE, "wait"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment(home),
    )
    assert running.stdout is not None
    assert running.stdout.readline() == b"waiting\n"
    running.send_signal(signal.SIGKILL)
    running.wait(10)
    running.stdout.close()
    assert hermes(home, "fail", "3").returncode == 3
