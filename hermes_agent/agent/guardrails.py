"""Loop guardrails: notice when a run repeats itself.

The counts and their defaults are those of the configuration section `tool_loop_guardrails`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hermes_agent.config.sections.agent import GuardrailSettings
from hermes_agent.core.messages import ToolCall


@dataclass(frozen=True, slots=True)
class Observation:
    """What to add to a tool's result, and whether the run should end."""

    warning: str | None = None
    stop_reason: str | None = None


@dataclass
class LoopGuard:
    """Watches the tool calls of one run."""

    settings: GuardrailSettings
    _failed_calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    _failed_in_a_row: Counter[str] = field(default_factory=Counter)
    _same_results: Counter[tuple[str, str]] = field(default_factory=Counter)
    _last_result: dict[tuple[str, str], int] = field(default_factory=dict)

    def observe(self, call: ToolCall, result_text: str, *, is_error: bool) -> Observation:
        """Count one finished call."""
        key = (call.name, call.arguments)
        if is_error:
            self._failed_calls[key] += 1
            self._failed_in_a_row[call.name] += 1
            return self._judge_failure(call.name, self._failed_calls[key], self._failed_in_a_row[call.name])
        self._failed_in_a_row[call.name] = 0
        fingerprint = hash(result_text)
        if self._last_result.get(key) == fingerprint:
            self._same_results[key] += 1
        else:
            self._last_result[key] = fingerprint
            self._same_results[key] = 1
        return self._judge_repetition(self._same_results[key])

    def _judge_failure(self, name: str, same_call: int, same_tool: int) -> Observation:
        limits = self.settings
        stop = None
        if limits.stop_enabled:
            if same_call >= limits.stop_same_call_failures:
                stop = f"the same {name} call failed {same_call} times"
            elif same_tool >= limits.stop_same_tool_failures:
                stop = f"{name} failed {same_tool} times in a row"
        if same_call >= limits.warn_same_call_failures:
            return Observation(
                f"This exact call has now failed {same_call} times. Do not repeat it: change the "
                "arguments, try another way, or tell the user what is in the way.",
                stop,
            )
        if same_tool >= limits.warn_same_tool_failures:
            return Observation(
                f"{name} has failed {same_tool} times in a row. Step back and check your assumptions.", stop
            )
        return Observation(stop_reason=stop)

    def _judge_repetition(self, times: int) -> Observation:
        limits = self.settings
        if times <= limits.warn_no_progress:
            return Observation()
        stop = None
        if limits.stop_enabled and times > limits.stop_no_progress:
            stop = f"the same call gave the same result {times} times"
        return Observation(
            f"This call has given the same result {times} times; repeating it will not help.", stop
        )
