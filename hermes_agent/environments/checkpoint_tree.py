"""Writing a directory, as it is now, into the store of snapshots."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hermes_agent.core.errors import CheckpointError
from hermes_agent.environments.checkpoint_git import EXCLUDED, GitStore

COUNT_SECONDS: Final = 5.0
MANY_FILES: Final = 300
"""So many new or changed files go into one pack instead of a file each."""

_SKIPPED_FOLDERS: Final = frozenset(line.rstrip("/") for line in EXCLUDED.splitlines() if line.endswith("/"))


class TreeWriter:
    """Turns directories into trees. Every method blocks.

    Args:
        store: Where to.
        max_file_bytes: Larger files are left out.
        max_files: Directories with more files are refused.
    """

    def __init__(self, store: GitStore, *, max_file_bytes: int, max_files: int) -> None:
        self._store = store
        self._max_file_bytes = max_file_bytes
        self._max_files = max_files

    def write(self, directory: str, touched: Sequence[str] = ()) -> str:
        """Store every file; gives the hash of the tree.

        Args:
            directory: Absolute path.
            touched: Absolute paths that are kept although the project ignores them.

        Raises:
            CheckpointError: The directory is too wide, too large or not there.
        """
        place = Path(directory)
        if place == Path.home() or place == place.parent or self._store.root.is_relative_to(place):
            raise CheckpointError(
                f"{directory} is too wide for snapshots", why="It is a home, or holds the state directory."
            )
        if not place.is_dir():
            raise CheckpointError(f"{directory} is not a directory")
        paths = self._files(directory)
        paths.update(
            os.fsencode(os.path.relpath(path, directory)) for path in touched if os.path.lexists(path)
        )
        kept: list[bytes] = []
        gone: list[bytes] = []
        news = 0
        read_at = self._read_at(directory)
        for path in sorted(paths):
            if path.startswith(b"../"):
                continue
            found = _stat(os.fsencode(directory) + b"/" + path)
            if found is None or found.st_size > self._max_file_bytes:
                gone.append(path)
            else:
                kept.append(path)
                news += max(found.st_mtime, found.st_ctime) >= read_at
        if gone:
            zero = b"0" * 40
            lines = b"".join(b"0 " + zero + b"\t" + path + b"\0" for path in gone)
            self._store.run("update-index", "-z", "--index-info", directory=directory, data=lines)
        if kept:
            self._store.run(
                *("update-index", "-z", "--add", "--remove", "--stdin"),
                directory=directory,
                data=b"\0".join(kept) + b"\0",
                takes_many=news > MANY_FILES,
            )
        return self._store.run("write-tree", directory=directory).decode().strip()

    def _read_at(self, directory: str) -> float:
        """When the files of a directory were last read; 0 if never."""
        try:
            return self._store.index(directory).stat().st_mtime
        except OSError:
            return 0.0

    def _files(self, directory: str) -> set[bytes]:
        """Files that are not ignored, and those in the index. Ends early if there are too many."""
        arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
        started = time.monotonic()
        count = 0
        for _, folders, names in os.walk(directory):
            folders[:] = [name for name in folders if name not in _SKIPPED_FOLDERS]
            count += len(names)
            if time.monotonic() - started > COUNT_SECONDS or count > 4 * self._max_files:
                raise self._too_many(directory)
        found = {path for path in self._store.run(*arguments, directory=directory).split(b"\0") if path}
        # A path with a slash at its end is a repository inside this one.
        found = {path for path in found if not path.endswith(b"/")}
        if len(found) > self._max_files:
            raise self._too_many(directory)
        return found

    def _too_many(self, directory: str) -> CheckpointError:
        return CheckpointError(
            f"{directory} has too many files for snapshots",
            why=f"More than {self._max_files:,}.",
            remedy="Let .gitignore leave out what is generated, or work in a smaller directory.",
        )


def _stat(path: bytes) -> os.stat_result | None:
    """A readable file or a link; None for anything else, or nothing."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if stat.S_ISLNK(found.st_mode):
        return found
    return found if stat.S_ISREG(found.st_mode) and os.access(path, os.R_OK) else None
