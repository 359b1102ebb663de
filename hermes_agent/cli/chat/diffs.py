"""What a file-changing call did, as a coloured diff."""

from __future__ import annotations

import difflib
import json

from rich.text import Text

from hermes_agent.cli.chat.painter import clean

MAX_DIFF_LINES = 24
_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def _from_replacement(arguments: dict[str, object]) -> list[str]:
    old, new = arguments.get("old_string"), arguments.get("new_string")
    if not isinstance(old, str) or not isinstance(new, str):
        return []
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=2))
    return [line for line in lines[2:] if not line.startswith("@@")]


def _from_result(text: str) -> list[str]:
    lines = text.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("@@")]
    if not starts:
        return []
    return [line for line in lines[starts[0] :] if line[:1] in "+-@ " or not line]


def _from_patch(arguments: dict[str, object]) -> list[str]:
    patch = arguments.get("patch")
    if not isinstance(patch, str):
        return []
    return [line for line in patch.splitlines() if not line.startswith("*** ") or "File:" in line]


def diff_lines(arguments: str, result: str) -> list[str]:
    """Diff lines of a `patch` call: from its result if that holds a diff, else from its arguments."""
    try:
        parsed = json.loads(arguments)
    except ValueError:
        parsed = None
    given = parsed if isinstance(parsed, dict) else {}
    return _from_result(result) or _from_patch(given) or _from_replacement(given)


def diff_text(lines: list[str], *, limit: int = MAX_DIFF_LINES) -> Text:
    """The lines, coloured; a last line says how many were left out."""
    text = Text(overflow="fold")
    for number, line in enumerate(lines[:limit]):
        style = "bold" if line.startswith("***") else _STYLES.get(line[:1], "dim")
        text.append(("\n" if number else "") + clean(line), style)
    if len(lines) > limit:
        text.append(f"\n… {len(lines) - limit} more lines", "dim")
    return text
