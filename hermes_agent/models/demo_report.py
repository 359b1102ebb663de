"""How the demo model tells what tools gave: plain Markdown, errors as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hermes_agent.core.messages import ToolMessage
from hermes_agent.models.demo_actions import Action

MAX_LINES = 120
MAX_CHARS = 8_000

_NEWS = re.compile(r"\n\n(?=\[(?:hermes\]|The user says|Project rules))")
_STEERING = re.compile(r"\[The user says, while you work\]\n(.*?)(?=\n\n\[|\Z)", re.DOTALL)
_DENIED = re.compile(r"(?:error: )?(?:denied|refused|not run\b|blocked)", re.IGNORECASE)
_NOTE = re.compile(r"\[((?:lines|encoding) .*)\]")
_ANY_NOTE = re.compile(r"\[(.*)\]")
_NUMBERED = re.compile(r"\s*\d+\|")
_EMPTY = re.compile(r" is empty\.\Z")
_LANGUAGES = {
    ".py": "python", ".md": "markdown", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".json": "json",
    ".sh": "bash", ".nix": "nix", ".js": "javascript", ".ts": "typescript", ".rs": "rust", ".go": "go",
    ".c": "c", ".html": "html", ".css": "css",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an action. `is_ok` is False if the steps after it should not be done."""

    text: str
    is_ok: bool = True


def body_of(result: ToolMessage) -> str:
    """The tool's own text, without what hermes added to it."""
    return _NEWS.split(result.text, maxsplit=1)[0]


def steering_in(result: ToolMessage) -> str:
    """What the person said while the tool ran."""
    found = _STEERING.search(result.text)
    return found[1].strip() if found else ""


def fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any in the text, cut to a readable size."""
    lines = text.rstrip("\n").split("\n")
    shown = lines[:MAX_LINES]
    kept = "\n".join(shown)[:MAX_CHARS]
    longest = max((len(run) for run in re.findall(r"`{3,}", kept)), default=2)
    fence = "`" * (longest + 1)
    note = ""
    if len(lines) > MAX_LINES or len("\n".join(shown)) > MAX_CHARS:
        note = "\n\n(I show only the beginning.)"
    return f"{fence}{language}\n{kept}\n{fence}{note}"


def _fields(text: str) -> Mapping[str, Any]:
    """The result's JSON object, or nothing."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class _Ran:
    output: str
    exit_code: int | None
    note: str
    process_id: str = ""


def _ran(text: str) -> _Ran | None:
    """What a command gave: a JSON object, or (if long) the output with a JSON object after it."""
    fields = _fields(text)
    output = fields.get("output", "")
    if "exit_code" not in fields:
        head, _, tail = text.rpartition("\n\n")
        fields, output = _fields(tail), head
    if "exit_code" not in fields:
        return None
    code = fields["exit_code"]
    return _Ran(
        str(output or ""),
        code if isinstance(code, int) else None,
        str(fields.get("error") or ""),
        str(fields.get("session_id") or ""),
    )


def report(action: Action, result: ToolMessage) -> Outcome:
    """Tell the outcome of an action that used a tool."""
    text = body_of(result)
    if _DENIED.match(text):
        # What follows the first sentence is meant for models that can draw conclusions.
        reason = re.split(r"(?<=[.;]) ", _quote(text).removeprefix("Error: "))[0]
        return Outcome(f"That was not approved, so nothing was done.\n\n> {reason}", is_ok=False)
    if result.tool_name == "terminal" and (ran := _ran(text)):
        return _command(action, ran)
    if result.is_error or text.startswith("Error"):
        said = fenced(text, "text")
        return Outcome(f"That did not work. The `{result.tool_name}` tool says:\n\n{said}", is_ok=False)
    return _given(action, text)


def _given(action: Action, text: str) -> Outcome:
    """Tell what a tool gave that did its work."""
    match action.kind:
        case "processes":
            return Outcome(_processes(text))
        case "read" | "search" | "list":
            return _found(action, text)
        case "todo":
            return Outcome(_tasks(text))
        case "clarify" if text.startswith("No answer"):
            return Outcome("I asked a question, but nobody answered.", is_ok=False)
        case "clarify":
            return Outcome(f"You answered: **{_quote(text)}**. (I only repeat it: I have no opinion.)")
        case _:
            return Outcome(_done(action, text))


def _quote(text: str) -> str:
    return " ".join(text.split())


