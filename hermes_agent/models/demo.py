"""The demo model: offline, deterministic, and no intelligence at all.

It turns a small set of English requests into real tool calls, so that tools, approvals, interrupting,
resuming and displays can be tried without a provider. It keeps no state: what to do next follows from
the request alone.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermes_agent.core.messages import AssistantMessage, Message, TextPart, ToolMessage, UserMessage
from hermes_agent.core.model import ModelEvent, ModelInfo, ModelRequest, ToolDefinition, Usage
from hermes_agent.models.demo_actions import Action, Call
from hermes_agent.models.demo_language import understand
from hermes_agent.models.demo_report import Outcome, report, steering_in
from hermes_agent.models.scripted.answer import (
    Answer,
    AnswerCall,
    HttpFailure,
    call_id,
    estimate_tokens,
    output_tokens,
    split_text,
    to_json_text,
)
from hermes_agent.models.scripted.playback import play

DEMO_INFO = ModelInfo(provider="demo", model="demo", dialect="demo", is_demo=True)

SECONDS_PER_COUNT = 0.25
"""Pace of `count to N slowly`: slow enough to be interrupted."""

HOW_TO_CONNECT = (
    "To connect a real model, run `hermes setup`, set a key such as `OPENROUTER_API_KEY`, or start a local "
    "server (Ollama, LM Studio, llama.cpp, vLLM)."
)
_WHO = (
    "I am the built-in demo model: no AI, just fixed rules that turn a few English requests "
    "into real tool calls."
)
_NOTE_PREFIX = "[hermes] "
_EXAMPLES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("terminal", "search_files"), "`list the files here` · `list the files in docs`"),
    (("read_file", "terminal"), "`read README.md` · `show the first 10 lines of README.md`"),
    (("search_files", "terminal"), "`search for TODO in src` · `find files named *.md`"),
    (("write_file",), '`write "Hello, world" to hello.txt`'),
    (("patch",), '`replace "world" with "friend" in hello.txt`'),
    (("terminal",), "`run uname -a` · `$ ls -l | head` · `start sleep 60 in the background`"),
    (("terminal",), "`delete the folder hello` (asks for your approval first)"),
    (("terminal",), "`count lines of README.md` · `what time is it` · `where am I`"),
    (("process",), "`list processes`"),
    (("todo",), "`create a todo list: tea, code, rest` · `mark 1 done`"),
    (("clarify",), "`ask me a question`"),
    (("memory",), "`remember that I like short answers`"),
    ((), "`count to 100 slowly` (interrupt it with Ctrl+C)"),
    ((), "`think about rain` · `show markdown` · `simulate an error`"),
    ((), "`what did I say first?` (also in a resumed session)"),
)
_MARKDOWN = """\
## A heading

