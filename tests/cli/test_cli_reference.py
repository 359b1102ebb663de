"""`docs/cli.md` is made from the commands and must not fall behind."""

from __future__ import annotations

import re
from pathlib import Path

from hermes_agent.cli import reference
from hermes_agent.cli.table import COMMANDS


def test_page_is_what_the_commands_say() -> None:
    assert reference.PATH.read_text(encoding="utf-8") == reference.render(), (
        "docs/cli.md is behind: python -m hermes_agent.cli.reference --write"
    )


def test_page_names_every_command_and_does_not_depend_on_the_terminal() -> None:
    page = reference.render()
    headings = set(re.findall(r"^#+ (hermes[\w -]*)$", page, re.MULTILINE))
    assert {f"hermes {entry.name}" for entry in COMMANDS} <= headings
    assert "hermes model set" in headings
    assert page == reference.render()


def test_every_command_and_option_is_explained() -> None:
    page = reference.render()
    assert not re.findall(r"^\| `[^`]+` \|\s*\|$", page, re.MULTILINE), "an option without help"
    for section in re.split(r"^#+ (?=hermes)", page, flags=re.MULTILINE)[1:]:
        body = section.split("```\n")[2].strip()
        assert body, f"a command without help: {section.splitlines()[0]}"


def test_page_carries_nothing_of_this_machine() -> None:
    page = reference.render()
    assert str(Path.home()) not in page
    assert str(reference.PATH.parents[1]) not in page


def test_check_agrees() -> None:
    assert reference.main(["--check"]) == 0
