"""Working out what a wish to change a skill comes to, file by file. Nothing is written here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hermes_agent.core.errors import ToolError
from hermes_agent.core.injection import find_orders
from hermes_agent.core.skills import SkillChange
from hermes_agent.skills.discovery import MAIN_FILE, MAX_FILE_BYTES, read_text, safe_path
from hermes_agent.skills.front_matter import NAME, SkillFormatError, parse

SUB_FOLDERS = ("references", "templates", "scripts", "assets")


@dataclass(frozen=True, slots=True)
class FileEdit:
    """One file before and after; None means that it does not exist."""

    before: str | None
    after: str | None


Edits = Mapping[str, FileEdit]
"""Relative path to what happens to the file."""


def plan(
    change: SkillChange, folder: Path | None, pending: Edits, redact: Callable[[str], str] = str
) -> dict[str, FileEdit]:
    """The edits of a change, on top of those that wait for approval already.

    Args:
        change: The wish; `delete` is not planned here.
        folder: Where the skill is; None if there is none of that name.
        pending: Edits proposed earlier for the same skill.
        redact: Removes secrets; a text that it would change is refused.

    Raises:
        ToolError: The wish cannot be fulfilled; says why.
    """
    if not NAME.fullmatch(change.name):
        raise ToolError(
            f"{change.name!r} is no skill name: a-z, 0-9, '.', '_' and '-', at most 64 characters"
        )
    exists = folder is not None or MAIN_FILE in pending
    if change.action == "create" and exists:
        raise ToolError(f"The skill {change.name!r} exists already", remedy="patch or edit it.")
    if change.action != "create" and not exists:
        raise ToolError(f"There is no skill {change.name!r}", remedy="skills_list lists them.")
    path = _target(change)
    before = _current(folder, pending, path)
    after = _after(change, path, before)
    if after is not None:
        _check(change.name, path, after, redact)
    base = pending[path].before if path in pending else before
    edits = {**pending, path: FileEdit(base, after)}
    return {name: edit for name, edit in edits.items() if edit.before != edit.after}


def _target(change: SkillChange) -> str:
    if change.action in ("create", "edit"):
        return MAIN_FILE
    path = change.file_path or (MAIN_FILE if change.action == "patch" else "")
    if not path:
        raise ToolError(f"{change.action} needs file_path")
    if path == MAIN_FILE:
        if change.action == "remove_file":
            raise ToolError("SKILL.md cannot be removed; delete removes the whole skill")
        return path
    safe_path(Path("/"), path)
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or parts[0] not in SUB_FOLDERS:
        raise ToolError(f"Files of a skill lie in {', '.join(SUB_FOLDERS)}; not {path!r}")
    return str(PurePosixPath(path))


def _current(folder: Path | None, pending: Edits, path: str) -> str | None:
    if path in pending:
        return pending[path].after
    if folder is None or not (folder / path).exists():
        return None
    return read_text(folder, path)


def _after(change: SkillChange, path: str, before: str | None) -> str | None:
    if change.action == "remove_file":
        if before is None:
            raise ToolError(f"There is no file {path!r}")
        return None
    if change.action == "patch":
        if before is None:
            raise ToolError(f"There is no file {path!r}")
        if not change.old_string:
            raise ToolError("patch needs old_string")
        count = before.count(change.old_string)
        if count != 1:
            raise ToolError(f"old_string occurs {count} times in {path}; it must occur once")
        return before.replace(change.old_string, change.new_string)
    if not change.content.strip():
        raise ToolError(f"{change.action} needs content")
    return change.content if change.content.endswith("\n") else change.content + "\n"


def _check(name: str, path: str, text: str, redact: Callable[[str], str]) -> None:
    if path == MAIN_FILE:
        try:
            front, _body = parse(text)
        except SkillFormatError as error:
            raise ToolError(f"Not accepted: {error}") from error
        if front.name != name:
            raise ToolError(f"Not accepted: the front matter is named {front.name!r}, the skill {name!r}")
    if len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES:
        raise ToolError(f"Not accepted: {path} would be larger than {MAX_FILE_BYTES:,} bytes")
    if (reason := find_orders(text)) is not None:
        raise ToolError(f"Not accepted: {path} contains {reason}")
    if redact(text) != text:
        raise ToolError(f"Not accepted: {path} contains something that looks like a secret")


def diff(edits: Edits) -> str:
    """The edits as a unified diff."""
    blocks = []
    for path, edit in sorted(edits.items()):
        lines = difflib.unified_diff(
            (edit.before or "").splitlines(),
            (edit.after or "").splitlines(),
            "/dev/null" if edit.before is None else f"a/{path}",
            "/dev/null" if edit.after is None else f"b/{path}",
            lineterm="",
        )
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def reverse(edits: Edits) -> dict[str, FileEdit]:
    """The edits that take these back."""
    return {path: FileEdit(edit.after, edit.before) for path, edit in edits.items()}
