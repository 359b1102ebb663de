"""Built-in scripts, chosen by the model's name.

    echo               what the user said
    tokens-N           N one-word pieces
    tools-N, tools-NxM N rounds of tool calls, M at a time, then a closing text
    status-NNN[-K]     that HTTP status, always or for the first K requests, then like echo
    demo               the built-in demo model

Options follow with `+`: `+ttft=MS` before the first byte, `+gap=MS` between pieces, `+tool=NAME`,
`+args=JSON` (in which `$ROUND` is the round's number). A prefix up to the last `/` is ignored.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermes_agent.core.model import ToolDefinition
from hermes_agent.models.demo import compose
from hermes_agent.models.scripted.answer import Answer, AnswerCall, HttpFailure, call_id
from hermes_agent.models.scripted.seen import SeenRequest

NAMES = ("echo", "tokens-100", "tokens-1000", "tools-1", "tools-3x2", "tools-30", "status-503", "demo")
"""Examples, as listed in `/v1/models`."""

_NAME = re.compile(
    r"(?P<plain>echo|demo)|tokens-(?P<tokens>\d{1,6})|tools-(?P<rounds>\d{1,5})(?:x(?P<width>\d{1,2}))?"
    r"|status-(?P<status>\d{3})(?:-(?P<failures>\d{1,6}))?"
)

_CHEAP_CALLS: tuple[tuple[str, str], ...] = (
    ("todo", "{}"),
    ("terminal", '{"command": "true $ROUND"}'),
    ("read_file", '{"path": "/etc/hostname", "offset": $ROUND, "limit": 1}'),
)
"""Tools that cost next to nothing, with arguments that differ from round to round."""


@dataclass(frozen=True, slots=True)
class _Parsed:
    base: re.Match[str] | None
    options: Mapping[str, str]

    def seconds(self, name: str) -> float:
        text = self.options.get(name, "0")
        return float(text) / 1000 if re.fullmatch(r"\d{1,6}(\.\d+)?", text) else 0.0


def _parse(name: str) -> _Parsed:
    base, *options = name.split("+")
    pairs = dict(option.partition("=")[::2] for option in options)
    return _Parsed(_NAME.fullmatch(base.rsplit("/", 1)[-1].strip().lower()), pairs)


def is_builtin(name: str) -> bool:
    """Whether the name asks for a built-in script; others are answered like `echo`."""
    return _parse(name).base is not None


class Builtins:
    """Answers by model name; counts only what `status-NNN-K` needs."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()

    def answer(self, name: str, seen: SeenRequest) -> Answer:
        """The answer of the built-in script `name`."""
        parsed = _parse(name)
        answer = self._decide(name, parsed, seen)
        return replace(
            answer,
            delay_seconds=parsed.seconds("ttft"),
            chunk_delay_seconds=parsed.seconds("gap") or answer.chunk_delay_seconds,
        )

    def _decide(self, name: str, parsed: _Parsed, seen: SeenRequest) -> Answer:
        groups = parsed.base.groupdict() if parsed.base else {}
        if groups.get("plain") == "demo":
            return compose(seen.request)
        status, failures = int(groups.get("status") or 0), groups.get("failures")
        if 400 <= status <= 599:
            self._failures[name] += 1
            if failures is None or self._failures[name] <= int(failures):
                return Answer(error=HttpFailure(status, f"scripted status {status}"))
        if groups.get("tokens"):
            return Answer(text=tuple(f"token{number} " for number in range(int(groups["tokens"]))))
        if groups.get("rounds"):
            return _tool_round(int(groups["rounds"]), int(groups["width"] or 1), parsed.options, seen)
        return Answer(text=(seen.user_text or "ok",))


def _tool_round(rounds: int, width: int, options: Mapping[str, str], seen: SeenRequest) -> Answer:
    done = seen.rounds
    picked = _pick(seen.request.tools, options) if done < rounds else None
    if picked is None:
        return Answer(text=(f"Done after {done} rounds of tool calls.",))
    name, arguments = picked
    text = arguments.replace('"$ROUND"', str(done + 1)).replace("$ROUND", str(done + 1))
    calls = tuple(AnswerCall(call_id(seen.request, number), name, (text,)) for number in range(width))
    return Answer(calls=calls, finish_reason="tool_calls")


def _pick(tools: Sequence[ToolDefinition], options: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and arguments of the tool to call; None if none is on offer."""
    offered: dict[str, ToolDefinition] = {tool.name: tool for tool in tools}
    if not offered:
        return None
    name = options.get("tool", "")
    cheap = dict(_CHEAP_CALLS)
    if not name:
        name = next((known for known in cheap if known in offered), "") or min(
            offered, key=lambda tool: len(offered[tool].parameters.get("required", ()))
        )
    if "args" in options:
        return name, options["args"]
    if name in cheap:
        return name, cheap[name]
    return name, json.dumps(sample(offered[name].parameters) if name in offered else {})


def sample(schema: Mapping[str, Any], depth: int = 0) -> Any:
    """A small value that fits a JSON Schema, roughly."""
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key) and depth < 8:
            return sample(schema[key][0], depth + 1)
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object" and depth < 8:
        properties = schema.get("properties", {})
        return {name: sample(properties.get(name, {}), depth + 1) for name in schema.get("required", ())}
    simple = {"array": [], "object": {}, "integer": 1, "number": 1, "boolean": False, "null": None}
    return simple.get(str(kind), "x")
