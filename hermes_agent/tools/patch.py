"""`patch`: change parts of files, by replacing a piece of text or with a V4A patch."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from hermes_agent.core.environment import Command, Environment
from hermes_agent.core.errors import HermesError, ToolArgumentsError, ToolError
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.diagnostics import diagnose
from hermes_agent.tools.file_ledger import FileLedger, Knowledge, existing_file
from hermes_agent.tools.file_policy import FilePolicy
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.matching import find_lines, nearest, reindent
from hermes_agent.tools.read_file import missing_file
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.text_file import TextFile, change_counts
from hermes_agent.tools.v4a import AddFile, DeleteFile, Operation, UpdateFile, apply_hunks, parse_patch
from hermes_agent.tools.write_file import encoded

MAX_BYTES = 20_000_000

Mode = Literal["replace", "patch"]

DESCRIPTION = """\
Edit files. Mode replace: swap old_string for new_string in path. Mode patch: V4A, one or more files, all or \
nothing:
*** Begin Patch
*** Update File: PATH (or Add File: PATH, Delete File: PATH, Move File: OLD -> NEW)
@@ line above the change
 context
-old
+new
*** End Patch"""


def build(setup: ToolSetup) -> Tool:
    """The tool, with the sensitive files of `setup.home` guarded."""
    policy = FilePolicy(setup.home)

    @tool(
        description=DESCRIPTION,
        emoji="🩹",
        toolset="file",
        touched_paths=_touched,
        preview=_preview,
        review=lambda arguments, context: policy.review_write(_paths(arguments), context),
    )
    async def patch(
        mode: Mode = "replace",
        path: Annotated[str | None, "File, for replace"] = None,
        old_string: Annotated[str | None, "Exact text, unique in the file; include lines around it"] = None,
        new_string: Annotated[str | None, "Its replacement; empty deletes"] = None,
        replace_all: bool = False,
        patch: Annotated[str | None, "V4A patch, for mode patch"] = None,
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Edit files."""
        if mode == "patch" or (patch and not old_string):
            if not patch:
                raise ToolArgumentsError("patch: missing; mode 'patch' needs the patch text")
            return await _apply(parse_patch(patch), context)
        if not path or old_string is None or new_string is None:
            raise ToolArgumentsError("mode 'replace' needs path, old_string and new_string")
        return await _replace(path, old_string, new_string, replace_all=replace_all, context=context)

    return patch


