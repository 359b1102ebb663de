"""Questions with arrow keys and filtering, drawn below the prompt and wiped when answered."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
from prompt_toolkit.application import Application
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, Layout, Window
from prompt_toolkit.shortcuts import prompt
from prompt_toolkit.styles import Style

from hermes_agent.cli.pickers.prompter import Choice

_STYLE = Style.from_dict(
    {
        "title": "bold",
        "group": "ansicyan",
        "pointer": "ansicyan bold",
        "chosen": "bold",
        "note": "ansibrightblack",
        "hint": "ansibrightblack",
    }
)
_MOST_ROWS = 14
_ESCAPE_SECONDS = 0.05


@dataclass
class _List:
    """What a list shows and what the person has done to it so far."""

    title: str
    choices: Sequence[Choice]
    current: str = ""
    free_text: str = ""
    checked: set[str] | None = None
    typed: str = ""
    index: int = 0
    shown: list[Choice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.filter()
        values = [choice.value for choice in self.shown]
        self.index = values.index(self.current) if self.current in values else 0

    def filter(self) -> None:
        words = self.typed.lower().split()
        self.shown = [
            choice
            for choice in self.choices
            if all(word in f"{choice.value} {choice.label} {choice.note}".lower() for word in words)
        ]
        typed = self.typed.strip()
        if self.free_text and typed and typed not in {choice.value for choice in self.shown}:
            self.shown.append(Choice(typed, f"use {typed!r}", self.free_text))
        self.index = 0

    def move(self, by: int) -> None:
        if self.shown:
            self.index = max(0, min(len(self.shown) - 1, self.index + by))

    def type(self, text: str) -> None:
        self.typed += text
        self.filter()

    def erase(self) -> None:
        self.typed = self.typed[:-1]
        self.filter()

    @property
    def selected(self) -> Choice | None:
        return self.shown[self.index] if self.shown else None

    def rows(self) -> int:
        return max(3, min(_MOST_ROWS, shutil.get_terminal_size().lines - 6))

    def text(self) -> StyleAndTextTuples:
        """The whole list as styled text."""
        width = shutil.get_terminal_size().columns - 2
        parts: StyleAndTextTuples = [("class:title", self.title)]
        if self.typed or self.free_text:
            parts.append(("", f"  {self.typed}▏"))
        parts.append(("", "\n"))
        rows = self.rows()
        first = max(0, min(self.index - rows // 2, len(self.shown) - rows))
        group = None
        for place, choice in enumerate(self.shown[first : first + rows], first):
            if choice.group and choice.group != group:
                group = choice.group
                parts.append(("class:group", f"  {group}\n"))
            parts += self._row(choice, place == self.index, width)
        if not self.shown:
            what = f" Type {self.free_text}." if self.free_text and not self.typed else ""
            parts.append(("class:note", f"  nothing matches.{what}\n" if self.typed else f" {what}\n"))
        elif len(self.shown) > rows:
            parts.append(("class:note", f"  {self.index + 1} of {len(self.shown)}\n"))
        keys = "space on/off · enter accept" if self.checked is not None else "enter choose"
        parts.append(("class:hint", f"↑↓ move · type to filter · {keys} · esc skip"))
        return parts

    def _row(self, choice: Choice, is_selected: bool, width: int) -> StyleAndTextTuples:
        pointer = "❯ " if is_selected else "  "
        box = ""
        if self.checked is not None:
            box = "[x] " if choice.value in self.checked else "[ ] "
        elif self.current:
            box = "* " if choice.value == self.current else "  "
        wide = max(len(each.label) for each in self.shown)
        label = (box + choice.label.ljust(min(wide, width // 2) if choice.note else 0))[: width - 2]
        room = width - 2 - len(label) - 2
        note = f"  {choice.note}"[: room + 2] if choice.note and room > 4 else ""
        return [
            ("class:pointer", pointer),
            ("class:chosen" if is_selected else "", label),
            ("class:note", note),
            ("", "\n"),
        ]


class InlinePrompter:
    """Asks with prompt_toolkit."""

    def say(self, text: str) -> None:
        """Show a paragraph."""
        click.echo(text)

    def choose(
        self, title: str, choices: Sequence[Choice], *, current: str = "", free_text: str = ""
    ) -> str | None:
        """Pick one with the arrow keys."""
        state = _List(title, choices, current, free_text)
        answer: str | None = _run(state)
        shown = next((choice.label for choice in choices if choice.value == answer), answer)
        self._record(title, shown)
        return answer

    def check(self, title: str, choices: Sequence[Choice], checked: frozenset[str]) -> frozenset[str] | None:
        """Turn lines on and off with the space bar."""
        state = _List(title, choices, checked=set(checked))
        answer: str | None = _run(state)
        if answer is None or state.checked is None:
            self._record(title, None)
            return None
        self._record(title, f"{len(state.checked)} of {len(choices)} on")
        return frozenset(state.checked)

    def ask(self, title: str, default: str = "") -> str | None:
        """A line of text, with the default ready to be edited."""
        try:
            answer: str = prompt(f"{title}: ", default=default)
        except EOFError:
            return None
        return answer.strip() or None

    def ask_secret(self, title: str) -> str | None:
        """A secret, shown as stars."""
        try:
            answer: str = prompt(f"{title} (not shown; Enter skips): ", is_password=True)
        except EOFError:
            return None
        return answer.strip() or None

    def confirm(self, question: str, default: bool = True) -> bool:
        """Yes or no."""
        while True:
            try:
                answer: str = prompt(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
            except EOFError:
                return False
            if answer in ("", "y", "yes", "n", "no"):
                return default if answer == "" else answer.startswith("y")

    def _record(self, title: str, answer: str | None) -> None:
        click.echo(f"{title}: {'skipped' if answer is None else answer}")


def _run(state: _List) -> Any:
    """Show the list until it is answered; None if it was skipped."""
    control = FormattedTextControl(state.text, focusable=True, show_cursor=False)
    application: Application[str | None] = Application(
        layout=Layout(Window(control, wrap_lines=False, dont_extend_height=True)),
        key_bindings=_bindings(state),
        style=_STYLE,
        erase_when_done=True,
    )
    application.ttimeoutlen = _ESCAPE_SECONDS
    application.timeoutlen = _ESCAPE_SECONDS
    return application.run()


def _bindings(state: _List) -> KeyBindings:
    keys = KeyBindings()
    steps = {
        "up": -1,
        "c-p": -1,
        "down": 1,
        "c-n": 1,
        "pageup": -10,
        "pagedown": 10,
        "home": -9999,
        "end": 9999,
    }
    for name, step in steps.items():
        keys.add(name)(lambda _event, by=step: state.move(by))

    @keys.add("enter")
    def _accept(event: KeyPressEvent) -> None:
        if state.checked is not None:
            event.app.exit(result="")
        elif state.selected is not None:
            event.app.exit(result=state.selected.value)

    @keys.add("escape", eager=True)
    @keys.add("c-d")
    def _skip(event: KeyPressEvent) -> None:
        event.app.exit(result=None)

    @keys.add("c-c")
    def _interrupt(event: KeyPressEvent) -> None:
        event.app.exit(exception=KeyboardInterrupt)

    @keys.add("backspace")
    def _erase(_event: KeyPressEvent) -> None:
        state.erase()

    @keys.add("c-u")
    def _clear(_event: KeyPressEvent) -> None:
        state.typed = ""
        state.filter()

    @keys.add(Keys.BracketedPaste)
    def _paste(event: KeyPressEvent) -> None:
        state.type(" ".join(event.data.split()))

    @keys.add(Keys.Any)
    def _type(event: KeyPressEvent) -> None:
        if event.data == " " and state.checked is not None:
            if state.selected is not None:
                state.checked ^= {state.selected.value}
        elif event.data.isprintable():
            state.type(event.data)

    return keys
