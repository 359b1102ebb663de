"""Finding skill folders, and reading files in them without leaving them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hermes_agent.core.errors import ToolError
from hermes_agent.core.injection import find_orders
from hermes_agent.core.skills import SkillSource
from hermes_agent.skills.front_matter import MAX_CHARS, FrontMatter, SkillFormatError, parse

MAX_DEPTH = 4
MAX_FOLDERS = 5_000
MAX_FILE_BYTES = 1_048_576
MAX_LISTED_FILES = 50
MAIN_FILE = "SKILL.md"


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill on disk."""

    front: FrontMatter
    folder: Path
    is_external: bool = False
    source: SkillSource = "user"

    @property
    def name(self) -> str:
        """Its name, from the front matter."""
        return self.front.name


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. `problems` are lines for people about folders that cannot be used."""

    skills: tuple[Skill, ...]
    problems: tuple[str, ...]


def discover(own: Path, external: Sequence[Path]) -> Found:
    """All skills, by name. Of equal names the first counts: own ones before external ones."""
    skills: dict[str, Skill] = {}
    problems: list[str] = []
    for root, is_external in [(own, False), *((each, True) for each in external)]:
        if is_external and not root.is_dir():
            problems.append(f"{root} (skills.external_dirs) is not a directory")
            continue
        for folder in _folders(root, problems):
            try:
                front, _body = parse(read_text(folder, MAIN_FILE))
                _require_harmless(front)
            except (SkillFormatError, ToolError) as error:
                problems.append(f"{folder}: {error}")
                continue
            known = skills.get(front.name)
            if known is not None:
                problems.append(f"{folder}: the name {front.name!r} is taken by {known.folder}")
                continue
            skills[front.name] = Skill(front, folder, is_external)
    return Found(tuple(skills[name] for name in sorted(skills)), tuple(problems))


def _require_harmless(front: FrontMatter) -> None:
    """A description stands in every prompt, so it gets the strictest look."""
    if (reason := find_orders(front.description)) is not None:
        raise SkillFormatError(f"its description contains {reason}")


def _folders(root: Path, problems: list[str]) -> Iterator[Path]:
    """Folders with a SKILL.md, in a stable order; hidden ones and those below a skill are skipped."""
    waiting = [(root, 0)]
    visited: set[tuple[int, int]] = set()
    while waiting:
        folder, depth = waiting.pop(0)
        try:
            known = folder.stat()
            if (known.st_dev, known.st_ino) in visited:
                continue  # a link back up
            visited.add((known.st_dev, known.st_ino))
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if depth:
                problems.append(f"{folder}: {error.strerror}")
            continue
        if depth and any(entry.name == MAIN_FILE for entry in inside):
            yield folder
            continue
        if len(visited) > MAX_FOLDERS:
            problems.append(f"{root} has more than {MAX_FOLDERS:,} folders; the rest was not looked at")
            return
        if depth < MAX_DEPTH:
            waiting += [
                (Path(entry.path), depth + 1)
                for entry in inside
                if not entry.name.startswith(".") and _may_enter(entry, root, problems)
            ]


def _may_enter(entry: os.DirEntry[str], root: Path, problems: list[str]) -> bool:
    """Whether this is a folder to look into, or a link to one; not a link to what holds all of it."""
    try:
        if not entry.is_dir():
            return False
        if entry.is_symlink() and root.resolve().is_relative_to(target := Path(entry.path).resolve()):
            problems.append(f"{entry.path}: a link to {target}, which holds the skills themselves")
            return False
    except OSError as error:  # a link to where we may not look
        problems.append(f"{entry.path}: {error.strerror}")
        return False
    return True


def safe_path(folder: Path, file_path: str) -> Path:
    """The path of a file in a skill.

    Raises:
        ToolError: It would lie outside of the skill.
    """
    pure = PurePosixPath(file_path)
    if (
        not file_path
        or "\\" in file_path
        or "\x00" in file_path
        or pure.is_absolute()
        or any(part == ".." or part.startswith(".") for part in pure.parts)
    ):
        raise ToolError(f"{file_path!r} is not a file path within a skill")
    path = folder / pure
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ToolError(f"{file_path!r} leads out of the skill")
    return path


def read_text(folder: Path, file_path: str) -> str:
    """A text file of a skill.

    Raises:
        ToolError: It is not there, lies elsewhere, is too large, or is no text.
    """
    path = safe_path(folder, file_path)
    limit = 4 * MAX_CHARS if file_path == MAIN_FILE else MAX_FILE_BYTES
    try:
        known = path.stat()
        if not stat.S_ISREG(known.st_mode):
            raise ToolError(f"{file_path} is not a file")
        if known.st_size > limit:
            raise ToolError(f"{file_path} is larger than {limit:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise ToolError(f"{file_path} cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError(f"{file_path} is not UTF-8 text; use it by its path: {path}") from error


def list_files(folder: Path) -> list[str]:
    """Relative paths of a skill's files without SKILL.md, hidden ones and links out of it; at most 50."""
    found: list[str] = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            relative = str((Path(base) / name).relative_to(folder))
            if not name.startswith(".") and relative != MAIN_FILE:
                found.append(relative)
        if len(found) > MAX_LISTED_FILES:
            return [*found[:MAX_LISTED_FILES], "…"]
    return found
