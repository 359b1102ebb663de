"""The container unit with real engines: made, started again, upgraded, changed, killed, taken over.

The package store is a directory with an interpreter and stand-in gateways (`container_machine`); the image
is one that is there already. Nothing is pulled.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from container_machine import (
    COMMAND,
    GID,
    IMAGE,
    SOCKETS,
    UID,
    Machine,
    Supervised,
    machines,
    make_store,
    open_engine,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]


BETWEEN = """
import socket, sys, threading
def copy(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError: pass
listening = socket.socket(socket.AF_UNIX); listening.bind(sys.argv[1]); listening.listen(50)
print("ready", flush=True)
while True:
    one, _ = listening.accept()
    other = socket.socket(socket.AF_UNIX); other.connect(sys.argv[2])
    for pair in ((one, other), (other, one)): threading.Thread(target=copy, args=pair, daemon=True).start()
"""


INSTALL = """
mkdir -p /tmp/p/DEBIAN
printf '%s\\n' 'Package: hermes-test' 'Version: 1' 'Architecture: all' 'Maintainer: x' 'Description: x' \\
  >/tmp/p/DEBIAN/control
dpkg-deb -b /tmp/p /tmp/p.deb && sudo -n dpkg -i /tmp/p.deb
"""
"""What `apt install` does, without a network."""


@pytest.fixture(scope="session")
def store() -> Iterator[Path]:
    open_engine("docker").close()
    place = Path(tempfile.mkdtemp(prefix="hermes-test-store-", dir="/var/tmp"))
    place.chmod(0o755)
    yield make_store(place)
    shutil.rmtree(place)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Reachable for every user, as `/var/lib` is."""
    place = Path(tempfile.mkdtemp(prefix="hermes-test-", dir="/var/lib"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def machine(store: Path, directory: Path) -> Iterator[Machine]:
    yield from machines("docker", store, directory)


@pytest.fixture(params=["docker", "podman"])
def either(request: pytest.FixtureRequest, store: Path, directory: Path) -> Iterator[Machine]:
    yield from machines(request.param, store, directory)


def mark(machine: Machine) -> None:
    """Change the container's own files as an agent does that installs something."""
    code, said = machine.exec(
        "sudo", "-n", "sh", "-c", "echo kept >/installed; echo x >/usr/bin/added; id -u"
    )
    assert (code, said) == (0, "0\n")


def is_marked(machine: Machine) -> bool:
    return (
        machine.exec("cat", "/installed")[1] == "kept\n"
        and machine.exec("test", "-f", "/usr/bin/added")[0] == 0
    )


def test_it_is_made_started_ended_and_started_again(either: Machine):
    assert either.command("plan").returncode == 11
    first = either.up(arguments=["-v", "two words"])
    facts = either.facts()
    assert facts["argv"][1:] == ["gateway", "run", "--replace", "-v", "two words"]
    assert (facts["uid"], facts["gid"], facts["umask"]) == (UID, GID, 0o007)
    assert facts["cwd"] == "/data/workspace"
    assert facts["environment"]["HERMES_HOME"] == "/data/.hermes"
    assert facts["environment"]["WATCHDOG_USEC"] == "6000000"
    first.until_true(lambda: "gateway v1" in first.output, "its output")
    first.until("WATCHDOG=1")
    assert either.command("plan").returncode == 0
    mark(either)
    before = either.inspect()["Id"]

    first.process.send_signal(signal.SIGHUP)
    first.until_true(lambda: any("RELOADING=1" in text for text in first.messages), "the reload")
    first.until_true(lambda: "told to reload" in first.output, "the reload in the log")

    assert first.end() == 0
    assert "told to end" in first.output
    assert any(text.startswith("STOPPING=1") for text in first.messages)
    assert any("EXTEND_TIMEOUT_USEC=3000000" in text for text in first.messages)
    assert not either.inspect()["State"]["Running"]

    either.up()
    assert either.inspect()["Id"] == before
    assert is_marked(either)
    assert either.names() == {either.name}


def test_a_new_package_is_run_by_the_same_container(machine: Machine):
    first = machine.up()
    mark(machine)
    before = machine.inspect()["Id"]
    assert sorted(path.name for path in (machine.directory / "roots").iterdir()) == [
        f"{machine.name}:v1-hermes-agent"
    ]
    planned = machine.command("plan", package="/nix/store/v2-hermes-agent", arguments=["-v"])
    assert planned.returncode == 10
    assert "package: /nix/store/v1-hermes-agent -> /nix/store/v2-hermes-agent" in planned.stdout
    first.end()
    second = machine.run()
    second.until_true(lambda: "removed: the root" in second.output, "the old root to go")
    assert "READY=1" in "\n".join(second.messages)
    second.until_true(lambda: "gateway v2" in second.output, "its output")
    assert machine.inspect()["Id"] == before
    assert is_marked(machine)
    assert machine.facts()["package"] == "/nix/store/v2-hermes-agent"
    assert str((machine.state / "current-package").readlink()) == "/nix/store/v2-hermes-agent"
    assert [path.name for path in (machine.directory / "roots").iterdir()] == [
        f"{machine.name}:v2-hermes-agent"
    ]


def test_the_old_closure_is_kept_until_the_new_one_is_ready(machine: Machine):
    machine.up().end()
    (machine.home / "fail").touch()
    failing = machine.run(package="/nix/store/v2-hermes-agent")
    assert failing.wait() == 3
    assert {path.name for path in (machine.directory / "roots").iterdir()} == {
        f"{machine.name}:v1-hermes-agent",
        f"{machine.name}:v2-hermes-agent",
    }


def test_a_change_of_structure_keeps_what_was_installed(either: Machine):
    extra = either.directory / "extra"
    extra.mkdir()
    either.up(extra_options=["--env=GONE=1", "--memory=1g"]).end()
    running = either.up()
    mark(either)
    assert either.exec("sh", "-c", INSTALL)[0] == 0
    before = either.inspect()["Id"]
    planned = either.command("plan", extra_volumes=[f"{extra}:/srv/extra"], extra_options=["--memory=512m"])
    assert planned.returncode == 12
    assert f"volumes: with {extra}:/srv/extra" in planned.stdout
    assert "options: without --env=GONE=1" in planned.stdout
    running.end()
    second = either.run()
    second.until_true(lambda: "removed: the container" in second.output, "the old one to go")
    after = either.inspect()
    assert after["Id"] != before
    assert after["HostConfig"]["Memory"] == 512 << 20
    assert is_marked(either)
    assert "install ok installed" in either.exec("dpkg", "-s", "hermes-test")[1]
    assert not either.facts()["environment"].get("GONE")
    assert either.exec("test", "-d", "/srv/extra")[0] == 0
    assert either.names() == {either.name}
    assert either.command("plan").returncode == 0

    second.end()
    third = either.run(extra_volumes=[])
    third.until_true(lambda: "removed: the image" in third.output, "the image of the layer before to go")
    assert is_marked(either)
    assert len(either.layers()) == 1
    third.end()
    assert either.command("remove").returncode == 0
    assert not either.names()
    assert not either.layers()
    assert (either.home / "facts.json").exists()


def test_without_preserve_layer_it_begins_anew_and_the_plan_says_so(machine: Machine):
    machine.up().end()
    machine.api.start(machine.name)
    planned = machine.command("plan", extra_options=["--memory=512m"], preserve_layer=False)
    assert planned.returncode == 13
    assert "LOST" in planned.stdout
    running = machine.up()
    assert machine.exec("test", "-e", "/installed")[0] == 1
    assert not machine.layers()
    # The old gateway was stopped, too; systemd is told of the new one only.
    assert not any("STOPPING=1" in text for text in running.messages)
    running.end()
    assert "is killed" not in running.output


def test_another_image_is_used_as_it_is(machine: Machine):
    other = f"hermes-test-other:{machine.name[-6:]}"
    machine.up()
    mark(machine)
    machine.running[-1].end()
    made = machine.api.create_container("testbed/debian:trixie", ["sh", "-c", "echo other >/other"])["Id"]
    try:
        machine.api.start(made)
        machine.api.wait(made)
        machine.api.commit(made, repository="hermes-test-other", tag=machine.name[-6:])
        planned = machine.command("plan", image=other)
        assert planned.returncode == 13
        assert "image: testbed/debian:trixie ->" in planned.stdout
        machine.up()
        assert machine.exec("cat", "/other")[1] == "other\n"
        assert machine.exec("test", "-e", "/installed")[0] == 1
    finally:
        machine.api.remove_container(made, force=True)
        machine.running[-1].kill()
        machine.api.remove_container(machine.name, force=True)
        machine.api.remove_image(other, force=True)


def test_a_change_that_cannot_be_made_leads_back_to_the_old_container(machine: Machine):
    machine.up()
    mark(machine)
    machine.running[-1].end()
    before = machine.inspect()["Id"]
    refused = machine.run(extra_options=["--device=/dev/not-there"])
    assert refused.wait() == 6
    assert "not-there" in refused.output
    assert "The old one is back" in refused.output
    assert machine.inspect()["Id"] == before
    assert machine.names() == {machine.name}
    again = machine.run()
    assert again.wait() == 6
    assert len(machine.layers()) == 1  # kept once, not at each attempt
    last = machine.run(extra_options=[])
    last.until_true(lambda: "removed: the image" in last.output, "the layer that was kept in vain to go")
    assert machine.inspect()["Id"] == before
    assert is_marked(machine)


def test_a_new_container_whose_gateway_fails_leads_back_to_the_old_one(machine: Machine):
    machine.up()
    mark(machine)
    machine.running[-1].end()
    before = machine.inspect()["Id"]
    (machine.home / "fail").touch()
    failing = machine.run(extra_options=["--memory=512m"])
    assert failing.wait() == 3
    assert "it fails" in failing.output
    assert machine.inspect()["Id"] == before
    (machine.home / "fail").unlink()
    machine.up()
    assert machine.inspect()["Id"] != before
    assert is_marked(machine)


def test_a_supervisor_killed_between_the_two_containers_loses_nothing(machine: Machine):
    machine.up()
    mark(machine)
    machine.running[-1].end()
    before = machine.inspect()["Id"]
    machine.api.rename(machine.name, f"{machine.name}-previous")
    assert machine.command("plan").returncode == 0
    machine.up()
    assert machine.inspect()["Id"] == before
    assert is_marked(machine)


def test_a_killed_container_ends_the_supervisor_with_its_code(either: Machine):
    running = either.up()
    either.api.kill(either.name)
    assert running.wait() == 137
    assert "exit code 137" in running.output
    either.up()


def test_a_killed_supervisor_is_followed_by_one_that_adopts_the_container(either: Machine):
    first = either.up()
    before = either.inspect()["State"]["StartedAt"]
    first.kill()
    assert either.inspect()["State"]["Running"]
    second = either.up()
    assert "adopted" in second.output
    assert either.inspect()["State"]["StartedAt"] == before
    second.forget()
    second.until("WATCHDOG=1")
    second.process.send_signal(signal.SIGHUP)
    second.until_true(lambda: "told to reload" in second.output, "output of the adopted container")
    assert second.end() == 0
    assert not either.inspect()["State"]["Running"]


def test_an_adopted_container_with_an_old_package_is_started_again(machine: Machine):
    machine.up().kill()
    before = machine.inspect()["Id"]
    second = machine.up(package="/nix/store/v2-hermes-agent")
    second.until_true(lambda: "gateway v2" in second.output, "its output")
    assert machine.inspect()["Id"] == before


def test_a_container_that_hangs_is_started_again_instead_of_adopted(machine: Machine):
    machine.up().kill()
    before = machine.inspect()["State"]["StartedAt"]
    code, said = machine.exec("sh", "-c", "kill -STOP $(pgrep -f gateway[.]py)")
    assert code == 0, said
    second = machine.up(drain_seconds=1)
    assert "does not answer" in second.output
    assert machine.inspect()["State"]["StartedAt"] != before


def test_a_paused_container_is_taken_up_again(machine: Machine):
    machine.up().kill()
    machine.api.pause(machine.name)
    machine.up()


def test_only_one_supervisor_takes_care_of_a_container(machine: Machine):
    running = machine.up()
    second = machine.run()
    assert second.wait() == 1
    assert f"by process {running.process.pid}" in second.output
    assert machine.inspect()["State"]["Running"]
    assert machine.command("stop").returncode == 0
    assert running.wait() == 0
    assert machine.command("stop").returncode == 0


def test_somebody_elses_container_of_that_name_is_left_alone(machine: Machine):
    machine.api.create_container("testbed/debian:trixie", ["sleep", "60"], name=machine.name)
    outcome = machine.run()
    assert outcome.wait() == 6
    assert f"rename {machine.name} {machine.name}-old" in outcome.output
    assert machine.inspect()["Config"]["Cmd"] == ["sleep", "60"]


def test_labels_that_make_no_sense_lead_to_a_new_container_with_the_old_files(machine: Machine):
    labels = {
        "hermes-agent.container": machine.name,
        "hermes-agent.identity": "x",
        "hermes-agent.structure": '{"environment": 5, "volumes": {"a": []}}',
    }
    machine.api.create_container(
        "testbed/debian:trixie", ["sh", "-c", "echo kept >/installed"], name=machine.name, labels=labels
    )
    machine.api.start(machine.name)
    machine.api.wait(machine.name)
    assert machine.command("plan").returncode == 12
    machine.up()
    assert machine.exec("cat", "/installed")[1] == "kept\n"


def test_without_sudo_nobody_inside_becomes_root(machine: Machine):
    machine.up().end()
    machine.up(sudo=False)
    code, said = machine.exec("sudo", "-n", "true")
    assert code != 0
    assert "root" in said or "privileges" in said
    assert machine.exec("test", "-e", "/etc/sudoers.d/hermes-agent", user="root")[0] == 1
    status = machine.exec("sh", "-c", "grep -E 'CapEff|NoNewPrivs' /proc/$(pgrep -f gateway[.]py)/status")[1]
    assert "0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert machine.exec("sh", "-c", "touch /opt/hermes-agent/x; touch /nix/store/x")[0] != 0


def test_a_number_that_somebody_in_the_image_has_is_the_agents_first(machine: Machine):
    made = machine.api.create_container(
        "testbed/debian:trixie",
        [
            "sh",
            "-c",
            "useradd -u 4321 -m ubuntu && useradd -u 7777 -m hermes && touch /home/hermes/of-the-image",
        ],
    )["Id"]
    tag = machine.name[-6:]
    try:
        machine.api.start(made)
        machine.api.wait(made)
        machine.api.commit(made, repository="hermes-test-clash", tag=tag)
        running = machine.up(image=f"hermes-test-clash:{tag}")
        assert machine.exec("sh", "-c", "whoami; cd; pwd -P; sudo -n id -u")[1] == "hermes\n/data/home\n0\n"
        assert machine.exec("id", "-u", "ubuntu")[1] == "4321\n"
        assert machine.exec("ls", "/home/hermes.of-the-image", user="root")[1].strip() == "of-the-image"
        assert "4321:4322 now (7777:7777 before)" in running.output
        running.end()
        refused = machine.run(uid=5555, gid=5556)
        assert refused.wait() == 5
        assert f"chown -hR --from=4321:4322 5555:5556 {machine.state}" in refused.output
        subprocess.run(["chown", "-hR", "--from=4321:4322", "5555:5556", machine.state], check=True)
        machine.up()
        assert machine.facts()["uid"] == 5555
        assert machine.exec("sh", "-c", "whoami; id -g")[1] == "hermes\n5556\n"
    finally:
        for supervised in machine.running:
            supervised.kill()
        for name in (made, machine.name):
            machine.api.remove_container(name, force=True)
        machine.api.remove_image(f"hermes-test-clash:{tag}", force=True)


def test_orphans_are_reaped(machine: Machine):
    machine.up()
    machine.exec("sh", "-c", "for i in 1 2 3 4 5; do (sh -c 'sleep 0.1' &) ; done; sleep 0.5")
    assert "defunct" not in machine.exec("ps", "ax")[1]


def test_programs_that_the_user_installs_persist_in_the_state(machine: Machine):
    # The interpreter of this store does not find its library by itself, as one of Nix does.
    machine.up(tools="/nix/store/tools-1", environment={"LD_LIBRARY_PATH": "/nix/store/python/lib"})
    _, said = machine.exec("sh", "-c", "node --version; python3 -c 'import sys; print(sys.prefix)'")
    assert said.startswith("v24.0.0\n/home/hermes/.venv\n"), said
    script = machine.state / "home/.local/bin/mine"
    machine.exec(
        "sh", "-c", "printf '#!/bin/sh\\necho mine\\n' >~/.local/bin/mine; chmod +x ~/.local/bin/mine"
    )
    assert machine.exec("mine")[1] == "mine\n"
    assert script.stat().st_uid == UID
    # An upgrade may take the interpreter away that the virtual environment was made with.
    machine.exec("sh", "-c", "touch ~/.venv/kept; ln -sf /nix/store/gone/python3 ~/.venv/bin/python3")
    assert machine.exec("pip", "--version")[0] != 0
    machine.running[-1].end()
    machine.api.remove_container(machine.name)
    machine.up()
    assert machine.exec("mine")[1] == "mine\n"
    assert machine.exec("pip", "--version")[0] == 0
    assert machine.exec("test", "-e", "/home/hermes/.venv/kept")[0] == 0


def test_nothing_in_the_state_directory_leads_the_mounts_elsewhere(machine: Machine):
    running = machine.up()
    secret = machine.directory / "secret"
    secret.mkdir(mode=0o700)
    # What an agent can do: everything in its own state directory.
    code, said = machine.exec(
        "sh", "-c", f"cd /data && mv home home.old && ln -s {machine.directory} home && ls -ld home"
    )
    assert code == 0, said
    running.end()
    refused = machine.run()
    assert refused.wait() == 5
    assert "symbolic link" in refused.output
    sources = {mount["Source"] for mount in machine.inspect()["Mounts"]}
    assert not [source for source in sources if source.startswith(str(machine.state) + "/")]


def test_a_link_to_the_package_that_was_replaced_is_put_right(machine: Machine):
    running = machine.up()
    machine.exec("sh", "-c", "ln -sfn /data/evil /data/current-package")
    running.end()
    machine.up()
    assert machine.facts()["package"] == "/nix/store/v1-hermes-agent"


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"socket": "/run/not-there.sock"}, 6, "systemctl start docker.service"),
        ({"image": "hermes-test/not-there:1"}, 6, "cannot be pulled"),
        ({"package": "/nix/store/not-there"}, 3, "no command hermes"),
        ({"extra_volumes": ["/not/there:/x"]}, 3, "/not/there is to be mounted and is not there"),
        ({"extra_options": ["--rm"]}, 3, "set by hermes-agent-container itself"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    machine: Machine, changes: dict[str, object], code: int, said: str
):
    outcome = machine.run(**changes)
    assert outcome.wait() == code
    assert said in outcome.output
    assert len(outcome.output.splitlines()) <= 8
    assert not machine.names()


def test_an_engine_that_was_stopped_is_named(machine: Machine):
    dead = machine.directory / "dead.sock"
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(dead))
    outcome = machine.run(socket=str(dead))
    assert outcome.wait() == 6
    assert "does not answer" in outcome.output
    assert "systemctl status docker.service" in outcome.output


