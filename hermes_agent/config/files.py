"""Replacing files atomically, and keeping other writers away meanwhile."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from hermes_agent.core.errors import ConfigError, ConfigFileError, StoreUnwritableError

_LOCK_POLL_SECONDS = 0.05
_MAX_BYTES = 10_000_000


def read_file(path: Path) -> bytes | None:
    """The bytes of a file that people edit; None if it is not there.

    Raises:
        ConfigFileError: It is a directory, a dangling link, a device, unreadable, or larger than 10 MB.
    """
    try:
        known = path.stat()
        if stat.S_ISDIR(known.st_mode):
            raise ConfigFileError(
                f"{path} is a directory, not a file",
                path=path,
                remedy=f"Move it away: mv '{path}' '{path}.old'",
            )
        if not stat.S_ISREG(known.st_mode) or known.st_size > _MAX_BYTES:
            what = "larger than 10 MB" if stat.S_ISREG(known.st_mode) else "not an ordinary file"
            raise ConfigFileError(f"{path} is {what}", path=path, remedy=f"Look at it: ls -lL '{path}'")
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise ConfigFileError(
                f"{path} is a link to {path.readlink()}, which does not exist",
                path=path,
                remedy=f"Restore that file, or remove the link: rm '{path}'",
            ) from error
        return None
    except NotADirectoryError:
        return None  # The home itself is a file; `Home.ensure` says so to whoever wants to write.
    except OSError as error:
        raise ConfigFileError(
            f"Cannot read {path}",
            path=path,
            why=error.strerror,
            remedy=f"Check the permissions: ls -l '{path}'",
        ) from error


def ensure_directory(path: Path) -> None:
    """Make a directory of our own, mode 0700, with its parents; one that exists is left alone.

    Raises:
        StoreUnwritableError: It cannot be made, or something else is in its place.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        culprit = next(each for each in (path, *path.parents) if os.path.lexists(each) and not each.is_dir())
        raise StoreUnwritableError(
            f"{culprit} is not a directory", remedy=f"Move it away: mv '{culprit}' '{culprit}.old'"
        ) from error
    except OSError as error:
        raise _unwritable(path, error) from error


def replace_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a file so that readers see the old bytes or the new ones, never a part.

    A symbolic link stays a link; the file it leads to is replaced. Owner and mode of an existing file
    are kept. A file that is mounted by itself cannot be replaced and is overwritten in place.

    Args:
        path: The file; its directory must exist.
        data: The whole content.
        mode: Permission bits of a new file (default 0644 less the umask); an existing one keeps its own.

    Raises:
        StoreUnwritableError: No permission, no space, or a directory is in the way. The old file is
            untouched.
    """
    target = Path(os.path.realpath(path))
    try:
        known = target.stat()
    except FileNotFoundError:
        known = None
    except OSError as error:
        raise _unwritable(path, error) from error
    if known is not None and stat.S_ISDIR(known.st_mode):
        raise StoreUnwritableError(
            f"Cannot write {path}: a directory stands in its place",
            remedy=f"Move the directory away: mv '{path}' '{path}.old'",
        )
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        _write_new(temporary, data, known, mode)
        try:
            temporary.replace(target)
        except OSError as error:
            if error.errno not in {errno.EBUSY, errno.EXDEV}:
                raise
            target.write_bytes(data)
        _sync_directory(target.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # On a read-only file system not even a missing one is removed.
            temporary.unlink()


def _write_new(path: Path, data: bytes, known: os.stat_result | None, mode: int | None) -> None:
    wanted = stat.S_IMODE(known.st_mode) if known is not None else mode
    # Private from the first moment; widened only when the content is there.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if wanted is None else 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if known is not None and (known.st_uid, known.st_gid) != (os.geteuid(), os.getegid()):
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, known.st_uid, known.st_gid)
        if wanted is not None:
            os.fchmod(descriptor, wanted)
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    with contextlib.suppress(OSError):  # Not every file system can.
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> StoreUnwritableError:
    remedies = {
        errno.ENOSPC: "Free some disk space and try again.",
        errno.EDQUOT: "Your disk quota is used up; free some space and try again.",
        errno.EROFS: "The file system is read-only; set HERMES_HOME to a directory you can write.",
        errno.EACCES: f"Check the permissions: ls -ld '{path.parent}' '{path}'",
        errno.EPERM: f"Check the permissions: ls -ld '{path.parent}' '{path}'",
        errno.ENOENT: f"Create the directory: mkdir -p '{path.parent}'",
    }
    return StoreUnwritableError(
        f"Cannot write {path}", why=error.strerror, remedy=remedies.get(error.errno or 0)
    )


@contextlib.contextmanager
def exclusive(lock: Path, *, timeout_seconds: float = 10.0) -> Iterator[None]:
    """Hold a lock file against other processes (and other holders in this one).

    Args:
        lock: Made if missing, mode 0600, together with its directory; never removed.
        timeout_seconds: How long to wait for another holder.

    Raises:
        ConfigError: Somebody else held it all the time.
        StoreUnwritableError: The lock file cannot be made.
    """
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(lock, error) from error
    try:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise ConfigError(
                        "Another hermes process is changing the configuration",
                        why=f"It has held {lock} for {timeout_seconds:g} seconds.",
                        remedy="Wait for it to finish, or close the editor it waits for, and try again.",
                    ) from error
                time.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
