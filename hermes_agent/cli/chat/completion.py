"""Completion in the input line: slash commands, their arguments, and paths after `@`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from hermes_agent.agent.commands import commands_for, find
from hermes_agent.core.errors import UsageError

MAX_ENTRIES = 200
_PATH_COMMANDS = frozenset({"image", "save"})

SKILLS = "/"
"""Key of the values that are commands themselves."""

Values = Callable[[], Sequence[tuple[str, str]]]
"""Arguments and what they mean; called in a thread."""


class ChatCompleter(Completer):
    """See the module.

    Args:
        cwd: Where relative paths start.
        values: Arguments of commands whose choices are not fixed, by command name.
    """

    def __init__(self, cwd: Callable[[], str], values: Mapping[str, Values]) -> None:
        self._cwd = cwd
        self._values = values

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 - the base class hands it in
    ) -> Iterable[Completion]:
        """Completions at the cursor."""
        text = document.text_before_cursor
        word = text.rsplit(None, 1)[-1] if text and not text[-1].isspace() else ""
        if word.startswith("@"):
            yield from self._paths(word[1:])
        elif text.startswith("/") and "\n" not in text:
            if " " not in text:
                yield from _commands(text[1:].lower())
                yield from self._skills(text[1:].lower())
            else:
                yield from self._arguments(text, word)

    def _arguments(self, text: str, word: str) -> Iterator[Completion]:
        name, _, rest = text[1:].partition(" ")
        try:
            spec = find(name.lower())
        except UsageError:
            return
        if spec.name in _PATH_COMMANDS:
            yield from self._paths(word)
            return
        if " " in rest.strip() or (rest.strip() and not word):
            return
        values = self._values.get(spec.name)
        known = values() if values else [(choice, "") for choice in spec.choices]
        for value, meaning in known:
            if value.lower().startswith(word.lower()):
                yield Completion(value, -len(word), display_meta=meaning)

    def _skills(self, typed: str) -> Iterator[Completion]:
        """Skills, once a letter says that one may be meant."""
        for name, summary in self._values[SKILLS]() if typed and SKILLS in self._values else ():
            if name.startswith(typed):
                yield Completion(f"/{name}", -len(typed) - 1, display_meta=summary)

    def _paths(self, typed: str) -> Iterator[Completion]:
        folder, _, prefix = typed.rpartition("/")
        base = Path(self._cwd()) / Path(folder + "/" if typed.startswith("/") else folder).expanduser()
        try:
            with os.scandir(base) as entries:
                found = sorted(
                    (entry.name, entry.is_dir())
                    for entry in entries
                    if entry.name.startswith(prefix) and (prefix or not entry.name.startswith("."))
                )
        except OSError:
            return
        for name, is_folder in found[:MAX_ENTRIES]:
            if name.isprintable() and not any(letter.isspace() for letter in name):
                yield Completion(name + ("/" if is_folder else ""), -len(prefix))


def _commands(typed: str) -> Iterator[Completion]:
    found = []
    for spec in commands_for("cli"):
        name = next((each for each in (spec.name, *spec.aliases) if each.startswith(typed)), None)
        if name is not None:
            found.append((name, spec.summary))
    if typed:  # The shortest first: it may be all that is meant.
        found.sort(key=lambda item: len(item[0]))
    for name, summary in found:
        yield Completion(f"/{name}", -len(typed) - 1, display_meta=summary)
