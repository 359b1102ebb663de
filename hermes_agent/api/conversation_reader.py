"""Reading conversations that clients send whole with every request: only what is new is parsed.

A client without a session sends everything that was said each time. Such a body begins, character for
character, like the one before it; so the messages of the common beginning are taken from there.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from hermes_agent.agent.tokens import estimate
from hermes_agent.api.content import MessageCache, read_message
from hermes_agent.core.messages import Message

_START: Final = re.compile(r'"messages"[ \t\r\n]*:[ \t\r\n]*\[')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_LEAST_CHARS: Final = 4_096
_MOST_KNOWN: Final = 32
_MOST_CHARS: Final = 16_000_000


@dataclass(slots=True)
class Conversation:
    """Messages of a body in order, without those of the system, which are `instructions`.

    Attributes:
        names: Tool calls seen, id to tool.
        count: Elements of the list that were read.
        tokens: Estimate for `messages`.
    """

    messages: list[Message] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    count: int = 0
    tokens: int = 0

    def copy(self) -> Conversation:
        """Another one to go on with."""
        return Conversation(
            self.messages.copy(), self.instructions.copy(), self.names.copy(), self.count, self.tokens
        )

    def add(self, item: Any, cache: MessageCache) -> None:
        """Read one element. Raises `ApiError`."""
        read = read_message(item, f"messages[{self.count}]", self.names, cache)
        self.count += 1
        if isinstance(read, str):
            self.instructions.append(read)
        else:
            self.messages.append(read)


@dataclass(frozen=True, slots=True)
class Body:
    """A body with its conversation; `conversation` is None if it has to be read from `fields`."""

    fields: dict[str, Any]
    conversation: Conversation | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """The beginning of a body, up to the end of an element: `head` goes up to the bracket."""

    head: int
    text: str
    conversation: Conversation


class ConversationReader:
    """Reads bodies with `messages`.

    Args:
        parse: Reads a body as JSON; raises `ApiError` for what is no object.
        no_constant: What to do with `NaN` and its kind.
    """

    def __init__(
        self, parse: Callable[[bytes], dict[str, Any]], no_constant: Callable[[str], Any], cache: MessageCache
    ) -> None:
        self._parse = parse
        self._cache = cache
        self._no_constant = no_constant
        self._decode = json.JSONDecoder(parse_constant=no_constant).raw_decode
        self._known: deque[_Known] = deque(maxlen=_MOST_KNOWN)

    def read(self, raw: bytes) -> Body:
        """Read a body.

        Raises:
            ApiError: 400, it is no JSON object, or a message is wrong.
        """
        if len(raw) >= _LEAST_CHARS:
            try:
                text = raw.decode()
                if (found := self._read(text)) is not None:
                    return found
            except (ValueError, RecursionError, StopIteration, IndexError):
                pass  # said properly below
        return Body(self._parse(raw))

    def _read(self, text: str) -> Body | None:
        fitting = [each for each in self._known if text.startswith(each.text)]
        known = max(fitting, key=lambda each: len(each.text)) if fitting else self._begin(text)
        if known is None:
            return None
        conversation = known.conversation.copy()
        at = end = len(known.text)
        # Where the last element begins: what a next body has in common with this one.
        before = (end, conversation.count, len(conversation.messages), len(conversation.instructions))
        while text[at := _after_space(text, at)] != "]":
            if conversation.count:
                if text[at] != ",":
                    return None
                at = _after_space(text, at + 1)
            before = (end, conversation.count, len(conversation.messages), len(conversation.instructions))
            item, at = self._decode(text, at)
            end = at
            conversation.add(item, self._cache)
        if _START.search(text, at) is not None:
            return None  # named twice: the second one counts
        fields = json.loads(text[: known.head] + text[at:], parse_constant=self._no_constant)
        if not isinstance(fields, dict) or fields.get("messages") != []:
            return None
        if before[1] > known.conversation.count:
            self._remember(known, text, conversation, before)
        conversation.tokens += estimate(conversation.messages[len(known.conversation.messages) :])
        return Body(fields, conversation)

    def _begin(self, text: str) -> _Known | None:
        """The place where the list of messages begins, if it is where it seems to be."""
        found = _START.search(text)
        if found is None:
            return None
        head = text[: found.end()]
        # Inside of a text or of another map this would be no whole object.
        if json.loads(head + "]}").get("messages") != []:
            return None
        return _Known(found.end(), head, Conversation())

    def _remember(
        self, known: _Known, text: str, conversation: Conversation, before: tuple[int, int, int, int]
    ) -> None:
        end, count, messages, instructions = before
        kept = Conversation(
            conversation.messages[:messages],
            conversation.instructions[:instructions],
            conversation.names.copy(),
            count,
            known.conversation.tokens
            + estimate(conversation.messages[len(known.conversation.messages) : messages]),
        )
        if known in self._known:
            self._known.remove(known)  # it has grown
        self._known.append(_Known(known.head, text[:end], kept))
        while sum(len(each.text) for each in self._known) > _MOST_CHARS:
            self._known.popleft()


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
