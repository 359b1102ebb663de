"""Renders run events: what is final goes up into the scrollback, what moves stays in the live region.

It knows nothing of the terminal but a width and two places to put text (`Surface`), so it is the same
for a real terminal, a recording and a test.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from rich.padding import Padding
from rich.text import Text

from hermes_agent.cli.chat.blocks import Block, BlockStream
from hermes_agent.cli.chat.diffs import diff_lines, diff_text
from hermes_agent.cli.chat.painter import Painter, clean, clip
from hermes_agent.cli.chat.wording import count, seconds, shown_output, tokens
from hermes_agent.core.events import (
    ApprovalResolved,
    CompactionFinished,
    CompactionStarted,
    Notice,
    ReasoningDelta,
    RunEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallFinished,
    ToolCallProgress,
    ToolCallStarted,
    TurnRestarted,
    TurnStarted,
    UsageUpdated,
)

Verbosity: TypeAlias = Literal["off", "new", "all", "verbose"]
"""Tool calls shown: none, when the tool changes, all, all with their whole output."""
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
LIVE_OUTPUT_LINES = 5
KEPT_OUTPUT_LINES = 4
ALL_OUTPUT_LINES = 200
_DIFF_TOOLS = frozenset({"patch"})
_SPACED = frozenset({"text", "user", "raw"})
"""Kinds that keep a blank line between two of themselves."""
_OUTPUT_TOOLS = frozenset({"terminal", "process"})


class Surface(Protocol):
    """Where text goes."""

    @property
    def width(self) -> int:
        """Columns."""
        ...

    @property
    def live_rows(self) -> int:
        """Most rows of the live region."""
        ...

    def commit(self, text: str) -> None:
        """Add text to the scrollback; it ends with a newline."""
        ...

    def set_live(self, text: str) -> None:
        """Replace the live region."""
        ...


@dataclass
class View:
    """What the person wants to see; may be changed while a run goes on."""

    shows_reasoning: bool = False
    verbosity: Verbosity = "all"
    shows_footer: bool = True
    shows_cost: bool = False


@dataclass
class _RunningTool:
    event: ToolCallStarted
    started_at: float
    output: deque[str] = field(default_factory=lambda: deque([""], maxlen=LIVE_OUTPUT_LINES + 1))

    def add(self, text: str) -> None:
        for index, piece in enumerate(clean(text).split("\n")):
            if index:
                self.output.append(piece)
            else:
                self.output[-1] += piece

    def last_lines(self) -> list[str]:
        return [line for line in self.output if line.strip()][-LIVE_OUTPUT_LINES:]


class Transcript:
    """One conversation's screen. Call `handle` with each event and `refresh` a few times a second."""

    def __init__(
        self, surface: Surface, painter: Painter, view: View, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._surface = surface
        self._painter = painter
        self._view = view
        self._clock = clock
        self._blocks = BlockStream()
        self._reasoning = ""
        self._reasoning_since: float | None = None
        self._tools: dict[str, _RunningTool] = {}
        self._last_kind = ""
        self._activity = ""
        self._activity_since = clock()
        self._has_shown_text = False
        self._is_running = False
        self._last_tool = ""
        self.last_output: ToolCallFinished | None = None
        self.context_tokens = 0
        self.context_window = 0

    # -- what the surface and the commands use

    def user(self, text: str) -> None:
        """Show what the person said."""
        lines = clean(text).split("\n")
        shown = Text("\n".join(("❯ " if index == 0 else "  ") + line for index, line in enumerate(lines)))
        shown.stylize("bold")
        shown.stylize("cyan", 0, 1)
        self._commit("user", self._painter.paint(shown, self._surface.width))

    def note(self, text: str, level: Literal["info", "warning", "error"] = "info") -> None:
        """Show a line of the program's own."""
        mark, style = {"info": ("·", "dim"), "warning": ("!", "yellow"), "error": ("✗", "red")}[level]
        self._commit("note", self._painter.hanging(mark, text.strip("\n"), self._surface.width, style))

    def markdown(self, text: str) -> None:
        """Show a Markdown text that is complete."""
        stream = BlockStream()
        stream.feed(text)
        for block in stream.finish():
            self._commit("text", self._painter.block(block, self._surface.width), joins=block.continues)

    def raw(self, text: str) -> None:
        """Show text that is painted already."""
        self._commit("raw", text)

    # -- events

    def handle(self, event: RunEvent) -> None:  # noqa: C901, PLR0912 - one branch per kind of event
        """Take one event. Text deltas are drawn by the next `refresh`."""
        match event:
            case RunStarted():
                self._is_running = True
                self.context_window = event.model.context_window
                self._work("Thinking")
            case TurnStarted():
                self._has_shown_text = False
                self._last_tool = self._last_tool if self._last_kind == "tool" else ""
                self._work("Thinking")
            case TextDelta():
                self._end_reasoning()
                self._activity = ""
                self._blocks.feed(event.text)
            case ReasoningDelta():
                if self._reasoning_since is None:
                    self._reasoning_since = self._clock()
                self._reasoning += event.text
            case TurnRestarted():
                self._restart(event)
            case ToolCallStarted():
                self._flush()
                self._tools[event.tool_call_id] = _RunningTool(event, self._clock())
            case ToolCallProgress():
                if event.tool_call_id in self._tools:
                    self._tools[event.tool_call_id].add(event.text)
            case ToolCallFinished():
                self._finish_tool(event)
            case ApprovalResolved():
                self._decision(event)
            case UsageUpdated():
                self.context_tokens, self.context_window = event.context_tokens, event.context_window
            case CompactionStarted():
                self._work("Shortening the conversation")
            case CompactionFinished():
                self._compacted(event)
            case Notice():
                self._flush()
                self.note(event.text, event.level)
            case RunFinished():
                self._finish(event)
            case _:
                pass

    def refresh(self) -> None:
        """Draw what changed: final blocks into the scrollback, the rest into the live region."""
        self._commit_blocks(self._blocks.take())
        self._surface.set_live(self._live())

    # -- parts

    def _work(self, activity: str) -> None:
        self._activity = activity
        self._activity_since = self._clock()

    def _commit(self, kind: str, text: str, *, joins: bool = False) -> None:
        self._emit(self._spaced(kind, text, joins=joins))

    def _spaced(self, kind: str, text: str, *, joins: bool = False) -> str:
        """The text, behind a blank line where one is due."""
        if not text:
            return ""
        gap = bool(self._last_kind) and not joins and (kind != self._last_kind or kind in _SPACED)
        self._last_kind = kind
        return ("\n" if gap else "") + text

    def _emit(self, text: str) -> None:
        """Into the scrollback. The live region goes first: what becomes final must not be drawn twice."""
        if text:
            self._surface.set_live(self._live())
            self._surface.commit(text)

    def _commit_blocks(self, blocks: Sequence[Block]) -> None:
        painted = []
        for block in blocks:
            self._has_shown_text = True
            text = self._painter.block(block, self._surface.width)
            painted.append(self._spaced("text", text, joins=block.continues))
        self._emit("".join(painted))

    def _flush(self) -> None:
        self._end_reasoning()
        self._commit_blocks(self._blocks.finish())

    def _end_reasoning(self) -> None:
        if self._reasoning_since is None:
            return
        took = self._clock() - self._reasoning_since
        text, self._reasoning, self._reasoning_since = self._reasoning.strip(), "", None
        if self._view.shows_reasoning and text:
            self._commit("reasoning", self._painter.text(text, self._surface.width, "dim italic", indent=2))
        elif took >= 1:
            self._commit("reasoning", self._painter.text(f"✻ Thought for {seconds(took)}", 80, "dim"))

    def _restart(self, event: TurnRestarted) -> None:
        had_text = self._has_shown_text
        self._blocks.discard()
        self._reasoning, self._reasoning_since = "", None
        wait = f" in {seconds(event.delay_seconds)}" if event.delay_seconds >= 1 else ""
        void = " The unfinished answer above does not count." if had_text else ""
        self.note(f"{event.reason.rstrip('.')}; asking again{wait}.{void}", "warning")
        self._has_shown_text = False
        self._work("Waiting to ask again" if wait else "Thinking")

    def _finish_tool(self, event: ToolCallFinished) -> None:
        running = self._tools.pop(event.tool_call_id, None)
        self.last_output = event
        if not self._tools:
            self._work("Thinking")
        verbosity = self._view.verbosity
        repeats = verbosity == "new" and event.name == self._last_tool
        self._last_tool = event.name
        if (verbosity == "off" or repeats) and not event.is_error:
            return
        started = running.event if running else ToolCallStarted(event.tool_call_id, event.name, "", "")
        text = self._painter.paint(self._tool_head(started, event), self._surface.width)
        body = self._tool_body(started, event)
        if body is not None:
            text += self._painter.paint(Padding(body, (0, 0, 0, 4)), self._surface.width)
        self._commit("tool", text)

    def _tool_head(self, started: ToolCallStarted, event: ToolCallFinished) -> Text:
        width = self._surface.width
        mark, style = ("✗", "red") if event.is_error else ("✓", "green")
        tail = f"  {seconds(event.duration_seconds)}"
        summary = clip(event.summary, max(12, width // 2))
        if event.is_error and not summary:
            summary = clip(event.text.strip().split("\n")[0].removeprefix("Error: "), max(12, width // 2))
        tail_text = (f" · {summary}" if summary else "") + tail
        lead = f"{mark} {started.emoji or '🔧'} {event.name} "
        room = width - len(lead) - len(tail_text) - 2
        preview = clip(started.preview, room) if room >= 8 else ""
        return Text.assemble(
            (f"{mark} ", style),
            (f"{started.emoji or '🔧'} ", ""),
            (event.name, "bold"),
            (f" {preview}" if preview else "", ""),
            (tail_text, "red" if event.is_error else "dim"),
            overflow="ellipsis",
            no_wrap=True,
        )

    def _tool_body(self, started: ToolCallStarted, event: ToolCallFinished) -> Text | None:
        if event.name in _DIFF_TOOLS and not event.is_error:
            lines = diff_lines(started.arguments, event.text)
            if lines:
                limit = ALL_OUTPUT_LINES if self._view.verbosity == "verbose" else 24
                return diff_text(lines, limit=limit)
        lines = [line for line in clean(shown_output(event.text)).rstrip().split("\n") if line.strip()]
        if self._view.verbosity == "verbose":
            shown, hidden = lines[:ALL_OUTPUT_LINES], max(0, len(lines) - ALL_OUTPUT_LINES)
            more = f"\n… {count(hidden, 'more line')}" if hidden else ""
            return Text("\n".join(shown) + more, style="dim", overflow="fold") if shown else None
        if event.name not in _OUTPUT_TOOLS and not (event.is_error and len(lines) > 1):
            return None
        if len(lines) <= 1 and event.is_error and not event.summary:
            return None
        if event.is_error and event.summary and event.summary in lines[0]:
            lines = lines[1:]  # it stands in the line above already
        shown = lines[-KEPT_OUTPUT_LINES:]
        if not shown:
            return None
        width = self._surface.width - 5
        hidden = len(lines) - len(shown)
        head = [f"… {count(hidden, 'line')} above"] if hidden else []
        return Text("\n".join([*head, *(clip(line, width) for line in shown)]), style="dim", no_wrap=True)

    def _decision(self, event: ApprovalResolved) -> None:
        words = {
            "once": "Allowed once",
            "session": "Allowed for this session",
            "always": "Allowed from now on",
            "deny": "Not allowed",
        }
        reason = "" if event.by in ("user", "") else f" ({event.by})"
        self.note(words[event.decision] + reason, "warning" if event.decision == "deny" else "info")

    def _compacted(self, event: CompactionFinished) -> None:
        if not event.error:  # a notice says why
            self.note(f"The conversation was shortened to {tokens(event.tokens)} tokens")

    def _finish(self, event: RunFinished) -> None:
        self._flush()
        self._tools.clear()
        self._is_running = False
        self._activity = ""
        if event.outcome == "interrupted":
            self.note("Interrupted. Say what to do instead, or go on.", "warning")
        elif event.outcome == "failed":
            self.note("\n".join(event.error) or "The run failed.", "error")
        elif event.outcome == "budget_exhausted":
            limit = "\n".join(event.error) or "This run is at its turn limit. Say `go on` to continue."
            self.note(limit, "warning")
        elif event.outcome == "truncated":
            self.note("The answer hit the model's output limit. Say `go on` to continue.", "warning")
        if self._view.shows_footer and event.outcome != "failed":
            usage = event.usage
            parts = [seconds(event.duration_seconds)]
            if event.turns > 1:
                parts.append(count(event.turns, "turn"))
            if usage.input_tokens or usage.output_tokens:
                parts.append(f"↑ {tokens(usage.input_tokens)} ↓ {tokens(usage.output_tokens)}")
            if usage.cost_usd and self._view.shows_cost:
                parts.append(f"${usage.cost_usd:.4f}")
            self._commit("footer", self._painter.text(" · ".join(parts), self._surface.width, "dim"))
        self._surface.set_live("")

    # -- the live region

    def _live(self) -> str:
        if not self._is_running:
            return ""
        width = self._surface.width
        rows: list[str] = []
        rows.extend(self._live_text(width))
        if self._reasoning_since is not None and self._view.shows_reasoning:
            painted = self._painter.text(self._reasoning.strip() or "…", width, "dim italic", indent=2)
            rows.extend(painted.rstrip("\n").split("\n")[-LIVE_OUTPUT_LINES:])
        for tool in self._tools.values():
            if self._view.verbosity != "off":
                rows.extend(self._live_tool(tool, width))
        if self._tools and self._view.verbosity == "off":
            rows.append(self._spinner_row("Working", self._activity_since, width))
        elif not self._tools and (self._activity or self._reasoning_since is not None):
            rows.append(self._spinner_row(self._activity or "Thinking", self._activity_since, width))
        gap = [""] if self._last_kind and rows and not self._joins_live() else []
        return "\n".join(gap + rows[-max(1, self._surface.live_rows) :])

    def _joins_live(self) -> bool:
        block = self._blocks.open_block
        if block is not None:
            return block.continues
        return bool(self._tools) and self._last_kind == "tool"

    def _live_text(self, width: int) -> list[str]:
        block = self._blocks.open_block
        if block is None:
            return []
        return self._painter.block(block, width).rstrip("\n").split("\n")

    def _live_tool(self, tool: _RunningTool, width: int) -> list[str]:
        elapsed = f"  {seconds(self._clock() - tool.started_at)}"
        lead = f"{self._frame()} {tool.event.emoji or '🔧'} {tool.event.name} "
        preview = clip(tool.event.preview, max(8, width - len(lead) - len(elapsed) - 2))
        head = Text.assemble(
            (f"{self._frame()} ", "cyan"),
            (f"{tool.event.emoji or '🔧'} ", ""),
            (tool.event.name, "bold"),
            (f" {preview}", ""),
            (elapsed, "dim"),
            no_wrap=True,
            overflow="ellipsis",
        )
        rows = [self._painter.paint(head, width).rstrip("\n")]
        for line in tool.last_lines():
            painted = self._painter.paint(
                Text(f"    {clip(line, width - 5)}", style="dim", no_wrap=True), width
            )
            rows.append(painted.rstrip("\n"))
        return rows

    def _spinner_row(self, activity: str, since: float, width: int) -> str:
        elapsed = self._clock() - since
        parts = [(f"{self._frame()} ", "cyan"), (f"{activity}…", "")]
        if elapsed >= 1:
            parts.append((f" {seconds(elapsed)}", "dim"))
        if width >= 50:
            parts.append(("  Ctrl+C interrupts", "dim"))
        row = Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
        return self._painter.paint(row, width).rstrip("\n")

    def _frame(self) -> str:
        return SPINNER[int(self._clock() * 10) % len(SPINNER)]
