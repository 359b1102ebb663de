"""`hermes gateway setup` against a real chat server: in a terminal, in a pipe, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pexpect
import pytest
import yaml
from gateway_process import Gateway
from loopback_server import TOKEN, LoopbackServer

CTRL_C = "\x03"


def setup(gateway: Gateway, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermes_agent", "gateway", "setup", *arguments],
        env={**gateway.environment(), **env},
        cwd=gateway.home.root.parent,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def spawn(gateway: Gateway, *arguments: str, **env: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        ["-m", "hermes_agent", "gateway", "setup", *arguments],
        env={**gateway.environment(), "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **env},
        cwd=str(gateway.home.root.parent),
        encoding="utf-8",
        timeout=30,
        dimensions=(30, 100),
    )


def steps(child: pexpect.spawn, *pairs: tuple[str, str]) -> None:
    for expected, keys in pairs:
        child.expect_exact(expected)
        child.send(keys)


def config(gateway: Gateway) -> dict[str, Any]:
    return yaml.safe_load(gateway.home.config_file.read_text())


def exit_code(child: pexpect.spawn) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_in_a_terminal_it_asks_tries_and_saves(
    gateway: Gateway, chat_server: LoopbackServer, term: str
) -> None:
    child = spawn(gateway, "loopback", "--no-install", TERM=term)
    with (gateway.home.root.parent / "screen").open("w") as screen:
        child.logfile_read = screen
        steps(
            child,
            ("Address of the chat server", f"{chat_server.url}\r"),
            ("Token", "wrong-token-0123456789\r"),
            ("refuses the token", ""),
            ("Try again", "\r"),
            ("Address of the chat server", "\r"),
            ("Token", f"{TOKEN}\r"),
            ("loopback bot", ""),
            ("Who may talk", "2\r" if term == "dumb" else "list\r"),
            ("Their ids", "u1, u7\r"),
            ("nobody asked for", "c9\r"),
            ("This will be written", ""),
            ("Save it?", "\r"),
        )
        assert exit_code(child) == 0
    shown = (gateway.home.root.parent / "screen").read_text()
    assert TOKEN not in shown
    assert "wrong-token" not in shown
    env = gateway.home.env_file.read_text()
    assert f"LOOPBACK_TOKEN={TOKEN}" in env
    assert "LOOPBACK_ALLOWED_USERS=u1,u7" in env
    own = config(gateway)["platforms"]["loopback"]
    assert own["extra"]["url"] == chat_server.url
    assert own["home_channel"]["chat_id"] == "c9"
    gateway.home.config_file.write_text(
        yaml.safe_dump({**config(gateway), "model": {"provider": "demo", "default": "demo"}})
    )
    gateway.start()
    chat_server.say("token-7", sender="u7")
    chat_server.wait_for_text("token-7")


@pytest.mark.parametrize("place", range(4))
def test_ctrl_c_at_any_question_changes_nothing(
    gateway: Gateway, chat_server: LoopbackServer, place: int
) -> None:
    child = spawn(gateway, "loopback")
    asked = (
        ("Address of the chat server", f"{chat_server.url}\r"),
        ("Token", f"{TOKEN}\r"),
        ("Who may talk", "\r"),
        ("nobody asked for", "\r"),
        ("Save it?", ""),
    )
    steps(child, *asked[:place], (asked[place][0], CTRL_C))
    assert exit_code(child) == 130
    assert not gateway.home.config_file.exists()
    assert not gateway.home.env_file.exists()


def test_a_single_secret_may_stand_alone_in_a_pipe(gateway: Gateway, chat_server: LoopbackServer) -> None:
    done = setup(
        gateway, "loopback", "--set", f"extra.url={chat_server.url}", "--allow", "u1", stdin=f"{TOKEN}\n"
    )
    assert done.returncode == 0, done.stderr
    assert "loopback bot" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert f"LOOPBACK_TOKEN={TOKEN}" in gateway.home.env_file.read_text()
    assert config(gateway)["platforms"]["loopback"]["enabled"] is True


def test_a_credential_of_the_shell_is_written_down_for_the_service(
    gateway: Gateway, chat_server: LoopbackServer
) -> None:
    done = setup(gateway, "loopback", "--set", f"extra.url={chat_server.url}", LOOPBACK_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert "hermes pairing approve loopback" in done.stdout
    assert f"LOOPBACK_TOKEN={TOKEN}" in gateway.home.env_file.read_text()


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "told"),
    [
        (("loopback", "--set", "extra.url=URL"), "wrong\n", 1, "refuses the token"),
        (("loopback", "--set", "extra.url=http://127.0.0.1:9"), TOKEN, 1, "cannot be reached"),
        (("loopback", "--set", "extra.url=URL"), "", 2, "LOOPBACK_TOKEN=VALUE"),
        (("loopback", "--set", "nonsense=1"), "", 2, "extra.url"),
        (("loopback",), "OTHER=1\nLOOPBACK_TOKEN=x\n", 2, "'OTHER'"),
        (("nowhere",), "", 2, "no platform 'nowhere'"),
        ((), "", 2, "hermes gateway setup --list"),
    ],
)
def test_what_does_not_work_is_told_and_changes_nothing(
    gateway: Gateway,
    chat_server: LoopbackServer,
    arguments: tuple[str, ...],
    stdin: str,
    code: int,
    told: str,
) -> None:
    done = setup(gateway, *(each.replace("URL", chat_server.url) for each in arguments), stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    assert told in done.stderr
    assert not gateway.home.config_file.exists()
    assert not gateway.home.env_file.exists()


def test_a_managed_installation_names_the_options(gateway: Gateway) -> None:
    done = setup(gateway, "loopback", HERMES_MANAGED="true")
    assert done.returncode == 7
    assert "services.hermes-agent.environmentFiles" in done.stderr
    assert not gateway.home.config_file.exists()


def test_a_running_gateway_connects_at_once(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.home.config_file.write_text("model: {provider: demo, default: demo}\n")
    gateway.start()
    done = setup(
        gateway, "loopback", "--set", f"extra.url={chat_server.url}", "--allow", "u1", stdin=f"{TOKEN}\n"
    )
    assert done.returncode == 0, done.stderr
    assert "loopback: connected" in done.stdout
    chat_server.say("token-3")
    chat_server.wait_for_text("token-3")


def test_the_api_server_gets_a_key(gateway: Gateway) -> None:
    done = setup(gateway, "api_server")
    assert done.returncode == 0, done.stderr
    assert "http://127.0.0.1:8642/v1" in done.stdout
    key = gateway.home.env_file.read_text().split("API_SERVER_KEY=")[1].strip()
    assert len(key) == 64
    assert key not in done.stdout
    assert "has a key already" in setup(gateway, "api_server").stdout
    assert key in gateway.home.env_file.read_text()
