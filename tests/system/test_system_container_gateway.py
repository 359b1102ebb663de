"""The real gateway in a container: a message in, a tool call, an answer out, whatever is killed between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from container_machine import GID, UID, Machine, machines, make_store, open_engine

if TYPE_CHECKING:
    from conftest import StartServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]
KEY = "key-of-the-test-0123456789"
SCRIPT = Path(__file__).parent / "nix/model.yaml"


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    open_engine("docker").close()
    place = Path(tempfile.mkdtemp(prefix="hermes-test-store-", dir="/var/tmp"))
    place.chmod(0o755)
    yield make_store(place, libraries=True)
    shutil.rmtree(place)


@pytest.fixture
def machine(store: Path) -> Iterator[Machine]:
    place = Path(tempfile.mkdtemp(prefix="hermes-test-", dir="/var/lib"))
    place.chmod(0o755)
    yield from machines("docker", store, place)
    shutil.rmtree(place)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def prepare(machine: Machine, base_url: str) -> int:
    """Write the settings, as the activation does."""
    port = free_port()
    settings = {
        "model": {"provider": "custom", "base_url": base_url, "default": "scripted"},
        "approvals": {"mode": "off"},
        "api_server": {"port": port},
        "agent": {"restart_drain_timeout": 5},
    }
    for path in (machine.state, machine.home, machine.state / "workspace"):
        path.mkdir()
        os.chown(path, UID, GID)
        path.chmod(0o2770)
    for name, text in (("config.yaml", json.dumps(settings)), (".env", f"API_SERVER_KEY={KEY}\n")):
        (machine.home / name).write_text(text)
        (machine.home / name).chmod(0o640)
        os.chown(machine.home / name, UID, GID)
    return port


def ask(port: int, text: str) -> str:
    body = {"model": "hermes-agent", "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
            return str(answer["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as error:
        pytest.fail(f"{error}: {error.read().decode()}")


def test_a_message_is_answered_with_a_tool_call_through_restarts_and_kills(
    machine: Machine, model_server: StartServer
):
    server = model_server(SCRIPT)
    port = prepare(machine, server.base_url)
    first = machine.up(package="/nix/store/real-hermes-agent")
    assert ask(port, "hello") == "you said: hello"
    said = ask(port, "run: id -un; pwd; sudo -n id -u; echo done >made; cat made")
    assert '"output": "hermes\\n/data/workspace\\n0\\ndone\\n"' in said, said
    assert (machine.state / "workspace/made").stat().st_uid == UID
    said = ask(port, "run: env; true")
    assert KEY not in said
    assert "NOTIFY_SOCKET" not in said
    first.until("WATCHDOG=1")

    first.process.send_signal(signal.SIGHUP)
    first.until_true(lambda: any("RELOADING=1" in text for text in first.messages), "the reload")
    first.forget()
    first.until("READY=1")
    assert ask(port, "again") == "you said: again"

    first.kill()
    assert ask(port, "nobody watches") == "you said: nobody watches"
    second = machine.up()
    assert "adopted" in second.output
    second.forget()
    second.until("WATCHDOG=1")  # the gateway finds the new supervisor by itself

    machine.api.kill(machine.name)
    assert second.wait() == 137
    third = machine.up()
    assert ask(port, "back?") == "you said: back?"
    assert third.end() == 0
    assert any("waiting for running work" in text for text in third.messages)