def test_whoever_may_not_use_the_engine_is_told_so(machine: Machine):
    spec = machine.spec()
    outcome = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            *COMMAND,
            "--spec",
            str(spec),
            "plan",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    if "ModuleNotFoundError" in outcome.stderr or "Permission denied" in outcome.stderr.split("\n")[0]:
        pytest.skip("the interpreter of the tests is not readable for others")
    assert outcome.returncode == 6
    assert "sudo hermes-agent-container" in outcome.stderr


def test_a_state_directory_on_a_read_only_file_system_is_named(machine: Machine):
    if shutil.which("mount") is None:
        pytest.skip("there is no mount command")
    machine.state.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"ro,uid={UID},gid={GID}", "tmpfs", machine.state], check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        outcome = machine.run()
        assert outcome.wait() == 5
        assert "read-only" in outcome.output
    finally:
        subprocess.run(["umount", machine.state], check=True)


def test_an_engine_that_goes_away_ends_the_supervisor_and_not_the_container(machine: Machine):
    """The engine is reached through something that can be cut."""
    address = machine.directory / "engine.sock"
    between = subprocess.Popen(
        [sys.executable, "-c", BETWEEN, str(address), "/var/run/docker.sock"], stdout=subprocess.PIPE
    )
    assert between.stdout is not None
    with between, between.stdout:
        assert between.stdout.readline() == b"ready\n"
        running = machine.up(socket=str(address))
        before = machine.inspect()["State"]["StartedAt"]
        between.kill()
        assert running.wait() == 6
        assert "Docker" in running.output
    assert machine.inspect()["State"]["Running"]
    machine.up(socket="/var/run/docker.sock")
    assert machine.inspect()["State"]["StartedAt"] == before


