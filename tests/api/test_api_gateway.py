"""The API server inside the real gateway process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from api_serving import KEY, parse_events

from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def gateway(home: Home, base_url: str, port: int) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """A gateway that answers, and a client."""
    config = {"model": {"provider": "custom", "base_url": base_url, "default": "echo"}}
    home.config_file.write_text(json.dumps(config))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home.root.parent),
        "HERMES_HOME": str(home.root),
        "API_SERVER_KEY": KEY,
        "API_SERVER_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes_agent", "gateway", "run"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {KEY}"}, timeout=20
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.get("/health")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process, client
    finally:
        client.close()
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_gateway_serves_and_ends_in_good_order(home: Home, model_server: Any) -> None:
    url = model_server({"rules": [{"text": "hello"}]}).base_url
    with gateway(home, url, free_port()) as (process, client):
        body = {"messages": [{"role": "user", "content": "hi"}]}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == "hello"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_what_a_killed_gateway_had_stored_can_be_read_again(home: Home, model_server: Any) -> None:
    script = {
        "steps": [{"text": "one two three four", "chunk_size": 4, "chunk_delay_seconds": 0.7}],
        "rules": [{"text": "after the crash"}],
    }
    url = model_server(script).base_url
    with gateway(home, url, free_port()) as (process, client):
        started = client.post("/v1/runs", json={"input": "count"}).json()
        seen = ""
        with client.stream("GET", f"/v1/runs/{started['run_id']}/events") as stream:
            for piece in stream.iter_text():
                seen += piece
                if seen.count("message.delta") >= 4:  # an event name and a field each
                    break
        process.kill()
        process.wait()
    with gateway(home, url, free_port()) as (_, client):
        run = client.get(f"/v1/runs/{started['run_id']}").json()
        assert run["status"] == "incomplete"
        events = parse_events(client.get(f"/v1/runs/{started['run_id']}/events").text)
        assert [event.name for event in events][:2] == ["run.started", "message.delta"]
        going_on = {"messages": [{"role": "user", "content": "go on"}]}
        answer = client.post(
            "/v1/chat/completions", json=going_on, headers={"X-Hermes-Session-Id": started["session_id"]}
        )
        assert answer.json()["choices"][0]["message"]["content"] == "after the crash"


def test_a_missing_key_is_told_and_leaves_the_rest_alone(home: Home, tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HERMES_HOME": str(home.root),
        "API_SERVER_ENABLED": "true",
        "API_SERVER_PORT": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes_agent", "gateway", "run"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        log = home.logs / "gateway.log"
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (log.exists() and "needs a key" in log.read_text()):
            time.sleep(0.05)
        assert "needs a key" in log.read_text()
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_reload_brings_the_server_another_key_and_another_port(home: Home, model_server: Any) -> None:
    url = model_server({"rules": [{"text": "hello"}]}).base_url
    config = {"model": {"provider": "custom", "base_url": url, "default": "echo"}}
    home.config_file.write_text(json.dumps(config))
    first, second = free_port(), free_port()
    body = {"messages": [{"role": "user", "content": "hi"}]}
    process = subprocess.Popen(
        [sys.executable, "-m", "hermes_agent", "gateway", "run"],
        env={"PATH": os.environ["PATH"], "HOME": str(home.root.parent), "HERMES_HOME": str(home.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def status(port: int, key: str) -> int | None:
        """What a request gets; None if nobody listens."""
        try:
            return httpx.post(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                json=body,
                headers={"Authorization": f"Bearer {key}"},
                timeout=20,
            ).status_code
        except httpx.TransportError:
            return None

    def reload(port: int, key: str) -> None:
        home.env_file.write_text(f"API_SERVER_KEY={key}\nAPI_SERVER_PORT={port}\n")
        ask_gateway(home, "reload", timeout_seconds=20)

    def wait_for(port: int, key: str, wanted: int | None) -> None:
        deadline = time.monotonic() + 20
        while status(port, key) != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    try:
        wait_until_running(home)
        assert status(first, KEY) is None
        reload(first, KEY)
        wait_for(first, KEY, 200)
        reload(second, "another-key-0123456789")
        wait_for(second, "another-key-0123456789", 200)
        assert status(second, KEY) == 401
        wait_for(first, KEY, None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_until_running(home: Home) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if ask_gateway(home, "status")["gateway_state"] == "running":
                return
        except GatewayError:
            pass
        time.sleep(0.05)
    raise AssertionError("the gateway is not ready")
