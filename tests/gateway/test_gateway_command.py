"""`hermes gateway`, `hermes pairing` and `hermes send` against the real process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_process import Gateway
from loopback_server import LoopbackServer

from hermes_agent.config.paths import Home


def hermes(gateway: Gateway, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermes_agent", *arguments],
        env={**gateway.environment(), **env},
        cwd=gateway.home.root.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_ready_feeds_the_watchdog_and_stops_with_zero(
    gateway: Gateway, chat_server: LoopbackServer, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        path = tmp_path / "notify"
        notified.bind(str(path))
        notified.settimeout(20)
        gateway.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "600000"}
        gateway.start(wait=False)
        seen = ""
        while not ("READY=1" in seen and "WATCHDOG=1" in seen):
            seen += notified.recv(4096).decode() + "\n"
        assert "messaging ok" in seen
        gateway.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        while "RELOADING=1" not in seen:
            seen += notified.recv(4096).decode() + "\n"
        assert gateway.stop() == 0
        while "STOPPING=1" not in seen:
            seen += notified.recv(4096).decode() + "\n"
        assert "EXTEND_TIMEOUT_USEC=" in seen


def test_status_tells_a_running_gateway_from_a_stopped_one(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.configure()
    before = hermes(gateway, "gateway", "status", "--json")
    assert before.returncode == 1
    assert json.loads(before.stdout)["running"] is False
    gateway.start()
    done = hermes(gateway, "gateway", "status", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert found["gateway_state"] == "running"
    assert found["services"]["messaging"]["platforms"]["loopback"]["state"] == "connected"
    state = json.loads(gateway.home.gateway_state.read_text())
    assert state["pid"] == found["pid"]
    assert state["kind"] == "hermes-gateway"
    assert state["platforms"]["loopback"]["state"] == "connected"
    assert "loopback" in hermes(gateway, "gateway", "status").stdout
    stopped = hermes(gateway, "gateway", "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert gateway.stop() == 0
    assert not gateway.home.gateway_pid.exists()
    assert json.loads(gateway.home.gateway_state.read_text())["gateway_state"] == "stopped"


def test_a_second_gateway_is_refused_and_replace_takes_the_place(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.start()
    refused = hermes(gateway, "gateway", "run")
    assert refused.returncode == 1
    assert "--replace" in refused.stderr
    first = gateway.process
    assert first is not None
    second = Gateway(gateway.home, chat_server)
    second.start("--replace", wait=False)
    try:
        assert first.wait(20) == 0
        second.wait_ready()
        chat_server.say("token-5")
        chat_server.wait_for_text("token-5")
    finally:
        assert second.stop() == 0


def test_restart_ends_with_75_for_the_service_manager(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    assert hermes(gateway, "gateway", "restart").returncode == 0
    assert gateway.process is not None
    assert gateway.process.wait(20) == 75


def test_a_stranger_is_paired_by_code(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    chat_server.say("token-1", chat="c9", sender="stranger")
    text = chat_server.wait_for_text("hermes pairing approve loopback", chat="c9")
    code = text.split("`")[1]
    listed = hermes(gateway, "pairing", "list", "--json")
    assert json.loads(listed.stdout)["user_id"] == "stranger"
    assert hermes(gateway, "pairing", "approve", "loopback", "WRONGONE").returncode == 2
    approved = hermes(gateway, "pairing", "approve", "loopback", code.lower())
    assert approved.returncode == 0, approved.stderr
    chat_server.wait_for_text("You may talk to me now", chat="c9")
    chat_server.say("token-2", chat="c9", sender="stranger")
    chat_server.wait_for_text("token-2", chat="c9")
    assert not any("token-1" in each for each in chat_server.texts("c9"))
    assert hermes(gateway, "pairing", "revoke", "loopback", "stranger").returncode == 0
    chat_server.say("token-3", chat="c9", sender="stranger")
    chat_server.say("token-4", chat="c1")
    chat_server.wait_for_text("token-4")
    assert not any("token-3" in each for each in chat_server.texts("c9"))


def test_send_goes_through_the_outbox_also_without_a_gateway(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    gateway.configure()
    queued = hermes(gateway, "send", "loopback:c1", "first", "--json")
    assert json.loads(queued.stdout)["state"] == "queued"
    gateway.start()
    chat_server.wait_for_text("first")
    sent = hermes(gateway, "send", "loopback:c1", "second", "--json", "--key", "k")
    assert json.loads(sent.stdout)["state"] == "sent", sent.stderr
    again = hermes(gateway, "send", "loopback:c1", "second", "--json", "--key", "k")
    assert json.loads(again.stdout)["state"] == "sent"
    assert chat_server.texts() == ["first", "second"]
    chat_server.say("/sethome", chat="home")
    chat_server.wait_for_text("🏠", chat="home")
    assert hermes(gateway, "send", "loopback", "third").returncode == 0
    assert "third" in chat_server.texts("home")
    assert hermes(gateway, "send", "nowhere:c1", "x").returncode == 2


@pytest.fixture
def fake_systemctl(tmp_path: Path) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    tool = directory / "systemctl"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/systemctl.log\n')
    tool.chmod(0o755)
    return directory


def test_install_writes_a_unit_for_this_home(
    gateway: Gateway, home: Home, tmp_path: Path, fake_systemctl: Path
) -> None:
    gateway.configure()
    path = f"{fake_systemctl}:/usr/bin:/bin"
    done = hermes(gateway, "gateway", "install", PATH=path)
    assert done.returncode == 0, done.stderr
    (unit,) = (tmp_path / ".config/systemd/user").glob("hermes-gateway-*.service")
    text = unit.read_text()
    assert f"Environment=HERMES_HOME={home.root}" in text
    for line in ("Type=notify", "KillMode=mixed", "Restart=always", "RestartSec=5", "TimeoutStopSec=210"):
        assert line in text
    assert "RestartForceExitStatus=75" in text
    log = (tmp_path / "systemctl.log").read_text()
    assert f"--user enable {unit.name}" in log
    assert hermes(gateway, "gateway", "install", PATH=path).returncode == 1
    assert hermes(gateway, "gateway", "uninstall", PATH=path).returncode == 0
    assert not unit.exists()


def test_a_managed_installation_refuses_to_install(gateway: Gateway) -> None:
    gateway.configure()
    done = hermes(gateway, "gateway", "install", HERMES_MANAGED="true")
    assert done.returncode == 7
    assert "managed by NixOS" in done.stderr