def test_a_container_that_ran_out_of_memory_is_said_to_have(machine: Machine):
    running = machine.up(extra_options=["--memory=64m", "--memory-swap=64m"])
    machine.exec("sudo", "sh", "-c", "echo 1000 >/proc/1/oom_score_adj; head -c 300m /dev/zero | tail")
    assert running.wait() == 137
    assert "no memory left" in running.output


def test_it_can_be_told_to_end_at_any_moment(machine: Machine):
    for wanted in ("will be made", "will be started", "gateway v1"):
        ended_after(machine.run(), wanted)
        assert not machine.api.containers(filters={"name": machine.name})


def ended_after(running: Supervised, wanted: str) -> None:
    running.until_true(lambda: wanted in running.output, wanted)
    assert running.end() == 0, running.output


def test_volumes_that_the_image_asks_for_move_along(either: Machine):
    """Data that databases and the like keep in a volume of the image is no part of the layer."""
    tag = either.name[-6:]
    made = either.api.create_container(IMAGE, ["true"])["Id"]
    either.api.commit(made, repository="hermes-test-volume", tag=tag, changes=["VOLUME /var/kept"])
    either.api.remove_container(made)
    image = f"hermes-test-volume:{tag}"
    before = {volume["Name"] for volume in either.api.volumes()["Volumes"] or ()}
    try:
        either.up(image=image)
        assert either.exec("sudo", "sh", "-c", "echo data >/var/kept/file")[0] == 0
        either.running[-1].end()
        second = either.run(extra_options=["--memory=512m"])
        second.until_true(lambda: "removed: the container" in second.output, "the old one to go")
        assert either.exec("cat", "/var/kept/file")[1] == "data\n"
        second.end()
        third = either.run(extra_options=["--memory=256m"], preserve_layer=False)
        third.until_true(lambda: "removed: the container" in third.output, "the old one to go")
        assert either.exec("ls", "/var/kept")[1] == ""
        third.end()
        assert either.command("remove").returncode == 0
        left = {volume["Name"] for volume in either.api.volumes()["Volumes"] or ()} - before
        assert len(left) <= 1, "only what was taken over, which has a name for the engine now"
        for name in left:
            either.api.remove_volume(name)
    finally:
        for supervised in either.running:
            supervised.kill()
        for name in either.names():
            either.api.remove_container(name, force=True, v=True)
        for name in either.layers():
            either.api.remove_image(name, force=True)
        either.api.remove_image(image, force=True)


