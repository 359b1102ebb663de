"""The demo model: what it understands, what it calls, what it tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import ModelServerError
from hermes_agent.core.messages import AssistantMessage, Message, TextPart, ToolMessage, UserMessage
from hermes_agent.core.model import ModelReply, ModelRequest, ReasoningChunk, TextChunk, ToolDefinition
from hermes_agent.core.redaction import Redactor
from hermes_agent.models.demo import DemoModel
from hermes_agent.models.demo_language import understand
from hermes_agent.models.demo_report import fenced
from hermes_agent.models.resolve import resolve_model
from hermes_agent.tools.toolsets import build_tools

NAMES = ("terminal", "process", "read_file", "write_file", "patch", "search_files", "todo", "clarify")


def stub(name: str, *required: str, **properties: str) -> ToolDefinition:
    schema = {key: {"type": kind} for key, kind in properties.items()}
    return ToolDefinition(name, name, {"type": "object", "properties": schema, "required": list(required)})


MEMORY = stub(
    "memory", "action", "target", action="string", target="string", content="string", old_text="string"
)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> tuple[ToolDefinition, ...]:
    home = Home(tmp_path_factory.mktemp("home"))
    built = build_tools(NAMES, Settings(), home, Redactor())
    return (*(tool.definition for tool in built), MEMORY)


@dataclass
class Conversation:
    """Talks to the demo model; `results` are given to its calls, in order."""

    tools: Sequence[ToolDefinition]
    messages: list[Message] = field(default_factory=list)
    model: DemoModel = field(default_factory=DemoModel)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def reply(self, **more: Any) -> AssistantMessage:
        asked = ModelRequest("system", self.messages, more.pop("tools", self.tools), session_id="s")
        events = [event async for event in self.model.stream(asked)]
        last = events[-1]
        assert isinstance(last, ModelReply)
        assert "".join(event.text for event in events if isinstance(event, TextChunk)) == last.message.text
        assert all(len(event.text) <= 120 for event in events if isinstance(event, TextChunk))
        assert last.usage.input_tokens > 0
        assert last.usage.requests == 1
        self.messages.append(last.message)
        return last.message

    async def say(self, text: str, *results: str | ToolMessage) -> str:
        self.messages.append(UserMessage.of(text))
        waiting = list(results)
        while True:
            message = await self.reply()
            if not message.tool_calls:
                assert not waiting, "the demo model ended without making all calls"
                return message.text
            assert message.finish_reason == "tool_calls"
            for call in message.tool_calls:
                self.calls.append((call.name, json.loads(call.arguments)))
                result = waiting.pop(0)
                if isinstance(result, str):
                    result = ToolMessage(call.id, call.name, result)
                self.messages.append(ToolMessage(call.id, call.name, result.text, is_error=result.is_error))


def ran(output: str, exit_code: int | None = 0, error: str | None = None) -> str:
    return json.dumps({"output": output, "exit_code": exit_code, "error": error})


def failed(text: str) -> ToolMessage:
    return ToolMessage("", "", text, is_error=True)


@pytest.fixture
def talk(tools: tuple[ToolDefinition, ...]) -> Conversation:
    return Conversation(tools)


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("list the files here", "terminal", {"command": "ls -Ap -- ."}),
        ("Could you please list all files in the docs folder?", "terminal", {"command": "ls -Ap -- docs"}),
        ('what files are in "my docs"', "terminal", {"command": "ls -Ap -- 'my docs'"}),
        ("ls ~/notes", "terminal", {"command": "ls -Ap -- ~/notes"}),
        ("What's in this folder?", "terminal", {"command": "ls -Ap -- ."}),
        ("Read README.md.", "read_file", {"path": "README.md"}),
        ("show me the file `a b.txt`", "read_file", {"path": "a b.txt"}),
        ("open the config.yaml please", "read_file", {"path": "config.yaml"}),
        ("show the first 5 lines of a.txt", "read_file", {"path": "a.txt", "limit": 5}),
        ("show lines 3-9 of a.txt", "read_file", {"path": "a.txt", "offset": 3, "limit": 7}),
        ("show line 4 of a.txt", "read_file", {"path": "a.txt", "offset": 4, "limit": 1}),
        ("run ls -la | head", "terminal", {"command": "ls -la | head"}),
        ("$ echo 'and then' done", "terminal", {"command": "echo 'and then' done"}),
        ("run `echo hi!`", "terminal", {"command": "echo hi!"}),
        ("Run if true; then echo x; fi", "terminal", {"command": "if true; then echo x; fi"}),
        ("start sleep 60 in the background", "terminal",
         {"command": "sleep 60", "background": True, "notify_on_complete": True}),
        ("delete the folder build", "terminal", {"command": "rm -r -- build"}),
        ("delete a.txt", "terminal", {"command": "rm -- a.txt"}),
        ("what time is it?", "terminal", {"command": "date"}),
        ("where am I?", "terminal", {"command": "pwd"}),
        ("how many lines does a.txt have?", "terminal", {"command": "wc -l < a.txt"}),
        ("remember that I like tea", "memory", {"action": "add", "target": "user", "content": "I like tea"}),
        ("Remember: the server is alpha.", "memory",
         {"action": "add", "target": "memory", "content": "the server is alpha"}),
        ("search for foo(bar in src", "search_files",
         {"pattern": r"foo\(bar", "target": "content", "path": "src"}),
        ("search the files for /a.c/", "search_files",
         {"pattern": "a.c", "target": "content", "path": "."}),
        ("find files named *.py in src", "search_files",
         {"pattern": "*.py", "target": "files", "path": "src"}),
        ("find notes.txt", "search_files", {"pattern": "notes.txt", "target": "files", "path": "."}),
        (r'write "Hello\nYou" to a.txt', "write_file", {"path": "a.txt", "content": "Hello\nYou\n"}),
        ("create a file a.txt with hello you", "write_file", {"path": "a.txt", "content": "hello you\n"}),
        ('replace "a" with "b" in c.txt', "patch",
         {"mode": "replace", "path": "c.txt", "old_string": "a", "new_string": "b"}),
        ("create a todo list: tea and cake", "todo",
         {"todos": [{"id": "1", "content": "tea", "status": "in_progress"},
                    {"id": "2", "content": "cake", "status": "pending"}]}),
        ("show my todo list", "todo", {}),
        ("mark 1 done", "todo", {"todos": [{"id": "1", "status": "completed"}], "merge": True}),
        ("list processes", "process", {"action": "list"}),
    ],
)  # fmt: skip
async def test_a_request_becomes_one_exact_call(
    text: str, name: str, arguments: dict[str, Any], talk: Conversation
) -> None:
    answer = await talk.say(text, "result")
    assert talk.calls == [(name, arguments)]
    assert answer


@pytest.mark.parametrize(
    "text",
    [
        "write a poem about the sea",
        "what is 2+2?",
        "run the tests",
        "show me something interesting",
        "I want to buy milk and then delete notes.txt",
        "x" * 30_000,
        "```\nls\n```",
        "\u202e\x00",
    ],
)
async def test_anything_else_is_answered_honestly_without_a_call(text: str, talk: Conversation) -> None:
    answer = await talk.say(text)
    assert talk.calls == []
    assert "I do not understand" in answer
    assert "no AI" in answer
    assert "hermes setup" in answer
    assert len(answer) < 2_000


async def test_help_lists_only_what_the_offered_tools_can_do(talk: Conversation) -> None:
    full = await talk.say("What can you do?")
    assert "`remember that" in full
    talk.tools = [tool for tool in talk.tools if tool.name not in ("memory", "terminal")]
    less = await talk.say("help")
    assert "remember" not in less
    assert "run uname" not in less
    assert "`list the files here`" in less


async def test_every_example_of_the_help_is_understood(talk: Conversation) -> None:
    lines = (await talk.say("help")).split("\n")
    examples = [part for line in lines if line.startswith("- `") for part in line.split("`")[1::2]]
    assert len(examples) > 20
    for example in examples:
        assert [action.kind for action in understand(example)] != ["unknown"], example


async def test_files_are_told_as_a_list(talk: Conversation) -> None:
    answer = await talk.say("list the files here", ran("a.txt\ndocs/\nb c.md\n"))
    assert answer.startswith(
        "I see 1 folder and 2 files in this directory:\n\n- `docs/`\n- `a.txt`\n- `b c.md`"
    )
    assert "demo model: fixed rules, no AI" in answer, "the first answer says who speaks"
    assert "There is nothing in `e`." in await talk.say("ls e", ran(""))


async def test_a_files_content_is_fenced_without_line_numbers(talk: Conversation) -> None:
    answer = await talk.say("read a.md", "1|# Hi\n2|```\n3|x\n[lines 1-3 of 9; go on with offset=4]")
    assert "````markdown\n# Hi\n```\nx\n````" in answer
    assert "*(lines 1-3 of 9; go on with offset=4)*" in answer
    assert (await talk.say("read e.txt", "/tmp/e.txt is empty.")) == "`e.txt` is empty."


async def test_exit_codes_and_silence_are_told(talk: Conversation) -> None:
    assert "(exit code 0):\n\n```\nhi\n```" in await talk.say("run echo hi", ran("hi\n"))
    bad = await talk.say("run false", ToolMessage("", "", ran("", 3, "it failed"), is_error=True))
    assert bad == "I ran `false`. It ended with exit code 3 (it failed).\n\nIt printed nothing."
    stopped = await talk.say(
        "run sleep 9", ToolMessage("", "", ran("so far", None, "timed out"), is_error=True)
    )
    assert "It was stopped (timed out)" in stopped
    assert "so far" in stopped
    long = await talk.say("run seq 1", "1\n2\n\n" + json.dumps({"exit_code": 0, "error": None}))
    assert "```\n1\n2\n```" in long


async def test_errors_are_told_as_they_are(talk: Conversation) -> None:
    answer = await talk.say("read nope", failed("Error: nope does not exist"))
    assert "That did not work. The `read_file` tool says:\n\n```text\nError: nope does not exist" in answer


async def test_a_refused_approval_is_told_and_ends_the_chain(talk: Conversation) -> None:
    answer = await talk.say(
        "delete the folder x and then list the files here and then read a.txt",
        failed("Error: Denied by the user, or not approved in time (recursive delete). Do not retry."),
    )
    assert answer.startswith("That was not approved, so nothing was done.\n\n> Denied by the user")
    assert "Do not retry" not in answer
    assert "did not do the 2 other things" in answer
    assert len(talk.calls) == 1


async def test_several_requests_are_done_in_order_and_told_together(talk: Conversation) -> None:
    answer = await talk.say(
        'write "and then" to a.txt and then count lines of a.txt, then think about it and then read a.txt',
        "Created a.txt", ran("1\n"), "1|and then",
    )  # fmt: skip
    assert [name for name, _ in talk.calls] == ["write_file", "terminal", "read_file"]
    assert (
        answer.index("Created a.txt")
        < answer.index("`a.txt` has 1 line.")
        < answer.index("```\nand then\n```")
    )
    spoken = [message.text for message in talk.messages if isinstance(message, AssistantMessage)]
    assert spoken[:2] == ["Step 1 of 4: I write `a.txt`.", "Step 2 of 4: I count the lines of `a.txt`."]


async def test_what_the_person_says_meanwhile_is_done_afterwards(talk: Conversation) -> None:
    steered = "1|x\n\n[The user says, while you work]\nread b.txt\n\n[hermes] note"
    answer = await talk.say("read a.txt", steered, "1|y")
    assert [arguments["path"] for _, arguments in talk.calls] == ["a.txt", "b.txt"]
    assert "```\nx\n```" in answer
    assert "```\ny\n```" in answer
    talk.calls.clear()
    stopped = await talk.say("read a.txt and then read c.txt", "1|x\n\n[The user says, while you work]\nstop")
    assert len(talk.calls) == 1
    assert "```\nx\n```" in stopped


async def test_a_summary_without_tools_tells_what_was_done(talk: Conversation) -> None:
    talk.messages.append(UserMessage.of("read a.txt and then read b.txt"))
    call = (await talk.reply()).tool_calls[0]
    talk.messages.append(ToolMessage(call.id, call.name, "1|content of a"))
    talk.messages.append(UserMessage.of("[hermes] The turn limit is reached; say what is done."))
    answer = await talk.reply(tools=())
    assert answer.tool_calls == ()
    assert "content of a" in answer.text
    assert "`read_file`" in answer.text


async def test_missing_tools_are_named_not_called(talk: Conversation) -> None:
    talk.tools = [tool for tool in talk.tools if tool.name != "memory"]
    assert "need the tool `memory`, which is not available" in await talk.say("remember that I like tea")
    talk.tools = [stub("terminal", "cmd", cmd="string")]
    assert "need the tool `read_file` or `terminal`" in await talk.say("read a.txt"), (
        "other parameters, other tool"
    )
    talk.tools = [stub("read_file", "path", path="string")]
    await talk.say("show the first 3 lines of a.txt", "1|x")
    assert talk.calls == [("read_file", {"path": "a.txt"})], "a parameter that the tool lacks is left out"
    talk.tools = ()
    assert "not available" in await talk.say("list the files here")


async def test_it_remembers_the_conversation_after_a_resume(talk: Conversation) -> None:
    assert "first thing you said in this" in await talk.say("what did I say first?")
    await talk.say("hello")
    resumed = Conversation(talk.tools, list(talk.messages))
    resumed.messages.append(
        UserMessage((TextPart("[hermes] The user interrupted."), TextPart("what did I say first?")))
    )
    assert "“what did I say first?”" in (await resumed.reply()).text
    assert "“hello”" in await talk.say("what did I say before?")
    assert "> " in await talk.say("what did you say?")


async def test_it_asks_and_repeats_the_answer(talk: Conversation) -> None:
    assert "You answered: **Run a command**" in await talk.say("ask me a question", "Run a command")
    assert "nobody answered" in await talk.say("ask me a question", "No answer: nobody is there, or …")
    name, arguments = talk.calls[0]
    assert name == "clarify"
    assert len(arguments["choices"]) == 4


async def test_counting_slowly_streams_and_can_be_interrupted() -> None:
    asked = ModelRequest("s", [UserMessage.of("count to 100 slowly")])
    seen = []
    async with aclosing(DemoModel().stream(asked)) as stream:  # type: ignore[type-var]
        async for event in stream:
            assert isinstance(event, TextChunk)
            seen.append(event.text)
            if len(seen) == 2:
                break
    assert seen == ["1 ", "2 "]


async def test_thinking_shows_reasoning_and_an_outage_is_an_error(talk: Conversation) -> None:
    asked = ModelRequest("s", [UserMessage.of("think about rain")])
    assert any([isinstance(event, ReasoningChunk) async for event in DemoModel().stream(asked)])
    with pytest.raises(ModelServerError):
        await talk.say("simulate an error")


async def test_equal_conversations_give_equal_answers(tools: tuple[ToolDefinition, ...]) -> None:
    first, second = Conversation(tools), Conversation(tools)
    for talk in (first, second):
        await talk.say("read a.txt and then run ls", "1|x", ran("x"))
    assert first.messages == second.messages
    ids = [message.tool_call_id for message in first.messages if isinstance(message, ToolMessage)]
    assert len(set(ids)) == 2


async def test_todo_lists_search_hits_and_background_processes_are_told(talk: Conversation) -> None:
    todos = json.dumps({"todos": [{"id": "1", "content": "tea", "status": "completed"}], "summary": ""})
    assert "- [x] tea" in await talk.say("show my todo list", todos)
    assert "No hits for 'x' in /tmp." in await talk.say("search for x", "[No hits for 'x' in /tmp]")
    found = await talk.say("search for x", "a.txt\n  1: x\n[1 hit shown, there are more]")
    assert "```\na.txt\n  1: x\n```\n\n*(1 hit shown, there are more)*" in found
    started = json.dumps(
        {"output": "Started", "session_id": "proc_1", "pid": 5, "exit_code": None, "error": None}
    )
    assert "in the background as `proc_1`" in await talk.say("start sleep 5 in the background", started)


def test_long_content_is_cut_and_its_fence_is_never_broken() -> None:
    text = fenced("````\n" * 500)
    assert text.startswith("`````\n")
    assert "\n`````\n\n(I show only the beginning.)" in text
    assert len(fenced("x" * 1_000_000)) < 10_000


@given(st.text(max_size=300))
def test_any_text_is_understood_or_not_but_never_breaks(text: str) -> None:
    assert understand(text)


def test_the_resolver_finds_the_demo_model() -> None:
    model = resolve_model(Settings(), Environ({}), provider="demo")
    assert isinstance(model, DemoModel)
    assert model.info.is_demo


def test_nothing_but_the_standard_library_and_core_is_imported_for_it(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, hermes_agent.models.demo; "
        "print([m for m in ('yaml', 'pydantic', 'httpx', 'openai', 'starlette') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "[]"
