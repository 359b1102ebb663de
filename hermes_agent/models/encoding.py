"""Canonical JSON, and the cache that encodes every message of a session once.

Equal values give equal bytes: keys are written in a fixed order, without spaces, as UTF-8. What was
sent before is the beginning of what is sent next, so that providers find it in their prompt cache.
"""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import is_, is_not
from typing import Any, TypeAlias

from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import ModelRequest, ToolDefinition

MAX_SESSIONS = 16
MAX_CONSTANTS = 16
"""Sessions whose encoded messages one model keeps."""

MISSING_RESULT = "[No result: the run was interrupted before this call finished.]"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def dumps(value: object) -> bytes:
    """JSON without spaces, keys in the order given, lone surrogates dropped."""
    return _encode(value).encode("utf-8", "ignore")


def canonical_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema with its keys in an order that depends on its value alone.

    Required properties come first, in the order of `required`, because models write arguments in the
    order they read them; everything else is sorted.
    """
    names = schema.get("required")
    required = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return {key: _canonical(key, schema[key], required) for key in sorted(schema)}


def _canonical(key: str, value: Any, required: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        if key == "properties":
            first = [name for name in required if name in value]
            order = dict.fromkeys([*first, *sorted(value)])
            return {name: _canonical("", value[name], ()) for name in order}
        return canonical_schema(value)
    if isinstance(value, list | tuple):
        return [_canonical("", each, ()) for each in value]
    return value


def call_arguments(call: ToolCall) -> str:
    """The arguments as the model wrote them, or a JSON object that quotes them if they are not one.

    Providers refuse a conversation whose tool arguments are no JSON object, but the model should see
    what it wrote.
    """
    parsed = parse_object(call.arguments)
    if parsed is not None:
        return call.arguments
    return _encode({"invalid_json": call.arguments}) if call.arguments.strip() else "{}"


def parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`, or None if it is not one."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@dataclass(slots=True)
class Incoming:
    """What the model is told between two of its answers: tool results, then what people said."""

    results: list[ToolMessage] = field(default_factory=list)
    users: list[UserMessage] = field(default_factory=list)


Group: TypeAlias = AssistantMessage | Incoming
EncodeGroup: TypeAlias = Callable[[Group], Iterable[object]]
"""Writes a group as one or more JSON-compatible wire messages."""


def group_messages(messages: Iterable[Message]) -> list[Group]:
    """Put a conversation in an order that every provider accepts.

    Consecutive messages that are not the model's are gathered; every tool call gets exactly one
    result; results nobody asked for are told as text; answers without text and calls are dropped.
    """
    grouper = _Grouper()
    for message in messages:
        grouper.add(message)
    return grouper.finish()


class _Grouper:
    def __init__(self, closed: Iterable[Group] = ()) -> None:
        self.closed: list[Group] = list(closed)
        self._open: Incoming | None = None
        last = self.closed[-1] if self.closed else None
        calls = last.tool_calls if isinstance(last, AssistantMessage) else ()
        self._calls: dict[str, ToolCall] = {call.id: call for call in calls}

    def add(self, message: Message) -> bool:
        """Take a message; True if it closed all groups (an answer of the model)."""
        if isinstance(message, AssistantMessage):
            if not message.text and not message.tool_calls:
                return False
            self._close()
            self.closed.append(message)
            self._calls = {call.id: call for call in message.tool_calls}
            return True
        group = self._open = self._open or Incoming()
        if isinstance(message, UserMessage):
            group.users.append(message)
        elif self._calls.pop(message.tool_call_id, None) is not None:
            group.results.append(message)
        else:
            group.users.append(UserMessage.of(f"[Result of {message.tool_name}]\n{message.text}"))
        return False

    def finish(self) -> list[Group]:
        """Closed groups and the open one, which later messages may still extend."""
        last = self._complete(self._open, self._calls)
        return [*self.closed, last] if last is not None else list(self.closed)

    def _close(self) -> None:
        group = self._complete(self._open, self._calls)
        if group is not None:
            self.closed.append(group)
        self._open, self._calls = None, {}

    @staticmethod
    def _complete(group: Incoming | None, missing: Mapping[str, ToolCall]) -> Incoming | None:
        if not missing:
            return group
        made_up = [
            ToolMessage(call.id, call.name, MISSING_RESULT, is_error=True) for call in missing.values()
        ]
        if group is None:
            return Incoming(made_up)
        return Incoming([*group.results, *made_up], group.users)


@dataclass(slots=True)
class EncodedConversation:
    """The wire messages of a request, oldest first, and the groups they came from."""

    items: list[bytes]
    groups: list[Group]


class _Session:
    """What is known of one session's conversation so far."""

    def __init__(self, encode_group: EncodeGroup) -> None:
        self._encode_group = encode_group
        self._seen: list[Message] = []
        self._grouper = _Grouper()
        self._items: list[bytes] = []
        self._encoded_groups = 0
        self._item_ends: list[int] = []
        self._marks: list[tuple[int, int]] = []
        """After each answer of the model: messages seen, groups closed. Back to there is an easy way."""

    def encode(self, messages: Sequence[Message]) -> EncodedConversation:
        known = len(self._seen)
        if known > len(messages) or not all(map(is_, self._seen, messages)):
            self._go_back(messages)
            known = len(self._seen)
        for message in messages[known:] if known else messages:
            self._seen.append(message)
            if self._grouper.add(message):
                self._marks.append((len(self._seen), len(self._grouper.closed)))
        closed = self._grouper.closed
        for group in closed[self._encoded_groups :]:
            self._items.extend(map(dumps, self._encode_group(group)))
            self._item_ends.append(len(self._items))
        self._encoded_groups = len(closed)
        groups = self._grouper.finish()
        tail = [dumps(item) for group in groups[len(closed) :] for item in self._encode_group(group)]
        return EncodedConversation([*self._items, *tail], groups)

    def _go_back(self, messages: Sequence[Message]) -> None:
        """Forget what comes after the last answer that both conversations have."""
        differing = compress(count(), map(is_not, self._seen, messages))
        common = next(differing, min(len(self._seen), len(messages)))
        while self._marks and self._marks[-1][0] > common:
            self._marks.pop()
        seen, groups = self._marks[-1] if self._marks else (0, 0)
        del self._seen[seen:]
        self._grouper = _Grouper(self._grouper.closed[:groups])
        self._encoded_groups = groups
        del self._item_ends[groups:]
        del self._items[self._item_ends[-1] if self._item_ends else 0 :]