Some *emphasis*, some **weight**, some `code`, and a [link](https://example.org).

1. A list with numbers
2. Its second item
   - and one inside it

> A quotation, quite short.

| Column | Value |
|---|---:|
| first | 1 |
| second | 2 |

```python
def greet(name: str) -> str:
    return f"Hello, {name}!"
```
"""


class DemoModel:
    """A `Model` that follows `compose`.

    Args:
        info: Who to pretend to be; by default `demo:demo`.
        chunk_delay_seconds: Wait between two pieces of an answer.
    """

    def __init__(self, info: ModelInfo | None = None, *, chunk_delay_seconds: float = 0.0) -> None:
        self._info = info or DEMO_INFO
        self._chunk_delay_seconds = chunk_delay_seconds

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._info

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Answer a request."""
        answer = compose(request)
        pace = max(answer.chunk_delay_seconds, self._chunk_delay_seconds)
        return play(replace(answer, chunk_delay_seconds=pace), self._info)

    async def aclose(self) -> None:
        """Nothing to release."""


@dataclass(frozen=True, slots=True)
class _Situation:
    """Where a conversation stands: what was asked last, and what tools have given for it since."""

    asked: str
    results: tuple[ToolMessage, ...]
    is_first: bool
    said_before: tuple[str, ...]
    answered_before: str


def compose(request: ModelRequest) -> Answer:
    """Decide the answer to a request."""
    situation = _situation(request.messages)
    answer = _answer(request, situation)
    output, reasoning = output_tokens(answer)
    usage = Usage(
        input_tokens=estimate_tokens(_prompt_chars(request)),
        output_tokens=output,
        reasoning_tokens=reasoning,
        requests=1,
    )
    return replace(answer, usage=usage)


def _answer(request: ModelRequest, situation: _Situation) -> Answer:
    actions = _actions(situation)
    if len(actions) == 1 and not situation.results:
        special = _special(actions[0])
        if special is not None:
            return special
    told: list[str] = []
    results = list(situation.results)
    for position, action in enumerate(actions):
        call = _choose(action, request.tools)
        outcome: Outcome
        if results and action.calls and (call is not None or not request.tools):
            outcome = report(action, results.pop(0))
        elif call is not None:
            if situation.results and _is_stopped(situation):
                break
            return _call(action, call, request, position, len(actions))
        else:
            outcome = _say(action, request, situation)
        told.append(outcome.text)
        left = len(actions) - position - 1
        if not outcome.is_ok and left:
            told.append(f"I stopped there and did not do the {left} other thing{'s' if left > 1 else ''}.")
            break
    if situation.is_first and not any(action.kind in ("help", "hello", "unknown") for action in actions):
        told.append("*This is the demo model: fixed rules, no AI. Type `help` to see what it understands.*")
    return Answer(text=_pieces("\n\n".join(told)))


def _actions(situation: _Situation) -> list[Action]:
    actions = understand(situation.asked) if situation.asked else [Action("help")]
    for result in situation.results:
        if steering := steering_in(result):
            actions += [action for action in understand(steering) if action.kind != "stop"]
    return actions


def _is_stopped(situation: _Situation) -> bool:
    return any(
        understand(steering)[0].kind == "stop"
        for result in situation.results
        if (steering := steering_in(result))
    )


def _special(action: Action) -> Answer | None:
    """Answers that are more than text."""
    if action.kind == "outage":
        return Answer(error=HttpFailure(503, "a pretended outage of the demo model, as you asked"))
    if action.kind == "count" and "slowly" in action.subject:
        last = int(action.subject.split()[0])
        return Answer(
            text=tuple(f"{number}{' ' if number % 10 else chr(10)}" for number in range(1, last + 1)),
            chunk_delay_seconds=SECONDS_PER_COUNT,
        )
    if action.kind == "think":
        topic = action.subject or "this"
        thoughts = (
            f"The person wants me to think about {topic}. I cannot think: I am a set of fixed rules. "
            "So I let these lines pass as reasoning, to show what reasoning looks like. "
            "That is all there is to it."
        )
        text = f"I pretended to think about {topic}; `/reasoning` shows or hides such lines."
        return Answer(reasoning=_pieces(thoughts), text=_pieces(text))
    return None


def _choose(action: Action, tools: Sequence[ToolDefinition]) -> Call | None:
    """The first call of the action that a tool on offer can take, with the parameters it has."""
    offered = {tool.name: tool for tool in tools}
    for name, arguments in action.calls:
        tool = offered.get(name)
        if tool is None:
            continue
        known = tool.parameters.get("properties", {})
        fitting = {key: value for key, value in arguments.items() if key in known}
        if all(key in fitting for key in tool.parameters.get("required", ())) and _keeps_sense(
            arguments, fitting
        ):
            return name, fitting
    return None


def _keeps_sense(arguments: Mapping[str, Any], fitting: Mapping[str, Any]) -> bool:
    """Whether only parameters were dropped without which the call still means the same."""
    return all(
        key in fitting or key in ("limit", "offset", "notify_on_complete", "merge") for key in arguments
    )


def _call(action: Action, call: Call, request: ModelRequest, position: int, total: int) -> Answer:
    name, arguments = call
    step = f"Step {position + 1} of {total}: " if total > 1 else ""
    text = to_json_text(arguments)
    return Answer(
        text=_pieces(step + action.doing),
        calls=(AnswerCall(call_id(request, 0), name, split_text(text, 64)),),
        finish_reason="tool_calls",
    )


def _say(action: Action, request: ModelRequest, situation: _Situation) -> Outcome:
    """What is said without a tool."""
    if action.calls:
        needed = " or ".join(f"`{name}`" for name in dict.fromkeys(name for name, _ in action.calls))
        return Outcome(
            f"For that I would need the tool {needed}, which is not available in this session. "
            "`/tools` shows what is.",
            is_ok=False,
        )
    match action.kind:
        case "help":
            text = f"{_WHO}\n\nI understand requests like these:\n\n{_examples(request.tools)}\n\n"
            text += f"Join several with *and then*. {HOW_TO_CONNECT}"
        case "hello":
            text = f"Hello! {_WHO} Try `list the files here`, or `help` to see everything I understand."
        case "thanks":
            text = "You are welcome."
        case "stop":
            text = "Nothing is running."
        case "history":
            text = _recall(action.subject, situation)
        case "count":
            last = int(action.subject.split()[0])
            text = " ".join(str(number) for number in range(1, last + 1))
        case "markdown":
            text = _MARKDOWN
        case "outage" | "think":
            text = f"I can do that only on its own, not together with other requests. {HOW_TO_CONNECT}"
        case _:
            text = (
                f"I do not understand {_quote(action.subject)}.\n\n{_WHO} "
                f"I only know a few fixed requests:\n\n{_examples(request.tools, 6)}\n\n"
                f"`help` shows the rest. {HOW_TO_CONNECT}"
            )
    return Outcome(text)


def _examples(tools: Sequence[ToolDefinition], limit: int | None = None) -> str:
    offered = {tool.name for tool in tools}
    lines = [line for needed, line in _EXAMPLES if not needed or offered.intersection(needed)]
    return "\n".join(f"- {line}" for line in lines[:limit])


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    return f"“{flat if len(flat) <= 80 else flat[:79] + '…'}”"


def _recall(which: str, situation: _Situation) -> str:
    said = situation.said_before
    if which.lower() == "you":
        answer = situation.answered_before
        return f"My last answer was:\n\n> {answer[:500]}" if answer else "I have not said anything yet."
    if not said:
        return "This is the first thing you said in this conversation."
    if which.lower() in ("last", "before", "previous"):
        return f"Before this, you said: {_quote(said[-1])}."
    count = f" (You have said {len(said) + 1} things in this conversation.)" if len(said) > 1 else ""
    return f"The first thing you said was: {_quote(said[0])}.{count}"


def _situation(messages: Sequence[Message]) -> _Situation:
    results: list[ToolMessage] = []
    asked: str | None = None
    said: list[str] = []
    answered = ""
    for message in reversed(messages):
        if asked is None:
            if isinstance(message, ToolMessage):
                results.append(message)
            elif isinstance(message, UserMessage) and (text := _own_words(message)):
                asked = text
        elif isinstance(message, UserMessage):
            said.append(_own_words(message))
        elif isinstance(message, AssistantMessage):
            answered = answered or message.text
    earlier = tuple(text for text in reversed(said) if text)
    return _Situation(asked or "", tuple(reversed(results)), not earlier, earlier, answered)


def _own_words(message: UserMessage) -> str:
    """What the person said, without what hermes added in front."""
    parts = [part.text for part in message.parts if isinstance(part, TextPart)]
    lines = "\n".join(parts).split("\n")
    while lines and lines[0].startswith(_NOTE_PREFIX):
        lines.pop(0)
    return "\n".join(lines).strip()


def _prompt_chars(request: ModelRequest) -> int:
    chars = len(request.system)
    for tool in request.tools:
        chars += len(tool.name) + len(tool.description) + len(to_json_text(tool.parameters))
    for message in request.messages:
        chars += len(message.text) + 16
        if isinstance(message, AssistantMessage):
            chars += sum(len(call.arguments) for call in message.tool_calls)
    return chars


def _pieces(text: str) -> tuple[str, ...]:
    """Cut at words into pieces of about 24 characters."""
    return tuple(re.findall(r"\S(?:.{0,22}\S)?(?=\s|\Z)\s*|\S{1,24}|\s+", text, re.DOTALL))
