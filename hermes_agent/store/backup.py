"""The whole home in one zip file: databases through SQLite, nothing that can be made again.

Left out: write-ahead logs, checkpoints, caches, backups, sockets, locks, process ids, other programs'
folders (virtual environments, a source checkout of the older agent). Links to files are stored as the
files they lead to; links to folders are named in the report and not followed.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, Final

from hermes_agent.core.errors import StoreCorruptError, StoreError, StoreUnwritableError
from hermes_agent.store.file_failures import translate_os
from hermes_agent.store.snapshot import copy_database, verify_database

MANIFEST: Final = "hermes-backup.json"
FORMAT: Final = 1

_HOME_FOLDERS: Final = frozenset({"cache", "run", "backups", "checkpoints", "hermes-agent"})
"""Left out at the top of a home; a folder of that name inside a skill is the user's."""
_REBUILT_FOLDERS: Final = frozenset({".venv", "venv", "node_modules", "__pycache__"})
_HOME_SUFFIXES: Final = (".lock", ".pid", ".sock", ".tmp")
SIDE_SUFFIXES: Final = ("-wal", "-shm", "-journal", "-guard")
_DATABASE_SUFFIXES: Final = (".db", ".sqlite", ".sqlite3")
_SQLITE_HEADER: Final = b"SQLite format 3\x00"
_QUICK: Final = frozenset({"state.db", "config.yaml", ".env", "auth.json", "SOUL.md", "memories", "cron"})


@dataclass(slots=True)
class BackupReport:
    """What was saved.

    Attributes:
        path: The archive.
        files: Number of files in it.
        size: Its bytes.
        left_out: Things that may matter and are not in it, with the reason.
    """

    path: Path
    files: int = 0
    size: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)


def create_backup(root: Path, target: Path, *, is_quick: bool = False) -> BackupReport:
    """Write the archive, then read it back whole. The store may be in use meanwhile, by others.

    Args:
        root: The home.
        target: A file that does not exist yet; it appears when it is complete, with mode 0600.
        is_quick: Only the database, settings, secrets, persona, memories and jobs.

    Raises:
        StoreUnwritableError: `target` exists or cannot be written.
        StoreError: The home does not exist.
        StoreCorruptError: What was written cannot be read back.
    """
    if not root.is_dir():
        raise StoreError(f"There is no state directory {root}", remedy="There is nothing to save yet.")
    if os.path.lexists(target):
        raise StoreUnwritableError(f"{target} exists already", remedy="Choose another name with -o.")
    report = BackupReport(target)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                _write(root, file, partial, is_quick, report)
                file.flush()
                os.fsync(file.fileno())
            _verify(partial)
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
        report.size = target.stat().st_size
    except OSError as error:
        raise translate_os(error, target) from error
    return report


def is_database(path: Path) -> bool:
    """A name that says database and the first bytes of one."""
    if path.suffix not in _DATABASE_SUFFIXES:
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


def _write(root: Path, file: IO[bytes], own: Path, is_quick: bool, report: BackupReport) -> None:
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive,
        tempfile.TemporaryDirectory(prefix=".hermes-backup-", dir=own.parent) as scratch,
    ):
        for path, name in _files(root, is_quick, report):
            if path in (own, report.path):
                continue
            try:
                _add(archive, path, name, Path(scratch))
            except FileNotFoundError:
                continue  # it went away while we looked
            except PermissionError:
                report.left_out.append((name, "no permission to read it"))
                continue
            except StoreCorruptError as error:
                archive.write(path, name)  # damaged, but it may be all there is
                report.left_out.append((name, f"saved as it is, because {error.why or error.message}"))
            report.files += 1
        manifest = {
            "format": FORMAT,
            "created_at": time.time(),
            "quick": is_quick,
            "files": report.files,
        }
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _add(archive: zipfile.ZipFile, path: Path, name: str, scratch: Path) -> None:
    if not is_database(path):
        archive.write(path, name)
        return
    copy = scratch / "copy.db"
    copy.unlink(missing_ok=True)
    copy_database(path, copy)
    verify_database(copy)
    copy.chmod(stat.S_IMODE(path.stat().st_mode))
    archive.write(copy, name)
    copy.unlink()


def _files(root: Path, is_quick: bool, report: BackupReport) -> Iterator[tuple[Path, str]]:
    """Regular files to save, with their names in the archive."""

    def complain(error: OSError) -> None:
        report.left_out.append((str(error.filename), error.strerror or "cannot be read"))

    for folder, folders, names in os.walk(root, onerror=complain):
        here = Path(folder)
        kept = sorted(name for name in folders if not _is_skipped_folder(root, here / name, is_quick))
        for name in kept:
            if (here / name).is_symlink():
                where = (here / name).readlink()
                report.left_out.append(
                    ((here / name).relative_to(root).as_posix(), f"a link to the folder {where}")
                )
        folders[:] = [name for name in kept if not (here / name).is_symlink()]
        for name in sorted(names):
            path = here / name
            if _is_skipped_file(root, path, is_quick):
                continue
            relative = path.relative_to(root).as_posix()
            if not path.exists():
                report.left_out.append((relative, "a link that leads nowhere"))
            elif path.is_file():
                yield path, relative


def _is_home(root: Path, folder: Path) -> bool:
    """The home itself, or that of a profile (`profiles/NAME`)."""
    return folder == root or folder.parent == root / "profiles"


def _is_skipped_folder(root: Path, path: Path, is_quick: bool) -> bool:
    if path.name in _REBUILT_FOLDERS or (is_quick and path.parent == root and path.name not in _QUICK):
        return True
    return path.name in _HOME_FOLDERS and _is_home(root, path.parent)


def _is_skipped_file(root: Path, path: Path, is_quick: bool) -> bool:
    if is_quick and path.parent == root and path.name not in _QUICK:
        return True
    if path.name.endswith(_HOME_SUFFIXES) and _is_home(root, path.parent):
        return True
    return belongs_to_database(path)


def belongs_to_database(path: PurePath) -> bool:
    """A log, lock or index that SQLite or the store keeps beside a database, by its name."""
    base = next((path.name.removesuffix(end) for end in SIDE_SUFFIXES if path.name.endswith(end)), "")
    return base.endswith(_DATABASE_SUFFIXES)


def _verify(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile as error:
        raise StoreCorruptError("The backup cannot be read back", why=str(error)) from error
    if broken is not None:
        raise StoreCorruptError("The backup cannot be read back", why=f"{broken} is damaged")
