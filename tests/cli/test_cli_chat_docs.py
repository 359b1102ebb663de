"""docs/events.md and docs/chat.md say what the program does."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import get_args

from hermes_agent.agent.commands import commands_for
from hermes_agent.cli.errors import EXIT_CODES
from hermes_agent.core.events import RunEvent

DOCS = Path(__file__).parents[2] / "docs"


def test_every_event_and_every_field_is_documented_and_nothing_else() -> None:
    text = (DOCS / "events.md").read_text(encoding="utf-8")
    sections = {part.split("`")[1]: part for part in text.split("\n### ")[1:]}
    kinds = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in get_args(RunEvent)}
    assert set(sections) == set(kinds)
    for name, kind in kinds.items():
        documented = re.findall(r"^\| `(\w+)` \|", sections[name], re.MULTILINE)
        assert documented == [field.name for field in dataclasses.fields(kind)], name


def test_every_slash_command_of_the_chat_is_documented() -> None:
    text = (DOCS / "chat.md").read_text(encoding="utf-8")
    for spec in commands_for("cli"):
        assert f"`/{spec.name}`" in text
        assert spec.summary in text, f"docs/chat.md is out of date for /{spec.name}"


def test_the_exit_codes_are_documented() -> None:
    text = (DOCS / "chat.md").read_text(encoding="utf-8")
    for code, meaning in EXIT_CODES:
        assert f"| {code} | {meaning} |" in text
