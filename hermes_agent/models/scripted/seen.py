"""Requests as a script sees them, whatever dialect they came in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from hermes_agent.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from hermes_agent.core.model import ModelRequest
from hermes_agent.models.scripted.script import Expect, When

SeenDialect: TypeAlias = Literal["port", "chat_completions", "responses", "anthropic_messages"]
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """One request.

    Attributes:
        number: Counts from 1.
        request: Its content as core values.
        model: The model that was asked for.
        dialect: How it came; `port` is inside the process.
        stream: Whether a stream was asked for.
        headers: HTTP headers, names in lower case.
        body: The JSON body.
        body_bytes: Its size on the wire.
        prompt_tokens: Estimated size of the prompt.
        cached_tokens: Thereof the longest prefix that an earlier request of the session had, too.
        cache_write_tokens: Thereof newly cached, where the dialect says so.
    """

    number: int
    request: ModelRequest
    model: str = ""
    dialect: SeenDialect = "port"
    stream: bool = True
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    body: Mapping[str, Any] = field(default_factory=dict, hash=False)
    body_bytes: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0

    @property
    def system(self) -> str:
        """The system prompt."""
        return self.request.system

    @property
    def messages(self) -> Sequence[Message]:
        """The conversation."""
        return self.request.messages

    @property
    def tool_names(self) -> tuple[str, ...]:
        """Tools on offer."""
        return tuple(tool.name for tool in self.request.tools)

    @property
    def user_text(self) -> str:
        """The last user message."""
        return last_user_text(self.messages)

    @property
    def tool_results(self) -> tuple[ToolMessage, ...]:
        """Results since the last user message."""
        return run_results(self.messages)

    @property
    def rounds(self) -> int:
        """Rounds of tool calls since the last user message."""
        return count_rounds(self.messages)


def last_user_text(messages: Sequence[Message]) -> str:
    """The text of the last user message, or nothing."""
    return next((item.text for item in reversed(messages) if isinstance(item, UserMessage)), "")


def first_user_text(messages: Sequence[Message]) -> str:
    """The text of the first user message, or nothing."""
    return next((item.text for item in messages if isinstance(item, UserMessage)), "")


def run_results(messages: Sequence[Message]) -> tuple[ToolMessage, ...]:
    """Tool results since the last user message, oldest first."""
    found: list[ToolMessage] = []
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            break
        if isinstance(message, ToolMessage):
            found.append(message)
    return tuple(reversed(found))


def count_rounds(messages: Sequence[Message]) -> int:
    """Assistant messages with tool calls since the last user message."""
    rounds = 0
    for message in reversed(messages):
        if isinstance(message, UserMessage):
            break
        rounds += isinstance(message, AssistantMessage) and bool(message.tool_calls)
    return rounds


def message_text(message: Message) -> str:
    """All that a message says, tool calls included."""
    if isinstance(message, AssistantMessage):
        calls = (f"{call.name} {call.arguments}" for call in message.tool_calls)
        return "\n".join([message.text, message.reasoning or "", *calls])
    return message.text


def _search(pattern: str, text: str) -> re.Match[str] | None:
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL)


def match(when: When | None, seen: SeenRequest) -> list[str] | None:
    """Check conditions.

    Returns:
        None if one does not hold, else the groups of the regular expression (the whole match first):
        of `user`, or of `tool_result` if only that is given.
    """
    if when is None:
        return []
    results = seen.tool_results
    last = results[-1] if results else None
    count = len(seen.messages)
    ends_with_tool = bool(seen.messages) and isinstance(seen.messages[-1], ToolMessage)
    simple = (
        when.after is None or (when.after == "tool") == ends_with_tool,
        when.model is None or re.fullmatch(when.model, seen.model, re.IGNORECASE) is not None,
        when.messages is None or count == when.messages,
        when.min_messages is None or count >= when.min_messages,
        when.max_messages is None or count <= when.max_messages,
        when.round is None or seen.rounds == when.round,
        when.tool is None or (last is not None and last.tool_name == when.tool),
        when.system is None or _search(when.system, seen.system) is not None,
        set(when.offers) <= set(seen.tool_names),
    )
    if not all(simple):
        return None
    groups: list[str] = []
    for pattern, text in (
        (when.user, seen.user_text),
        (when.tool_result, last.text if last is not None else None),
    ):
        if pattern is None:
            continue
        found = _search(pattern, text) if text is not None else None
        if found is None:
            return None
        groups = groups or [found.group(0), *(group or "" for group in found.groups())]
    return groups


def unmet(expect: Expect, seen: SeenRequest) -> list[str]:
    """The assertions that do not hold, one sentence each."""
    texts = [message_text(message) for message in seen.messages]
    last = seen.tool_results[-1].text if seen.tool_results else ""
    checks: list[tuple[bool, str]] = [
        *((any(t in text for text in texts), f"no message contains {t!r}") for t in expect.contains),
        *(
            (not any(t in text for text in (seen.system, *texts)), f"the request contains {t!r}")
            for t in expect.not_contains
        ),
        *((t in seen.system, f"the system prompt lacks {t!r}") for t in expect.system_contains),
        *((name in seen.tool_names, f"tool {name!r} is not on offer") for name in expect.has_tool),
        *((name not in seen.tool_names, f"tool {name!r} is on offer") for name in expect.lacks_tool),
        (
            expect.user is None or _search(expect.user, seen.user_text) is not None,
            f"the user message {_short(seen.user_text)} does not match {expect.user!r}",
        ),
        (
            expect.tool_result is None or _search(expect.tool_result, last) is not None,
            f"the tool result {_short(last)} does not match {expect.tool_result!r}",
        ),
        (
            expect.messages is None or len(texts) == expect.messages,
            f"{len(texts)} messages instead of {expect.messages}",
        ),
        (
            expect.model is None or re.fullmatch(expect.model, seen.model, re.IGNORECASE) is not None,
            f"the model is {seen.model!r} instead of {expect.model!r}",
        ),
        (
            expect.stream is None or seen.stream == expect.stream,
            f"stream is {seen.stream} instead of {expect.stream}",
        ),
        (
            expect.min_cached_tokens is None or seen.cached_tokens >= expect.min_cached_tokens,
            f"{seen.cached_tokens} cached tokens instead of at least {expect.min_cached_tokens}",
        ),
    ]
    if seen.dialect != "port":
        checks += _wire_checks(expect, seen)
    return [sentence for holds, sentence in checks if not holds]


def _wire_checks(expect: Expect, seen: SeenRequest) -> list[tuple[bool, str]]:
    checks = []
    for name, pattern in expect.headers.items():
        value = seen.headers.get(name.lower(), "")
        checks.append((_search(pattern, value) is not None, f"header {name} does not match {pattern!r}"))
    for path, wanted in expect.body.items():
        value = _dig(seen.body, path)
        is_met = value == wanted or (wanted is None and value is _ABSENT)
        shown = "absent" if value is _ABSENT else _short(repr(value))
        checks.append((is_met, f"body {path} is {shown} instead of {wanted!r}"))
    return checks


def _dig(value: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part, _ABSENT)
        elif (
            isinstance(value, list) and part.lstrip("-").isdecimal() and -len(value) <= int(part) < len(value)
        ):
            value = value[int(part)]
        else:
            return _ABSENT
    return value


def _short(text: str, limit: int = 120) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
