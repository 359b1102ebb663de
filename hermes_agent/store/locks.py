"""One process per session: a lock that the kernel releases, whatever happens to its holder."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote

from hermes_agent.core.errors import SessionBusyError
from hermes_agent.store.file_failures import translate_os

_PREFIX = "session-"
_SUFFIX = ".lock"


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who has a session open. `pid` is 0 if it could not be read."""

    session_id: str
    pid: int
    source: str


class SessionLock:
    """Exclusive use of a session, across processes and within one.

    Args:
        directory: `Home.run`; made if it is missing.
        session_id: Any text.
        source: What to call this process in the other one's error: `cli`, `gateway` …
    """

    def __init__(self, directory: Path, session_id: str, *, source: str = "cli") -> None:
        self.session_id = session_id
        self.path = directory / f"{_PREFIX}{quote(session_id, safe='')}{_SUFFIX}"
        self._source = source
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """This object has the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, now or not at all.

        Raises:
            SessionBusyError: Another process (or another chat in this one) has it.
            StoreUnwritableError: The lock file cannot be made.
        """
        if self._descriptor is not None:
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                if self._lock(descriptor):
                    break
        except OSError as error:
            raise translate_os(error, self.path) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back. Safe to call twice."""
        if self._descriptor is None:
            return
        with suppress(OSError):
            self.path.unlink()  # while it is held: whoever opened the file meanwhile looks again
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> SessionLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _lock(self, descriptor: int) -> bool:
        """Lock an open file; False if it is no longer the one at `path` (its holder just left)."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(descriptor, self.session_id)
            os.close(descriptor)
            raise self._busy(holder) from None
        except OSError:
            os.close(descriptor)
            raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), self.path.stat(follow_symlinks=False)):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()} {self._source}\n".encode(), 0)
                return True
        os.close(descriptor)
        return False

    def _busy(self, holder: LockHolder) -> SessionBusyError:
        who = f"process {holder.pid} ({holder.source})" if holder.pid else "another process"
        if holder.pid == os.getpid():
            who = f"this process ({holder.source})"
        return SessionBusyError(
            f"Session {self.session_id} is open in {who}",
            why="Two chats writing one conversation would mix their answers",
            remedy="Close the other one, or start a new session.",
        )


def running_sessions(directory: Path) -> list[LockHolder]:
    """Sessions that some process has open now."""
    found = []
    try:
        paths = sorted(directory.glob(f"{_PREFIX}*{_SUFFIX}"))
    except OSError:
        return []
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            session_id = unquote(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX))
            found.append(_read_holder(descriptor, session_id))
        finally:
            os.close(descriptor)
    return found


def _read_holder(descriptor: int, session_id: str) -> LockHolder:
    try:
        pid, _, source = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip().partition(" ")
        return LockHolder(session_id, int(pid), source or "unknown")
    except (OSError, ValueError):
        return LockHolder(session_id, 0, "unknown")
