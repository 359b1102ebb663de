"""What root may do in an activation, and how it stops being root.

Root reads secrets, and it makes directories and one marker file. It never follows a link on the way, so
that nothing the service user prepares leads it elsewhere. Everything else is done as the service user.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.core.errors import ConfigError, StoreUnwritableError

_MOST_STEPS = 200
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Account:
    """A user and a group by number; `groups` are all the user is a member of."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: Path


def find_account(user: str, group: str | None = None) -> Account:
    """Look up a user.

    Raises:
        ConfigError: User or group do not exist.
    """
    try:
        entry = pwd.getpwnam(user)
        gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError as error:
        raise ConfigError(
            f"There is no user {user!r}" + (f" or no group {group!r}" if group else ""),
            remedy="Set services.hermes-agent.createUser = true, or create them in users.users.",
        ) from error
    groups = tuple(sorted({gid, *os.getgrouplist(user, entry.pw_gid)}))
    return Account(user, entry.pw_uid, gid, groups, Path(entry.pw_dir))


def become(account: Account) -> None:
    """Stop being root for good. Files made from now on are not for others (umask 0007).

    Raises:
        ConfigError: It was not possible, or root could be had back.
    """
    os.umask(0o007)
    try:
        os.setgroups(list(account.groups))
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise ConfigError(f"Cannot become the user {account.name!r}", why=error.strerror) from error
    if account.uid != 0:
        with suppress(OSError):
            os.setuid(0)
            raise ConfigError("Root could be had back after giving it up", remedy="Do not go on.")


def read_for(account: Account, path: Path) -> bytes:
    """Read a file for a service user, as root only if nobody but root decides what is at that path.

    A file below a directory that others may write is read with the user's own rights: a link put there
    must not make root read, and hand over, somebody else's secrets.

    Raises:
        OSError: It cannot be read.
    """
    if is_roots_own(path):
        return path.read_bytes()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = errno.EIO
        try:
            os.close(reading)
            become(account)
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(path.read_bytes())
            code = 0
        except OSError as error:
            code = error.errno or errno.EIO
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code), str(path))
    return data


def is_roots_own(path: Path) -> bool:
    """Whether only root can change what a path leads to: every directory and link on the way is root's."""
    pending = list(path.parts[1:])
    at = Path("/")
    for _ in range(_MOST_STEPS):
        try:
            directory = at.lstat()
            if directory.st_uid != 0 or stat.S_IMODE(directory.st_mode) & 0o022:
                return False
            if not pending:
                return True
            part = pending.pop(0)
            if part == "..":
                at = at.parent
                continue
            inner = at / part
            known = inner.lstat()
            if stat.S_ISLNK(known.st_mode):
                target = inner.readlink()
                pending = [*(target.parts[1:] if target.is_absolute() else target.parts), *pending]
                at = Path("/") if target.is_absolute() else at
            elif pending:
                at = inner
            else:
                # The file itself may belong to anybody: its content is handed over as it is.
                return True
        except OSError:
            return False
    return False


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    """A descriptor of a directory, reached without following any link below `/`.

    Raises:
        StoreUnwritableError: A component is a link, no directory, or missing.
    """
    descriptor = os.open("/", _DIRECTORY)
    try:
        at = Path("/")
        for part in path.parts[1:]:
            at /= part
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                raise _refusal(at, error) from error
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def make_directory(path: Path, account: Account, mode: int) -> bool:
    """Make a directory for the service user, as root; one that exists is not changed.

    The parents must belong to root and be writable by nobody else, or to the service user itself
    (then it is left to that user). A parent that is missing is made too, for root.

    Returns:
        False if it has to be made by the user itself, because the parent is not root's own.

    Raises:
        StoreUnwritableError: A link or a file is in the way.
    """
    at = Path("/")
    descriptor = os.open("/", _DIRECTORY)
    try:
        for index, part in enumerate(path.parts[1:], start=2):
            at /= part
            is_last = index == len(path.parts)
            if not _is_there(descriptor, part, at):
                if not _is_private_to_root(descriptor):
                    return False
                os.mkdir(part, 0o700 if is_last else 0o755, dir_fd=descriptor)
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
                if is_last:
                    os.fchown(inner, account.uid, account.gid)
                    os.fchmod(inner, mode)
            else:
                inner = _open_child(descriptor, part, at)
            os.close(descriptor)
            descriptor = inner
    finally:
        os.close(descriptor)
    return True


def write_as_root(path: Path, data: bytes) -> bool:
    """Put a file that belongs to root (mode 0644) into a directory the service user may write.

    A new file is made under a name nobody can guess and moved over the old one: neither a link nor a
    file prepared at that name is ever opened.

    Returns:
        Whether something changed.

    Raises:
        StoreUnwritableError: The directory cannot be reached without a link, or cannot be written.
    """
    with open_directory(path.parent) as directory:
        if _root_content(directory, path.name) == data:
            return False
        temporary = f".{path.name}.{os.urandom(12).hex()}.tmp"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(temporary, flags, 0o600, dir_fd=directory)
            try:
                os.write(descriptor, data)
                os.fchown(descriptor, 0, 0)
                os.fchmod(descriptor, 0o644)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
            raise _refusal(path, error) from error
    return True


def remove_as_root(path: Path) -> bool:
    """Remove a file or a link (not what it leads to); False if there is none."""
    try:
        with open_directory(path.parent) as directory:
            os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            os.unlink(path.name, dir_fd=directory)
    except FileNotFoundError:
        return False
    except StoreUnwritableError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    except OSError as error:
        raise _refusal(path, error) from error
    return True


def _root_content(directory: int, name: str) -> bytes | None:
    """The content of a file if it is root's own, plain, not linked elsewhere, and only root's to write."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError:
        return None
    try:
        known = os.fstat(descriptor)
        is_ours = stat.S_ISREG(known.st_mode) and known.st_uid == 0 and known.st_nlink == 1
        if not is_ours or stat.S_IMODE(known.st_mode) != 0o644:
            return None
        return os.read(descriptor, 65536)
    finally:
        os.close(descriptor)


def _is_there(descriptor: int, part: str, at: Path) -> bool:
    try:
        os.stat(part, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal(at, error) from error
    return True


def _open_child(descriptor: int, part: str, at: Path) -> int:
    try:
        return os.open(part, _DIRECTORY, dir_fd=descriptor)
    except OSError as error:
        raise _refusal(at, error) from error


def _is_private_to_root(descriptor: int) -> bool:
    known = os.fstat(descriptor)
    return known.st_uid == 0 and not stat.S_IMODE(known.st_mode) & 0o022


def _refusal(path: Path, error: OSError) -> StoreUnwritableError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return StoreUnwritableError(
            f"{path} is a symbolic link or no directory",
            why="An activation does not follow links that it did not make: they could lead anywhere.",
            remedy=f"Look at it: ls -ld '{path}'. Name the real directory in the configuration instead.",
        )
    return StoreUnwritableError(
        f"Cannot use {path}", why=error.strerror, remedy=f"Look at it: ls -ld '{path}'"
    )
