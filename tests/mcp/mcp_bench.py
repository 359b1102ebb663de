import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.config.sections.mcp import McpServerSettings, McpSettings
from hermes_agent.core.approvals import Question
from hermes_agent.core.injection import find_orders
from hermes_agent.core.tool import SessionScope, ToolContext, ToolResult
from hermes_agent.environments.guard import Guard
from hermes_agent.environments.process_table import session_processes
from hermes_agent.mcp.manager import McpManager
from hermes_agent.mcp.ports import McpPorts

SERVERS = Path(__file__).parent / "servers"


def raw(**options: object) -> McpServerSettings:
    """Settings of the raw server with these options; `settings` are for the settings themselves."""
    settings = options.pop("settings", {})
    arguments = [f"{name}={value}" for name, value in options.items()]
    return McpServerSettings(
        command=sys.executable, args=["-I", str(SERVERS / "raw_server.py"), *arguments], **settings
    )


def sdk(**settings: Any) -> McpServerSettings:
    return McpServerSettings(
        command=sys.executable, args=[str(SERVERS / "sdk_server.py"), "stdio"], **settings
    )


@dataclass
class Person:
    """Answers questions in order; None when there are no more answers. Remembers everything."""

    answers: list[str | None] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    async def ask(self, question: Question) -> str | None:
        self.questions.append(question)
        return self.answers.pop(0) if self.answers else None

    def context(self, name: str = "s1") -> ToolContext:
        return ToolContext(
            SessionScope(name, self.environment),
            report=self.reports.append,
            ask=self.ask,
            notify=self.notes.append,
        )

    environment: Any = None


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    class Local:
        name = "local"
        cwd = str(tmp_path)

    yield Person(environment=Local())


@dataclass
class Bench:
    """Managers over a directory; all are closed in the end."""

    directory: Path
    person: Person
    managers: list[McpManager] = field(default_factory=list)

    def ports(self, **changes: Any) -> McpPorts:
        guard = Guard()
        fields = {
            "cache": self.directory / "cache",
            "child_environment": dict(os.environ),
            "cwd": self.directory,
            "guard": guard,
            "family": session_processes,
            "find_orders": find_orders,
            **changes,
        }
        return McpPorts(**fields)

    def manager(
        self,
        common: McpSettings | None = None,
        ports: dict[str, Any] | None = None,
        **servers: McpServerSettings,
    ) -> McpManager:
        made = self.ports(**(ports or {}))
        manager = McpManager(servers, made, common, on_close=made.guard.close)
        self.managers.append(manager)
        return manager

    async def call(self, manager: McpManager, name: str, /, **arguments: Any) -> ToolResult:
        tools = {tool.definition.name: tool for tool in await manager.discovered()}
        return await tools[name].run(arguments, self.person.context())


@pytest.fixture
async def bench(tmp_path: Path, person: Person, remote: object) -> AsyncIterator[Bench]:
    made = Bench(tmp_path, person)
    yield made
    for manager in made.managers:
        await manager.aclose()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("mcp-")]
    assert left == []


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Starts the SDK-built server with `http` or `sse` and gives its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(transport: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, str(SERVERS / "sdk_server.py"), transport, str(port)],
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if b"Uvicorn running" in line:
                break
        return f"http://127.0.0.1:{port}/{'mcp' if transport == 'http' else 'sse'}"

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


async def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether a process is gone within this time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while is_alive(pid):
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def data(result: ToolResult) -> Any:
    return json.loads(result.text)
