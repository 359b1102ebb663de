"""What a provider's prompt cache would have hit: the longest prefix sent before in the same session."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from hermes_agent.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from hermes_agent.core.model import ModelRequest, ToolDefinition
from hermes_agent.models.scripted.answer import estimate_tokens

_SESSIONS = 256
_REQUESTS = 8

Piece = str | ToolDefinition | Message
"""Something that is cached as a whole: a tool, the system prompt, a message."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of a prompt, how many of them were known, how many became known."""

    prompt_tokens: int
    read_tokens: int
    write_tokens: int


class PrefixCache:
    """Remembers the last requests of each session.

    Counts whole pieces (in the order tools, system prompt, messages), without the minimum size, block
    size and expiry that providers have: a test should see every change of the prefix.
    """

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, deque[tuple[tuple[Piece, ...], list[int]]]] = OrderedDict()

    def measure(self, session: str, pieces: Sequence[Piece], cacheable: int | None = None) -> CacheUse:
        """Compare with earlier requests of the session and remember this one.

        Args:
            session: Its key; requests without one share the empty key.
            pieces: The prompt.
            cacheable: Only so many leading pieces may be read from or written to the cache (a dialect
                with explicit break points); None is all.
        """
        limit = len(pieces) if cacheable is None else min(cacheable, len(pieces))
        earlier = self._sessions.setdefault(session, deque(maxlen=_REQUESTS))
        self._sessions.move_to_end(session)
        if len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)
        common, sizes = 0, [0]
        shared: tuple[Piece, ...] = ()  # what is common is kept once
        for known, known_sizes in reversed(earlier):
            length = _common(known, pieces, limit)
            if length > common:
                common, shared, sizes = length, known[:length], known_sizes[: length + 1]
            if length == limit:
                break
        for piece in pieces[common:]:
            sizes.append(sizes[-1] + _size(piece))
        earlier.append(((*shared, *pieces[common:limit]), sizes[: limit + 1]))
        prompt, read, stored = (estimate_tokens(sizes[at]) for at in (len(pieces), common, limit))
        return CacheUse(prompt, read, stored - read)


def _common(known: Sequence[Piece], pieces: Sequence[Piece], limit: int) -> int:
    length = 0
    for ours, theirs in zip(known, pieces, strict=False):
        if length == limit or (ours is not theirs and ours != theirs):
            break
        length += 1
    return length


def _size(piece: Piece) -> int:
    """Characters of a piece, about as a provider's template would count them."""
    if isinstance(piece, str):
        return len(piece)
    if isinstance(piece, ToolDefinition):
        return len(piece.name) + len(piece.description) + len(json.dumps(piece.parameters))
    if isinstance(piece, AssistantMessage):
        calls = sum(len(call.name) + len(call.arguments) for call in piece.tool_calls)
        return len(piece.text) + len(piece.reasoning or "") + calls + 16
    assert isinstance(piece, UserMessage | ToolMessage)
    return len(piece.text) + 16


def request_pieces(request: ModelRequest) -> list[Piece]:
    """The prompt of a request that never left the process."""
    return [*request.tools, request.system, *request.messages]
