"""The gateway as a service of a real systemd: a throw-away machine with systemd as its first process.

`HERMES_TESTBED` names the folder with the script `machine` (default: `../shared/testbed` beside the project);
without it, or without root, everything here is skipped.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "gateway"))

from loopback_server import TOKEN, LoopbackServer  # noqa: E402

UNIT = "hermes-gateway.service"
USER = "bob"
UID = 1000
HOME = f"/home/{USER}/.hermes"

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("systemd")]


@dataclass
class Machine:
    """A booted machine that sees this project and its interpreter."""

    script: Path
    name: str

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.script), "exec", self.name, "--", *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def shell(self, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("sh", "-c", text, check=check)

    def hermes(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """As root."""
        return self.run(sys.executable, "-m", "hermes_agent", *arguments, check=check)

    def as_user(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = (f"HOME=/home/{USER}", f"XDG_RUNTIME_DIR=/run/user/{UID}", "LANG=C.UTF-8")
        return self.run(
            "runuser", "-u", USER, "--", "env", "-C", f"/home/{USER}", *env, *command, check=check
        )

    def user_hermes(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.as_user(sys.executable, "-m", "hermes_agent", *arguments, check=check)

    def unit(self, *names: str) -> dict[str, str]:
        shown = self.run("systemctl", "show", UNIT, *(f"-p{name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def configure(self, **settings: Any) -> None:
        config = {"model": {"provider": "demo", "default": "demo"}, **settings}
        self.write(f"{HOME}/config.yaml", yaml.safe_dump(config))

    def write(self, path: str, text: str) -> None:
        command = f"mkdir -p {shlex.quote(str(Path(path).parent))} && cat > {shlex.quote(path)}"
        subprocess.run(
            [str(self.script), "exec", self.name, "--", "sh", "-c", command],
            input=text,
            text=True,
            check=True,
            timeout=30,
        )
        if path.startswith("/home"):
            self.run("chown", "-R", f"{USER}:", f"/home/{USER}")

    def override(self, text: str) -> None:
        """Other values for the unit."""
        self.write(f"/etc/systemd/system/{UNIT}.d/test.conf", f"[Service]\n{text}\n")
        self.run("systemctl", "daemon-reload")

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 80) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                log = self.shell(f"journalctl -u {UNIT} -n 20; tail -n 20 {HOME}/logs/*", check=False).stdout
                raise AssertionError(f"not {what}:\n{log}")
            time.sleep(0.1)

    def wait_active(self) -> None:
        self.wait_for(lambda: self.unit("ActiveState")["ActiveState"] == "active", "active")


@pytest.fixture(scope="module")
def booted() -> Iterator[Machine]:
    script = Path(os.environ.get("HERMES_TESTBED") or ROOT.parent / "shared" / "testbed") / "machine"
    if not script.is_file():
        pytest.skip("there is no script to boot a machine with systemd (HERMES_TESTBED)")
    if os.geteuid() != 0:
        pytest.skip("booting a machine needs root")
    machine = Machine(script, f"hermes-gateway-{os.getpid()}")
    seen = {str(ROOT), sys.base_prefix}
    binds = [f"--bind-ro={path}" for path in seen if not path.startswith(("/usr", "/lib", "/bin"))]
    try:
        started = subprocess.run(
            [str(script), "start", machine.name, *binds],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the machine did not boot in time")
    if started.returncode:
        pytest.skip(f"the machine does not boot here: {started.stderr.strip()[-200:]}")
    try:
        if machine.run(sys.executable, "-c", "import hermes_agent", check=False).returncode:
            pytest.skip("this interpreter does not run in the machine")
        machine.shell("chmod a+x /root")  # where the interpreter may be
        machine.run("useradd", "-m", "-u", str(UID), USER)
        # This small machine lacks the PAM module that would set it.
        machine.write(
            "/etc/systemd/system/user@.service.d/dir.conf",
            "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n",
        )
        machine.run("systemctl", "daemon-reload")
        yield machine
    finally:
        subprocess.run([str(script), "stop", machine.name], capture_output=True, check=False, timeout=60)


@pytest.fixture
def machine(booted: Machine) -> Iterator[Machine]:
    """Without a service and with a fresh home."""
    yield booted
    booted.shell(f"systemctl kill -s KILL {UNIT}; systemctl disable --now {UNIT}", check=False)
    booted.shell(
        f"rm -rf /etc/systemd/system/{UNIT} /etc/systemd/system/{UNIT}.d {HOME}; systemctl daemon-reload;"
        f"systemctl reset-failed {UNIT}",
        check=False,
    )


@pytest.fixture
def chat_server() -> Iterator[LoopbackServer]:
    with LoopbackServer() as server:
        yield server


def loopback(server: LoopbackServer) -> dict[str, Any]:
    extra = {"url": server.url, "allowed_users": ["u1"], "poll_seconds": 1}
    return {"platforms": {"loopback": {"enabled": True, "token": TOKEN, "extra": extra}}}


def wait_for_work(server: LoopbackServer) -> None:
    """The bot shows that it is writing."""
    server.wait_for(lambda: any(path == "/typing" for _when, _method, path in list(server.requests)))


def install(machine: Machine) -> None:
    done = machine.hermes("gateway", "install", "--system", "--run-as-user", USER)
    assert UNIT in done.stdout


def test_a_system_service_runs_as_its_user_and_tells_what_it_does(
    machine: Machine, chat_server: LoopbackServer
) -> None:
    machine.configure(**loopback(chat_server))
    install(machine)
    shown = machine.unit("ActiveState", "StatusText", "User", "UnitFileState", "Type")
    assert shown["ActiveState"] == "active"
    assert shown["User"] == USER
    assert shown["UnitFileState"] == "enabled"
    assert "messaging ok (1 of 1 platforms)" in shown["StatusText"]
    chat_server.say("token-5")
    chat_server.wait_for_text("token-5")
    found = json.loads(machine.hermes("gateway", "status", "--system", "--json").stdout)
    assert found["running"] is True
    assert found["home"] == HOME
    assert found["unit"]["state"] == "active"
    assert machine.user_hermes("gateway", "status").returncode == 0
    again = machine.hermes("gateway", "install", "--system", "--run-as-user", USER, check=False)
    assert again.returncode == 1
    assert "--force" in again.stderr
    refused = machine.user_hermes("gateway", "stop", check=False)
    assert refused.returncode == 1
    assert "sudo" in refused.stderr
    assert "Stopped" in machine.hermes("gateway", "stop", "--system").stdout
    ended = machine.unit("ActiveState", "Result", "ExecMainStatus")
    assert ended == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert machine.hermes("gateway", "status", "--system", check=False).returncode == 1
    machine.hermes("gateway", "start", "--system")
    assert machine.unit("ActiveState")["ActiveState"] == "active"
    assert HOME in machine.hermes("gateway", "uninstall", "--system").stdout
    assert machine.unit("LoadState")["LoadState"] == "not-found"


@pytest.mark.parametrize("how", [("systemctl", "reload", UNIT), ("systemctl", "kill", "-s", "USR1", UNIT)])
def test_a_reload_connects_what_the_settings_say_now(
    machine: Machine, chat_server: LoopbackServer, how: tuple[str, ...]
) -> None:
    machine.configure()
    install(machine)
    pid = machine.unit("MainPID")["MainPID"]
    machine.configure(**loopback(chat_server))
    machine.run(*how)
    chat_server.say("token-6")
    chat_server.wait_for_text("token-6")
    machine.wait_for(lambda: "1 of 1 platforms" in machine.unit("StatusText")["StatusText"], "reloaded")
    assert machine.unit("MainPID", "ActiveState") == {"MainPID": pid, "ActiveState": "active"}


def test_the_watchdog_ends_a_process_that_hangs_and_a_new_one_goes_on(
    machine: Machine, chat_server: LoopbackServer
) -> None:
    machine.configure(**loopback(chat_server))
    install(machine)
    machine.override("WatchdogSec=3\nRestartSec=0\nTimeoutAbortSec=2")
    machine.run("systemctl", "restart", UNIT)
    pid = machine.unit("MainPID")["MainPID"]
    chat_server.say("count to 8 slowly")
    chat_server.wait_for(lambda: chat_server.acknowledged >= 1)
    machine.run("kill", "-STOP", pid)
    machine.wait_for(lambda: machine.unit("MainPID")["MainPID"] not in ("0", pid), "started again")
    machine.wait_active()
    assert machine.unit("NRestarts")["NRestarts"] == "1"
    assert "watchdog" in machine.run("journalctl", "-u", UNIT).stdout.lower()
    chat_server.wait_for_text("8")
    assert sum("8" in text for text in chat_server.texts()) == 1


def test_a_stop_waits_for_running_work_longer_than_the_unit_allows(
    machine: Machine, chat_server: LoopbackServer
) -> None:
    machine.configure(**loopback(chat_server), agent={"restart_drain_timeout": 60})
    install(machine)
    machine.override("TimeoutStopSec=1")
    machine.run("systemctl", "restart", UNIT)
    chat_server.say("count to 8 slowly")
    wait_for_work(chat_server)
    machine.run("systemctl", "stop", UNIT)
    chat_server.wait_for_text("8")
    ended = machine.unit("ActiveState", "Result", "ExecMainStatus")
    assert ended == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}


def test_what_the_drain_did_not_wait_for_is_gone_on_with_after_the_restart(
    machine: Machine, chat_server: LoopbackServer
) -> None:
    machine.configure(**loopback(chat_server), agent={"restart_drain_timeout": 0.2})
    install(machine)
    chat_server.say("count to 8 slowly")
    wait_for_work(chat_server)
    pid = machine.unit("MainPID")["MainPID"]
    machine.hermes("gateway", "restart", "--system")
    assert machine.unit("MainPID")["MainPID"] != pid
    chat_server.wait_for_text("8")
    assert sum("8" in text for text in chat_server.texts()) == 1


def test_exit_code_75_starts_it_again_and_is_no_failure(
    machine: Machine, chat_server: LoopbackServer
) -> None:
    machine.configure(**loopback(chat_server))
    install(machine)
    machine.override("RestartSec=0")
    began = time.time()
    machine.run("systemctl", "restart", UNIT)
    pid = machine.unit("MainPID")["MainPID"]
    chat_server.say("/restart")
    machine.wait_for(lambda: machine.unit("MainPID")["MainPID"] not in ("0", pid), "started again")
    machine.wait_active()
    chat_server.say("token-7")
    chat_server.wait_for_text("token-7")
    log = machine.run("journalctl", "-u", UNIT, "--since", f"@{began:.0f}").stdout
    assert "Failed with result" not in log


def test_a_users_own_service_and_its_advice(machine: Machine) -> None:
    machine.configure()
    machine.run("systemctl", "start", f"user@{UID}")
    done = machine.user_hermes("gateway", "install")
    assert f"loginctl enable-linger {USER}" in done.stdout
    found = json.loads(machine.user_hermes("gateway", "status", "--json").stdout)
    assert found["running"] is True
    assert found["unit"]["state"] == "active"
    install_too = machine.hermes("gateway", "install", "--system", "--run-as-user", USER)
    assert f"There is also /home/{USER}/.config/systemd/user/{UNIT}" in install_too.stdout
    machine.hermes("gateway", "uninstall", "--system")
    machine.user_hermes("gateway", "restart")
    assert machine.user_hermes("gateway", "status").returncode == 0
    assert "Stopped" in machine.user_hermes("gateway", "stop").stdout
    machine.user_hermes("gateway", "uninstall")
    assert machine.shell(f"ls /home/{USER}/.config/systemd/user", check=False).stdout.strip() in (
        "",
        "default.target.wants",
    )
