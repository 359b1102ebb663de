"""The V4A patch format: read it, and apply its hunks to the lines of a file.

::

    *** Begin Patch
    *** Update File: src/app.py
    *** Move to: src/main.py          (optional)
    @@ class App                      (optional: a line above the change that tells where)
     context
    -old
    +new
    *** Add File: notes.txt
    +first line
    *** Delete File: junk.txt
    *** Move File: a.txt -> b.txt
    *** End Patch

Pure: nothing here touches a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.tools.matching import LineMatches, find_lines, nearest, reindent
from hermes_agent.tools.text_file import TextFile


@dataclass(slots=True)
class Hunk:
    """One change.

    Attributes:
        anchors: Lines that stand above it, outermost first.
        lines: Pairs of mark (` `, `-`, `+`) and text.
        at_end: It belongs to the end of the file.
    """

    anchors: list[str] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    at_end: bool = False

    @property
    def old(self) -> list[str]:
        """The lines it expects."""
        return [text for mark, text in self.lines if mark != "+"]


@dataclass(frozen=True, slots=True)
class AddFile:
    """A new file."""

    path: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteFile:
    """A file that goes."""

    path: str


@dataclass(frozen=True, slots=True)
class UpdateFile:
    """A file that changes, moves, or both."""

    path: str
    hunks: tuple[Hunk, ...]
    target: str | None = None


Operation: TypeAlias = AddFile | DeleteFile | UpdateFile

_HEADER = re.compile(r"\*\*\* (Add|Update|Delete|Move) File:\s*(.+?)\s*$")
_MOVE_TO = re.compile(r"\*\*\* Move to:\s*(.+?)\s*$")
_FENCE = re.compile(r"^\s*```[\w-]*\s*$")
_RANGES = re.compile(r"^-\d+(,\d+)? \+\d+(,\d+)?( @@)?")


def parse_patch(patch: str) -> tuple[Operation, ...]:
    """Read a patch; missing `Begin Patch` and `End Patch` lines and a Markdown fence are forgiven.

    Raises:
        ToolArgumentsError: A line is not part of the format, or nothing is to be done.
    """
    lines = patch.replace("\r\n", "\n").split("\n")
    while lines and (not lines[0].strip() or _FENCE.match(lines[0]) or lines[0].strip() == "*** Begin Patch"):
        lines.pop(0)
    while lines and (not lines[-1].strip() or _FENCE.match(lines[-1])):
        lines.pop()
    if lines and lines[-1].strip() == "*** End Patch":
        lines.pop()
    reader = _Reader(lines)
    operations: list[Operation] = []
    while not reader.is_done:
        operations.append(reader.operation())
    if not operations:
        raise ToolArgumentsError(
            "patch: it is empty; begin with '*** Begin Patch' and '*** Update File: PATH'"
        )
    return tuple(operations)


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._at = 0

    @property
    def is_done(self) -> bool:
        while self._at < len(self._lines) and not self._lines[self._at].strip():
            self._at += 1
        return self._at >= len(self._lines)

    def operation(self) -> Operation:
        line = self._lines[self._at]
        match = _HEADER.match(line)
        if match is None:
            raise ToolArgumentsError(
                f"patch: line {self._at + 1} is {line[:80]!r}; expected '*** Update File: PATH', "
                "'*** Add File: PATH', '*** Delete File: PATH' or '*** Move File: PATH -> PATH'"
            )
        self._at += 1
        kind, path = match.groups()
        if kind == "Delete":
            return DeleteFile(path)
        if kind == "Move":
            source, arrow, target = path.partition(" -> ")
            if not arrow:
                raise ToolArgumentsError(f"patch: '*** Move File: {path}' lacks ' -> NEW PATH'")
            return UpdateFile(source.strip(), self._hunks(path), target.strip())
        return self._add(path) if kind == "Add" else self._update(path)

    def _body_line(self) -> str | None:
        if self._at >= len(self._lines) or _HEADER.match(self._lines[self._at]):
            return None
        self._at += 1
        return self._lines[self._at - 1]

    def _add(self, path: str) -> AddFile:
        found: list[str] = []
        while (line := self._body_line()) is not None:
            if line.startswith("+"):
                found.append(line[1:])
            elif line.strip():
                raise ToolArgumentsError(
                    f"patch: line {self._at} of the new file {path} is {line[:80]!r}; "
                    "each line begins with '+'"
                )
        return AddFile(path, tuple(found))

    def _update(self, path: str) -> UpdateFile:
        target = None
        if self._at < len(self._lines) and (match := _MOVE_TO.match(self._lines[self._at])):
            target = match[1]
            self._at += 1
        hunks = self._hunks(path)
        if not hunks and target is None:
            raise ToolArgumentsError(f"patch: nothing to change in {path}; add lines that begin with - and +")
        return UpdateFile(path, hunks, target)

    def _hunks(self, path: str) -> tuple[Hunk, ...]:
        hunks: list[Hunk] = []
        current = Hunk()
        while (line := self._body_line()) is not None:
            if line.startswith("@@"):
                if current.lines:
                    hunks.append(current)
                    current = Hunk()
                # the line numbers of unified diffs are often wrong: only the text behind them counts
                anchor = _RANGES.sub("", line[2:].strip()).strip().removesuffix("@@").strip()
                current.anchors += [anchor] if anchor else []
            elif line.strip() == "*** End of File":
                current.at_end = True
            elif not line:
                current.lines.append((" ", ""))
            elif line[0] in " -+":
                current.lines.append((line[0], line[1:]))
            else:
                raise ToolArgumentsError(
                    f"patch: line {self._at} in {path} is {line[:80]!r}; "
                    "each line begins with a space, '-' or '+'"
                )
        if current.lines or current.anchors:
            hunks.append(current)
        return tuple(_trimmed(hunk) for hunk in hunks if any(mark != " " for mark, _ in hunk.lines))


def _trimmed(hunk: Hunk) -> Hunk:
    """Without the blank lines that only separate it from what follows in the patch."""
    while not hunk.at_end and hunk.lines and hunk.lines[-1] == (" ", ""):
        hunk.lines.pop()
    return hunk


def apply_hunks(file: TextFile, hunks: Sequence[Hunk], path: str) -> int:
    """Change the text in place.

    Returns:
        The number of hunks that only fitted with white space or typography forgiven.

    Raises:
        ToolError: A hunk does not fit, or fits in several places; the text may then be half changed.
    """
    tolerant = 0
    position = 0
    for number, hunk in enumerate(hunks, 1):
        name = f"hunk {number} of {path}" if len(hunks) > 1 else f"the hunk for {path}"
        lines = file.text.removesuffix("\n").split("\n") if file.text else []
        start = _after_anchors(lines, hunk, position, name)
        old = hunk.old
        if not old:
            at = len(lines) if hunk.at_end or not hunk.anchors else start
            file.replace_lines(at, at, [text for _, text in hunk.lines])
            position = at + len(hunk.lines)
            continue
        found = _place(lines, hunk, start, name)
        first = found.starts[-1] if hunk.at_end else found.starts[0]
        tolerant += found.level > 0
        new = _replacement(hunk, lines[first : first + len(old)], found.level)
        file.replace_lines(first, first + len(old), new)
        position = first + len(new)
    return tolerant


def _after_anchors(lines: Sequence[str], hunk: Hunk, position: int, name: str) -> int:
    for anchor in hunk.anchors:
        found = find_lines(lines, [anchor], position)
        if found:
            position = found.starts[0] + 1
            continue
        part = next((index for index in range(position, len(lines)) if anchor.strip() in lines[index]), None)
        if part is None:
            raise ToolError(
                f"There is no line {anchor!r} for {name} (the text behind @@). Nothing was changed",
                remedy=_hint(lines, [anchor]),
            )
        position = part + 1
    return position


def _place(lines: Sequence[str], hunk: Hunk, start: int, name: str) -> LineMatches:
    found = find_lines(lines, hunk.old, start)
    if found is None and hunk.anchors and start:
        # the anchor may itself be repeated as the first line of context
        found = find_lines(lines, hunk.old, start - 1)
    if found is None and not hunk.anchors and start:
        # hunks out of order are fine as long as there is only one place for them
        anywhere = find_lines(lines, hunk.old)
        found = anywhere if anywhere and len(anywhere.starts) == 1 else None
    if found is None:
        raise ToolError(
            f"The old lines of {name} are not in the file"
            + (" (below the @@ line or the previous hunk)" if start else "")
            + ". Nothing was changed",
            remedy=_hint(lines, hunk.old),
        )
    if len(found.starts) > 1 and not hunk.anchors and not hunk.at_end:
        places = ", ".join(str(first + 1) for first in found.starts[:8])
        raise ToolError(
            f"The old lines of {name} stand in {len(found.starts)} places (lines {places}). "
            "Nothing was changed",
            remedy="Add lines of context, or a line '@@ text' with a line that stands above the right place.",
        )
    return found


def _hint(lines: Sequence[str], wanted: Sequence[str]) -> str:
    near = nearest(lines, wanted)
    return f"Nearest text:\n{near}" if near else "Read the file again and quote its lines as they are."


def _replacement(hunk: Hunk, actual: Sequence[str], level: int) -> list[str]:
    """New lines; context lines stay as the file has them."""
    if level == 0:
        return [text for mark, text in hunk.lines if mark != "-"]
    # a new line most likely takes the place of a removed one: those come first in the comparison
    expected = [mark for mark, _ in hunk.lines if mark != "+"]
    order = sorted(range(len(expected)), key=lambda index: expected[index] != "-")
    quoted, found = [hunk.old[index] for index in order], [actual[index] for index in order]
    moved = iter(reindent([text for mark, text in hunk.lines if mark == "+"], quoted, found))
    result: list[str] = []
    at = 0
    for mark, _ in hunk.lines:
        if mark == "+":
            result.append(next(moved))
            continue
        if mark == " ":
            result.append(actual[at])
        at += 1
    return result
