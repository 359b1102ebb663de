"""Putting a backup back. The archive is not trusted, and what it replaces is kept.

Everything is unpacked into a folder beside its destination and checked there; only then are existing
files moved to `backups/before-import-…` and the new ones put in place. If that fails half-way it is
undone.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from hermes_agent.core.errors import (
    SessionBusyError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    UsageError,
)
from hermes_agent.store.backup import MANIFEST, belongs_to_database, is_database
from hermes_agent.store.file_failures import translate_os
from hermes_agent.store.locks import running_sessions
from hermes_agent.store.recovery import SIDE_FILES, is_in_use
from hermes_agent.store.snapshot import verify_database

_KNOWN: Final = frozenset({"state.db", "config.yaml", ".env", "SOUL.md", "auth.json"})
_KEPT_FOLDERS: Final = frozenset({"run", "cache", "backups", "logs"})
_MOST_FILES: Final = 200_000
_BOMB_BYTES: Final = 64 * 1024 * 1024
_BOMB_RATIO: Final = 250
_SPARE_BYTES: Final = 32 * 1024 * 1024
_CHUNK: Final = 1024 * 1024


@dataclass(slots=True)
class RestoreReport:
    """What was done.

    Attributes:
        files: Number of files put in place.
        set_aside: Where the files that were there before are now; None if there were none.
        damaged: Databases that were damaged in the archive already.
    """

    files: int = 0
    set_aside: Path | None = None
    damaged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Entry:
    info: zipfile.ZipInfo
    name: PurePosixPath


def restore_backup(root: Path, source: Path, *, force: bool = False) -> RestoreReport:
    """Unpack `source` into the home `root`.

    Raises:
        UsageError: The home has something in it and `force` is not given, or `source` does not exist.
        SessionBusyError: A session is running.
        StoreBusyError: A program has the database open.
        StoreCorruptError: The archive is damaged, unsafe or no backup of hermes.
        StoreUnwritableError: The home cannot be written; it is as it was before.
    """
    if not source.is_file():
        raise UsageError(f"There is no file {source}")
    _check_home(root, source, force)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    staging = root / "backups" / f".import-{stamp}-{os.getpid()}"
    try:
        with zipfile.ZipFile(source) as archive:
            entries = _entries(archive, source, root)
            staging.mkdir(mode=0o700, parents=True)
            report = RestoreReport()
            for entry in entries:
                _unpack(archive, entry, staging, report)
        _put_in_place(
            root, staging, root / "backups" / f"before-import-{stamp}-{os.getpid()}", entries, report
        )
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, zlib.error) as error:
        raise StoreCorruptError(
            f"{source} is not a readable backup",
            why=str(error) or type(error).__name__,
            remedy="Nothing was changed. Try another copy of the file.",
        ) from error
    except OSError as error:
        raise translate_os(error, Path(error.filename or root)) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def _check_home(root: Path, source: Path, force: bool) -> None:
    running = running_sessions(root / "run")
    if running:
        names = ", ".join(f"{holder.session_id} (process {holder.pid})" for holder in running[:5])
        raise SessionBusyError(
            "A session is running", why=f"Open now: {names}", remedy="Close it, then import again."
        )
    if root.is_dir():
        in_the_way = [
            path.name
            for path in sorted(root.iterdir())
            if path.name not in _KEPT_FOLDERS
            and not belongs_to_database(path)
            and path.resolve() != source.resolve()
        ]
        if in_the_way and not force:
            shown = ", ".join(in_the_way[:5]) + (" …" if len(in_the_way) > 5 else "")
            raise UsageError(
                f"The state directory {root} is not empty",
                why=f"It has {shown}",
                remedy="Add -f to replace what the backup has too; the present files are kept in backups/.",
            )
    with suppress(StoreCorruptError):  # a damaged one may well be the reason for the import
        if is_in_use(root / "state.db"):
            raise StoreBusyError(
                f"The database {root / 'state.db'} is in use",
                why="A program (perhaps the gateway) has it open",
                remedy="Stop it, then import again.",
            )


def _entries(archive: zipfile.ZipFile, source: Path, root: Path) -> list[_Entry]:
    """What to unpack; refuses the archive if anything in it is unsafe."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > _MOST_FILES:
        raise _unsafe(source, f"It has {len(infos)} files")
    total = sum(info.file_size for info in infos)
    _check_size(source, infos, total, root)
    entries: dict[str, _Entry] = {}
    for info in infos:
        name = _safe_name(info, source)
        if str(name) in entries:
            raise _unsafe(source, f"It has {name} twice")
        entries[str(name)] = _Entry(info, name)
    if MANIFEST not in entries and not _KNOWN & entries.keys():
        raise StoreCorruptError(
            f"{source} is not a backup of hermes",
            why=f"Neither {MANIFEST} nor a file like state.db or config.yaml is at its top",
            remedy="Nothing was changed.",
        )
    names = set(entries)
    for entry in entries.values():
        clash = next((str(parent) for parent in entry.name.parents if str(parent) in names), None)
        if clash is not None:
            raise _unsafe(source, f"{clash} is a file and a folder")
    return [entry for name, entry in entries.items() if name != MANIFEST and not _is_left_out(entry.name)]


