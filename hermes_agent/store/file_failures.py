"""Errors of file operations beside the database; apart, so that locks need no sqlite3."""

from __future__ import annotations

import errno
from pathlib import Path

from hermes_agent.core.errors import StoreUnwritableError


def translate_os(error: OSError, path: Path) -> StoreUnwritableError:
    """A file operation beside the database failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreUnwritableError(
            f"No space left to write {path}", why=error.strerror, remedy="Free some space and try again."
        )
    return StoreUnwritableError(
        f"Cannot write {path}",
        why=error.strerror or str(error),
        remedy="Check permissions, or set HERMES_HOME to a directory you can write.",
    )
