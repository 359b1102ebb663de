"""`hermes mcp add` and `install`, as a person uses them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
import yaml
from mcp_bench import SERVERS

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
sys.path.insert(0, str(SERVERS))
from command_line import CommandLine
from refusing_server import RefusingServer

from hermes_agent.config.paths import Home

KEY = "github_pat_0123456789abcdefghij"
NOWHERE = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}


@pytest.fixture
def hermes(home: Home) -> CommandLine:
    return CommandLine(home.root)


@pytest.fixture
async def refusing() -> AsyncIterator[tuple[RefusingServer, str]]:
    state = RefusingServer(token="wanted")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(state.application(), log_level="error", lifespan="off"))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        serving = asyncio.create_task(server.serve([listener]))
        yield state, f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        server.should_exit = server.force_exit = True
        await serving


def configured(hermes: CommandLine) -> dict[str, object]:
    path = hermes.home / "config.yaml"
    return (yaml.safe_load(path.read_text()) or {}).get("mcp_servers", {}) if path.exists() else {}


async def test_a_server_that_wants_a_login_is_saved_as_one(
    hermes: CommandLine, refusing: tuple[RefusingServer, str]
) -> None:
    _state, url = refusing
    result = await asyncio.to_thread(hermes.run, "mcp", "add", "notes", "--url", url)
    assert result.returncode == 0, result.stderr
    assert "needs a login. Type: hermes mcp login notes" in result.stdout
    assert configured(hermes) == {"notes": {"url": url, "auth": "oauth"}}


async def test_a_wrong_key_is_no_reason_to_sign_in_otherwise(
    hermes: CommandLine, refusing: tuple[RefusingServer, str]
) -> None:
    _state, url = refusing
    header = "Authorization=Bearer not-the-one-0123456789"
    result = await asyncio.to_thread(hermes.run, "mcp", "add", "notes", "--url", url, "--header", header)
    assert result.returncode == 0
    assert "auth" not in configured(hermes)["notes"]  # type: ignore[operator]
    assert "not-the-one" not in (hermes.home / "config.yaml").read_text() + result.stdout + result.stderr


def test_a_key_that_is_asked_for_is_kept_in_the_env_file_only(hermes: CommandLine) -> None:
    terminal = hermes.spawn("mcp", "install", "github", "--no-test")
    terminal.expect("GITHUB_TOKEN")
    terminal.sendline(KEY)
    terminal.expect("Saved github")
    terminal.expect("as GITHUB_TOKEN")
    terminal.wait()
    assert KEY not in terminal.before
    assert f"GITHUB_TOKEN={KEY}" in (hermes.home / ".env").read_text()
    assert (hermes.home / ".env").stat().st_mode & 0o777 == 0o600
    server = configured(hermes)["github"]
    assert server["headers"] == {"Authorization": "Bearer ${GITHUB_TOKEN}"}  # type: ignore[index]


def test_a_key_is_not_kept_if_nothing_else_is(hermes: CommandLine) -> None:
    terminal = hermes.spawn("mcp", "install", "github", **NOWHERE)
    terminal.expect("GITHUB_TOKEN")
    terminal.sendline(KEY)
    terminal.expect("Nothing was saved")
    terminal.wait()
    assert terminal.exitstatus == 2
    assert configured(hermes) == {}
    assert not (hermes.home / ".env").exists() or KEY not in (hermes.home / ".env").read_text()


def test_without_a_terminal_a_missing_key_is_named(hermes: CommandLine) -> None:
    result = hermes.run("mcp", "install", "github")
    assert result.returncode == 2
    assert "hermes config set GITHUB_TOKEN" in result.stderr
    assert configured(hermes) == {}


def test_a_preset_can_have_another_name(hermes: CommandLine, tmp_path: Path) -> None:
    result = hermes.run("mcp", "add", "docs", "--preset", "context7", "--no-test")
    assert result.returncode == 0, result.stderr
    result = hermes.run(
        "mcp", "install", "filesystem", "--directory", str(tmp_path), "--as", "f", "--no-test"
    )
    assert result.returncode == 0, result.stderr
    assert configured(hermes) == {
        "docs": {"url": "https://mcp.context7.com/mcp"},
        "f": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", str(tmp_path)]},
    }
    assert "no server 'nope'" in hermes.run("mcp", "install", "nope").stderr


def test_no_tool_at_all_cannot_be_picked_by_mistake(hermes: CommandLine) -> None:
    """An empty list would mean all of them."""
    program = ("--command", sys.executable, "--", "-I", str(SERVERS / "raw_server.py"))
    assert hermes.run("mcp", "add", "raw", *program).returncode == 0
    terminal = hermes.spawn("mcp", "configure", "raw")
    terminal.expect("Tools of raw")
    terminal.expect("esc skip")
    terminal.send(" \x1b[B" * 10 + "\r")
    terminal.expect("No tool would be left")
    terminal.expect("--disable")
    terminal.wait()
    assert "tools" not in configured(hermes)["raw"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("x",), "Give either --url or --command"),
        (("x", "--url", "https://a", "--command", "b"), "Give either --url or --command"),
        (("x", "--url", "https://a", "more"), "takes no arguments"),
        (("../../etc", "--command", "b"), "cannot be the name"),
        (("a b", "--command", "b"), "cannot be the name"),
        (("x", "--command", "b", "--env", "NOVALUE"), "wants NAME=VALUE"),
    ],
)
def test_mistakes_are_explained(hermes: CommandLine, arguments: tuple[str, ...], problem: str) -> None:
    result = hermes.run("mcp", "add", *arguments)
    assert result.returncode == 2
    assert problem in result.stderr
    assert "Traceback" not in result.stderr
    assert configured(hermes) == {}
