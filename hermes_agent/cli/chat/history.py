"""Input history in a file that only its owner reads."""

from __future__ import annotations

import os
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

MAX_BYTES = 2_000_000
"""A longer file is cut to its newer half when the chat starts."""


class _ForgivingFileHistory(FileHistory):
    """A history whose disk may fill up: a line that cannot be written is kept in memory only."""

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError:
            return


def open_history(path: Path) -> History:
    """The history in `path` (mode 0600), or one in memory if the file cannot be used."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if os.fstat(descriptor).st_size > MAX_BYTES:
                _shorten(path)
        finally:
            os.close(descriptor)
    except OSError:
        return InMemoryHistory()
    return _ForgivingFileHistory(str(path))


def _shorten(path: Path) -> None:
    data = path.read_bytes()[-MAX_BYTES // 2 :]
    start = data.find(b"\n# ")
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data[start + 1 :] if start >= 0 else b"")
    temporary.replace(path)