def test_options_reach_the_engine(machine: Machine):
    machine.up(
        extra_options=[
            *(
                "--memory=512m",
                "--cpus=0.5",
                "--shm-size",
                "32m",
                "--pids-limit=200",
                "--tmpfs=/scratch:size=1m",
            ),
            *(
                "--ulimit=nofile=1000:2000",
                "--add-host=elsewhere:10.1.2.3",
                "--cap-add=SYS_PTRACE",
                "-e",
                "A=b",
            ),
            *(
                "--network=bridge",
                "--hostname=box",
                "-p",
                "127.0.0.1:0:8080",
                "--label=x=y",
                "--dns=10.9.9.9",
            ),
            *("--sysctl=net.ipv4.ip_unprivileged_port_start=0", "--oom-score-adj=100", "--group-add=44"),
        ],
        exec_user="agent",
    )
    host = machine.inspect()["HostConfig"]
    assert host["Memory"] == 512 << 20
    assert host["NanoCpus"] == 500_000_000
    assert host["ShmSize"] == 32 << 20
    assert "8080/tcp" in host["PortBindings"]
    said = machine.exec(
        "sh",
        "-c",
        "hostname; id -un; echo $HOME $A; ulimit -n; cat /etc/hosts /etc/resolv.conf; df",
        user="agent",
    )
    assert said[1].startswith("box\nagent\n/home/agent b\n1000\n")
    assert "10.1.2.3\telsewhere" in said[1]
    assert "10.9.9.9" in said[1]
    assert "/scratch" in said[1]


