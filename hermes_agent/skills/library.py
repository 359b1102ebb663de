"""`SkillLibrary`: the skills of one state directory, on disk. Every method blocks."""

from __future__ import annotations

import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from hermes_agent.config.files import exclusive, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.skills import SkillSettings
from hermes_agent.core.errors import ConfigError, StoreBusyError, StoreError, ToolError
from hermes_agent.core.memory import OWNER
from hermes_agent.core.skills import SkillChange, SkillOutcome
from hermes_agent.skills.bundle import SHIPPED, Synced, read_manifest, sync
from hermes_agent.skills.discovery import MAIN_FILE, Found, Skill, discover, safe_path
from hermes_agent.skills.edits import Edits, plan, reverse
from hermes_agent.skills.records import ChangeRecord, Records
from hermes_agent.skills.usage import SkillUsage, UsageFile

LOCK_SECONDS = 10.0
MAX_PROPOSALS = 50
_PLATFORMS = {"darwin": "macos", "linux": "linux", "win32": "windows"}


def _unset(_name: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class LibraryOptions:
    """What a library needs beside its folder.

    Attributes:
        get_variable: Looks up an environment variable.
        redact: Removes secrets from a text.
        shipped: Folder of the skills that come with the program.
    """

    get_variable: Callable[[str], str | None] = _unset
    redact: Callable[[str], str] = str
    shipped: Path = SHIPPED


class SkillLibrary:
    """Finds skills, and changes them under a lock, with a version of each change.

    Args:
        home: The state directory.
        settings: The `skills` section.
        options: See `LibraryOptions`.
    """

    def __init__(
        self, home: Home, settings: SkillSettings, options: LibraryOptions = LibraryOptions()
    ) -> None:
        self.root = home.skills
        self.settings = settings
        self.options = options
        self.usage = UsageFile(self.root)
        self.proposals = Records(home.pending / "skills")
        self._lock = home.run / "skills.lock"

    # -- finding

    def discover(self) -> Found:
        """All skills on disk, also disabled ones, each with whose it is."""
        external = [Path(path).expanduser() for path in self.settings.external_dirs]
        found = discover(self.root, external)
        usage, bundled = self.usage.read(), read_manifest(self.root)
        return replace(
            found, skills=tuple(self._with_source(skill, usage, bundled) for skill in found.skills)
        )

    def usable(self) -> Found:
        """Skills that are enabled and made for this system."""
        found = self.discover()
        disabled = set(self.settings.disabled)
        system = _PLATFORMS.get(sys.platform, sys.platform)
        skills = tuple(
            skill
            for skill in found.skills
            if skill.name not in disabled and (not skill.front.platforms or system in skill.front.platforms)
        )
        return replace(found, skills=skills)

    def get(self, name: str) -> Skill:
        """A usable skill by its exact name. Raises `ToolError`."""
        skills = {skill.name: skill for skill in self.usable().skills}
        if name in skills:
            return skills[name]
        if any(skill.name == name for skill in self.discover().skills):
            raise ToolError(f"The skill {name!r} is switched off or not made for this system")
        raise ToolError(f"There is no skill {name!r}", remedy=f"There are: {', '.join(skills) or 'none'}")

    def _with_source(self, skill: Skill, usage: dict[str, SkillUsage], bundled: dict[str, str]) -> Skill:
        if skill.is_external:
            return replace(skill, source="external")
        if usage.get(skill.name, SkillUsage()).created_by == "agent":
            return replace(skill, source="agent")
        return replace(skill, source="bundled" if skill.folder.name in bundled else "user")

    # -- changing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other writers away. Raises `StoreBusyError`."""
        try:
            with exclusive(self._lock, timeout_seconds=LOCK_SECONDS):
                yield
        except ConfigError as error:
            raise StoreBusyError(
                "Another hermes process is changing the skills", remedy="Try again in a moment."
            ) from error

    def sync_bundled(self) -> Synced:
        """Bring the skills of the program. Raises `StoreError`."""
        if not self.settings.bundled:
            return Synced()
        with self.writing():
            return sync(self.root, self.options.shipped)

    def change(self, change: SkillChange) -> SkillOutcome:
        """Write a change of the agent, or keep it as a proposal. Raises `ToolError`, `StoreError`."""
        with self.writing():
            skill = next((each for each in self.discover().skills if each.name == change.name), None)
            if skill is not None and not _is_inside(skill, self.root):
                raise ToolError(f"The skill {change.name!r} lies outside of {self.root} and is read-only")
            waiting = self.waiting_for(change.name)
            is_own = skill is None or skill.source == "agent"
            is_free = self.settings.write_mode == "auto" and change.principal == OWNER and is_own
            if change.action == "delete":
                if skill is None:
                    raise ToolError(f"There is no skill {change.name!r}")
                record = self._record(change, "delete", {}, waiting)
            else:
                pending = {} if is_free or waiting is None else waiting.edits
                edits = plan(change, skill.folder if skill else None, pending, self.options.redact)
                if not edits:
                    return SkillOutcome("That changes nothing.", "nothing changed")
                record = self._record(change, "edit" if skill else "create", edits, waiting)
            if is_free:
                self._apply(replace(record, id=self._next_version(change.name)), skill)
                return SkillOutcome(f"Done: {record.action} {change.name}.", f"{record.action} {change.name}")
            if waiting is None and len(self.proposals.list()) >= MAX_PROPOSALS:
                raise ToolError(
                    f"{MAX_PROPOSALS} proposals wait already; the person must decide on them first"
                )
            self.proposals.write(record)
        return SkillOutcome(
            f"Proposed (id {record.id}). It takes effect when the user accepts it with: "
            f"hermes skills approve {record.id}",
            f"proposed: {record.action} {change.name} ({record.id})",
            is_pending=True,
        )

    def waiting_for(self, name: str) -> ChangeRecord | None:
        """The proposal for a skill that waits, if there is one."""
        return next((item for item in self.proposals.list() if item.name == name), None)

    def proposal(self, reference: str) -> ChangeRecord:
        """A proposal by its id or its skill's name. Raises `StoreError`."""
        found = self.proposals.find(reference) or self.waiting_for(reference)
        if found is None:
            raise StoreError(
                f"There is no proposal {reference!r}", remedy="hermes skills proposals lists them."
            )
        return found

    def approve(self, reference: str) -> ChangeRecord:
        """Apply a proposal.

        Raises:
            StoreError: There is none, or the skill was changed since it was made; nothing is written then.
        """
        with self.writing():
            record = self.proposal(reference)
            skill = next((each for each in self.discover().skills if each.name == record.name), None)
            applied = replace(record, id=self._next_version(record.name), time=time.time())
            self._apply(applied, skill)
            self.proposals.drop(record.id)
            return applied

    def reject(self, reference: str) -> ChangeRecord:
        """Forget a proposal. Raises `StoreError`."""
        with self.writing():
            record = self.proposal(reference)
            self.proposals.drop(record.id)
            return record

    def versions(self, name: str) -> list[ChangeRecord]:
        """What was applied to a skill through hermes, oldest first."""
        return self._versions(name).list()

    def undo(self, name: str) -> ChangeRecord:
        """Take back the newest change of a skill; that is a version, too. Raises `StoreError`."""
        with self.writing():
            known = self.versions(name)
            # Undoing an undo would go back and forth; what was undone is skipped in pairs.
            stack: list[ChangeRecord] = []
            for record in known:
                if record.origin == "undo" and stack:
                    stack.pop()
                else:
                    stack.append(record)
            if not stack:
                raise StoreError(f"Nothing of the skill {name!r} can be undone")
            last = stack[-1]
            if last.action == "delete":
                raise StoreError(
                    f"{name!r} was deleted", remedy=f"hermes curator restore {name} brings it back."
                )
            skill = next((each for each in self.discover().skills if each.name == name), None)
            action = "delete" if last.action == "create" else "edit"
            record = ChangeRecord(
                self._next_version(name), name, action, time.time(), "undo", "", reverse(last.edits)
            )
            self._apply(record, skill)
            return last

    def archive(self, skill: Skill) -> Path:
        """Move a skill to `.archive/`. Call under the lock. Raises `StoreError`."""
        folder = self.root / ".archive"
        target = folder / skill.name
        if target.exists():
            target = folder / f"{skill.name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(skill.folder, target)
        except OSError as error:
            raise StoreError(f"Cannot archive the skill {skill.name!r}", why=error.strerror) from error
        self.usage.update(skill.name, state="archived")
        return target

    def _versions(self, name: str) -> Records:
        return Records(self.root / ".versions" / name)

    def _next_version(self, name: str) -> str:
        numbers = [int(item.id) for item in self.versions(name) if item.id.isdecimal()]
        return str(max(numbers, default=0) + 1)

    def _record(
        self, change: SkillChange, action: str, edits: Edits, waiting: ChangeRecord | None
    ) -> ChangeRecord:
        identifier = waiting.id if waiting else secrets.token_hex(3)
        return ChangeRecord(
            identifier, change.name, action, time.time(), change.origin, change.session_id, edits
        )

    def _apply(self, record: ChangeRecord, skill: Skill | None) -> None:
        """Write the files of a change, SKILL.md last, and keep a version."""
        if skill is not None and not _is_inside(skill, self.root):
            raise StoreError(f"The skill {record.name!r} lies outside of {self.root}")
        if record.action == "delete":
            if skill is None:
                raise StoreError(f"There is no skill {record.name!r} any more")
            self._versions(record.name).write(record)
            self.archive(skill)
            return
        folder = skill.folder if skill is not None else self.root / record.name
        self._require_unchanged(record, folder)
        for path in sorted(record.edits, key=lambda name: name == MAIN_FILE):
            _write(safe_path(folder, path), record.edits[path].after)
        self._versions(record.name).write(record)
        usage = self.usage.read().get(record.name, SkillUsage())
        if record.action == "create":
            self.usage.update(record.name, created_by="agent", created_at=record.time, state="active")
        else:
            self.usage.update(record.name, patch_count=usage.patch_count + 1)

    def _require_unchanged(self, record: ChangeRecord, folder: Path) -> None:
        for path, edit in record.edits.items():
            target = safe_path(folder, path)
            try:
                now = target.read_text(encoding="utf-8") if target.exists() else None
            except (OSError, UnicodeDecodeError) as error:
                raise StoreError(f"Cannot read {target}", why=str(error)) from error
            if now != edit.before:
                raise StoreError(
                    f"{target} has been changed since the proposal was made",
                    why="Applying it would lose that change.",
                    remedy=f"Look at it: hermes skills diff {record.name}; then reject it, or do it by hand.",
                )


def _is_inside(skill: Skill, root: Path) -> bool:
    return not skill.is_external and skill.folder.resolve().is_relative_to(root.resolve())


def _write(path: Path, text: str | None) -> None:
    try:
        if text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"Cannot write {path}", why=error.strerror) from error
    replace_atomically(path, text.encode("utf-8", "replace"))


def describe(records: Sequence[ChangeRecord]) -> str:
    """One line for each, for people."""
    return "\n".join(
        f"{item.id:<8} {time.strftime('%Y-%m-%d %H:%M', time.localtime(item.time))}  {item.action:<7} "
        f"{item.name}  ({item.origin})"
        for item in records
    )
