from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.tool import SessionScope, Tool, ToolContext, ToolResult
from hermes_agent.environments.local import LocalEnvironment
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.toolsets import build_tool


class Workbench:
    """A session in a temporary directory, and every tool as the agent gets it."""

    def __init__(self, folder: Path, home: Path, **setup: Any) -> None:
        self.folder = folder
        self.setup = ToolSetup(Home(home), **setup)
        self.environment = LocalEnvironment(
            cwd=str(folder),
            child_env={"PATH": os.environ["PATH"], "HOME": str(home.parent), "LC_ALL": "C.UTF-8"},
        )
        self.history: list[Message] = []
        self.scope = SessionScope("test", self.environment, history=lambda: self.history)
        self.reports: list[str] = []
        self.redactor = Redactor(["hunter2-hunter2"])
        self._calls = 0

    def tool(self, name: str) -> Tool:
        return build_tool(name, self.setup, self.redactor)

    @property
    def context(self) -> ToolContext:
        return ToolContext(self.scope, f"call_{self._calls}", report=self.reports.append)

    async def call(self, name: str, /, **arguments: Any) -> ToolResult:
        """Run a tool and keep the call in the conversation, as the agent does."""
        self._calls += 1
        result = await self.tool(name).run(arguments, self.context)
        call = ToolCall(f"call_{self._calls}", name, "{}")
        self.history += [
            AssistantMessage(tool_calls=(call,)),
            ToolMessage(call.id, name, result.text, is_error=result.is_error),
        ]
        return result

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Workbench]:
    folder = tmp_path / "project"
    folder.mkdir()
    home = tmp_path / "person" / ".hermes"
    home.mkdir(parents=True)
    found = Workbench(folder, home)
    yield found
    await found.environment.aclose()
