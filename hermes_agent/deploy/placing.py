"""Putting files in place as the service user: only what differs, atomically, never through a link."""

from __future__ import annotations

import difflib
import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hermes_agent.config.files import replace_atomically
from hermes_agent.core.errors import StoreUnwritableError


@dataclass
class Report:
    """What an activation did, or would do.

    Attributes:
        changes: One line each.
        warnings: What a person should look at.
        diffs: Unified diffs (a dry run only).
    """

    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    diffs: list[str] = field(default_factory=list)


class Placer:
    """Writes files, links and directories and reports what changed.

    Args:
        report: Gets a line for each change.
        dry_run: Report only.
    """

    def __init__(self, report: Report, *, dry_run: bool = False) -> None:
        self.report = report
        self.is_dry_run = dry_run

    def directory(self, path: Path, mode: int) -> None:
        """Make a directory; one that exists keeps its mode.

        Raises:
            StoreUnwritableError: A link or a file is in the way, or it cannot be made.
        """
        known = lstat(path)
        if known is not None:
            if not stat.S_ISDIR(known.st_mode):
                raise in_the_way(path, known)
            return
        self.report.changes.append(f"{path}: made")
        if self.is_dry_run:
            return
        try:
            path.mkdir(parents=True)
            try:
                path.chmod(mode)
            except PermissionError:
                # Some sandboxes forbid the set-group-id bit; the permissions themselves are not lost.
                path.chmod(mode & 0o777)
                self.report.warnings.append(f"{path} could not get the mode {mode:04o}")
        except OSError as error:
            raise _failed(path, error) from error

    def write(self, path: Path, data: bytes, *, mode: int, note: str = "", is_secret: bool = False) -> bool:
        """Write a file; False if it was like that already.

        Args:
            path: The file; its directory exists.
            data: Its content.
            mode: Its permission bits, also of a file that exists.
            note: For the report: what changed in it.
            is_secret: Never show the content.

        Raises:
            StoreUnwritableError: A link or a directory is in the way, or it cannot be written.
        """
        known = lstat(path)
        if known is not None and not stat.S_ISREG(known.st_mode):
            raise in_the_way(path, known)
        old = self.read(path)
        if old == data and known is not None and stat.S_IMODE(known.st_mode) == mode:
            return False
        verb = "written" if old is None else "changed" if old != data else f"mode is {mode:04o} now"
        self.report.changes.append(f"{path}: {verb}{f' ({note})' if note else ''}")
        if self.is_dry_run:
            if not is_secret and old != data:
                self.report.diffs.append(_diff(path, old or b"", data))
            return True
        try:
            if known is not None and stat.S_IMODE(known.st_mode) != mode and known.st_uid == os.geteuid():
                path.chmod(mode)
        except OSError as error:
            raise _failed(path, error) from error
        if old != data:
            replace_atomically(path, data, mode=mode)
        return True

    def read(self, path: Path) -> bytes | None:
        """The bytes of a plain file, None if there is none.

        Raises:
            StoreUnwritableError: It is a link or a directory, or cannot be read.
        """
        known = lstat(path)
        if known is None:
            return None
        if not stat.S_ISREG(known.st_mode):
            raise in_the_way(path, known)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read()
        except OSError as error:
            raise _failed(path, error) from error

    def link(self, path: Path, target: Path) -> None:
        """Make a link of ours, or let it lead elsewhere.

        Raises:
            StoreUnwritableError: Something that is no link is in the way.
        """
        known = lstat(path)
        if known is not None and not stat.S_ISLNK(known.st_mode):
            raise in_the_way(path, known)
        if known is not None and path.readlink() == target:
            return
        self.report.changes.append(f"{path}: leads to {target}")
        if self.is_dry_run:
            return
        temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
        try:
            temporary.symlink_to(target)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise _failed(path, error) from error

    def remove(self, path: Path, why: str) -> None:
        """Remove a file or a link."""
        if lstat(path) is None:
            return
        self.report.changes.append(f"{path}: removed ({why})")
        if not self.is_dry_run:
            try:
                path.unlink()
            except OSError as error:
                raise _failed(path, error) from error

    def set_aside(self, path: Path, backups: Path, why: str) -> None:
        """Keep a file that cannot be used, under a name nothing has yet."""
        number = 1
        while lstat(backups / f"{path.name}.broken-{number}") is not None:
            number += 1
        kept = backups / f"{path.name}.broken-{number}"
        self.report.warnings.append(f"{path} was set aside as {kept}: {why}")
        self.directory(backups, 0o700)
        if not self.is_dry_run:
            try:
                path.rename(kept)
            except OSError as error:
                raise _failed(path, error) from error

    def remove_leftovers(self, directory: Path, names: Sequence[str]) -> None:
        """Remove what an activation that was killed left while it wrote one of these files."""
        if self.is_dry_run or lstat(directory) is None:
            return
        for name in names:
            for path in directory.glob(f".{name}.*.tmp"):
                known = lstat(path)
                if known is not None and not stat.S_ISDIR(known.st_mode) and known.st_uid == os.geteuid():
                    path.unlink(missing_ok=True)


def lstat(path: Path) -> os.stat_result | None:
    """What is at a path, links not followed; None if nothing is.

    Raises:
        StoreUnwritableError: A directory on the way cannot be read, or is none.
    """
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(path, error) from error


def in_the_way(path: Path, known: os.stat_result) -> StoreUnwritableError:
    """The error for something that an activation did not put there."""
    if stat.S_ISLNK(known.st_mode):
        return StoreUnwritableError(
            f"{path} is a symbolic link that the activation did not make",
            why="It is left alone: it could lead anywhere.",
            remedy=f"See where it leads, then remove it: ls -l '{path}'; rm '{path}'",
        )
    kind = "a directory" if stat.S_ISDIR(known.st_mode) else "not what belongs there"
    return StoreUnwritableError(f"{path} is {kind}", remedy=f"Move it away: mv '{path}' '{path}.old'")


def _failed(path: Path, error: OSError) -> StoreUnwritableError:
    remedies = {
        errno.EROFS: "The file system is read-only: mount it writable, or choose another stateDir.",
        errno.ENOSPC: "Free some disk space and activate again.",
    }
    default = f"Check owner and mode: ls -ld '{path.parent}' '{path}'"
    return StoreUnwritableError(
        f"Cannot put {path} in place", why=error.strerror, remedy=remedies.get(error.errno or 0, default)
    )


def _diff(path: Path, old: bytes, new: bytes) -> str:
    lines = difflib.unified_diff(
        old.decode("utf-8", "replace").splitlines(),
        new.decode("utf-8", "replace").splitlines(),
        str(path),
        str(path),
        lineterm="",
    )
    return "\n".join(lines)