def _same_tools(old: Sequence[ToolDefinition], new: Sequence[ToolDefinition]) -> bool:
    return len(old) == len(new) and all(map(is_, old, new))


class ConversationEncoder:
    """Encodes requests; remembers what it encoded for the sessions it saw last."""

    def __init__(
        self, encode_group: EncodeGroup, encode_constant: Callable[[ModelRequest], tuple[bytes, bytes]]
    ) -> None:
        self._encode_group = encode_group
        self._encode_constant = encode_constant
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._constants: deque[tuple[Sequence[ToolDefinition], str, bytes, bytes]] = deque(
            maxlen=MAX_CONSTANTS
        )

    def encode(self, request: ModelRequest) -> tuple[bytes, bytes, EncodedConversation]:
        """The encoded system prompt, tools and messages of a request."""
        session = self._session(request.session_id)
        system, tools = self._constant(request)
        return system, tools, session.encode(request.messages)

    def _constant(self, request: ModelRequest) -> tuple[bytes, bytes]:
        """Prompt and tools. Sessions of one process mostly have the same ones, so they share the bytes."""
        for tools, system, system_bytes, tools_bytes in self._constants:
            if system == request.system and _same_tools(tools, request.tools):
                return system_bytes, tools_bytes
        system_bytes, tools_bytes = self._encode_constant(request)
        self._constants.appendleft((tuple(request.tools), request.system, system_bytes, tools_bytes))
        return system_bytes, tools_bytes

    def _session(self, session_id: str) -> _Session:
        if not session_id:
            return _Session(self._encode_group)
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = _Session(self._encode_group)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(session_id)
        return session


def unused_call_id(request: ModelRequest) -> Callable[[str], bool]:
    """A test whether an id has not been used by a tool call of this conversation."""
    used = {
        call.id
        for message in request.messages
        if isinstance(message, AssistantMessage) and message.tool_calls
        for call in message.tool_calls
    }
    return lambda call_id: call_id not in used
