"""MCP tools in the agent, through the `hermes` command: real processes, a scripted model server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mcp_bench import SERVERS

from hermes_agent.config.paths import Home

KEY = "ghp_zyxwvutsrqponmlkjihgfedcba9876543210"
RAW = [sys.executable, "-I", str(SERVERS / "raw_server.py")]


class Machine:
    """A home with a model server and MCP servers."""

    def __init__(self, home: Home, base_url: str) -> None:
        self.home = home
        self.base_url = base_url

    def configure(self, servers: dict[str, Any], **more: Any) -> None:
        data = {
            "model": {"provider": "custom", "base_url": self.base_url, "default": "script"},
            "mcp_servers": servers,
            **more,
        }
        self.home.config_file.write_text(json.dumps(data))

    def hermes(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            [sys.executable, "-m", "hermes_agent", *arguments],
            env={**kept, "HERMES_HOME": str(self.home.root), "HOME": str(self.home.root.parent)},
            cwd=self.home.root.parent,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def program(**options: object) -> dict[str, Any]:
    return {"command": RAW[0], "args": [*RAW[1:], *(f"{key}={value}" for key, value in options.items())]}


CALL = [
    {"tool_calls": [{"name": "mcp_raw_echo", "arguments": {"text": "from afar"}}]},
    {"text": "It says: {{tool_result}}"},
]


@pytest.fixture
def machine(home: Home, model_server: Any) -> Any:
    def make(script: Any) -> tuple[Machine, Any]:
        server = model_server(script)
        return Machine(home, server.base_url), server

    return make


def test_the_first_message_of_a_new_configuration_has_the_tools(machine: Any) -> None:
    host, server = machine(CALL)
    host.configure({"raw": program(delay=0.3)})
    result = host.hermes("-z", "call it")
    assert result.stdout == "It says: from afar\n", result.stderr
    server.assert_complete()


def test_a_slow_server_is_announced_from_the_cache_and_waited_for_in_the_call(
    machine: Any, tmp_path: Path
) -> None:
    host, server = machine([*CALL, *CALL])
    host.configure({"raw": program()})
    assert host.hermes("-z", "call it").returncode == 0
    known = next((host.home.cache / "mcp").iterdir())
    host.configure({"raw": program(delay=1.5)})
    # The same tools under the new configuration, as a session before this one would have left them.
    fingerprint = json.loads(host.hermes("mcp", "list", "--json").stdout)
    assert fingerprint[0]["is_known"] is False
    slow = slow_cache(host)
    slow.write_bytes(known.read_bytes())
    assert host.hermes("-z", "call it").stdout == "It says: from afar\n"
    first, *_, last = [request for request in server.requests if request.body.get("tools")]
    assert first.body["tools"] == last.body["tools"]


def slow_cache(host: Machine) -> Path:
    from hermes_agent.config.loader import load
    from hermes_agent.mcp.catalogue import CatalogueCache

    settings = load(host.home).settings.mcp_servers["raw"]
    return CatalogueCache(host.home.cache / "mcp").path("raw", settings)


def test_a_dead_server_is_a_clear_result_and_the_others_work(machine: Any) -> None:
    host, server = machine(
        [
            {
                "tool_calls": [
                    {"name": "mcp_raw_crash", "arguments": {}},
                    {"name": "mcp_other_echo", "arguments": {"text": "fine"}},
                ]
            },
            {"text": "ok"},
        ]
    )
    host.configure({"raw": program(), "other": program(), "dead": {"command": "no-such-program"}})
    result = host.hermes("-z", "call both")
    assert result.stdout == "ok\n", result.stderr
    tool_texts = [
        message["content"] for message in server.requests[-1].body["messages"] if message["role"] == "tool"
    ]
    assert "went away during the call" in tool_texts[0]
    assert tool_texts[1] == "fine"


def test_results_are_redacted_and_large_ones_go_to_a_file(machine: Any) -> None:
    host, server = machine(
        [
            {
                "tool_calls": [
                    {
                        "name": "mcp_raw_echo",
                        "arguments": {"text": f"the key is {KEY}"},
                    },
                    {"name": "mcp_raw_big", "arguments": {"size": 10_000_000}},
                ]
            },
            {"text": "ok"},
        ]
    )
    host.configure({"raw": program()})
    assert host.hermes("-z", "go").stdout == "ok\n"
    texts = [
        message["content"] for message in server.requests[-1].body["messages"] if message["role"] == "tool"
    ]
    assert KEY not in texts[0]
    assert len(texts[1]) < 100_000
    assert str(host.home.tool_outputs) in texts[1]


def test_toolsets_decide_about_mcp_tools(machine: Any) -> None:
    host, server = machine([{"text": "a"}, {"text": "b"}, {"text": "c"}])
    host.configure({"raw": program(), "other": program()})
    for toolsets in ("file", "file,mcp-other", "file,no_mcp"):
        assert host.hermes("--toolsets", toolsets, "-z", "hi").returncode == 0
    seen = [
        {tool["function"]["name"].split("_")[1] for tool in request.body["tools"] if "mcp_" in str(tool)}
        for request in server.requests
    ]
    assert seen == [{"raw", "other"}, {"other"}, set()]


@pytest.mark.parametrize(("is_parallel", "seconds", "said"), [(True, 20, "met"), (False, 0.2, "alone")])
def test_calls_run_beside_each_other_only_where_the_server_allows_it(
    machine: Any, is_parallel: bool, seconds: float, said: str
) -> None:
    calls = [{"name": "mcp_s_meet", "arguments": {"seconds": seconds}} for _ in range(2)]
    host, server = machine([{"tool_calls": calls}, {"text": "ok"}])
    host.configure(
        {
            "s": {
                "command": sys.executable,
                "args": [str(SERVERS / "sdk_server.py"), "stdio"],
                "supports_parallel_tool_calls": is_parallel,
            }
        }
    )
    assert host.hermes("-z", "go").stdout == "ok\n"
    texts = [
        message["content"] for message in server.requests[-1].body["messages"] if message["role"] == "tool"
    ]
    assert texts == [said, said]


def test_a_program_gets_the_secrets_that_its_env_names_and_no_others(machine: Any) -> None:
    host, server = machine(
        [{"tool_calls": [{"name": "mcp_raw_env", "arguments": {}}]}, {"text": "{{tool_result}}"}]
    )
    host.home.env_file.write_text("TRACKER_TOKEN=tracker-0123456789\nOTHER_KEY=other-0123456789\n")
    host.configure({"raw": {**program(), "env": {"TOKEN": "${TRACKER_TOKEN}", "MODE": "fast"}}})
    result = host.hermes("-z", "go")
    assert result.returncode == 0, result.stderr
    seen = json.loads(server.requests[-1].body["messages"][-1]["content"])
    assert seen["MODE"] == "fast"
    assert "REDACTED" in seen["TOKEN"]  # it was there; the model does not read it
    assert not [name for name in seen if name.startswith(("HERMES", "OTHER", "TRACKER"))]
    assert "other-0123456789" not in json.dumps(seen)


def test_without_servers_nothing_of_mcp_is_imported(home: Home, model_server: Any) -> None:
    server = model_server([{"text": "hi"}])
    Machine(home, server.base_url).configure({})
    code = (
        "import sys, asyncio; from hermes_agent.entry import main\n"
        "sys.argv = ['hermes', '-z', 'hello']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith(('mcp', 'hermes_agent.mcp'))])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "HERMES_HOME": str(home.root), "HOME": str(home.root.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines()[-1] == "[]", result.stdout + result.stderr


def test_a_server_is_added_listed_tested_configured_and_removed(machine: Any) -> None:
    host, _server = machine([{"text": "unused"}])
    host.configure({})
    words = RAW[1:]
    added = host.hermes(
        "mcp", "add", "raw", "--command", RAW[0], "--env", "API_KEY=sk-123456789", "--", *words
    )
    assert "10 tools" in added.stdout, added.stderr
    assert "sk-123456789" not in host.home.config_file.read_text()
    assert "MCP_RAW_API_KEY=sk-123456789" in host.home.env_file.read_text()
    assert "10 tools" in host.hermes("mcp", "list").stdout
    assert host.hermes("mcp", "test", "raw").returncode == 0
    host.hermes("mcp", "configure", "raw", "--include", "echo")
    (row,) = json.loads(host.hermes("mcp", "list", "--json").stdout)
    assert row["tools"] == 1
    again = host.hermes("mcp", "add", "raw", "--command", "x")
    assert again.returncode == 2
    assert "--force" in again.stderr
    removed = host.hermes("mcp", "remove", "raw", "--yes")
    assert removed.returncode == 0
    assert "sk-123456789" not in host.home.env_file.read_text()
    assert "No MCP servers" in host.hermes("mcp", "list").stdout


def test_a_server_that_cannot_be_reached_is_not_saved(machine: Any) -> None:
    host, _server = machine([{"text": "unused"}])
    host.configure({})
    result = host.hermes("mcp", "add", "raw", "--command", "no-such-program")
    assert result.returncode == 2
    assert "there is no program 'no-such-program'" in result.stderr
    assert "Nothing was saved" in result.stderr
    assert "no-such-program" not in host.home.config_file.read_text()
    assert host.hermes("mcp", "add", "../x", "--command", "y").returncode == 2


async def test_a_running_session_takes_the_tools_of_a_changed_configuration(home: Home) -> None:
    from hermes_agent.agent.session_commands import reload_mcp, status_text
    from hermes_agent.app.container import App

    def configure(**servers: Any) -> None:
        data = {"model": {"provider": "demo"}, "mcp_servers": servers}
        home.config_file.write_text(json.dumps(data))

    configure(old=program())
    app = App.load(home=home)
    try:
        session = await app.open_session()
        await session.ensure_prompt()
        names = {tool.name for tool in session.tool_definitions}
        assert "mcp_old_echo" in names
        assert "MCP server old (stdio): ready, 10 tools" in status_text(session)
        configure(new=program(), broken={"command": "no-such-program"})
        text = await reload_mcp(session)
        assert "new (stdio): ready, 10 tools" in text
        assert "broken (stdio): failed" in text
        names = {tool.name for tool in session.tool_definitions}
        assert "mcp_new_echo" in names
        assert "mcp_old_echo" not in names
    finally:
        await app.aclose()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("mcp-")] == []


async def test_twenty_servers_do_not_delay_a_session(tmp_path: Path) -> None:
    from hermes_agent.app.container import App

    async def seconds(folder: Path, servers: dict[str, Any]) -> float:
        folder.mkdir()
        (folder / "config.yaml").write_text(
            json.dumps({"model": {"provider": "demo"}, "mcp_servers": servers})
        )
        app = App.load(home=Home(folder))
        started = time.perf_counter()
        await app.open_session()
        passed = time.perf_counter() - started
        await app.aclose()
        return passed

    many = {f"s{number}": program() for number in range(20)}
    await seconds(tmp_path / "warm", {"one": program()})
    differences = [
        await seconds(tmp_path / f"many-{index}", many) - await seconds(tmp_path / f"none-{index}", {})
        for index in range(3)
    ]
    assert min(differences) < 1  # each of them takes longer to start


async def test_names_of_servers_among_toolsets_are_no_unknown_toolsets() -> None:
    from hermes_agent.app.mcp import chosen_servers
    from hermes_agent.tools.toolsets import select_tools

    assert select_tools(["mcp", "mcp-files", "no_mcp"]).tools == ()
    servers = ["a", "b"]
    assert chosen_servers(["hermes-cli"], servers) == ("a", "b")
    assert chosen_servers(["file", "mcp-b"], servers) == ("b",)
    assert chosen_servers(["mcp"], servers) == ("a", "b")
    assert chosen_servers(["file", "no_mcp"], servers) == ()
    assert chosen_servers(["safe"], servers) == ()
    assert chosen_servers([], servers) == ()


async def test_tools_that_come_between_opening_and_the_first_message_are_not_missed(home: Home) -> None:
    from hermes_agent.app.container import App

    data = {"model": {"provider": "demo"}, "mcp_servers": {"raw": program()}}
    home.config_file.write_text(json.dumps(data))
    app = App.load(home=home)
    try:
        session = await app.open_session()
        async with asyncio.timeout(60):
            while app.mcp.statuses()[0].state != "ready":  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
        await session.ensure_prompt()
        assert "mcp_raw_echo" in {tool.name for tool in session.tool_definitions}
    finally:
        await app.aclose()
