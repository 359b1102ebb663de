"""Files of this machine. Everything here blocks: call it in a thread."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from hermes_agent.core.environment import FileInfo
from hermes_agent.core.errors import ToolError


def describe(path: str) -> FileInfo | None:
    """Describe a path, following links; None if nothing is there."""
    try:
        found = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise file_error("read", path, error) from error
    kind = stat.S_IFMT(found.st_mode)
    return FileInfo(
        path=path,
        kind="file" if kind == stat.S_IFREG else "directory" if kind == stat.S_IFDIR else "other",
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        mode=stat.S_IMODE(found.st_mode),
    )


def read(path: str, offset: int = 0, max_bytes: int | None = None) -> bytes:
    """Read a regular file or a slice of it."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for somebody who writes.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor has no path
            _require_regular(os.fstat(descriptor), "read", path)
            if offset:
                file.seek(offset)
            if max_bytes is None:
                return file.readall()
            return _read_up_to(descriptor, max_bytes)
    except (OSError, ValueError) as error:
        raise file_error("read", path, error) from error


def write(path: str, data: bytes) -> None:
    """Replace a file atomically, keeping mode and owner and following links; parents are created."""
    try:
        target = os.path.realpath(path)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        old: os.stat_result | None = None
        with contextlib.suppress(FileNotFoundError):
            old = Path(target).stat()
        if old is not None:
            _require_regular(old, "write", path)
        if not _replace(target, data, old):
            _overwrite(target, data)
    except (OSError, ValueError) as error:
        raise file_error("write", path, error) from error


def remove(path: str) -> None:
    """Remove one file; a link is removed, not what it points to."""
    try:
        Path(path).unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError) and Path(path).is_dir():  # what macOS says
            error = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        raise file_error("remove", path, error) from error


def file_error(action: str, path: str, error: OSError | ValueError) -> ToolError:
    """The error a person should read when `action` (`read`, `write` …) fails."""
    match error:
        case FileNotFoundError():
            return ToolError(f"File not found: {path}")
        case IsADirectoryError():
            return ToolError(f"{path} is a directory, not a file")
        case NotADirectoryError() | FileExistsError():
            return ToolError(f"Cannot {action} {path}", why="A part of its path is a file, not a directory.")
        case PermissionError():
            return ToolError(f"Permission denied: {path}", why=f"Not allowed to {action} it.")
        case OSError():
            return ToolError(f"Cannot {action} {path}", why=error.strerror or str(error))
        case _:  # a zero byte in the path
            return ToolError(f"Cannot {action} {path!r}", why=str(error))


def _require_regular(found: os.stat_result, action: str, path: str) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        raise ToolError(f"Cannot {action} {path}", why="It is a device, pipe or socket, not a regular file.")


def _read_up_to(descriptor: int, max_bytes: int) -> bytes:
    parts = []
    while max_bytes > 0 and (part := os.read(descriptor, min(max_bytes, 1 << 20))):
        parts.append(part)
        max_bytes -= len(part)
    return b"".join(parts)


def _replace(target: str, data: bytes, old: os.stat_result | None) -> bool:
    """Write a new file and move it into place; False if that would change whose file it is."""
    directory, name = os.path.split(target)
    draft = Path(directory) / f".{name[:100]}.{secrets.token_hex(6)}.tmp"
    try:
        # Without an old file, 0666 less the umask, as everybody creates files.
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if old else 0o666
        )
    except PermissionError:
        if old is None:
            raise
        return False  # the directory is not ours, but the file may be
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(data)
            if old is not None:
                try:
                    _dress(descriptor, old)
                except PermissionError:
                    draft.unlink()
                    return False
        draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return True


def _dress(descriptor: int, old: os.stat_result) -> None:
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _overwrite(target: str, data: bytes) -> None:
    with Path(target).open("r+b") as file:
        file.write(data)
        file.truncate()
