"""Where files of chats are kept, and what may be sent from this machine.

What people send is under `cache/attachments`; what goes out is copied to `cache/outgoing` first, because a
message may leave much later than it was written.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import UsageError
from hermes_agent.core.speech import Transcriber

MAX_INCOMING_BYTES = 20_000_000
MAX_OUTGOING_BYTES = 50_000_000
KEPT_SECONDS = 30 * 86_400.0
OUTGOING_KEPT_SECONDS = 3 * 86_400.0
_PIECE_BYTES = 1_000_000

_UNSAFE = re.compile(r"[^\w.\-]+")
_OPEN_DIRECTORIES = ("cache", "workspace", "cron/output")
"""Of the state directory only these may be sent from: everything else there is secret or private."""
_SECRET_NAMES = re.compile(
    r"\.env(\..*)?|\.envrc|auth\.json|id_(rsa|dsa|ecdsa|ed25519)(_sk)?(\..*)?|.*\.(pem|key|p12|pfx|jks|kdbx|ppk|keytab)"
    r"|\.netrc|_netrc|\.pgpass|\.npmrc|\.pypirc|\.git-credentials|\.htpasswd|\.my\.cnf|credentials(\.json)?"
    r"|\.credentials\.json|token(s)?\.json|client_secret.*\.json|secrets?\.(ya?ml|json|toml)|.*_history"
    r"|known_hosts|authorized_keys|shadow|state\.db(-wal|-shm)?|response_store\.db",
    re.IGNORECASE,
)
_SECRET_PLACES = ("/proc", "/sys", "/dev", "/etc", "/run/secrets", "/run/credentials", "/root/.ssh")


class RefusedFile(UsageError):  # noqa: N818 - says what it is
    """A file that may not be sent; the message says why."""


def _no_transcriber() -> Transcriber | None:
    return None


@dataclass(slots=True)
class ChatFiles:
    """The files of all chats.

    Attributes:
        home: The state directory.
        roots: Further directories that files may be sent from (`gateway.media_roots`).
        transcriber: Who listens to voice messages now; None if nobody does.
    """

    home: Home
    roots: Callable[[], Sequence[str]] = field(default=tuple)
    transcriber: Callable[[], Transcriber | None] = field(default=_no_transcriber)

    @property
    def incoming(self) -> Path:
        """What people sent."""
        return self.home.cache / "attachments"

    @property
    def outgoing(self) -> Path:
        """Copies of what is to be sent."""
        return self.home.cache / "outgoing"

    def keep(self, data: bytes, name: str, origin: str) -> Path:
        """Store what somebody sent; the same message gives the same path. Raises `OSError`."""
        digest = hashlib.sha256(origin.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        path = self.incoming / f"{digest}-{safe_name(name)}"
        _write(path, data)
        return path

    def stage(self, data: bytes, name: str) -> Path:
        """Store bytes that are to be sent. Raises `OSError`."""
        digest = hashlib.sha256(data).hexdigest()[:16]
        path = self.outgoing / digest / safe_name(name)
        _write(path, data)
        return path

    def copy_out(self, name: str, cwd: str = "") -> Path:
        """Check that a file of this machine may be sent, and copy it.

        Args:
            name: The path as the answer has it.
            cwd: The conversation's directory: files below it may be sent.

        Raises:
            RefusedFile: It may not, or it is not there.
        """
        try:
            path = Path(name).expanduser()
            if not path.is_absolute():
                raise RefusedFile("the path is not absolute")
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise RefusedFile("there is no such file") from error
        self._check_place(real, cwd)
        try:
            return self.stage(_read_regular(real), real.name)
        except OSError as error:
            raise RefusedFile(f"it cannot be read ({error.strerror})") from error

    def prune(self) -> int:
        """Forget files of long ago; returns how many."""
        now = time.time()
        return _prune(self.incoming, now - KEPT_SECONDS) + _prune(self.outgoing, now - OUTGOING_KEPT_SECONDS)

    def _check_place(self, real: Path, cwd: str) -> None:
        check_name(real)
        state = self.home.root.resolve()
        if real.is_relative_to(state):
            if not any(real.is_relative_to(state / each) for each in _OPEN_DIRECTORIES):
                raise RefusedFile("files of the state directory are private")
            return
        roots = [Path(each).expanduser() for each in self.roots()]
        for root in roots:
            if real.is_relative_to(root.resolve()):
                return
        usual = (Path(tempfile.gettempdir()), Path(cwd) if cwd else None, _user_home())
        for root in filter(None, usual):
            if len(root.resolve().parts) < 2:  # the whole disk is no place of its own
                continue
            if real.is_relative_to(root.resolve()):
                hidden = [part for part in real.relative_to(root.resolve()).parts if part.startswith(".")]
                if hidden:
                    raise RefusedFile("it is in a hidden directory, or hidden itself")
                return
        raise RefusedFile("it is outside of the directories that files are sent from (gateway.media_roots)")


def check_name(path: Path) -> None:
    """Refuse what is secret by its name or place, wherever it is. Raises `RefusedFile`."""
    parts = {part.lower() for part in path.parts}
    if (
        _SECRET_NAMES.fullmatch(path.name)
        or parts & {".ssh", ".gnupg", ".aws", ".kube", ".password-store"}
        or any(path.is_relative_to(place) for place in _SECRET_PLACES)
    ):
        raise RefusedFile("it may hold secrets")


def safe_name(name: str) -> str:
    """A file name without directories, control characters or a leading dot; at most 80 characters."""
    found = _UNSAFE.sub("_", name.replace("\\", "/").rpartition("/")[2]).strip("._")
    stem, dot, ending = found[-80:].rpartition(".")
    return (f"{stem or 'file'}{dot}{ending}" if dot else found[-80:]) or "file"


def _user_home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _read_regular(path: Path) -> bytes:
    """Read a file that has not become something else meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise RefusedFile("it is not a file")
        if found.st_nlink > 1 and found.st_uid != os.geteuid():
            raise RefusedFile("it is a link to somebody else's file")
        data = file.read(MAX_OUTGOING_BYTES + 1)
    if len(data) > MAX_OUTGOING_BYTES:
        raise RefusedFile(f"it is larger than {MAX_OUTGOING_BYTES // 1_000_000} MB")
    return data


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.utime(path)


def _prune(directory: Path, before: float) -> int:
    count = 0
    for path in sorted(directory.rglob("*"), reverse=True):
        try:
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.lstat().st_mtime < before:
                path.unlink()
                count += 1
        except OSError:
            continue
    return count