def test_a_plan_for_programs_is_json(machine: Machine):
    found = json.loads(machine.command("plan", "--json").stdout)
    assert found["action"] == "create"
    assert len(found["identity"]) == 64


def make_bare_image(api: Any, tag: str) -> str:
    """An image barer than Alpine's: busybox, and neither bash, useradd, sudo, Python nor a C library."""
    program = shutil.which("busybox")
    if program is None:
        pytest.skip("there is no busybox here (Debian: busybox-static)")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tree:
        for name in ("bin", "etc", "tmp", "home", "root", "usr/bin"):
            place = tarfile.TarInfo(name)
            place.type, place.mode = tarfile.DIRTYPE, 0o755
            tree.addfile(place)
        tree.add(os.path.realpath(program), "bin/busybox")
        listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
        for applet in set(listed.split()) - {"busybox", "sudo"}:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tree.addfile(link)
        files = {
            "etc/passwd": "root:x:0:0:root:/root:/bin/ash\n",
            "etc/group": "root:x:0:root\n",
            "etc/shadow": "root:*::0:::::\n",
        }
        for name, text in files.items():
            file = tarfile.TarInfo(name)
            file.size, file.mode = len(text), 0o644
            tree.addfile(file, io.BytesIO(text.encode()))
    said = api.import_image_from_data(data.getvalue(), repository="hermes-test-bare", tag=tag)
    image = json.loads(said.strip().splitlines()[-1])["status"]
    api.tag(image, "hermes-test-bare", tag)
    return f"hermes-test-bare:{tag}"


