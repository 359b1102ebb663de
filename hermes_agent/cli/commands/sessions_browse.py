"""The list of `hermes sessions browse`; apart, because only it needs prompt_toolkit."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import HSplit, Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.layout.dimension import Dimension
from prompt_toolkit.widgets import TextArea

_ROWS = 20


def choose(options: Sequence[tuple[str, str]]) -> str | None:
    """Let a person pick one of (value, line); typing narrows the list. None if they leave."""
    return _Picker(options).application.run()


class _Picker:
    def __init__(self, options: Sequence[tuple[str, str]]) -> None:
        self._options = options
        self._index = 0
        self._filter = TextArea(prompt="Find: ", multiline=False, height=1)
        self._filter.buffer.on_text_changed += lambda _buffer: self._move_to(0)
        rows = Window(
            FormattedTextControl(self._render),
            height=Dimension(max=_ROWS, preferred=_ROWS),
            always_hide_cursor=True,
        )
        hint = Window(
            FormattedTextControl("↑ ↓ choose · Enter resume · Esc leave"),
            height=1,
            style="fg:ansibrightblack",
        )
        self.application: Application[str | None] = Application(
            layout=Layout(HSplit([self._filter, rows, hint]), focused_element=self._filter),
            key_bindings=self._keys(),
            erase_when_done=True,
        )
        self.application.ttimeoutlen = 0.05

    @property
    def _shown(self) -> list[tuple[str, str]]:
        words = self._filter.text.lower().split()
        return [option for option in self._options if all(word in option[1].lower() for word in words)]

    def _move_to(self, index: int) -> None:
        self._index = max(0, min(index, len(self._shown) - 1))

    def _render(self) -> StyleAndTextTuples:
        shown = self._shown
        first = max(0, min(self._index - _ROWS // 2, len(shown) - _ROWS))
        lines: StyleAndTextTuples = []
        for number, (_, line) in enumerate(shown[first : first + _ROWS], start=first):
            is_chosen = number == self._index
            lines.append(("reverse" if is_chosen else "", f"{'❯' if is_chosen else ' '} {line}\n"))
        return lines or [("", "  Nothing like that.\n")]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        def step(*names: str, by: int) -> None:
            for name in names:
                keys.add(name)(lambda _event: self._move_to(self._index + by))

        step("up", "c-p", by=-1)
        step("down", "c-n", "tab", by=1)
        step("pageup", by=-_ROWS)
        step("pagedown", by=_ROWS)

        @keys.add("enter")
        def _accept(event: KeyPressEvent) -> None:
            shown = self._shown
            if shown:
                event.app.exit(result=shown[self._index][0])

        @keys.add("escape", eager=True)
        @keys.add("c-c")
        @keys.add("c-d")
        def _leave(event: KeyPressEvent) -> None:
            event.app.exit(result=None)

        return keys
