"""Questions as numbered lists and plain lines, for terminals that cannot move the cursor."""

from __future__ import annotations

import getpass
from collections.abc import Sequence

import click

from hermes_agent.cli.pickers.prompter import Choice

_SKIP = ("", "s", "skip")


class PlainPrompter:
    """Asks line by line."""

    def say(self, text: str) -> None:
        """Show a paragraph."""
        click.echo(text)

    def choose(
        self, title: str, choices: Sequence[Choice], *, current: str = "", free_text: str = ""
    ) -> str | None:
        """Pick one by its number or value."""
        self._list(choices, {current: "*"})
        what = f"a number or {free_text}" if free_text else "a number"
        default = f"Enter keeps {current}" if current else "Enter skips"
        while True:
            answer = self._line(f"{title} ({what}; {default}): ")
            if answer == "":
                return current or None
            if answer.isdigit() and 1 <= int(answer) <= len(choices):
                return choices[int(answer) - 1].value
            if any(choice.value == answer for choice in choices) or (free_text and not answer.isdigit()):
                return answer
            click.echo(f"Please type {what} between 1 and {len(choices)}.")

    def check(self, title: str, choices: Sequence[Choice], checked: frozenset[str]) -> frozenset[str] | None:
        """Toggle by numbers until an empty line."""
        chosen = set(checked)
        while True:
            self._list(choices, dict.fromkeys(chosen, "x"))
            answer = self._line(f"{title} (numbers to turn on or off; Enter accepts, s skips): ")
            if answer == "":
                return frozenset(chosen)
            if answer.lower() in _SKIP:
                return None
            numbers = answer.replace(",", " ").split()
            if not all(number.isdigit() and 1 <= int(number) <= len(choices) for number in numbers):
                click.echo(f"Please type numbers between 1 and {len(choices)}.")
                continue
            for number in numbers:
                chosen ^= {choices[int(number) - 1].value}

    def ask(self, title: str, default: str = "") -> str | None:
        """A line of text."""
        hint = f" (Enter keeps {default})" if default else " (Enter skips)"
        return self._line(f"{title}{hint}: ") or default or None

    def ask_secret(self, title: str) -> str | None:
        """A secret; nothing is echoed."""
        try:
            return getpass.getpass(f"{title} (not shown; Enter skips): ").strip() or None
        except EOFError:
            return None

    def confirm(self, question: str, default: bool = True) -> bool:
        """Yes or no."""
        while True:
            answer = self._line(f"{question} [{'Y/n' if default else 'y/N'}]: ").lower()
            if answer in ("", "y", "yes", "n", "no"):
                return default if answer == "" else answer.startswith("y")
            click.echo("Please type y or n.")

    def _list(self, choices: Sequence[Choice], marks: dict[str, str]) -> None:
        group = ""
        for number, choice in enumerate(choices, 1):
            if choice.group != group:
                group = choice.group
                click.echo(f"\n{group}")
            note = f"  ({choice.note})" if choice.note else ""
            click.echo(f" {marks.get(choice.value, ' ')} {number:>2}. {choice.label}{note}")

    def _line(self, prompt: str) -> str:
        try:
            return input(prompt).strip()
        except EOFError:
            click.echo()
            return ""
