"""What the terminal can do, decided once from the streams and the environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from hermes_agent.core.errors import HermesError


def _is_tty(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


@dataclass(frozen=True, slots=True)
class Terminal:
    """The three standard streams.

    Attributes:
        stdin_is_tty: A person can type.
        stdout_is_tty: A person reads standard output.
        is_dumb: The terminal has no cursor movement (`TERM=dumb`, or none named).
        color_stdout: Standard output gets ANSI colours.
        color_stderr: Standard error gets ANSI colours.
    """

    stdin_is_tty: bool
    stdout_is_tty: bool
    is_dumb: bool
    color_stdout: bool
    color_stderr: bool

    @classmethod
    def detect(cls, environ: Mapping[str, str]) -> Terminal:
        """Look at the streams, `NO_COLOR`, `FORCE_COLOR` and `TERM`."""
        stdin_is_tty, stdout_is_tty = _is_tty(sys.stdin), _is_tty(sys.stdout)
        is_dumb = environ.get("TERM", "").strip() in ("", "dumb", "unknown")

        def wants_color(is_tty: bool) -> bool:
            if environ.get("NO_COLOR"):
                return False
            if environ.get("FORCE_COLOR", "0") not in ("", "0"):
                return True
            return is_tty and not is_dumb

        return cls(
            stdin_is_tty,
            stdout_is_tty,
            is_dumb,
            wants_color(stdout_is_tty),
            wants_color(_is_tty(sys.stderr)),
        )

    @property
    def is_interactive(self) -> bool:
        """A person is at both ends."""
        return self.stdin_is_tty and self.stdout_is_tty

    @property
    def supports_editing(self) -> bool:
        """The full chat (line editor, live region) can be used."""
        return self.is_interactive and not self.is_dumb


def terminal_width(default: int = 80) -> int:
    """Columns of the terminal, at least 20."""
    return max(20, shutil.get_terminal_size((default, 24)).columns)


def write_all(text: str, stream: IO[str] | None = None) -> None:
    """Write and flush at once, so that readers of a pipe see each piece as it is made.

    Raises:
        BrokenPipeError: The reader went away.
        HermesError: It cannot be written (a full disk).
    """
    target = sys.stdout if stream is None else stream
    try:
        target.write(text)
        target.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HermesError("The output cannot be written", why=error.strerror) from error


def short_path(path: str, home: str | None = None) -> str:
    """A path with the home directory written as `~`."""
    base = os.path.expanduser("~") if home is None else home  # noqa: PTH111 - text in, text out
    if base and base != "/" and (path == base or path.startswith(base + os.sep)):
        return "~" + path[len(base) :]
    return path