def _check_size(source: Path, infos: list[zipfile.ZipInfo], total: int, root: Path) -> None:
    for info in infos:
        if info.file_size > _BOMB_BYTES and info.file_size > _BOMB_RATIO * max(1, info.compress_size):
            raise _unsafe(source, f"{info.filename} would grow to {info.file_size:,} bytes")
    if total > _BOMB_BYTES and total > _BOMB_RATIO * source.stat().st_size:
        raise _unsafe(source, f"It would grow to {total:,} bytes")
    place = root
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if total + _SPARE_BYTES > free:
        raise StoreError(
            "There is not enough space to unpack the backup",
            why=f"It needs {total:,} bytes, {free:,} are free",
            remedy="Free some space and try again; nothing was changed.",
        )


def _safe_name(info: zipfile.ZipInfo, source: Path) -> PurePosixPath:
    name = info.orig_filename
    path = PurePosixPath(name)
    kind = stat.S_IFMT(info.external_attr >> 16)
    is_bad = (
        path.is_absolute()
        or not path.parts
        or ".." in path.parts
        or "\\" in name
        or any(ord(char) < 32 for char in name)
        or (len(name) > 1 and name[1] == ":")
    )
    if is_bad:
        raise _unsafe(source, f"The name {name!r} leads outside")
    if kind not in (0, stat.S_IFREG):
        raise _unsafe(source, f"{name!r} is not a regular file")
    if info.flag_bits & 0x1:
        raise _unsafe(source, f"{name!r} is encrypted")
    return path


def _is_left_out(name: PurePosixPath) -> bool:
    """Logs of databases and locks of other machines would do harm."""
    return belongs_to_database(name) or name.parts[0] in ("run", "backups")


def _unpack(archive: zipfile.ZipFile, entry: _Entry, staging: Path, report: RestoreReport) -> None:
    target = staging / entry.name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(entry.info.external_attr >> 16) & 0o777 or 0o600
    if target.suffix == ".env" or target.name in (".env", "auth.json", "state.db"):
        mode &= 0o700
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode | 0o600)
    with os.fdopen(descriptor, "wb") as file, archive.open(entry.info) as content:
        shutil.copyfileobj(content, file, _CHUNK)  # ends at the size that was declared, and checks the sum
        os.fchmod(file.fileno(), mode | 0o600)
    if is_database(target):
        try:
            verify_database(target)
        except StoreCorruptError:
            report.damaged.append(str(entry.name))


def _put_in_place(
    root: Path, staging: Path, aside: Path, entries: list[_Entry], report: RestoreReport
) -> None:
    undo: list[tuple[Path, Path]] = []
    try:
        for entry in entries:
            target = root / entry.name
            _make_folders(root, target.parent, aside, undo)
            for old in (target, *_side_files(target)):
                if os.path.lexists(old):
                    kept = aside / old.relative_to(root)
                    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    _move(old, kept, undo)
                    report.set_aside = aside
            _move(staging / entry.name, target, undo)
            report.files += 1
    except OSError:
        for moved_from, moved_to in reversed(undo):
            with suppress(OSError):
                moved_to.rename(moved_from)
        raise


def _side_files(target: Path) -> list[Path]:
    beside = (target.with_name(target.name + suffix) for suffix in SIDE_FILES)
    return [path for path in beside if belongs_to_database(path)]


def _make_folders(root: Path, folder: Path, aside: Path, undo: list[tuple[Path, Path]]) -> None:
    """Make a folder below the home; a file or link that stands in its way is set aside."""
    path = root
    for part in folder.relative_to(root).parts:
        path /= part
        if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
            kept = aside / path.relative_to(root)
            kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _move(path, kept, undo)
        path.mkdir(mode=0o700, exist_ok=True)


def _move(source: Path, target: Path, undo: list[tuple[Path, Path]]) -> None:
    source.rename(target)
    undo.append((source, target))


def _unsafe(source: Path, reason: str) -> StoreCorruptError:
    return StoreCorruptError(
        f"{source} is not safe to unpack", why=reason, remedy="Nothing was changed; do not trust this file."
    )
