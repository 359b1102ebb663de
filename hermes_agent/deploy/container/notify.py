"""Notifications: what the gateway in the container tells, handed on to the service manager outside."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_LONGEST = 4096
_STATUS_CHARS = 300
_PATIENCE_SECONDS = 2.0
_MESSAGES_AT_ONCE = 20
_NUMBERS = ("MONOTONIC_USEC", "EXTEND_TIMEOUT_USEC")
_SWITCHES = ("READY=1", "RELOADING=1", "STOPPING=1", "WATCHDOG=1")


class ServiceManager:
    """The service manager outside; without one nothing happens.

    Args:
        address: `$NOTIFY_SOCKET`.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address or ""
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]

    def tell(self, *lines: str) -> None:
        """Send assignments, as `READY=1`."""
        if not self._address:
            return
        # A listener that takes nothing must not hold anything up; a beat or a status can be lost.
        is_minor = all(line.startswith(("WATCHDOG=", "STATUS=")) for line in lines)
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.settimeout(0 if is_minor else _PATIENCE_SECONDS)
            sending.connect(self._address)
            sending.send("\n".join(lines).encode("utf-8", "replace"))

    def busy(self, status: str, seconds: float) -> None:
        """Something takes this long; time-outs are to wait for it."""
        self.tell(f"STATUS={one_line(status)}", f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")


class NotifySocket:
    """Where the container's notifications arrive.

    Args:
        path: Of the socket; a directory that is mounted into the container holds it.
        gid: Whoever has this group may send.
        on_message: Gets the assignments of each message that are fit to be handed on.
        longest_extension: Seconds; nobody inside may put off a time-out by more.
    """

    def __init__(
        self, path: Path, gid: int, on_message: Callable[[list[str]], None], *, longest_extension: float
    ) -> None:
        self._path = path
        self._on_message = on_message
        self._longest = int(longest_extension * 1_000_000)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with _short(path) as address:
            self._socket.bind(address)
        with suppress(PermissionError):
            os.chown(path, -1, gid)
        path.chmod(0o660)

    def open(self) -> None:
        """Begin to listen."""
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def forget(self) -> None:
        """Drop what has arrived so far."""
        with suppress(BlockingIOError, ConnectionError):
            for _ in range(_LONGEST):
                self._socket.recv(1)

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _receive(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            for _ in range(
                _MESSAGES_AT_ONCE
            ):  # whoever sends without end does not keep the rest from running
                lines = fit_to_hand_on(self._socket.recv(_LONGEST), self._longest)
                if lines:
                    self._on_message(lines)


def fit_to_hand_on(data: bytes, longest_extension: int) -> list[str]:
    """Assignments of a message that something inside may make.

    What would change the service itself (`MAINPID`, `NOTIFYACCESS`, file descriptors …) is left out.

    Args:
        data: The message.
        longest_extension: Microseconds.
    """
    kept = []
    for line in data.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition("=")
        if line in _SWITCHES:
            kept.append(line)
        elif name == "STATUS":
            kept.append(f"STATUS={one_line(value)}")
        elif name in _NUMBERS and value.isascii() and value.isdecimal() and len(value) < 20:
            number = int(value)
            kept.append(f"{name}={min(number, longest_extension) if name != 'MONOTONIC_USEC' else number}")
    return kept


def one_line(text: str) -> str:
    """A text without control characters, of bounded length."""
    return "".join(char if char.isprintable() else " " for char in text)[:_STATUS_CHARS]


class _short:  # noqa: N801 - reads as a statement
    """An address for a socket file; the system allows 108 bytes only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) < 100:
            return str(self._path)
        self._descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
