"""One-shot output without colours, cursor movement or third-party imports."""

from __future__ import annotations

import json
import re
import sys
from typing import Protocol

from hermes_agent.cli.chat.wording import seconds, shown_output, tokens
from hermes_agent.cli.output import write_all
from hermes_agent.core.events import (
    ApprovalResolved,
    CompactionFinished,
    CompactionStarted,
    Notice,
    RunEvent,
    RunFinished,
    TextDelta,
    ToolCallFinished,
    ToolCallProgress,
    ToolCallStarted,
    TurnRestarted,
    to_json,
)

_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
DENIED = "A tool call was denied: it needs approval and nobody can be asked here. --yolo allows it."
MAX_VERBOSE_LINES = 200


def clean(text: str) -> str:
    """Text without escape sequences and control characters."""
    return _CONTROL.sub("", text)


class Renderer(Protocol):
    """Shows the events of one run."""

    def handle(self, event: RunEvent) -> None:
        """Show one event."""
        ...


def to_stderr(text: str, label: str = "") -> None:
    """One notice for people."""
    write_all(f"{label}{clean(text)}\n", sys.stderr)


class JsonRenderer:
    """Every event as one JSON line."""

    def handle(self, event: RunEvent) -> None:
        """Show one event."""
        write_all(json.dumps(to_json(event), ensure_ascii=False, separators=(",", ":")) + "\n")


class FinalRenderer:
    """The final answer on standard output; everything else that matters on standard error."""

    def handle(self, event: RunEvent) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            to_stderr(event.text)
        elif isinstance(event, ApprovalResolved) and event.decision == "deny":
            to_stderr(DENIED)
        elif isinstance(event, RunFinished):
            text = clean(event.text).rstrip("\n")
            if text:
                write_all(text + "\n")
            report_end(event)


def report_end(event: RunFinished) -> None:
    """Say on standard error how a run ended, unless it is complete."""
    match event.outcome:
        case "failed":
            first, *rest = event.error or ("The run failed",)
            to_stderr("\n".join([f"Error: {first}", *(f"       {line}" for line in rest)]))
        case "interrupted":
            to_stderr("Interrupted.")
        case "budget_exhausted":
            limit = "The turn limit was reached before the work was done; --max-turns N raises it."
            to_stderr("\n".join(event.error) or limit)
        case "truncated":
            to_stderr("The answer hit the model's output limit and is not complete.")
        case "completed":
            pass


class PlainRenderer:
    """The work as plain text: tool calls, the answer as it comes, notices on standard error."""

    def __init__(self, *, verbose: bool = False, shows_tools: bool = True) -> None:
        self._verbose = verbose
        self._shows_tools = shows_tools
        self._line = ""
        self._has_written = False
        self._in_turn = False

    def handle(self, event: RunEvent) -> None:
        """Show one event."""
        match event:
            case TextDelta():
                self._text(event.text)
            case TurnRestarted():
                void = " (the unfinished answer above does not count)" if self._in_turn else ""
                self._line, self._in_turn = "", False
                to_stderr(f"{event.reason}; asking again{void}")
            case ToolCallStarted() if self._shows_tools:
                self._end_text()
                self._write(f"> {event.name} {' '.join(clean(event.preview).split())}".rstrip() + "\n")
            case ToolCallProgress() if self._verbose and self._shows_tools:
                self._write(clean(event.text))
            case ToolCallFinished() if self._shows_tools:
                self._tool(event)
            case ApprovalResolved() if event.decision == "deny":
                to_stderr(DENIED if "nobody" in event.by else f"Denied ({event.by}).")
            case Notice():
                self._end_text()
                to_stderr(event.text)
            case CompactionStarted():
                self._end_text()
                to_stderr("Shortening the conversation …")
            case CompactionFinished() if not event.error:
                to_stderr(f"The conversation was shortened to about {event.tokens:,} tokens.")
            case RunFinished():
                self._finish(event)
            case _:
                pass

    def _write(self, text: str) -> None:
        if text:
            self._has_written = True
            write_all(text)

    def _text(self, text: str) -> None:
        self._in_turn = True
        lines, newline, rest = (self._line + text).rpartition("\n")
        self._line = rest
        if newline:
            self._write(clean(lines) + "\n")

    def _end_text(self) -> None:
        self._in_turn = False
        line, self._line = self._line, ""
        if line:
            self._write(clean(line) + "\n")

    def _tool(self, event: ToolCallFinished) -> None:
        state = "failed" if event.is_error else "ok"
        first = clean(event.text).strip().split("\n")[0] if event.is_error else ""
        summary = event.summary or first
        self._write(
            f"< {event.name} {state}{': ' + summary if summary else ''} ({seconds(event.duration_seconds)})\n"
        )
        if self._verbose:
            lines = clean(shown_output(event.text)).rstrip("\n").split("\n")
            self._write("".join(f"  {line}\n" for line in lines[:MAX_VERBOSE_LINES]))

    def _finish(self, event: RunFinished) -> None:
        self._end_text()
        if not self._has_written and event.text:
            self._write(clean(event.text).rstrip("\n") + "\n")
        report_end(event)
        if self._shows_tools and event.outcome == "completed":
            usage = event.usage
            to_stderr(
                f"[{seconds(event.duration_seconds)}, {tokens(usage.input_tokens)} tokens read, "
                f"{tokens(usage.output_tokens)} written]"
            )
