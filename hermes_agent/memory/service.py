"""`FileMemory`: the memory port on files, with limits, scans, an approval queue and undo."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.memory import MemorySettings
from hermes_agent.core.errors import StoreError, ToolError
from hermes_agent.core.injection import find_orders
from hermes_agent.core.memory import (
    OWNER,
    MemoryChange,
    MemoryEntry,
    MemoryOutcome,
    MemoryTarget,
    MemoryView,
)
from hermes_agent.memory.files import FILE_NAMES, MemoryFiles, require_writable
from hermes_agent.memory.format import clean, one_line, parse, size
from hermes_agent.memory.journal import Record, next_id
from hermes_agent.memory.queue import Queue

_TITLES: dict[MemoryTarget, str] = {
    "memory": "# Memory (your notes from earlier sessions)",
    "user": "# The user (what you know of them)",
}


@dataclass(frozen=True, slots=True)
class _Edit:
    """A change worked out against the entries as they are."""

    texts: tuple[str, ...]
    removed: tuple[tuple[int, str], ...]
    added: tuple[tuple[int, str], ...]
    evicted: tuple[tuple[int, str], ...] = ()


class FileMemory:
    """See `core.memory.Memory`.

    Args:
        home: The state directory.
        settings: The `memory` section.
        redact: Removes secrets from a text; one that it would change is not stored.
    """

    def __init__(self, home: Home, settings: MemorySettings, redact: Callable[[str], str] = str) -> None:
        self._home = home
        self._settings = settings
        self._redact = redact
        self.queue = Queue(home)

    def files(self, principal: str = OWNER) -> MemoryFiles:
        """The files of a principal."""
        return MemoryFiles(self._home, principal)

    def limit(self, target: MemoryTarget) -> int:
        """Characters that fit."""
        return self._settings.user_char_limit if target == "user" else self._settings.memory_char_limit

    def is_enabled(self, target: MemoryTarget) -> bool:
        """Whether this file is used."""
        settings = self._settings
        return settings.user_profile_enabled if target == "user" else settings.memory_enabled

    async def change(self, change: MemoryChange) -> MemoryOutcome:
        """Do it, or queue it. Raises `ToolError` and `StoreError`."""
        return await asyncio.to_thread(self.change_now, change)

    async def view(self, target: MemoryTarget, principal: str = OWNER) -> MemoryView:
        """The entries of one file. Raises `StoreError`."""
        return await asyncio.to_thread(self.view_now, target, principal)

    async def snapshot(self, principal: str = OWNER) -> tuple[str, Sequence[str]]:
        """The block for the system prompt, and warnings."""
        return await asyncio.to_thread(self._snapshot, principal)

    def view_now(self, target: MemoryTarget, principal: str = OWNER) -> MemoryView:
        """`view`, blocking."""
        files = self.files(principal)
        content = files.read(target)
        entries = files.entries(target)
        used, limit = size(content.texts), self.limit(target)
        warnings = [content.problem] if content.problem else []
        if used > limit:
            warnings.append(
                f"{files.path(target)} holds {used:,} characters, {limit:,} are allowed; "
                "what does not fit is left out of the prompt."
            )
        warnings.extend(
            f"An entry of {FILE_NAMES[target]} was left out of the prompt: it contains {reason} "
            f"({one_line(entry.text, 40)!r})."
            for entry in entries
            if (reason := find_orders(entry.text)) is not None
        )
        return MemoryView(target, entries, used, limit, tuple(warnings))

    def change_now(self, change: MemoryChange, *, is_approved: bool = False) -> MemoryOutcome:
        """`change`, blocking; an approved change is not queued again."""
        if not self.is_enabled(change.target):
            raise ToolError(f"The {change.target!r} memory is switched off in the configuration")
        content = clean(change.content)
        if change.action != "remove":
            self._require_harmless(content)
        files = self.files(change.principal)
        with files.writing():
            current = files.read(change.target)
            require_writable(current)
            edit = self._plan(change, content, files, current.texts)
            if edit is None:
                return MemoryOutcome(
                    f"That is in memory already. {self._usage(change.target, current.texts)}", "known already"
                )
            summary = _summary(change.action, content, edit)
            if self._settings.write_approval and not is_approved:
                waiting = self.queue.put(change)
                return MemoryOutcome(
                    f"The change waits for the user's approval (id {waiting.id}); it is not in memory yet.",
                    f"waits for approval ({waiting.id}): {summary}",
                    is_pending=True,
                )
            self._write(files, change, edit)
        text = f"Saved for later sessions. {self._usage(change.target, edit.texts)}"
        if edit.evicted:
            text += "\nTo make room, the oldest went: " + "; ".join(one_line(old) for _, old in edit.evicted)
        return MemoryOutcome(text, summary)

    def _require_harmless(self, content: str) -> None:
        if not content:
            raise ToolError("content is empty")
        if (reason := find_orders(content)) is not None:
            raise ToolError(
                f"Not stored: the text contains {reason}",
                why="Memory is read at the start of every session, so orders in it would be obeyed for good.",
            )
        if self._redact(content) != content:
            raise ToolError(
                "Not stored: the text contains something that looks like a secret",
                remedy="Remember where the secret is kept, not the secret.",
            )

    def _plan(
        self, change: MemoryChange, content: str, files: MemoryFiles, texts: tuple[str, ...]
    ) -> _Edit | None:
        """The entries afterwards; None if there is nothing to do."""
        limit = self.limit(change.target)
        if change.action == "add":
            if content in texts:
                return None
            after = (*texts, content)
            if size(after) <= limit:
                return _Edit(after, (), ((len(texts), content),))
            return self._make_room(change, content, files, texts)
        at = self._find(change, texts)
        if change.action == "remove":
            return _Edit((*texts[:at], *texts[at + 1 :]), ((at, texts[at]),), ())
        if content in texts:
            if texts[at] == content:
                return None
            return _Edit((*texts[:at], *texts[at + 1 :]), ((at, texts[at]),), ())
        after = (*texts[:at], content, *texts[at + 1 :])
        if size(after) > limit and size(after) >= size(texts):
            raise self._full(change, after, texts)
        return _Edit(after, ((at, texts[at]),), ((at, content),))

    def _make_room(
        self, change: MemoryChange, content: str, files: MemoryFiles, texts: tuple[str, ...]
    ) -> _Edit:
        if self._settings.when_full != "evict" or len(content) > self.limit(change.target):
            raise self._full(change, (*texts, content), texts)
        by_age = sorted(enumerate(files.entries(change.target)), key=lambda item: item[1].added_at)
        evicted: list[tuple[int, str]] = []
        kept = list(texts)
        for at, entry in by_age:
            if size((*kept, content)) <= self.limit(change.target):
                break
            evicted.append((at, entry.text))
            kept.remove(entry.text)
        return _Edit((*kept, content), (), ((len(kept), content),), tuple(evicted))

    def _full(self, change: MemoryChange, after: Sequence[str], texts: Sequence[str]) -> ToolError:
        entries = "\n".join(f"- {text}" for text in texts)
        limit = self.limit(change.target)
        return ToolError(
            f"Not stored: {FILE_NAMES[change.target]} would have {size(after):,} characters, "
            f"{limit:,} are allowed. {self._usage(change.target, texts)}",
            why=f"Current entries:\n{entries}" if entries else None,
            remedy="Merge or shorten entries (replace), remove what is outdated, then try again.",
        )

    def _find(self, change: MemoryChange, texts: Sequence[str]) -> int:
        wanted = change.old_text.strip()
        if not wanted:
            raise ToolError(f"{change.action} needs old_text: a part of the entry meant")
        exact = [at for at, text in enumerate(texts) if text == wanted]
        found = exact or [at for at, text in enumerate(texts) if wanted in text]
        found = found or [at for at, text in enumerate(texts) if wanted.casefold() in text.casefold()]
        if len(found) == 1:
            return found[0]
        listed = "\n".join(f"- {texts[at]}" for at in (found or range(len(texts))))
        many = "more than one entry contains" if found else "no entry contains"
        raise ToolError(
            f"Nothing was changed: {many} {one_line(wanted)!r}",
            why=f"Entries:\n{listed}" if listed else f"{FILE_NAMES[change.target]} is empty.",
        )

    def _write(self, files: MemoryFiles, change: MemoryChange, edit: _Edit) -> None:
        records = files.journal.read()
        record = Record(
            id=next_id(records),
            time=time.time(),
            target=change.target,
            action="evict" if edit.evicted else change.action,
            origin=change.origin,
            session_id=change.session_id,
            removed=edit.removed + edit.evicted,
            added=edit.added,
        )
        files.store(edit.texts, record)

    def _usage(self, target: MemoryTarget, texts: Sequence[str]) -> str:
        used, limit = size(texts), self.limit(target)
        share = f" ({100 * used // limit} %)" if limit else ""
        entries = "1 entry" if len(texts) == 1 else f"{len(texts)} entries"
        return f"{FILE_NAMES[target]}: {entries}, {used:,} of {limit:,} characters{share}."

    def _snapshot(self, principal: str) -> tuple[str, Sequence[str]]:
        blocks: list[str] = []
        warnings: list[str] = []
        for target in FILE_NAMES:
            if not self.is_enabled(target):
                continue
            try:
                view = self.view_now(target, principal)
            except StoreError as error:
                warnings.append("; ".join(error.lines))
                continue
            warnings.extend(view.warnings)
            shown = _fitting(view.entries, view.limit_chars)
            if shown:
                blocks.append(_TITLES[target] + "\n" + "\n".join(f"- {_indented(text)}" for text in shown))
        return "\n\n".join(blocks), warnings


def _fitting(entries: Sequence[MemoryEntry], limit: int) -> list[str]:
    """Harmless entries, the first ones that fit."""
    shown: list[str] = []
    for entry in entries:
        if find_orders(entry.text) is None and size([*shown, entry.text]) <= limit:
            shown.append(entry.text)
    return shown


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def _summary(action: str, content: str, edit: _Edit) -> str:
    gone = one_line(edit.removed[0][1]) if edit.removed else ""
    if action == "remove":
        return f"− {gone}"
    if action == "replace":
        return f"{gone} → {one_line(content)}"
    room = f" (dropped {len(edit.evicted)} old)" if edit.evicted else ""
    return f"+ {one_line(content)}{room}"


def import_text(memory: FileMemory, target: MemoryTarget, text: str) -> tuple[int, list[str]]:
    """Add every entry of a text; returns how many came and what was refused."""
    added, refused = 0, []
    for entry in parse(text):
        try:
            outcome = memory.change_now(MemoryChange("add", target, entry, origin="person"), is_approved=True)
        except ToolError as error:
            refused.append(f"{one_line(entry)}: {error.message}")
            continue
        added += outcome.summary.startswith("+")
    return added, refused