@dataclass(frozen=True, slots=True)
class Change:
    """What is to happen to one path.

    Attributes:
        before: None creates it.
        after: None deletes it.
        old_text: For counting lines and checking syntax.
        new_text: Likewise.
        note: For the model.
        knowledge: What the session knew of the file.
        mode: Permissions to give it; None leaves them.
    """

    path: str
    before: bytes | None
    after: bytes | None
    old_text: str = ""
    new_text: str = ""
    note: str = ""
    knowledge: Knowledge = "current"
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file that is about to be changed."""

    path: str
    data: bytes
    mode: int
    knowledge: Knowledge


def _paths(arguments: Arguments) -> list[str]:
    paths = [arguments["path"]] if arguments["path"] else []
    if arguments["patch"]:
        try:
            for operation in parse_patch(arguments["patch"]):
                paths.append(operation.path)
                if isinstance(operation, UpdateFile) and operation.target:
                    paths.append(operation.target)
        except ToolArgumentsError:
            pass
    return paths


def _touched(arguments: Arguments, context: ToolContext) -> tuple[str, ...]:
    return tuple(context.environment.resolve(path) for path in _paths(arguments))


def _preview(arguments: Arguments) -> str:
    return ", ".join(_paths(arguments))


async def _load(context: ToolContext, path: str) -> Loaded:
    info = await existing_file(context.environment, path)
    if info is None:
        raise await missing_file(context.environment, path)
    if info.size > MAX_BYTES:
        raise ToolError(
            f"{path} has {info.size:,} bytes; files over {MAX_BYTES:,} cannot be patched",
            remedy="Use terminal with sed, or a script.",
        )
    data = await context.environment.read_bytes(path)
    return Loaded(path, data, info.mode, context.session.state(FileLedger).knows(path, info, data))


async def _replace(path: str, old: str, new: str, *, replace_all: bool, context: ToolContext) -> ToolResult:
    place = context.environment.resolve(path)
    if not old:
        raise ToolError(
            "old_string must not be empty", remedy="To create a file or replace all of it, use write_file."
        )
    loaded = await _load(context, place)
    old, new = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")

    def edit() -> Change:
        file = TextFile.parse(loaded.data, place)
        old_text = file.text
        note = replace_text(file, old, new, place, replace_all=replace_all)
        after = file.to_bytes(place)
        return Change(place, loaded.data, after, old_text, file.text, note, loaded.knowledge)

    change = await asyncio.to_thread(edit)
    if change.after == change.before:
        raise ToolError(f"old_string and new_string are the same; {place} is unchanged")
    return await _commit([change], context)


def replace_text(file: TextFile, old: str, new: str, path: str, *, replace_all: bool) -> str:
    """Swap one piece of text for another, in place.

    Returns:
        A note for the model: how often, and what had to be forgiven; empty for one exact replacement.

    Raises:
        ToolError: It is not there, or is there more than once and `replace_all` is off.
    """
    count = file.text.count(old)
    if count:
        if count > 1 and not replace_all:
            raise _ambiguous(path, _lines_of(file.text, old), count)
        if file.endings is None:
            file.text = file.text.replace(old, new)
            return f"{count} replacements" if count > 1 else ""
        position = 0
        for _ in range(count):
            position = file.text.index(old, position)
            file.replace(position, position + len(old), new)
            position += len(new)
        return f"{count} replacements" if count > 1 else ""
    lines = file.text.removesuffix("\n").split("\n")
    quoted = old.strip("\n").split("\n")
    found = find_lines(lines, quoted)
    if found is None:
        near = nearest(lines, quoted)
        raise ToolError(
            f"old_string is not in {path}. Nothing was changed",
            remedy=f"Nearest text:\n{near}" if near else "Read the file and quote its text as it is.",
        )
    if len(found.starts) > 1 and not replace_all:
        raise _ambiguous(path, [start + 1 for start in found.starts], len(found.starts))
    wanted = new.strip("\n").split("\n") if new.strip("\n") else []
    for start in reversed(found.starts):
        actual = lines[start : start + len(quoted)]
        file.replace_lines(start, start + len(quoted), reindent(wanted, quoted, actual))
    times = f"{len(found.starts)} replacements, " if len(found.starts) > 1 else ""
    return f"{times}old_string matched {found.how}"


def _lines_of(text: str, piece: str) -> list[int]:
    found: list[int] = []
    position = text.find(piece)
    while position >= 0 and len(found) < 20:
        found.append(text.count("\n", 0, position) + 1)
        position = text.find(piece, position + len(piece))
    return found


def _ambiguous(path: str, lines: Sequence[int], count: int) -> ToolError:
    shown = ", ".join(map(str, lines[:8])) + (", …" if count > 8 else "")
    return ToolError(
        f"old_string stands {count} times in {path} (lines {shown}). Nothing was changed",
        remedy="Add lines around it until it is unique, or set replace_all.",
    )


async def _apply(operations: Sequence[Operation], context: ToolContext) -> ToolResult:
    changes: list[Change] = []
    for operation in operations:
        place = context.environment.resolve(operation.path)
        if any(change.path == place for change in changes):
            raise ToolError(f"{operation.path} comes twice in the patch; put its hunks in one section")
        if isinstance(operation, AddFile):
            changes.append(await _added(context.environment, place, operation))
        elif isinstance(operation, DeleteFile):
            changes.append(Change(place, (await _load(context, place)).data, None, note="deleted"))
        else:
            changes += await _updated(context, place, operation)
    return await _commit(changes, context)


async def _added(environment: Environment, place: str, operation: AddFile) -> Change:
    if await existing_file(environment, place) is not None:
        raise ToolError(
            f"{place} exists already. Nothing was changed", remedy="Use '*** Update File', or write_file."
        )
    text = "".join(line + "\n" for line in operation.lines)
    return Change(place, None, encoded(text, None, place), "", text, "new")


async def _updated(context: ToolContext, place: str, operation: UpdateFile) -> list[Change]:
    loaded = await _load(context, place)
    change = await asyncio.to_thread(_edited, loaded, operation)
    if operation.target is None:
        return [change]
    target = context.environment.resolve(operation.target)
    if target == place or await context.environment.stat(target) is not None:
        raise ToolError(f"Cannot move {place} to {target}: it exists already. Nothing was changed")
    moved = replace(change, path=target, before=None, note=f"moved from {place}", mode=loaded.mode)
    return [moved, Change(place, loaded.data, None, note="moved away")]


def _edited(loaded: Loaded, operation: UpdateFile) -> Change:
    if not operation.hunks:
        return Change(loaded.path, loaded.data, loaded.data, knowledge=loaded.knowledge)
    file = TextFile.parse(loaded.data, loaded.path)
    old_text = file.text
    note = "white space was forgiven" if apply_hunks(file, operation.hunks, loaded.path) else ""
    after = file.to_bytes(loaded.path)
    return Change(loaded.path, loaded.data, after, old_text, file.text, note, loaded.knowledge)


async def _commit(changes: Sequence[Change], context: ToolContext) -> ToolResult:
    """Write all changes or none; an interruption waits until that is settled.

    Raises:
        ToolError: One could not be written; what had been written is put back.
    """
    writing = asyncio.create_task(_write_all(changes, context.environment))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise
    return await _report(changes, context)


async def _write_all(changes: Sequence[Change], environment: Environment) -> None:
    done: list[Change] = []
    try:
        for change in changes:
            done.append(change)
            if change.after is None:
                await environment.remove(change.path)
            elif change.after != change.before:
                await environment.write_bytes(change.path, change.after)
            if change.mode is not None:
                await _set_mode(environment, change.path, change.mode)
    except HermesError as error:
        lost = await _put_back(done, environment)
        raise ToolError(
            f"{error.message}. " + (f"Could not be put back: {lost}" if lost else "Nothing was changed"),
            why=error.why,
            remedy=error.remedy,
        ) from error


async def _set_mode(environment: Environment, path: str, mode: int) -> None:
    text = f"chmod {mode & 0o7777:o} {shlex.quote(path)}"
    await environment.execute(Command(text, cwd="/", timeout_seconds=10, persistent=False))


async def _put_back(changes: Sequence[Change], environment: Environment) -> str:
    lost = []
    for change in reversed(changes):
        try:
            if change.before is not None:
                if change.after != change.before:
                    await environment.write_bytes(change.path, change.before)
            elif await environment.stat(change.path) is not None:
                await environment.remove(change.path)
        except HermesError:
            lost.append(change.path)
    return ", ".join(lost)


async def _report(changes: Sequence[Change], context: ToolContext) -> ToolResult:
    ledger = context.session.state(FileLedger)
    total_added = total_removed = 0
    lines = []
    for change in changes:
        if change.after is None:
            ledger.forget(change.path)
            lines.append(f"{change.path}: {change.note}")
            continue
        added, removed = await asyncio.to_thread(change_counts, change.old_text, change.new_text)
        total_added, total_removed = total_added + added, total_removed + removed
        notes = [note for note in (change.note, _STALE if change.knowledge == "stale" else "") if note]
        lines.append(f"{change.path}: " + "; ".join([f"+{added} -{removed}", *notes]))
        info = await context.environment.stat(change.path)
        if info is not None and change.knowledge == "current":
            ledger.note(change.path, info, change.after)
        problem = await diagnose(change.path, change.new_text, change.old_text or None)
        if problem:
            lines.append(problem)
    summary = f"+{total_added} -{total_removed}" + (f" in {len(changes)} files" if len(changes) > 1 else "")
    return ToolResult("Patched.\n" + "\n".join(lines), summary=summary)


_STALE = "it had also been changed by somebody else since you read it"
