"""The `Prompter` port: how commands ask a person, whatever the terminal can do.

Two implementations: `inline` (arrow keys, filtering; prompt_toolkit) and `plain` (numbers, for dumb
terminals and screen readers). Every question can be skipped; Ctrl+C raises `KeyboardInterrupt` and the
command leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hermes_agent.cli.output import Terminal
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a list.

    Attributes:
        value: What is returned.
        label: What is shown.
        note: Shown dimmed after the label.
        group: Heading; choices of one group stand together.
    """

    value: str
    label: str
    note: str = ""
    group: str = ""


class Prompter(Protocol):
    """Asks. `None` as an answer means that the person skipped the question."""

    def say(self, text: str) -> None:
        """Show a paragraph."""
        ...

    def choose(
        self, title: str, choices: Sequence[Choice], *, current: str = "", free_text: str = ""
    ) -> str | None:
        """Pick one value.

        Args:
            title: The question.
            choices: At least one, unless `free_text` is given.
            current: Value that is marked and taken by Enter.
            free_text: What other text may be typed (`a model name`); empty allows none.
        """
        ...

    def check(self, title: str, choices: Sequence[Choice], checked: frozenset[str]) -> frozenset[str] | None:
        """Turn some on and others off; returns the values that are on."""
        ...

    def ask(self, title: str, default: str = "") -> str | None:
        """A line of text."""
        ...

    def ask_secret(self, title: str) -> str | None:
        """A secret; what is typed is not shown."""
        ...

    def confirm(self, question: str, default: bool = True) -> bool:
        """Yes or no; Enter takes the default."""
        ...


def open_prompter(terminal: Terminal, *, instead: str) -> Prompter:
    """The best prompter for a terminal.

    Args:
        terminal: The streams.
        instead: What to use where nobody can be asked: a command to type.

    Raises:
        UsageError: Nobody can be asked.
    """
    if not terminal.is_interactive:
        raise UsageError(
            "This asks questions, and there is nobody at a terminal to answer", remedy=f"Use {instead}"
        )
    path = "plain:PlainPrompter" if terminal.is_dumb else "inline:InlinePrompter"
    prompter: Prompter = load(f"hermes_agent.cli.pickers.{path}")()
    return prompter
