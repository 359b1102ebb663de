"""The container unit under a real systemd: readiness, reload, watchdog, kills, an upgrade, the end.

systemd runs in a booted machine of the testbed (`HERMES_TESTBED`, or `../shared/testbed`) that shares the
host's Docker engine. Skipped where there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from container_machine import ROOT, Machine, machines, make_store, open_engine

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
UNIT = "hermes-agent"
TEXT = """\
[Service]
Type=notify
NotifyAccess=main
ExecStart=/nix/store/{package}/bin/hermes-agent-container --spec {spec} run
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
Restart=always
RestartSec=1
RestartForceExitStatus=75
TimeoutStartSec=60
TimeoutStopSec=30
WatchdogSec=4
"""


@pytest.fixture
def machine() -> Iterator[Machine]:
    open_engine("docker").close()
    place = Path(tempfile.mkdtemp(prefix="hermes-test-", dir="/var/lib"))
    place.chmod(0o755)
    (place / "units").mkdir()
    make_store(place / "store", libraries=True)
    yield from machines("docker", place / "store", place)
    shutil.rmtree(place)


class Systemd:
    """The booted machine."""

    def __init__(self, script: Path, name: str, machine: Machine) -> None:
        self._script, self._name, self._machine = script, name, machine

    def start(self) -> None:
        binds = (f"{self._machine.directory}:{self._machine.directory}", f"{self._machine.store}:/nix/store")
        started = subprocess.run(
            [
                self._script,
                "start",
                self._name,
                *(f"--bind={bind}" for bind in binds),
                "--bind=/var/run/docker.sock:/srv/docker.sock",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if started.returncode:
            pytest.skip(f"no machine can be booted here: {started.stderr[-300:]}")

    def stop(self) -> None:
        subprocess.run([self._script, "stop", self._name], check=False, capture_output=True, timeout=60)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [self._script, "exec", self._name, "--", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        return (done.stdout + done.stderr).strip()

    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "-P", name, UNIT)

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT)

    def install(self, package: str) -> None:
        spec = self._machine.spec(socket="/srv/docker.sock", package=f"/nix/store/{package}")
        self.run(
            "sh",
            "-c",
            f"cat >/etc/systemd/system/{UNIT}.service <<'END'\n{TEXT.format(package=package, spec=spec)}END",
        )
        self.run("systemctl", "daemon-reload")

    def until(self, what: str, is_true: Callable[[], bool], seconds: float = 80) -> None:
        end = time.monotonic() + seconds
        while not is_true():
            assert time.monotonic() < end, f"waited in vain for {what}\n{self.journal()}"

    def until_ready_again(self, before: str) -> None:
        """Active, with another start of the container than `before`."""

        def is_back() -> bool:
            return self.show("ActiveState") == "active" and self.started() != before

        self.until("the unit", is_back)

    def started(self) -> str:
        try:
            return str(self._machine.inspect()["State"]["StartedAt"])
        except Exception as error:  # noqa: BLE001 - asked again
            return str(error)


@pytest.fixture
def systemd(machine: Machine) -> Iterator[Systemd]:
    named = os.environ.get("HERMES_TESTBED")
    script = (Path(named) if named else ROOT.parent / "shared/testbed") / "machine"
    if not script.exists():
        pytest.skip("there is no testbed to boot a machine with")
    found = Systemd(script, f"{machine.name}-systemd", machine)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_systemd_sees_the_gateway_in_the_container_as_the_service(machine: Machine, systemd: Systemd):
    systemd.install("v1-hermes-agent")
    assert systemd.run("systemctl", "start", UNIT) == ""
    assert systemd.show("ActiveState") == "active"
    assert systemd.show("StatusText") == "all is well"
    assert "gateway v1" in systemd.journal()

    before = systemd.started()
    systemd.run("systemctl", "reload", UNIT)
    systemd.until("the reload", lambda: systemd.show("StatusText") == "again")
    assert systemd.started() == before

    pid = systemd.show("MainPID")
    systemd.run("kill", "-KILL", pid)
    systemd.until(
        "the next supervisor",
        lambda: systemd.show("MainPID") not in {pid, "0"} and systemd.show("ActiveState") == "active",
    )
    assert systemd.started() == before, "the container goes on"
    systemd.until("its adoption", lambda: "adopted" in systemd.journal())

    machine.api.kill(machine.name)
    systemd.until_ready_again(before)

    before, restarts = systemd.started(), int(systemd.show("NRestarts"))
    machine.exec("sh", "-c", "kill -STOP $(pgrep -f gateway[.]py)")
    systemd.until("the watchdog", lambda: int(systemd.show("NRestarts")) > restarts)
    systemd.until_ready_again(before)
    assert "Watchdog timeout" in systemd.journal()

    identity, before = machine.inspect()["Id"], systemd.started()
    systemd.install("v2-hermes-agent")
    systemd.run("systemctl", "restart", UNIT)
    systemd.until_ready_again(before)
    assert machine.inspect()["Id"] == identity
    assert "gateway v2" in systemd.journal()

    (machine.home / "fail").touch()
    systemd.run("systemctl", "restart", UNIT)
    assert systemd.show("ActiveState") != "active", "it is ready only when the gateway says so"
    (machine.home / "fail").unlink()
    systemd.until("the unit", lambda: systemd.show("ActiveState") == "active")

    systemd.run("systemctl", "stop", UNIT)
    assert systemd.show("Result") == "success"
    assert not machine.inspect()["State"]["Running"]