@pytest.fixture(scope="session")
def bare_image() -> Iterator[str]:
    api = open_engine("docker")
    name = make_bare_image(api, str(os.getpid()))
    yield name
    api.remove_image(name, force=True)
    api.close()


def test_an_image_with_hardly_anything_in_it_is_enough(machine: Machine, bare_image: str):
    running = machine.up(image=bare_image)
    facts = machine.facts()
    assert (facts["uid"], facts["gid"], facts["umask"]) == (UID, GID, 0o007)
    assert machine.exec("sh", "-c", "id -un; id -gn; echo $HOME; cd; pwd -P")[1] == (
        "hermes\nhermes\n/home/hermes\n/data/home\n"
    )
    assert running.end() == 0
    machine.up()


def test_root_is_to_be_had_without_sudo_in_the_image(machine: Machine, bare_image: str):
    machine.up(image=bare_image)
    assert machine.exec("sudo", "-n", "id", "-u") == (0, "0\n")
    assert machine.exec("sudo", "sh", "-c", "echo x >/installed; echo $HOME $SUDO_USER; exit 7") == (
        7,
        "/root hermes\n",
    )
    assert machine.exec("sudo", "A=b c", "sh", "-c", "echo $A; pwd")[1] == "b c\n/data/workspace\n"
    assert machine.exec("sh", "-c", "echo piped | sudo cat; sudo false || echo $?")[1] == "piped\n1\n"
    assert machine.exec("sudo", "not-there")[0] == 127
    assert machine.exec("sh", "-c", "sudo -u hermes id -u; sudo -i pwd")[1] == f"{UID}\n/root\n"
    assert machine.exec("sh", "-c", "sudo sleep 30 & sleep 0.7; kill $!; wait $!; echo $?")[1] == "143\n"
    assert "sleep 30" not in machine.exec("ps")[1]
    # Somebody else in the container may not.
    assert machine.exec("sudo", "id", user="65534")[0] == 1
    machine.running[-1].end()
    machine.up(sudo=False)
    assert machine.exec("test", "-e", "/installed")[0] == 0
    assert machine.exec("test", "-e", "/usr/local/bin/sudo")[0] == 1


