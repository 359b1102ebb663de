"""The demo model with the real tools: what they give is told as people expect it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.approvals import Question
from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import HermesError
from hermes_agent.core.messages import Message, ToolMessage, UserMessage
from hermes_agent.core.model import ModelReply, ModelRequest
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.tool import SessionScope, Tool, ToolContext
from hermes_agent.environments import open_environment
from hermes_agent.models.demo import DemoModel
from hermes_agent.tools.toolsets import build_tools


async def _answer(question: Question) -> str:
    return question.choices[1]


@dataclass
class Desk:
    """A conversation whose calls are run at once, without approval."""

    tools: dict[str, Tool]
    environment: Environment
    messages: list[Message] = field(default_factory=list)

    async def say(self, text: str) -> str:
        self.messages.append(UserMessage.of(text))
        definitions = tuple(tool.definition for tool in self.tools.values())
        scope = SessionScope("s", self.environment, history=lambda: self.messages)
        while True:
            request = ModelRequest("s", self.messages, definitions, session_id="s")
            *_, reply = [event async for event in DemoModel().stream(request)]
            assert isinstance(reply, ModelReply)
            self.messages.append(reply.message)
            if not reply.message.tool_calls:
                return reply.message.text
            for call in reply.message.tool_calls:
                context = ToolContext(scope, call.id, ask=_answer)
                try:
                    result = await self.tools[call.name].run(json.loads(call.arguments), context)
                    told = ToolMessage(call.id, call.name, result.text, is_error=result.is_error)
                except HermesError as error:
                    told = ToolMessage(call.id, call.name, f"Error: {error}", is_error=True)
                self.messages.append(told)


@pytest.fixture
async def desk(tmp_path: Path, home: Home) -> AsyncIterator[Desk]:
    place = tmp_path / "place"
    place.joinpath("docs").mkdir(parents=True)
    place.joinpath("a.py").write_text("import os\nprint('hi')\n")
    environment = open_environment(
        TerminalSettings(), cwd=place, child_env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, session_id="s"
    )
    tools = build_tools(["hermes-cli"], Settings(), home, Redactor())
    yield Desk({tool.definition.name: tool for tool in tools}, environment)
    await environment.aclose()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("list the files here", ["1 folder and 1 file in this directory", "- `docs/`\n- `a.py`"]),
        ("list the files in docs", ["There is nothing in `docs`."]),
        ("ls nowhere", ["It ended with exit code 2", "No such file"]),
        ("read a.py", ["`a.py`:\n\n```python\nimport os\nprint('hi')\n```"]),
        ("show the first 1 lines of a.py", ["```python\nimport os\n```", "lines 1-1 of 2"]),
        ("read nope.py", ["That did not work. The `read_file` tool says:", "nope.py"]),
        ("count lines of a.py", ["`a.py` has 2 lines."]),
        ("run echo hello; exit 3", ["exit code 3", "```\nhello\n```"]),
        ("run true", ["(exit code 0)", "It printed nothing."]),
        ("run seq 1 30000", ["```\n1\n2\n", "I show only the beginning"]),
        ("search for import", ["What I found for `import`", "a.py"]),
        ("search for zebra", ["No hits"]),
        ("find files named *.py", ["What I found for `*.py`", "a.py"]),
        ('write "Hello" to b.txt and then read b.txt', ["Done. ", "b.txt", "```\nHello\n```"]),
        ('replace "hi" with "ho" in a.py and then read a.py', ["print('ho')"]),
        ("create a todo list: tea, cake and then mark 1 done", ["- [x] tea\n- [ ] cake"]),
        ("ask me a question", ["You answered: **Run a command**"]),
        (
            "start sleep 30 in the background and then list processes",
            ["in the background as `proc_", "`sleep 30`, running"],
        ),
        ("list processes", ["There are no background processes."]),
        ("where am i", ["/place"]),
    ],
)
async def test_a_request_is_done_and_told(text: str, parts: list[str], desk: Desk) -> None:
    answer = await desk.say(text)
    for part in parts:
        assert part in answer
