"""What the supervisor does about what it finds, and what it hands on to systemd."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.errors import GatewayError, HermesError
from hermes_agent.deploy.container import host
from hermes_agent.deploy.container.engine import Found, unreachable
from hermes_agent.deploy.container.notify import NotifySocket, ServiceManager, fit_to_hand_on
from hermes_agent.deploy.container.reconcile import Action, Observed, decide
from hermes_agent.deploy.container.spec import ContainerSpec, parse_container_spec
from hermes_agent.deploy.container.structure import build_structure
from hermes_agent.deploy.privilege import Account


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "uid": os.getuid() or 1000,
        "gid": os.getgid() or 1000,
        "state_directory": str(tmp_path / "state"),
        "home": str(tmp_path / "state/.hermes"),
        "working_directory": str(tmp_path / "state/workspace"),
        "package": "/nix/store/v1-hermes",
        "store": {"source": str(tmp_path / "store")},
        "control_directory": str(tmp_path / "control"),
        "gc_roots_directory": str(tmp_path / "roots"),
    }


ACCOUNT = Account("hermes", 1000, 1000, (1000,), Path("/"))


def found(spec: ContainerSpec, name: str = "hermes-agent", **changes: Any) -> Found:
    facts: dict[str, Any] = {
        "id": "a" * 64,
        "name": name,
        "is_running": False,
        "is_paused": False,
        "started_at": "t1",
        "finished_at": "",
        "is_out_of_memory": False,
        "image": "sha256:1",
        "labels": build_structure(spec).labels,
        "volumes": {},
    }
    return Found(**{**facts, **changes})


def decided(spec: ContainerSpec, current: Found | None, previous: Found | None = None) -> Action:
    start = host.start_facts(spec, ACCOUNT, {})
    return decide(spec, build_structure(spec), start, Observed(current, previous)).action


def test_each_state_leads_to_one_step(base: dict[str, Any]):
    spec = parse_container_spec(base)
    other = parse_container_spec({**base, "sudo": False})
    image = parse_container_spec({**base, "image": "debian:13"})
    lost = parse_container_spec({**base, "sudo": False, "preserve_layer": False})
    assert decided(spec, None) is Action.CREATE
    assert decided(spec, found(spec)) is Action.START
    assert decided(other, found(spec)) is Action.RECREATE
    assert decided(lost, found(spec)) is Action.REPLACE
    assert decided(image, found(spec)) is Action.REPLACE
    assert decided(spec, found(spec, is_running=True)) is Action.RESTART  # nobody knows what it runs


def test_a_container_that_runs_what_it_should_is_adopted(base: dict[str, Any]):
    spec = parse_container_spec(base)
    host.make_control_directory(spec)
    start = host.start_facts(spec, ACCOUNT, {"WATCHDOG_USEC": "5"})
    host.write_record(spec, "a" * 64, "t1", start)
    assert decided(spec, found(spec, is_running=True)) is Action.ADOPT
    assert decided(spec, found(spec, is_running=True, started_at="t2")) is Action.RESTART
    assert decided(spec, found(spec, is_running=True, is_paused=True)) is Action.START
    newer = parse_container_spec({**base, "package": "/nix/store/v2-hermes"})
    assert decided(newer, found(spec, is_running=True)) is Action.RESTART
    (spec.control / host.RECORD_NAME).write_text("{")
    assert decided(spec, found(spec, is_running=True)) is Action.RESTART


def test_a_container_that_never_was_ready_gives_way_to_the_one_before(base: dict[str, Any]):
    spec = parse_container_spec(base)
    tried = parse_container_spec({**base, "sudo": False})
    start = host.start_facts(spec, ACCOUNT, {})
    old, new = found(spec, "hermes-agent-previous"), found(tried)
    plan = decide(spec, build_structure(spec), start, Observed(new, old))
    assert (plan.action, plan.base, plan.discards) == (Action.START, old, new)
    plan = decide(tried, build_structure(tried), start, Observed(new, old))
    assert (plan.action, plan.base, plan.discards) == (Action.START, new, None)
    plan = decide(spec, build_structure(spec), start, Observed(None, old))
    assert (plan.action, plan.base, plan.discards) == (Action.START, old, None)


def test_roots_are_added_before_and_removed_after(base: dict[str, Any], tmp_path: Path):
    first = parse_container_spec(base)
    host.add_roots(first)
    (tmp_path / "roots/hermes-agent-two:v1-hermes").symlink_to("/nix/store/v1-hermes")
    second = parse_container_spec({**base, "package": "/nix/store/v2-hermes", "tools": "/nix/store/t"})
    host.add_roots(second)
    names = {path.name for path in (tmp_path / "roots").iterdir()}
    assert names >= {"hermes-agent:v1-hermes", "hermes-agent:v2-hermes", "hermes-agent:t"}
    assert host.remove_old_roots(second) == ["hermes-agent:v1-hermes"]
    assert (tmp_path / "roots/hermes-agent-two:v1-hermes").is_symlink()  # another instance's


def test_the_lock_is_held_by_one(base: dict[str, Any]):
    spec = parse_container_spec(base)
    with host.supervising(spec):
        assert host.supervisor_pid(spec) == os.getpid()
        with pytest.raises(GatewayError, match=f"by process {os.getpid()}"):
            with host.supervising(spec):
                pass
    assert host.supervisor_pid(spec) is None
    with host.supervising(spec):
        pass


def test_a_control_directory_that_others_may_write_is_refused(base: dict[str, Any], tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    spec = parse_container_spec({**base, "control_directory": str(shared / "control")})
    with pytest.raises(HermesError, match="not safe"):
        host.make_control_directory(spec)
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    spec = parse_container_spec({**base, "control_directory": str(tmp_path / "link/control")})
    with pytest.raises(HermesError, match="not safe"):
        host.make_control_directory(spec)


def test_what_would_change_the_service_is_not_handed_on():
    said = b"READY=1\nMAINPID=1\nFDSTORE=1\nNOTIFYACCESS=all\nWATCHDOG=trigger\nSTATUS=a\x1b[31m\tb\n"
    assert fit_to_hand_on(said, 10) == ["READY=1", "STATUS=a [31m b"]
    assert fit_to_hand_on(b"STOPPING=1\nEXTEND_TIMEOUT_USEC=99999", 500) == [
        "STOPPING=1",
        "EXTEND_TIMEOUT_USEC=500",
    ]
    assert fit_to_hand_on(b"RELOADING=1\nMONOTONIC_USEC=123", 1) == ["RELOADING=1", "MONOTONIC_USEC=123"]


@given(st.binary(max_size=300))
def test_nothing_that_is_said_inside_breaks_the_one_who_listens(data: bytes):
    for line in fit_to_hand_on(data, 1000):
        assert "\n" not in line
        assert line.partition("=")[0] in {
            *("READY", "RELOADING", "STOPPING", "WATCHDOG", "STATUS", "MONOTONIC_USEC", "EXTEND_TIMEOUT_USEC")
        }


async def test_messages_go_from_the_inside_to_the_service_manager(tmp_path: Path):
    outside = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    outside.bind(str(tmp_path / "outside"))
    outside.setblocking(False)
    manager = ServiceManager(str(tmp_path / "outside"))
    arrived = asyncio.Event()

    def hand_on(lines: list[str]) -> None:
        manager.tell(*lines)
        arrived.set()

    deep = tmp_path / ("d" * 100)
    deep.mkdir()  # longer than an address may be
    listening = NotifySocket(deep / "socket", os.getgid(), hand_on, longest_extension=5)
    listening.open()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inside:
            descriptor = os.open(deep, os.O_RDONLY)
            inside.connect(f"/proc/self/fd/{descriptor}/socket")
            inside.send(b"READY=1\nSTATUS=well")
            os.close(descriptor)
        await asyncio.wait_for(arrived.wait(), 5)
        assert outside.recv(1000) == b"READY=1\nSTATUS=well"
    finally:
        listening.close()
        outside.close()
    assert not (deep / "socket").exists()


def test_a_service_manager_that_takes_nothing_holds_nothing_up(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        manager = ServiceManager(str(tmp_path / "deaf"))
        for _ in range(2000):
            manager.tell("WATCHDOG=1")
    ServiceManager(str(tmp_path / "gone")).tell("READY=1")
    ServiceManager(None).tell("READY=1")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file or directory"), "virtualisation.docker.enable = true"),
        (PermissionError(13, "Permission denied"), "sudo hermes-agent-container"),
        (ConnectionRefusedError(111, "Connection refused"), "systemctl status docker.service"),
    ],
)
def test_an_engine_that_does_not_answer_is_explained(error: OSError, said: str):
    assert said in " ".join(unreachable("docker", Path("/run/docker.sock"), error).lines)


def test_what_is_started_is_said_in_one_file(base: dict[str, Any]):
    spec = parse_container_spec({**base, "arguments": ["-v", "a b"]})
    host.make_control_directory(spec)
    host.place_control(spec, host.start_facts(spec, ACCOUNT, {"WATCHDOG_USEC": "5"}))
    written = json.loads((spec.control / "start.json").read_text())
    assert written["command"] == [
        "/data/current-package/bin/hermes",
        "gateway",
        "run",
        "--replace",
        "-v",
        "a b",
    ]
    assert written["variables"]["NOTIFY_SOCKET"] == "/opt/hermes-agent/notify/socket"
    assert (spec.control / "package").readlink() == Path("/nix/store/v1-hermes")
