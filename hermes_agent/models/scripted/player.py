"""`Player`: follows a script, one request at a time, and knows what went otherwise than written."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hermes_agent.core.model import Usage
from hermes_agent.models.scripted.answer import (
    Answer,
    AnswerCall,
    Fault,
    HttpFailure,
    call_id,
    output_tokens,
    split_text,
)
from hermes_agent.models.scripted.builtin import Builtins
from hermes_agent.models.scripted.script import (
    FOREVER,
    AnswerScript,
    Defaults,
    Script,
    Step,
    ToolCallScript,
)
from hermes_agent.models.scripted.seen import SeenRequest, first_user_text, match, unmet
from hermes_agent.models.scripted.template import render, render_value


@dataclass(slots=True)
class _Cue:
    """A step or rule and how often it was used."""

    step: Step
    label: str
    limit: int | None
    is_required: bool
    used: int = 0

    @property
    def is_open(self) -> bool:
        return self.limit is None or self.used < self.limit


class Player:
    """Answers requests as a script says; without one, the model's name is the script.

    Not thread-safe; belongs to one event loop.

    Args:
        script: What to follow; None answers with the built-in script that the model's name gives.
        record_limit: How many requests are kept; None keeps all.
    """

    def __init__(self, script: Script | None = None, *, record_limit: int | None = None) -> None:
        self.script = script
        self.requests: deque[SeenRequest] = deque(maxlen=record_limit)
        self.problems: list[str] = []
        self._builtins = Builtins()
        self._steps: list[_Cue] = []
        self._rules: list[_Cue] = []
        self.reset()

    def reset(self) -> None:
        """Begin again: all steps unused, nothing recorded."""
        steps = self.script.steps if self.script else ()
        rules = self.script.rules if self.script else ()
        self._steps = [_cue(step, f"step {number}", 1) for number, step in enumerate(steps, 1)]
        self._rules = [_cue(rule, f"rule {number}", None) for number, rule in enumerate(rules, 1)]
        self.requests.clear()
        self.problems.clear()
        self._builtins = Builtins()

    def answer(self, seen: SeenRequest) -> Answer:
        """Record a request and decide its answer."""
        self.requests.append(seen)
        if self.script is None:
            return _with_usage(self._builtins.answer(seen.model, seen), seen)
        for cue in (*self._steps, *self._rules):
            groups = match(cue.step.when, seen) if cue.is_open else None
            if groups is None:
                continue
            cue.used += 1
            if cue.step.expect:
                failures = unmet(cue.step.expect, seen)
                self.problems += [f"request {seen.number} ({cue.label}): {text}" for text in failures]
            return self._build(cue.step, seen, groups)
        problem = f"request {seen.number}: no step or rule answers it ({_ending(seen)})"
        self.problems.append(problem)
        return Answer(error=HttpFailure(400, f"the script has no answer: {problem}", code="script_exhausted"))

    @property
    def unused(self) -> tuple[str, ...]:
        """Steps that were not used, or not as often as they should have been."""
        return tuple(
            f"{cue.label} was used {cue.used} of {cue.limit or 1} times"
            for cue in (*self._steps, *self._rules)
            if cue.is_required and cue.used < (cue.limit or 1)
        )

    @property
    def is_complete(self) -> bool:
        """All steps were used and nothing went otherwise than written."""
        return not self.unused and not self.problems

    def assert_complete(self) -> None:
        """Check that the script was played to its end.

        Raises:
            AssertionError: A step is unused, an expectation failed, or a request had no answer.
        """
        faults = [*self.problems, *self.unused]
        if faults:
            raise AssertionError("the script was not followed:\n" + "\n".join(f"- {item}" for item in faults))

    def _build(self, step: AnswerScript, seen: SeenRequest, groups: Sequence[str]) -> Answer:
        assert self.script is not None
        values = _values(seen, groups)
        if step.builtin is not None:
            base = self._builtins.answer(render(step.builtin, values), seen)
        else:
            base = _spoken(step, self.script.defaults, seen, values)
        usage = _with_usage(base, seen).usage or Usage(requests=1)
        given = step.usage.model_dump(exclude={"reported"}, exclude_none=True)
        return replace(
            base,
            usage=replace(usage, **given) if step.usage.reported else None,
            fault=_fault(step, base),
            error=_failure(step, values) or base.error,
        )


def _cue(step: Step, label: str, default: int | None) -> _Cue:
    limit = default if step.times is None else None if step.times == FOREVER else step.times
    is_required = default is not None or limit is not None
    return _Cue(step, f"{label} {step.name!r}" if step.name else label, limit, is_required)


def _ending(seen: SeenRequest) -> str:
    results = seen.tool_results
    what = f"tool result {results[-1].text!r}" if results else f"user text {seen.user_text!r}"
    return what if len(what) <= 160 else what[:159] + "…"


def _with_usage(answer: Answer, seen: SeenRequest) -> Answer:
    output, reasoning = output_tokens(answer)
    usage = Usage(
        input_tokens=seen.prompt_tokens,
        output_tokens=output,
        cache_read_tokens=seen.cached_tokens,
        cache_write_tokens=seen.cache_write_tokens,
        reasoning_tokens=reasoning,
        requests=1,
    )
    return replace(answer, usage=usage)


def _values(seen: SeenRequest, groups: Sequence[str]) -> dict[str, Any]:
    results = seen.tool_results
    return {
        "user": seen.user_text,
        "first_user": first_user_text(seen.messages),
        "tool_result": results[-1].text if results else "",
        "tool_results": "\n".join(result.text for result in results),
        "tool": results[-1].tool_name if results else "",
        "match": list(groups),
        "model": seen.model,
        "session": seen.request.session_id,
        "request": str(seen.number),
        "round": str(seen.rounds),
        "messages": str(len(seen.messages)),
    }


def _spoken(step: AnswerScript, defaults: Defaults, seen: SeenRequest, values: dict[str, Any]) -> Answer:
    size = step.chunk_size or defaults.chunk_size

    def pieces(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(piece for text in texts for piece in split_text(render(text, values), size))

    halve = step.cut is not None and step.cut.in_tool_call
    calls = tuple(
        _call(call, index, seen, values, call.chunk_size or size, halve=halve and index == 0)
        for index, call in enumerate(step.tool_calls)
    )
    delays = (step.delay_seconds, step.chunk_delay_seconds)
    return Answer(
        text=pieces(step.text),
        reasoning=pieces(step.reasoning),
        calls=calls,
        finish_reason=step.finish_reason or ("tool_calls" if calls else "stop"),
        delay_seconds=defaults.delay_seconds if delays[0] is None else delays[0],
        chunk_delay_seconds=defaults.chunk_delay_seconds if delays[1] is None else delays[1],
        extra=render_value(step.extra, values),
    )


def _call(
    call: ToolCallScript,
    index: int,
    seen: SeenRequest,
    values: dict[str, Any],
    size: int | None,
    *,
    halve: bool,
) -> AnswerCall:
    if isinstance(call.arguments, str):
        text = render(call.arguments, values)
    else:
        text = json.dumps(render_value(call.arguments, values), ensure_ascii=False)
    pieces = split_text(text, size)
    if halve and len(pieces) < 2:
        pieces = (text[: len(text) // 2], text[len(text) // 2 :])
    return AnswerCall(call.id or call_id(seen.request, index), call.name, pieces)


def _fault(step: AnswerScript, answer: Answer) -> Fault | None:
    if step.cut is not None:
        after = step.cut.after_events
        if after is None:  # in the tool call: its opening and one piece of its arguments
            after = len(answer.reasoning) + len(answer.text) + 2
        return Fault("cut", after, is_clean=step.cut.clean)
    if step.hang is not None:
        return Fault("hang", step.hang.after_events)
    if step.garbage is not None:
        data = step.garbage.data
        return Fault(
            "garbage", step.garbage.after_events, data=data if isinstance(data, bytes) else data.encode()
        )
    return answer.fault


def _failure(step: AnswerScript, values: dict[str, Any]) -> HttpFailure | None:
    error = step.error
    if error is None:
        return None
    return HttpFailure(
        status=error.status,
        message=render(error.message, values),
        type=error.type,
        code=error.code,
        body=render_value(error.body, values),
        headers={name: str(value) for name, value in error.headers.items()},
    )
