"""The git store of snapshots: git is told the store, an index of our own and the directory, nothing else.

None of the user's settings, hooks, filters or line-ending rules apply, and a repository of the user's own is
never looked at or written to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hermes_agent.core.errors import CheckpointError

GIT_SECONDS: Final = 60.0

EXCLUDED: Final = """\
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

_MANY_FILES: Final = (
    # Blobs above the threshold go straight into one pack; a file for each of 45,000 takes six times as long.
    *("core.bigFileThreshold=1", "core.compression=1"),
)
_KEPT_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "134217728"}
"""Git takes and frees 256 KB for every blob; with these, glibc does not give them back each time."""


class GitFailedError(CheckpointError):
    """Git ended with an error, perhaps because files came and went while it read them."""


class GitStore:
    """A bare repository; each directory has an index of its own and a ref. Every method blocks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "store"

    def run(
        self,
        *arguments: str,
        directory: str | None = None,
        data: bytes = b"",
        check: bool = True,
        takes_many: bool = False,
    ) -> bytes:
        """Run git; gives its output.

        Args:
            arguments: After the options.
            directory: Its work tree, with the index that belongs to it.
            data: Its input.
            check: Whether a failure is an error.
            takes_many: Many files are to be added.

        Raises:
            CheckpointError: Git is missing, or took too long.
            GitFailedError: It ended with an error.
        """
        program = shutil.which("git")
        if program is None:
            raise CheckpointError("Snapshots need git, which is not installed", remedy="Install git.")
        settings = (*_SETTINGS, *(_MANY_FILES if takes_many else ()))
        try:
            done = subprocess.run(
                [program, *(part for setting in settings for part in ("-c", setting)), *arguments],
                env=self._environment(program, directory),
                cwd=directory or self.path,
                input=data,
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
            raise GitFailedError("The snapshot failed", why=said[-1] if said else None)
        return done.stdout

    def _environment(self, program: str, directory: str | None) -> dict[str, str]:
        environment = {
            "PATH": f"{Path(program).parent}:{os.defpath}",
            "LC_ALL": "C",
            "HOME": str(self.root),
            "GIT_DIR": str(self.path),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
            **_KEPT_MEMORY,
            **{f"GIT_{who}_NAME": "hermes" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "hermes@localhost" for who in ("AUTHOR", "COMMITTER")},
        }
        if directory is not None:
            environment["GIT_WORK_TREE"] = directory
            environment["GIT_INDEX_FILE"] = str(self.index(directory))
        return environment

    def ensure(self) -> None:
        """Make the store if it is not there. Raises `CheckpointError`."""
        if (self.path / "projects").exists():  # made last
            return
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.run("init", "--bare", "--quiet", str(self.path))
            (self.path / "info").mkdir(exist_ok=True)
            (self.path / "info" / "exclude").write_text(EXCLUDED, encoding="utf-8")
            (self.path / "info" / "attributes").write_text(_ATTRIBUTES, encoding="utf-8")
            (self.path / "indexes").mkdir(exist_ok=True)
            (self.path / "projects").mkdir(exist_ok=True)
        except OSError as error:
            raise self.unusable(error) from error

    def unusable(self, error: OSError) -> CheckpointError:
        """The error for a folder that cannot be written."""
        return CheckpointError(f"{self.root} cannot be used for snapshots", why=error.strerror)

    def index(self, directory: str) -> Path:
        """The index of a directory: what git knows of its files, so that only changed ones are read again."""
        return self.path / "indexes" / _hash(directory)

    def ref(self, directory: str) -> str:
        """The ref of a directory's newest snapshot."""
        return f"refs/hermes/{_hash(directory)}"

    def remember(self, directory: str) -> None:
        """Note which directory a ref stands for."""
        self._note(directory).write_text(json.dumps({"directory": directory}), encoding="utf-8")

    def forget(self, directory: str) -> None:
        """Remove the ref, the index and the note of a directory."""
        self.run("update-ref", "-d", self.ref(directory), check=False)
        for left in (self.index(directory), self._note(directory)):
            left.unlink(missing_ok=True)

    def directories(self) -> Iterator[str]:
        """All directories that were noted."""
        for note in sorted((self.path / "projects").glob("*.json")):
            try:
                yield str(json.loads(note.read_text(encoding="utf-8"))["directory"])
            except (OSError, ValueError, KeyError, TypeError):
                continue

    def collect(self) -> None:
        """Drop what no snapshot needs any longer."""
        self.run("reflog", "expire", "--expire=now", "--all", check=False)
        self.run("gc", "--quiet", "--prune=now", check=False)

    def size(self) -> int:
        """Bytes of the whole store."""
        return sum(path.lstat().st_size for path in self.path.rglob("*") if path.is_file())

    def _note(self, directory: str) -> Path:
        return self.path / "projects" / f"{_hash(directory)}.json"


def _hash(directory: str) -> str:
    return hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