def _short(text: str, limit: int = 120) -> str:
    text = _quote(text).replace("`", "'")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _done(action: Action, text: str) -> str:
    text = text.strip()
    if not text:
        return f"Done: `{_short(action.subject)}`."
    is_sentence = "\n" not in text and len(text) < 300 and not text.startswith("{")
    return f"Done. {text}" if is_sentence else f"Done:\n\n{fenced(text)}"


def _command(action: Action, ran: _Ran) -> Outcome:
    is_ok = ran.exit_code == 0 or ran.process_id != ""
    printed = fenced(ran.output) if ran.output.strip() else "It printed nothing."
    if ran.process_id:
        text = f"`{_short(action.command)}` runs in the background as `{ran.process_id}`."
        return Outcome(f"{text} `list processes` shows it.")
    if not is_ok:
        end = "was stopped" if ran.exit_code is None else f"ended with exit code {ran.exit_code}"
        why = f" ({_quote(ran.note)})" if ran.note else ""
        return Outcome(f"I ran `{_short(action.command)}`. It {end}{why}.\n\n{printed}", is_ok=False)
    if action.kind == "list":
        return Outcome(_listing(action.subject, ran.output))
    number = re.match(r"\s*(\d+)", ran.output)
    if action.kind == "lines" and number:
        count = int(number[1])
        return Outcome(f"`{action.subject}` has {count:,} line{'' if count == 1 else 's'}.")
    if action.kind == "read":
        return Outcome(f"`{action.subject}`:\n\n{fenced(ran.output, _language(action.subject))}")
    return Outcome(f"I ran `{_short(action.command)}` (exit code 0):\n\n{printed}")


def _listing(path: str, output: str) -> str:
    names = [line for line in output.splitlines() if line.strip()]
    where = "this directory" if path == "." else f"`{path}`"
    if not names:
        return f"There is nothing in {where}."
    folders = [name for name in names if name.endswith("/")]
    files = len(names) - len(folders)
    counts = [
        f"{number} {word}{'' if number == 1 else 's'}"
        for number, word in ((len(folders), "folder"), (files, "file"))
        if number
    ]
    ordered = [*folders, *(name for name in names if not name.endswith("/"))]
    lines = [f"- `{name}`" for name in ordered[:MAX_LINES]]
    more = f"\n\n…and {len(ordered) - MAX_LINES} more." if len(ordered) > MAX_LINES else ""
    return f"I see {' and '.join(counts)} in {where}:\n\n" + "\n".join(lines) + more


def _found(action: Action, text: str) -> Outcome:
    lines = text.split("\n")
    notes: list[str] = []
    while lines and (note := (_NOTE if action.kind == "read" else _ANY_NOTE).fullmatch(lines[-1])):
        notes.insert(0, note[1])
        lines.pop()
    shown = "\n".join(lines)
    below = "".join(f"\n\n*({note})*" for note in notes)
    if action.kind == "read":
        if _EMPTY.search(shown) and "\n" not in shown:
            return Outcome(f"`{action.subject}` is empty.")
        if all(map(_NUMBERED.match, lines)):
            shown = "\n".join(line.partition("|")[2] for line in lines)
        return Outcome(f"`{action.subject}`:\n\n{fenced(shown, _language(action.subject))}{below}")
    if not shown.strip():
        return Outcome(f"{notes[0]}." if notes else f"Nothing was found for `{_short(action.subject)}`.")
    is_search = action.kind == "search"
    heading = (
        f"What I found for `{_short(action.subject)}`:" if is_search else f"What is in `{action.subject}`:"
    )
    return Outcome(f"{heading}\n\n{fenced(shown)}{below}")


def _processes(text: str) -> str:
    known = _fields(text).get("processes")
    if not isinstance(known, list) or not all(isinstance(item, dict) for item in known):
        return f"Background processes:\n\n{fenced(text)}"
    if not known:
        return "There are no background processes."
    lines = []
    for item in known:
        code = item.get("exit_code")
        status = "running" if code is None else f"ended with exit code {code}"
        lines.append(f"- `{item.get('session_id')}`: `{_short(str(item.get('command', '')))}`, {status}")
    return "Background processes:\n\n" + "\n".join(lines)


def _tasks(text: str) -> str:
    items = _fields(text).get("todos")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return f"The task list:\n\n{fenced(text)}"
    if not items:
        return "The task list is empty."
    marks = {"completed": "x", "in_progress": ">", "cancelled": "-"}
    lines = [
        f"- [{marks.get(str(item.get('status')), ' ')}] {_quote(str(item.get('content', '')))}"
        for item in items
    ]
    return "The task list:\n\n" + "\n".join(lines)


def _language(path: str) -> str:
    return _LANGUAGES.get(PurePosixPath(path).suffix.lower(), "")
