"""Log files: `logs/agent.log` and `logs/errors.log`, rotated, redacted, shared by several processes.

Every process appends whole records with one write each, so lines of two processes never mix; whoever
finds a file too long rotates it under a lock, and the others notice and reopen. A log that cannot be
written (read-only home, full disk) is given up silently: logging never ends a run. `hermes doctor`
tells about it.

A record is `TIME LEVEL [SESSION] LOGGER: MESSAGE`; `[SESSION]` is left out if there is none. Further
lines are indented, and control characters are spelled out, so that no message can pass for another
record or play with the terminal of whoever reads it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.logging import LoggingSettings
from hermes_agent.core.redaction import Redactor

AGENT_LOG: Final = "agent"
ERRORS_LOG: Final = "errors"
_MEBIBYTE = 1024 * 1024
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) not in "\n\t"}


def log_file(home: Home, name: str) -> Path:
    """Path of a log: `agent`, `errors`, `gateway`."""
    return home.logs / f"{name}.log"


def start_logging(
    home: Home,
    settings: LoggingSettings,
    redactor: Redactor,
    *,
    name: str = AGENT_LOG,
    level: str | None = None,
) -> None:
    """Write log files from now on. A second call replaces the first.

    Libraries are heard from WARNING upwards, `hermes_agent` from `logging.level`.

    Args:
        home: Its `logs` directory is made at the first record.
        settings: The `logging` section.
        redactor: Applied to every record, tracebacks included.
        name: The main log of this process; WARNING and above also go to `errors.log`.
        level: Overrides `logging.level` (`--debug`).
    """
    stop_logging()
    limit = settings.max_size_mb * _MEBIBYTE
    formatter = RecordFormatter(redactor)
    main = RotatingFile(log_file(home, name), limit, settings.backup_count)
    errors = RotatingFile(log_file(home, ERRORS_LOG), limit, settings.backup_count)
    errors.setLevel(logging.WARNING)
    for handler in (main, errors):
        handler.setFormatter(formatter)
        logging.root.addHandler(handler)
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("hermes_agent").setLevel(level or settings.level)


def stop_logging() -> None:
    """Close the log files. Safe to call twice."""
    for handler in list(logging.root.handlers):
        if isinstance(handler, RotatingFile):
            logging.root.removeHandler(handler)
            handler.close()


class RecordFormatter(logging.Formatter):
    """One record as text that is safe to keep and to show."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)s%(session)s %(name)s: %(message)s")
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Format, redact, indent further lines, spell out control characters."""
        session = getattr(record, "session_id", "")
        record.session = f" [{session}]" if session else ""
        text = self._redactor.redact(super().format(record))
        return text.rstrip().translate(_CONTROLS).replace("\n", "\n  ")


class RotatingFile(logging.Handler):
    """Appends records to a file that several processes share.

    Args:
        path: The file; made with mode 0600 (0660 in a directory that is shared by a group).
        max_bytes: Length at which a new file is begun.
        backup_count: Old files kept as `NAME.1`, `NAME.2` …; 0 starts over.
    """

    def __init__(self, path: Path, max_bytes: int, backup_count: int) -> None:
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._descriptor = -1

    def emit(self, record: logging.LogRecord) -> None:
        """Append one record."""
        try:
            text = self.format(record)
        except (TypeError, ValueError, KeyError):  # arguments that do not fit their format string
            values = {"msg": f"cannot format {record.msg!r}", "args": None}
            text = self.format(logging.makeLogRecord(record.__dict__ | values))
        data = (text + "\n").encode("utf-8", "replace")
        with suppress(OSError):
            self._open_current(len(data))
            os.write(self._descriptor, data)

    def close(self) -> None:
        """Close the file."""
        self._close_file()
        super().close()

    def _open_current(self, added: int) -> None:
        """Have the file open that stands at the path, with room for `added` more bytes."""
        if self._descriptor < 0 or not self._is_current():
            self._reopen()
        if os.fstat(self._descriptor).st_size + added > self._max_bytes:
            self._rotate(added)

    def _is_current(self) -> bool:
        """Whether nobody rotated or removed the file since it was opened."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def _reopen(self) -> None:
        self._close_file()
        directory = self._path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_shared = bool(directory.stat().st_mode & stat.S_ISGID)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o660 if is_shared else 0o600)

    def _rotate(self, added: int) -> None:
        """Move the full file aside, unless another process just did."""
        lock = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_current() and os.fstat(self._descriptor).st_size + added > self._max_bytes:
                self._shift()
            self._reopen()
        finally:
            os.close(lock)

    def _shift(self) -> None:
        if self._backup_count == 0:
            self._path.unlink(missing_ok=True)
            return
        for number in range(self._backup_count - 1, 0, -1):
            with suppress(FileNotFoundError):
                _numbered(self._path, number).replace(_numbered(self._path, number + 1))
        with suppress(FileNotFoundError):
            self._path.replace(_numbered(self._path, 1))

    def _close_file(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            with suppress(OSError):
                os.close(descriptor)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def log_generations(path: Path) -> list[Path]:
    """The existing files of a log, newest first: `agent.log`, `agent.log.1` …"""
    old = [
        (int(other.suffix[1:]), other)
        for other in path.parent.glob(f"{path.name}.*")
        if other.suffix[1:].isdigit()
    ]
    return [each for each in (path, *(other for _, other in sorted(old))) if each.is_file()]
