"""The terminal of the interactive chat: scrollback above, live region, input line and toolbar below.

One prompt_toolkit application runs for the whole chat, so the person can type at any time. Final text
goes above it (`commit`), in one write together with the redraw, so nothing flickers. The screen knows
nothing of sessions or runs; it calls its `Listener`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prompt_toolkit.application import Application
from prompt_toolkit.application.current import set_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer, ThreadedCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText, StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.input import Input, create_input
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    Float,
    FloatContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    VerticalAlign,
    Window,
)
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.layout.processors import AfterInput, AppendAutoSuggestion, ConditionalProcessor
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style

from hermes_agent.cli.chat.keys import bind_keys

MAX_INPUT_ROWS = 10
MENU_ROWS = 8
ARMING_SECONDS = 0.4
"""A question takes keys only after this much time without typing, so that no key meant for the input
line answers it by accident."""

_SYNC_BEGIN, _SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
_STYLE = Style.from_dict(
    {
        "prompt": "ansicyan bold",
        "prompt.busy": "ansibrightblack",
        "placeholder": "ansibrightblack",
        "auto-suggestion": "ansibrightblack",
        "toolbar": "ansibrightblack",
        "toolbar.warning": "ansiyellow",
        "toolbar.hint": "ansiyellow",
        "completion-menu": "bg:default ansibrightblack",
        "completion-menu.completion": "bg:default ansibrightblack",
        "completion-menu.completion.current": "noreverse bg:default ansicyan bold",
        "completion-menu.meta.completion": "bg:default ansibrightblack",
        "completion-menu.meta.completion.current": "bg:default ansicyan",
        "scrollbar.background": "bg:default",
        "scrollbar.button": "bg:ansibrightblack",
    }
)


class Listener(Protocol):
    """Who is told what the person does."""

    def on_line(self, text: str) -> None:
        """A message or command was sent."""
        ...

    def on_interrupt(self) -> None:
        """Ctrl+C with an empty input line, or while the agent works."""
        ...

    def on_leave(self) -> None:
        """Ctrl+D."""
        ...

    def on_expand(self) -> None:
        """Ctrl+O: show the last tool output whole."""
        ...

    @property
    def is_busy(self) -> bool:
        """The agent works."""
        ...

    def placeholder(self) -> str:
        """What stands in the empty input line."""
        ...

    def toolbar(self, width: int) -> StyleAndTextTuples:
        """The line at the bottom; empty hides it."""
        ...


@dataclass
class Panel:
    """A question that is answered with one key.

    Attributes:
        paint: ANSI text for a width; called again while it is open (countdown).
        keys: Key to answer.
        answer: Resolved with the answer of the pressed key.
    """

    paint: Callable[[int], str]
    keys: Mapping[str, str]
    answer: asyncio.Future[str]
    armed_at: float = field(default_factory=lambda: time.monotonic() + ARMING_SECONDS)

    @property
    def is_armed(self) -> bool:
        """Whether keys answer it yet."""
        return time.monotonic() >= self.armed_at and not self.answer.done()


class _Output(Vt100_Output):
    """Output that can be held back, to reach the terminal in one piece. Asks the terminal nothing."""

    def __init__(self, get_size: Callable[[], Size], term: str | None) -> None:
        super().__init__(sys.stdout, get_size, term=term, enable_cpr=False)
        self.is_held = False

    def flush(self) -> None:
        if not self.is_held:
            super().flush()


class Screen:
    """See the module. `run` returns when the chat is over."""

    def __init__(
        self,
        listener: Listener,
        *,
        history: History,
        completer: Completer,
        color: bool,
        term: str | None = None,
        terminal_input: Input | None = None,
        accepts_input: bool = True,
    ) -> None:
        self._listener = listener
        self._live = ""
        self._panel: Panel | None = None
        self._pending: list[str] = []
        self._hint = ""
        self._hint_until = 0.0
        self._accepts_input = accepts_input
        self._last_width = 0
        self._output = _Output(self._size, term)
        self.buffer = Buffer(
            multiline=True,
            history=history,
            completer=ThreadedCompleter(completer),
            complete_while_typing=Condition(self._completes),
            auto_suggest=AutoSuggestFromHistory(),
            enable_history_search=False,
        )
        self.buffer.on_text_changed += self._on_typing
        self._application: Application[None] = Application(
            layout=Layout(self._build_layout()),
            key_bindings=bind_keys(self),
            style=_STYLE,
            color_depth=None if color else ColorDepth.DEPTH_1_BIT,
            input=terminal_input or create_input(sys.stdin),
            output=self._output,
            full_screen=False,
            erase_when_done=True,
            mouse_support=False,
            min_redraw_interval=0.02,
        )
        self._application.ttimeoutlen = 0.1
        self._application.timeoutlen = 0.5

    # -- Surface

    @property
    def width(self) -> int:
        """Columns; one less than the terminal has, so that no line wraps by itself."""
        return max(20, self._size().columns - 1)

    @property
    def live_rows(self) -> int:
        """Rows of the live region: what the input, toolbar and a little context leave."""
        return max(3, self._size().rows - 8)

    def commit(self, text: str) -> None:
        """Add text to the scrollback, above the input."""
        application = self._application
        if not application.is_running or application._running_in_terminal:
            if application.is_running:
                self._pending.append(text)
            else:
                self._write(text)
            return
        output = self._output
        output.is_held = True
        try:
            output.write_raw(_SYNC_BEGIN)
            application.renderer.erase()
            output.write_raw("".join([*self._pending, text]).replace("\n", "\r\n"))
            self._pending.clear()
            with set_app(application):
                application._redraw()
            output.write_raw(_SYNC_END)
        finally:
            output.is_held = False
            output.flush()

    def set_live(self, text: str) -> None:
        """Replace the live region."""
        if text != self._live:
            self._live = text
            self._application.invalidate()

    # -- what the chat uses

    async def run(self) -> None:
        """Show the input line until `stop`.

        Raises:
            EOFError: The terminal was closed.
        """
        await self._application.run_async(set_exception_handler=False, handle_sigint=False)

    def stop(self) -> None:
        """End `run`."""
        if self._application.is_running and not self._application.is_done:
            self._application.exit()

    def redraw(self) -> None:
        """Draw the input area again."""
        self._application.invalidate()

    def clear(self) -> None:
        """Clear the terminal."""
        if self._application.is_running:
            with set_app(self._application):
                self._application.renderer.clear()
                self._application._redraw()

    def send_to_terminal(self, sequence: str) -> None:
        """Send an escape sequence that moves nothing (bell, clipboard)."""
        self._output.write_raw(sequence)
        self._output.flush()

    def show_hint(self, text: str, seconds: float = 2.0) -> None:
        """Show a hint in the toolbar for a while."""
        self._hint, self._hint_until = text, time.monotonic() + seconds
        self._application.invalidate()

    async def ask_key(self, paint: Callable[[int], str], keys: Mapping[str, str]) -> str:
        """Ask for one key; cancel it to take the question back."""
        panel = Panel(paint, keys, asyncio.get_running_loop().create_future())
        self._panel = panel
        self._application.invalidate()
        try:
            return await panel.answer
        finally:
            if self._panel is panel:
                self._panel = None
            self._application.invalidate()

    # -- what the key bindings use

    @property
    def listener(self) -> Listener:
        """Who is told what the person does."""
        return self._listener

    @property
    def panel(self) -> Panel | None:
        """The open question."""
        return self._panel

    # -- parts

    def _size(self) -> Size:
        try:
            return Size(*_terminal_size())
        except (OSError, ValueError):
            return Size(24, 80)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def _completes(self) -> bool:
        text = self.buffer.document.text_before_cursor
        word = text.rsplit(None, 1)[-1] if text and not text[-1].isspace() else ""
        return (text.startswith("/") and "\n" not in text) or word.startswith("@")

    def _on_typing(self, _buffer: Buffer) -> None:
        if self._panel is not None and not self._panel.is_armed:
            self._panel.armed_at = time.monotonic() + ARMING_SECONDS

    def _build_layout(self) -> FloatContainer:
        live = Window(
            FormattedTextControl(self._live_text, show_cursor=False),
            dont_extend_height=True,
            wrap_lines=False,
        )
        panel = Window(
            FormattedTextControl(self._panel_text, show_cursor=False),
            dont_extend_height=True,
            wrap_lines=True,
        )
        placeholder = ConditionalProcessor(
            AfterInput(lambda: [("class:placeholder", self._listener.placeholder())]),
            Condition(lambda: not self.buffer.text),
        )
        control = BufferControl(
            self.buffer,
            input_processors=[AppendAutoSuggestion(), placeholder],
            include_default_input_processors=True,
        )
        entry = Window(
            control,
            height=self._input_height,
            wrap_lines=True,
            dont_extend_height=True,
            get_line_prefix=self._line_prefix,
        )
        toolbar = Window(
            FormattedTextControl(self._toolbar_text), height=1, dont_extend_height=True, wrap_lines=False
        )
        spacer = Window(height=1, dont_extend_height=True)
        shows_input = Condition(lambda: self._accepts_input)
        body = HSplit(
            [
                ConditionalContainer(live, Condition(lambda: bool(self._live))),
                ConditionalContainer(panel, Condition(lambda: self._panel is not None)),
                ConditionalContainer(HSplit([spacer, entry]), shows_input),
                ConditionalContainer(toolbar, shows_input & Condition(self._has_toolbar)),
            ],
            align=VerticalAlign.TOP,
        )
        menu = Float(
            xcursor=True,
            ycursor=True,
            transparent=True,
            content=CompletionsMenu(max_height=MENU_ROWS, scroll_offset=1),
        )
        return FloatContainer(body, floats=[menu])

    def _live_text(self) -> AnyFormattedText:
        return ANSI(self._live)

    def _panel_text(self) -> AnyFormattedText:
        return ANSI(self._panel.paint(self.width).rstrip("\n")) if self._panel else ""

    def _line_prefix(self, line_number: int, wrap_count: int) -> AnyFormattedText:
        style = "class:prompt.busy" if self._listener.is_busy else "class:prompt"
        return [(style, "❯ " if line_number == 0 and wrap_count == 0 else "  ")]

    def _input_height(self) -> Dimension:
        width = max(4, self._size().columns - 2)
        rows = sum(max(1, -(-len(line) // width)) for line in self.buffer.text.split("\n"))
        rows = min(max(rows, 1), MAX_INPUT_ROWS, max(1, self._size().rows - 4))
        state = self.buffer.complete_state
        if state is not None and state.completions:
            rows = max(rows, min(len(state.completions), MENU_ROWS) + 1)
        return Dimension.exact(rows)

    def _has_toolbar(self) -> bool:
        return bool(self._toolbar_text()) and self.buffer.complete_state is None

    def _toolbar_text(self) -> StyleAndTextTuples:
        if self._hint and time.monotonic() < self._hint_until:
            return [("class:toolbar.hint", f"  {self._hint}")]
        return self._listener.toolbar(self.width)


def _terminal_size() -> tuple[int, int]:
    """Rows and columns, from the terminal itself (not from COLUMNS, which does not follow a resize)."""
    size = os.get_terminal_size(sys.stdout.fileno())
    return max(4, size.lines), max(10, size.columns)
