"""The curator: looks after the skills that the agent wrote. Skills of anybody else are never touched.

A round marks what was not used for a while as stale and moves what was not used for long to `.archive/`,
after a backup. Nothing is ever deleted, and every round leaves a report.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from hermes_agent.config.files import ensure_directory, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.curator import CuratorSettings
from hermes_agent.core.errors import StoreError
from hermes_agent.core.loading import load
from hermes_agent.skills.discovery import MAIN_FILE, Skill
from hermes_agent.skills.front_matter import NAME
from hermes_agent.skills.library import SkillLibrary
from hermes_agent.skills.usage import SkillUsage

MAX_BACKUPS = 10
MAX_BACKUP_BYTES = 200_000_000
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class CuratorState:
    """`skills/.curator.json`. Times are Unix seconds; 0 is never."""

    last_run_at: float = 0.0
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What a round does with one skill."""

    name: str
    action: Literal["keep", "stale", "archive"]
    reason: str


@dataclass(slots=True)
class Round:
    """A round and its report."""

    started_at: float
    is_dry: bool
    decisions: list[Decision] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)
    backup: str = ""
    report: str = ""


class Curator:
    """See the module. Every method blocks.

    Args:
        home: The state directory.
        library: Its skills.
        settings: The `curator` section.
    """

    def __init__(self, home: Home, library: SkillLibrary, settings: CuratorSettings) -> None:
        self._library = library
        self._settings = settings
        self._root = library.root
        self._logs = home.logs / "curator"
        self._backups = self._root / ".curator_backups"
        self._state_file = self._root / ".curator.json"

    def state(self) -> CuratorState:
        """When it ran last and whether it is paused."""
        try:
            data = json.loads(self._state_file.read_text(encoding="utf-8"))
            return CuratorState(float(data["last_run_at"]), bool(data["is_paused"]))
        except (OSError, ValueError, TypeError, KeyError):
            return CuratorState()

    def pause(self, is_paused: bool) -> None:
        """Stop or resume automatic rounds."""
        with self._library.writing():
            self._keep(CuratorState(self.state().last_run_at, is_paused))

    def is_due(self, idle_seconds: float, now: float | None = None) -> bool:
        """Whether an automatic round should start. The very first one is put off by a whole interval."""
        now = time.time() if now is None else now
        if self._settings.enabled and not self.state().last_run_at and self._root.is_dir():
            with self._library.writing():
                self._keep(CuratorState(now, self.state().is_paused))
            return False
        return self._is_time(idle_seconds, now)

    def _is_time(self, idle_seconds: float, now: float) -> bool:
        settings, state = self._settings, self.state()
        return (
            settings.enabled
            and not state.is_paused
            and state.last_run_at > 0
            and now - state.last_run_at >= settings.interval_hours * 3600
            and idle_seconds >= settings.min_idle_hours * 3600
        )

    def run_if_due(self, idle_seconds: float, now: float | None = None) -> Round | None:
        """An automatic round; None if it is not time for one. Of several processes only one does it.

        Raises:
            StoreError: As `run`.
        """
        now = time.time() if now is None else now
        if not self.is_due(idle_seconds, now):
            return None
        with self._library.writing():
            if not self._is_time(idle_seconds, now):  # another process was quicker
                return None
            return self._go_round(Round(now, is_dry=False))

    def run(self, *, is_dry: bool = False, now: float | None = None) -> Round:
        """One round. Raises `StoreError`; then nothing but a backup may have been written."""
        with self._library.writing():
            return self._go_round(Round(time.time() if now is None else now, is_dry))

    def _go_round(self, done: Round) -> Round:
        now, is_dry = done.started_at, done.is_dry
        usage = self._library.usage.read()
        skills = self._library.discover().skills
        for skill in skills:
            figures = usage.get(skill.name, SkillUsage())
            if skill.source != "agent" or figures.pinned:
                done.untouched.append(skill.name)
            else:
                done.decisions.append(self._decide(skill, figures, now))
        by_name = {skill.name: skill for skill in skills}
        archived = [each for each in done.decisions if each.action == "archive"]
        if not is_dry:
            if archived:
                done.backup = str(self.backup(is_locked=True))
            for decision in done.decisions:
                if decision.action == "archive":
                    self._library.archive(by_name[decision.name])
                else:
                    state = "stale" if decision.action == "stale" else "active"
                    self._library.usage.update(decision.name, state=state)
            self._keep(CuratorState(now, self.state().is_paused))
        done.report = str(self._report(done))
        return done

    def _decide(self, skill: Skill, figures: SkillUsage, now: float) -> Decision:
        since = max(figures.last_used_at, figures.created_at)
        if not since:
            try:
                since = (skill.folder / MAIN_FILE).stat().st_mtime
            except OSError:
                since = now
        days = (now - since) / _DAY
        reason = f"not used for {days:.0f} days"
        if days >= self._settings.archive_after_days:
            return Decision(skill.name, "archive", reason)
        if days >= self._settings.stale_after_days:
            return Decision(skill.name, "stale", reason)
        return Decision(skill.name, "keep", f"used {max(0.0, days):.0f} days ago")

    # -- by hand

    def pin(self, name: str, is_pinned: bool) -> None:
        """Exempt a skill from rounds, or no longer. Raises `StoreError`."""
        with self._library.writing():
            self._require(name)
            self._library.usage.update(name, pinned=is_pinned)

    def archive(self, name: str) -> Path:
        """Archive one skill because the person says so. Raises `StoreError`."""
        with self._library.writing():
            skill = self._require(name)
            if skill.is_external:
                raise StoreError(f"{name!r} lies in an external directory and is read-only")
            return self._library.archive(skill)

    def prune(self, days: float, now: float | None = None) -> list[str]:
        """Archive the agent's unpinned skills that were not used for so many days."""
        now = time.time() if now is None else now
        settings = self._settings.model_copy(update={"archive_after_days": days, "stale_after_days": days})
        done = Curator(Home(self._root.parent), self._library, settings).run(now=now)
        return [decision.name for decision in done.decisions if decision.action == "archive"]

    def archived(self) -> list[str]:
        """Names of folders in the archive."""
        folder = self._root / ".archive"
        return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []

    def restore(self, name: str) -> Path:
        """Bring a skill back from the archive. Raises `StoreError`."""
        with self._library.writing():
            if name not in self.archived():
                raise StoreError(
                    f"The archive has no skill {name!r}", remedy="hermes curator list-archived lists it."
                )
            skill_name = _name_in(self._root / ".archive" / name) or name
            target = self._root / skill_name
            if target.exists():
                raise StoreError(f"{target} exists", remedy="Move it away first.")
            (self._root / ".archive" / name).rename(target)
            # As if used now: otherwise the next round would archive it again.
            self._library.usage.update(skill_name, state="active", last_used_at=time.time())
            return target

    # -- backups

    def backups(self) -> list[Path]:
        """Backups, oldest first."""
        return sorted(self._backups.glob("*/skills.tar.gz"))

    def backup(self, *, is_locked: bool = False) -> Path:
        """Save all skills to `.curator_backups/<utc>/skills.tar.gz`. Raises `StoreError`."""
        if not is_locked:
            with self._library.writing():
                return self.backup(is_locked=True)
        base = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        folder, number = self._backups / base, 1
        while folder.exists():
            number += 1
            folder = self._backups / f"{base}-{number}"
        path = folder / "skills.tar.gz"
        try:
            folder.mkdir(mode=0o700, parents=True)
            replace_atomically(
                path, load("hermes_agent.skills.archive:pack")(self._root, MAX_BACKUP_BYTES), mode=0o600
            )
            for old in self.backups()[:-MAX_BACKUPS]:
                old.unlink(missing_ok=True)
                old.parent.rmdir()
        except OSError as error:
            raise StoreError(f"Cannot write the backup {path}", why=error.strerror) from error
        return path

    def rollback(self) -> tuple[Path, Path]:
        """Put all skills back as the newest backup has them, after a backup of how they are now.

        Skills that came since stay. Returns the backup used and the new one. Raises `StoreError`.
        """
        with self._library.writing():
            known = self.backups()
            if not known:
                raise StoreError("There is no backup to go back to")
            saved = self.backup(is_locked=True)
            try:
                load("hermes_agent.skills.archive:unpack")(known[-1], self._root)
            except (OSError, EOFError, ValueError) as error:
                raise StoreError(f"Cannot read the backup {known[-1]}", why=str(error)) from error
            return known[-1], saved

    # -- files

    def _require(self, name: str) -> Skill:
        for skill in self._library.discover().skills:
            if skill.name == name:
                return skill
        raise StoreError(f"There is no skill {name!r}", remedy="hermes skills list shows them.")

    def _keep(self, state: CuratorState) -> None:
        ensure_directory(self._root)
        replace_atomically(self._state_file, json.dumps(asdict(state)).encode(), mode=0o600)

    def _report(self, done: Round) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(done.started_at))
        folder = self._logs / (f"{stamp}-dry" if done.is_dry else stamp)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"Cannot write {folder}", why=error.strerror) from error
        replace_atomically(folder / "run.json", json.dumps(asdict(done), indent=1).encode(), mode=0o600)
        replace_atomically(folder / "REPORT.md", markdown(done).encode(), mode=0o600)
        return folder / "REPORT.md"