def test_many_changes_do_not_run_out_of_layers(either: Machine):
    """All files of a container in one layer; what becomes of a container after a hundred changes."""
    from hermes_agent.deploy.container.engine import Engine

    bare = make_bare_image(either.api, either.name[-6:])
    made = either.api.create_container(
        f"docker.io/{bare}" if either.backend == "podman" else bare,
        ["sh", "-c", "echo kept >/installed; chmod 4711 /installed; ln -s x /link"],
        name=either.name,
    )["Id"]
    either.api.start(made)
    either.api.wait(made)
    engine = Engine(either.backend, [Path(SOCKETS[either.backend])])
    label = {"hermes-agent.container": either.name}
    image = engine.flatten(made, "hermes-agent-layer/test", either.name[-6:], label)
    assert engine.layers(image) == 1
    assert engine.layers("hermes-test/none") == 0
    assert [name for name in either.layers() if name.endswith(f"hermes-agent-layer/test:{either.name[-6:]}")]
    either.api.remove_container(made)
    for found in either.api.images():
        if any("hermes-test-bare" in name and either.name[-6:] in name for name in found["RepoTags"] or ()):
            either.api.remove_image(found["Id"], force=True)
    either.api.create_container(
        image, ["sh", "-c", "stat -c %a /installed; readlink /link"], name=either.name
    )
    either.api.start(either.name)
    either.api.wait(either.name)
    assert either.api.logs(either.name) == b"4711\nx\n"
    engine.close()


def test_a_file_of_a_mount_in_the_home_belongs_to_the_user(machine: Machine):
    shared = machine.directory / "shared"
    shared.mkdir()
    machine.up(extra_volumes=[f"{shared}:/home/hermes/deep/shared"])
    assert machine.exec("sh", "-c", "stat -c %U ~/deep; ls -d ~/deep/shared")[1].split()[0] == "hermes"
    mounts = {mount["Destination"]: mount["Source"] for mount in machine.inspect()["Mounts"]}
    assert mounts["/data/home/deep/shared"] == str(shared)
