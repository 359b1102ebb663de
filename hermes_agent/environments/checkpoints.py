"""Snapshots of directories in a git store of our own.

A bare repository under the state directory; each directory has a chain of commits at
`refs/hermes/<hash>` and an index of its own, so that only changed files are read again. Git is told the
store, the index and the directory in so many words, gets none of the user's settings, hooks, filters or
line-ending rules, and so never looks at, or writes to, a repository of the user's own.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from hermes_agent.core.checkpoints import DirectorySummary, Restored, Snapshot
from hermes_agent.core.errors import CheckpointError

MAX_FILES: Final = 50_000
GIT_SECONDS: Final = 60.0
COUNT_SECONDS: Final = 5.0
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
_EXCLUDED: Final = """\
.git/
node_modules/
.venv/
venv/
__pycache__/
*.pyc
.mypy_cache/
.pytest_cache/
.ruff_cache/
.direnv/
.tox/
"""
_ATTRIBUTES: Final = "* -text -eol -ident -filter -working-tree-encoding -crlf\n"
"""Bytes are kept as they are, whatever the project's own `.gitattributes` say."""

_SETTINGS: Final = (
    *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.autocrlf=false", "core.quotePath=false"),
    *("core.untrackedCache=false", "gc.auto=0", "core.symlinks=true", "core.fileMode=true"),
    *("core.bare=false", "core.precomposeUnicode=false", "advice.addEmbeddedRepo=false"),
    # A lost snapshot after a power cut is no harm; waiting for the disk before every change would be.
    *("safe.directory=*", "core.fsync=none", "core.looseCompression=0"),
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
        self._store = root / "store"
        self._max_snapshots = max_snapshots
        self._max_total_bytes = max_total_bytes
        self._max_file_bytes = max_file_bytes
        self._retention_seconds = retention_seconds
        self._max_files = max_files

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

    async def _locked(self, work: Callable[[], ResultT]) -> ResultT:
        def locked() -> ResultT:
            try:
                self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise self._unusable(error) from error
            with _lock(self._root / "lock"):
                self._ensure_store()  # under the lock: nobody may use a store that is half made
                return work()

        return await asyncio.to_thread(locked)

    # -- git

    def _git(
        self, *arguments: str, directory: str | None = None, data: bytes | None = None, check: bool = True
    ) -> bytes:
        program = shutil.which("git")
        if program is None:
            raise CheckpointError("Snapshots need git, which is not installed", remedy="Install git.")
        environment = {
            "PATH": f"{Path(program).parent}:{os.defpath}",
            "LC_ALL": "C",
            "HOME": str(self._root),
            "GIT_DIR": str(self._store),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            **{f"GIT_{who}_NAME": "hermes" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "hermes@localhost" for who in ("AUTHOR", "COMMITTER")},
        }
        if directory is not None:
            environment["GIT_WORK_TREE"] = directory
            environment["GIT_INDEX_FILE"] = str(self._index(directory))
        options = [part for setting in _SETTINGS for part in ("-c", setting)]
        try:
            done = subprocess.run(
                [program, *options, *arguments],
                env=environment,
                cwd=directory or self._store,
                input=data if data is not None else b"",
                capture_output=True,
                timeout=GIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckpointError(f"git took longer than {GIT_SECONDS:g} seconds") from error
        except OSError as error:
            raise CheckpointError("git could not be run", why=error.strerror) from error
        if check and done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise CheckpointError("The snapshot failed", why=said[-1] if said else None)
        return done.stdout

    def _ensure_store(self) -> None:
        if (self._store / "projects").exists():  # made last
            return
        try:
            self._store.mkdir(mode=0o700, exist_ok=True)
            self._git("init", "--bare", "--quiet", str(self._store))
            (self._store / "info").mkdir(exist_ok=True)
            (self._store / "info" / "exclude").write_text(_EXCLUDED, encoding="utf-8")
            (self._store / "info" / "attributes").write_text(_ATTRIBUTES, encoding="utf-8")
            (self._store / "indexes").mkdir(exist_ok=True)
            (self._store / "projects").mkdir(exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"{self._root} cannot be used for snapshots", why=error.strerror)

    def _index(self, directory: str) -> Path:
        return self._store / "indexes" / _hash(directory)

    # -- taking

    def _take(self, directory: str, reason: str, touched: Sequence[str]) -> Snapshot | None:
        tree = self._tree(directory, touched)
        ref = _ref(directory)
        parent = self._git("rev-parse", "--verify", "--quiet", ref, check=False).decode().strip()
        if parent and self._git("rev-parse", f"{parent}^{{tree}}").decode().strip() == tree:
            return None
        commit = self._commit(tree, parent, reason, time.time())
        self._git("update-ref", ref, commit)
        note = self._store / "projects" / f"{_hash(directory)}.json"
        note.write_text(json.dumps({"directory": directory}), encoding="utf-8")
        self._shorten(directory)
        stamp = self._root / "tidied"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > TIDY_SECONDS:
            stamp.touch()
            self._prune(everything=False)
        return Snapshot(1, commit, directory, time.time(), reason)

    def _commit(self, tree: str, parent: str, reason: str, moment: float) -> str:
        message = f"{reason}\n\n{moment!r}\n"
        parents = ("-p", parent) if parent else ()
        return self._git("commit-tree", tree, *parents, "-F", "-", data=message.encode()).decode().strip()

    def _tree(self, directory: str, touched: Sequence[str] = ()) -> str:
        """Write the directory, as it is now, into the store; the hash of its tree."""
        place = Path(directory)
        if place == Path.home() or place == place.parent or self._root.is_relative_to(place):
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
        for path in paths:
            size = _size(os.fsencode(directory) + b"/" + path)
            if path.startswith(b"../"):
                continue
            (gone if size is None or size > self._max_file_bytes else kept).append(path)
        if gone:
            zero = b"0" * 40
            lines = b"".join(b"0 " + zero + b"\t" + path + b"\0" for path in gone)
            self._git("update-index", "-z", "--index-info", directory=directory, data=lines)
        if kept:
            self._git(
                *("update-index", "-z", "--add", "--remove", "--stdin"),
                directory=directory,
                data=b"\0".join(kept) + b"\0",
            )
        return self._git("write-tree", directory=directory).decode().strip()

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
        found = {path for path in self._git(*arguments, directory=directory).split(b"\0") if path}
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

    # -- reading and restoring

    def _list(self, directory: str) -> tuple[Snapshot, ...]:
        if not (self._store / "HEAD").exists():
            return ()
        text = self._git(
            *("log", "-z", "--no-renames", f"--max-count={self._max_snapshots}", "--shortstat"),
            *("--format=%x01%H%x02%s%x02%b", _ref(directory), "--"),
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
        now = self._tree(directory)
        text = self._git(
            *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--stat", "-p"), snapshot.id, now
        ).decode(errors="replace")
        if len(text) > DIFF_CHARS:
            text = f"{text[:DIFF_CHARS]}\n[… {len(text) - DIFF_CHARS:,} characters more]"
        return text

    def _restore(self, directory: str, number: int, path: str | None) -> Restored:
        snapshot = self._find(directory, number)
        wanted = _inside(directory, path) if path is not None else None
        if wanted is not None:
            listed = self._git("ls-tree", "-z", "--name-only", snapshot.id, "--", wanted)
            if not listed:
                raise CheckpointError(
                    f"{path} is not in snapshot {number}",
                    why="It did not exist then, was too large, or is ignored.",
                )
        self._take(directory, f"before going back to snapshot {number}", ())
        now = self._tree(directory)
        limit = ("--", wanted) if wanted is not None else ()
        changes = self._git(
            *("diff-tree", "-r", "-z", "--no-renames", "--name-status"), now, snapshot.id, *limit
        ).split(b"\0")
        pairs = list(zip(changes[::2], map(os.fsdecode, changes[1::2]), strict=False))
        removed = tuple(name for status, name in pairs if status == b"D")
        written = tuple(name for status, name in pairs if status != b"D")
        if wanted is None:
            self._git("read-tree", "--reset", "-u", snapshot.id, directory=directory)
        elif written:
            self._git("checkout", "--quiet", "--force", snapshot.id, "--", wanted, directory=directory)
        return Restored(snapshot, written, removed)

    # -- limits

    def _shorten(self, directory: str) -> None:
        """Forget what is too old or too much of one directory (the chain is written anew)."""
        text = self._git("log", "--format=%H", _ref(directory), "--").decode().split()
        if len(text) > self._max_snapshots:
            self._keep(directory, self._max_snapshots)

    def _keep(self, directory: str, count: int) -> None:
        kept = self._list(directory)[:count]
        parent = ""
        for snapshot in reversed(kept):
            tree = self._git("rev-parse", f"{snapshot.id}^{{tree}}").decode().strip()
            parent = self._commit(tree, parent, snapshot.reason, snapshot.created_at)
        if parent:
            self._git("update-ref", _ref(directory), parent)
            return
        self._git("update-ref", "-d", _ref(directory), check=False)
        for left in (self._index(directory), self._store / "projects" / f"{_hash(directory)}.json"):
            left.unlink(missing_ok=True)

    def _directories(self) -> tuple[DirectorySummary, ...]:
        found = []
        for note in sorted((self._store / "projects").glob("*.json")):
            try:
                directory = str(json.loads(note.read_text(encoding="utf-8"))["directory"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
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
        self._collect()
        while not everything and self.size() > self._max_total_bytes:
            left = self._directories()
            if not left or sum(item.snapshots for item in left) <= 1:
                break
            # The directory whose newest snapshot is oldest loses first, half of its chain at a time.
            last = left[-1]
            self._keep(last.directory, last.snapshots // 2)
            self._collect()
        after = sum(item.snapshots for item in self._directories())
        return sum(before.values()) - after

    def _collect(self) -> None:
        self._git("reflog", "expire", "--expire=now", "--all", check=False)
        self._git("gc", "--quiet", "--prune=now", check=False)

    def size(self) -> int:
        """Bytes of the whole store."""
        return sum(path.lstat().st_size for path in self._store.rglob("*") if path.is_file())


_SKIPPED_FOLDERS: Final = frozenset(line.rstrip("/") for line in _EXCLUDED.splitlines() if line.endswith("/"))


def _hash(directory: str) -> str:
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]


def _ref(directory: str) -> str:
    return f"refs/hermes/{_hash(directory)}"


def _size(path: bytes) -> int | None:
    """Bytes of a file or link; None for anything else, or nothing."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode) else None


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