def markdown(done: Round) -> str:
    """The report of a round."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(done.started_at))
    lines = [f"# Skills, {when}{' (dry run: nothing was changed)' if done.is_dry else ''}", ""]
    titles = {"archive": "Archived", "stale": "Stale", "keep": "Kept"}
    for action, title in titles.items():
        chosen = [each for each in done.decisions if each.action == action]
        if chosen:
            lines += [f"## {title}", "", *(f"- {each.name}: {each.reason}" for each in chosen), ""]
    if done.untouched:
        lines += ["## Not the curator's business", "", ", ".join(done.untouched), ""]
    if done.backup:
        lines += [f"Backup: {done.backup}", ""]
    return "\n".join(lines)


def summary(done: Round) -> str:
    """One line for people."""
    counts: Sequence[str] = [
        f"{sum(each.action == action for each in done.decisions)} {word}"
        for action, word in (("archive", "archived"), ("stale", "stale"), ("keep", "kept"))
    ]
    return ", ".join(counts) + f", {len(done.untouched)} not the curator's business"


def _name_in(folder: Path) -> str | None:
    """The name of an archived skill: its folder's, without the suffix that made room in the archive."""
    stem = folder.name
    parts = stem.rsplit("-", 3)
    if len(parts) == 4 and parts[1].isdecimal() and len(parts[1]) == 8 and parts[2].isdecimal():
        stem = parts[0]
    return stem if NAME.fullmatch(stem) else None
