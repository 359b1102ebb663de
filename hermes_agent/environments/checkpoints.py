"""Snapshots of directories in a git store of our own.

Each directory has a chain of commits at `refs/hermes/<hash>`: taken (`checkpoint_tree`), listed, compared,
restored, and forgotten when they are too old or too many.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from hermes_agent.core.checkpoints import DirectorySummary, Restored, Snapshot
from hermes_agent.core.errors import CheckpointError
from hermes_agent.environments.checkpoint_git import GitStore
from hermes_agent.environments.checkpoint_tree import TreeWriter

MAX_FILES: Final = 50_000
DIFF_CHARS: Final = 30_000
TIDY_SECONDS: Final = 86_400.0

_PROJECT_MARKS: Final = (
    ".git",
    ".hg",
    "pyproject.toml",
    "package.json",
    "Cargo.toml",
    "go.mod",
    "flake.nix",
    "Makefile",
)

ResultT = TypeVar("ResultT")


class GitCheckpoints:
    """See `core.checkpoints.CheckpointStore`.

    Args:
        root: `checkpoints` in the state directory.
        max_snapshots: Kept for one directory.
        max_total_bytes: Of the whole store.
        max_file_bytes: Larger files are left out.
        retention_seconds: Older snapshots are forgotten.
        max_files: Directories with more files get no snapshots.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_snapshots: int = 20,
        max_total_bytes: int = 500 << 20,
        max_file_bytes: int = 10 << 20,
        retention_seconds: float = 7 * 86_400,
        max_files: int = MAX_FILES,
    ) -> None:
        self._root = root
        self._store = GitStore(root)
        self._tree = TreeWriter(self._store, max_file_bytes=max_file_bytes, max_files=max_files)
        self._max_snapshots = max_snapshots
        self._max_total_bytes = max_total_bytes
        self._retention_seconds = retention_seconds

    def root_of(self, path: str, *, cwd: str) -> str:
        """The nearest folder that looks like a project; else the current directory; else its own folder."""
        place, here, home = Path(path), Path(cwd), Path.home()
        folder = place if place == here else place.parent
        for above in (folder, *folder.parents):
            if above in (home, Path(above.anchor)):
                break
            if any((above / mark).exists() for mark in _PROJECT_MARKS):
                return str(above)
        is_below = place.is_relative_to(here) and here not in (home, Path(here.anchor))
        return str(here if is_below else folder)

    async def take(self, directory: str, reason: str, touched: tuple[str, ...] = ()) -> Snapshot | None:
        """Take a snapshot; None if nothing has changed since the last one. Raises `CheckpointError`."""
        return await self._locked(lambda: self._take(directory, reason, touched))

    async def snapshots(self, directory: str) -> tuple[Snapshot, ...]:
        """Newest first."""
        return await asyncio.to_thread(self._list, directory)

    async def diff(self, directory: str, number: int) -> str:
        """What has changed since. Raises `CheckpointError`."""
        return await self._locked(lambda: self._diff(directory, number))

    async def restore(self, directory: str, number: int, path: str | None = None) -> Restored:
        """Bring all files, or one, back. Raises `CheckpointError`."""
        return await self._locked(lambda: self._restore(directory, number, path))

    async def directories(self) -> tuple[DirectorySummary, ...]:
        """All directories with snapshots."""
        return await asyncio.to_thread(self._directories)

    async def prune(self, *, everything: bool = False) -> int:
        """Forget snapshots that are too old, too many or too large; says how many."""
        return await self._locked(lambda: self._prune(everything=everything))

    def size(self) -> int:
        """Bytes of the whole store. Blocks."""
        return self._store.size()

    async def _locked(self, work: Callable[[], ResultT]) -> ResultT:
        def locked() -> ResultT:
            try:
                self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise self._store.unusable(error) from error
            with _lock(self._root / "lock"):
                self._store.ensure()  # under the lock: nobody may use a store that is half made
                return work()

        return await asyncio.to_thread(locked)

    # -- taking

    def _take(self, directory: str, reason: str, touched: Sequence[str]) -> Snapshot | None:
        tree = self._tree.write(directory, touched)
        ref = self._store.ref(directory)
        parent = self._store.run("rev-parse", "--verify", "--quiet", ref, check=False).decode().strip()
        if parent and self._store.run("rev-parse", f"{parent}^{{tree}}").decode().strip() == tree:
            return None
        commit = self._commit(tree, parent, reason, time.time())
        self._store.run("update-ref", ref, commit)
        self._store.remember(directory)
        self._shorten(directory)
        stamp = self._root / "tidied"
        is_new = not stamp.exists()
        if is_new or time.time() - stamp.stat().st_mtime > TIDY_SECONDS:
            stamp.touch()
            if not is_new:  # the first snapshot of all leaves nothing to tidy
                self._prune(everything=False)
        return Snapshot(1, commit, directory, time.time(), reason)

    def _commit(self, tree: str, parent: str, reason: str, moment: float) -> str:
        message = f"{reason}\n\n{moment!r}\n"
        parents = ("-p", parent) if parent else ()
        return (
            self._store.run("commit-tree", tree, *parents, "-F", "-", data=message.encode()).decode().strip()
        )

    # -- reading and restoring

    def _list(self, directory: str) -> tuple[Snapshot, ...]:
        if not (self._store.path / "HEAD").exists():
            return ()
        text = self._store.run(
            *("log", "-z", "--no-renames", f"--max-count={self._max_snapshots}", "--shortstat"),
            *("--format=%x01%H%x02%s%x02%b", self._store.ref(directory), "--"),
            check=False,
        ).decode(errors="replace")
        found = []
        for number, entry in enumerate(text.split("\x01")[1:], 1):
            commit, reason, rest = [*entry.split("\x02"), "", ""][:3]
            words = rest.replace("\0", "\n").split()
            moment = float(words[0]) if words else 0.0
            changed = int(words[1]) if len(words) > 2 and words[1].isdecimal() else 0
            found.append(Snapshot(number, commit, directory, moment, reason, changed))
        return tuple(found)

    def _find(self, directory: str, number: int) -> Snapshot:
        found = self._list(directory)
        if not 1 <= number <= len(found):
            raise CheckpointError(
                f"There is no snapshot {number} of {directory}",
                remedy=f"There are {len(found)}; /rollback lists them." if found else None,
            )
        return found[number - 1]

    def _diff(self, directory: str, number: int) -> str:
        snapshot = self._find(directory, number)
        now = self._tree.write(directory)
        text = self._store.run(
            *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--stat", "-p"), snapshot.id, now
        ).decode(errors="replace")
        if len(text) > DIFF_CHARS:
            text = f"{text[:DIFF_CHARS]}\n[… {len(text) - DIFF_CHARS:,} characters more]"
        return text

    def _restore(self, directory: str, number: int, path: str | None) -> Restored:
        snapshot = self._find(directory, number)
        wanted = _inside(directory, path) if path is not None else None
        if wanted is not None:
            listed = self._store.run("ls-tree", "-z", "--name-only", snapshot.id, "--", wanted)
            if not listed:
                raise CheckpointError(
                    f"{path} is not in snapshot {number}",
                    why="It did not exist then, was too large, or is ignored.",
                )
        self._take(directory, f"before going back to snapshot {number}", ())
        now = self._tree.write(directory)
        limit = ("--", wanted) if wanted is not None else ()
        changes = self._store.run(
            *("diff-tree", "-r", "-z", "--no-renames", "--name-status"), now, snapshot.id, *limit
        ).split(b"\0")
        pairs = list(zip(changes[::2], map(os.fsdecode, changes[1::2]), strict=False))
        removed = tuple(name for status, name in pairs if status == b"D")
        written = tuple(name for status, name in pairs if status != b"D")
        if wanted is None:
            self._store.run("read-tree", "--reset", "-u", snapshot.id, directory=directory)
        elif written:
            self._store.run("checkout", "--quiet", "--force", snapshot.id, "--", wanted, directory=directory)
        return Restored(snapshot, written, removed)

    # -- limits

    def _shorten(self, directory: str) -> None:
        """Forget what is too old or too much of one directory (the chain is written anew)."""
        text = self._store.run("log", "--format=%H", self._store.ref(directory), "--").decode().split()
        if len(text) > self._max_snapshots:
            self._keep(directory, self._max_snapshots)

    def _keep(self, directory: str, count: int) -> None:
        kept = self._list(directory)[:count]
        parent = ""
        for snapshot in reversed(kept):
            tree = self._store.run("rev-parse", f"{snapshot.id}^{{tree}}").decode().strip()
            parent = self._commit(tree, parent, snapshot.reason, snapshot.created_at)
        if parent:
            self._store.run("update-ref", self._store.ref(directory), parent)
            return
        self._store.forget(directory)

    def _directories(self) -> tuple[DirectorySummary, ...]:
        found = []
        for directory in self._store.directories():
            snapshots = self._list(directory)
            if snapshots:
                found.append(DirectorySummary(directory, len(snapshots), snapshots[0].created_at))
        return tuple(sorted(found, key=lambda item: -item.newest_at))

    def _prune(self, *, everything: bool) -> int:
        before = {item.directory: item.snapshots for item in self._directories()}
        limit = time.time() - self._retention_seconds
        for directory in before:
            fresh = sum(snapshot.created_at >= limit for snapshot in self._list(directory))
            self._keep(directory, 0 if everything else min(fresh, self._max_snapshots))
        self._store.collect()
        while not everything and self._store.size() > self._max_total_bytes:
            left = self._directories()
            if not left or sum(item.snapshots for item in left) <= 1:
                break
            # The directory whose newest snapshot is oldest loses first, half of its chain at a time.
            last = left[-1]
            self._keep(last.directory, last.snapshots // 2)
            self._store.collect()
        after = sum(item.snapshots for item in self._directories())
        return sum(before.values()) - after


def _inside(directory: str, path: str) -> str:
    place = os.path.normpath(Path(directory, path))
    relative = os.path.relpath(place, directory)
    if relative.startswith("..") or relative == ".":
        raise CheckpointError(f"{path} is not a file in {directory}")
    return relative


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
