"""What a run answers, as clients get it: one text, however many turns it took, and how it ended."""

from __future__ import annotations

from collections.abc import Callable

from hermes_agent.api.errors import ApiError, from_type
from hermes_agent.core.events import RunEvent, RunFinished, TextDelta, TurnRestarted, TurnStarted
from hermes_agent.core.model import Usage


class TextFlow:
    """Joins the texts of all turns into one, and takes nothing back that was shown.

    Turns are parted by an empty line. If a request is made again, the part that the new answer has in
    common with what was shown is left out.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._turn = ""
        self._again: str | None = None
        self._needs_gap = False

    @property
    def text(self) -> str:
        """All that was shown."""
        return "".join(self._pieces)

    def start_turn(self) -> None:
        """Another model request begins."""
        self._needs_gap = bool(self._pieces)
        self._turn, self._again = "", None

    def restart_turn(self) -> None:
        """The request is made again."""
        self._turn = self._turn or self._again or ""
        self._again = "" if self._turn else None

    def add(self, text: str) -> str:
        """Take a piece; returns what is new to show."""
        if self._again is not None:
            self._again += text
            if self._turn.startswith(self._again):
                return ""
            is_same = self._again.startswith(self._turn)
            text = self._again[len(self._turn) :] if is_same else self._again
            self._needs_gap = self._needs_gap or not is_same
            self._turn, self._again = (self._turn if is_same else ""), None
        if not text:
            return ""
        if self._needs_gap:
            self._needs_gap = False
            self._turn += text
            text = f"\n\n{text}"
        else:
            self._turn += text
        self._pieces.append(text)
        return text


class Answer:
    """Follows a run.

    Args:
        last_finish_reason: Says why the model's last message ended (only asked after a completed run).
    """

    def __init__(self, last_finish_reason: Callable[[], str] = lambda: "stop") -> None:
        self._flow = TextFlow()
        self._last_finish_reason = last_finish_reason
        self.finished: RunFinished | None = None

    def take(self, event: RunEvent) -> str:
        """Take an event; returns text to show now, mostly empty."""
        if isinstance(event, TextDelta):
            return self._flow.add(event.text)
        if isinstance(event, TurnStarted):
            self._flow.start_turn()
        elif isinstance(event, TurnRestarted):
            self._flow.restart_turn()
        elif isinstance(event, RunFinished):
            self.finished = event
            if event.text and not self._flow.text and event.outcome != "failed":
                return self._flow.add(event.text)
        return ""

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._flow.text

    @property
    def usage(self) -> Usage:
        """Tokens of the whole run."""
        return self.finished.usage if self.finished else Usage()

    @property
    def finish_reason(self) -> str:
        """OpenAI's word: stop, length, content_filter; `error` for a run that failed or was stopped."""
        outcome = self.finished.outcome if self.finished else "failed"
        if outcome == "completed":
            return "content_filter" if self._last_finish_reason() == "content_filter" else "stop"
        return "length" if outcome in ("truncated", "budget_exhausted") else "error"

    @property
    def error(self) -> ApiError | None:
        """Why there is no whole answer; None if there is one."""
        finished = self.finished
        if finished is None:
            return ApiError(500, "The run ended without a result", code="internal_error")
        if finished.outcome == "interrupted":
            return ApiError(502, "The run was stopped before it was complete", code="run_interrupted")
        if finished.outcome != "failed":
            return None
        return from_type(finished.error_type, finished.error, finished.exit_code)


def chat_usage(usage: Usage) -> dict[str, object]:
    """Usage as chat completions report it."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def response_usage(usage: Usage) -> dict[str, object]:
    """Usage as responses and runs report it."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
