"""`mcp-tokens/`: what is stored of a server's credential, and the lock between processes.

Three files per server, readable by their owner only:

- `NAME.json`: the token as the authorization server gave it, plus `expires_at` (Unix time) and `server_url`
  (the server it is for; it is sent nowhere else).
- `NAME.client.json`: our registration, plus `issuer` (the authorization server that knows it).
- `NAME.meta.json`: metadata of the authorization server, plus what is ours under `hermes`.

Older files lack the additions; unknown keys are kept. Nothing here deletes anything but `remove`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hermes_agent.config.files import replace_atomically
from hermes_agent.core.errors import StoreUnwritableError
from hermes_agent.mcp.oauth.errors import OAuthUnavailableError

LOCK_SECONDS = 60.0
"""Longer than any request that is made while the lock is held."""

_MAX_BYTES = 1_000_000
_log = logging.getLogger(__name__)


def file_stem(server: str) -> str:
    """A server's name as a file name: no path tricks, at most 128 characters and 200 bytes."""
    stem = re.sub(r"[^\w-]", "_", server)[:128] or "_"
    return stem.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address; what is none has an origin of its own."""
    try:
        parts = urlsplit(url)
        default = {"https": 443, "http": 80}.get(parts.scheme.lower(), 0)
        return parts.scheme.lower(), (parts.hostname or "").lower().rstrip("."), parts.port or default
    except ValueError:
        return "", url, 0


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token.

    Attributes:
        expires_at: Unix time; None if it does not expire as far as is known.
        scope: What was granted; None if the server did not say.
        server_url: The server it is for; empty in older files.
        extra: Further keys of the file.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None
    scope: str | None = None
    token_type: str = "Bearer"  # noqa: S105 - not a secret
    server_url: str = ""
    expires_in: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, written_at: float) -> StoredToken | None:
        """The token of a file or a response; None if there is none in it.

        Args:
            data: Its JSON.
            written_at: Unix time that `expires_in` counts from if there is no `expires_at`.
        """
        access = data.get("access_token")
        if not isinstance(access, str) or not access.isprintable() or not access.isascii() or not access:
            return None
        refresh = data.get("refresh_token")
        expires_in = _number(data.get("expires_in"))
        expires_at = _number(data.get("expires_at"))
        if expires_at is None and expires_in is not None:
            expires_at = written_at + expires_in
        scope = data.get("scope")
        if isinstance(scope, list):
            scope = " ".join(map(str, scope))
        return cls(
            access,
            refresh if isinstance(refresh, str) and refresh else None,
            expires_at,
            scope if isinstance(scope, str) else None,
            str(data.get("token_type") or "Bearer"),
            str(data.get("server_url") or ""),
            expires_in,
            {key: value for key, value in data.items() if key not in _TOKEN_KEYS},
        )

    def to_json(self) -> dict[str, Any]:
        """For the file."""
        values: dict[str, Any] = {
            **self.extra,
            "access_token": self.access_token,
            "token_type": self.token_type,
            "expires_in": None if self.expires_in is None else int(self.expires_in),
            "expires_at": self.expires_at,
            "scope": self.scope,
            "refresh_token": self.refresh_token,
            "server_url": self.server_url or None,
        }
        return {key: value for key, value in values.items() if value is not None}

    def is_expired(self, *, early_seconds: float = 0.0) -> bool:
        """Whether it has expired, or will within `early_seconds`."""
        return self.expires_at is not None and self.expires_at - early_seconds <= time.time()

    @property
    def early_seconds(self) -> float:
        """How long before its end it is worth renewing: a minute, less for tokens that live shortly."""
        return min(60.0, (self.expires_in or 600.0) / 10)

    def is_for(self, url: str) -> bool:
        """Whether it may be sent to this server."""
        return not self.server_url or origin(self.server_url) == origin(url)


_TOKEN_KEYS = frozenset(
    {
        *("access_token", "refresh_token", "expires_in", "expires_at"),
        *("scope", "token_type", "server_url"),
    }
)


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 1e12 else None


class TokenFiles:
    """The files of one server.

    Args:
        directory: `mcp-tokens`; made when something is written.
        server: Its name in the configuration.
    """

    def __init__(self, directory: Path, server: str) -> None:
        self.server = server
        self._directory = directory
        stem = file_stem(server)
        self.token_path = directory / f"{stem}.json"
        self.client_path = directory / f"{stem}.client.json"
        self.metadata_path = directory / f"{stem}.meta.json"
        self.lock_path = directory / f"{stem}.lock"

    def stamp(self) -> int:
        """Changes whenever the token file is replaced; 0 if there is none."""
        try:
            return self.token_path.stat().st_mtime_ns
        except OSError:
            return 0

    def load_token(self) -> StoredToken | None:
        """What is stored; None if there is nothing that can be read."""
        data = self._read(self.token_path)
        if data is None:
            return None
        token = StoredToken.from_json(data, written_at=self.stamp() / 1e9)
        if token is None:
            _log.warning("%s holds no usable token; it is left as it is", self.token_path)
        return token

    def load_client(self) -> dict[str, Any] | None:
        """Our registration; None if there is none."""
        data = self._read(self.client_path)
        if data is None or not isinstance(data.get("client_id"), str) or not data["client_id"]:
            return None
        return {key: value for key, value in data.items() if value is not None and value != ""}

    def load_metadata(self) -> dict[str, Any] | None:
        """Metadata of the authorization server; None if there is none."""
        return self._read(self.metadata_path)

    def save_token(self, token: StoredToken) -> None:
        """Replace the token. Raises `StoreUnwritableError`."""
        before = self.stamp()
        self._write(self.token_path, token.to_json())
        if self.stamp() == before:
            # A coarse clock of the file system must not hide the change from others.
            with suppress(OSError):
                os.utime(self.token_path, ns=(before + 1, before + 1))

    def save_client(self, client: Mapping[str, Any]) -> None:
        """Replace the registration. Raises `StoreUnwritableError`."""
        self._write(self.client_path, client)

    def save_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata. Raises `StoreUnwritableError`."""
        self._write(self.metadata_path, metadata)

    def remove(self) -> bool:
        """Delete everything stored for this server (an explicit wish of the user); False if nothing was."""
        found = False
        for path in (self.token_path, self.client_path, self.metadata_path):
            try:
                path.unlink()
                found = True
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StoreUnwritableError(f"Cannot delete {path}", why=error.strerror) from error
        return found

    @asynccontextmanager
    async def lock(self) -> AsyncGenerator[None]:
        """Keep every other process (and everybody else in this one) from changing these files.

        Raises:
            OAuthUnavailableError: Somebody else held it all the time.
            StoreUnwritableError: The lock file cannot be made.
        """
        descriptor = self._open_lock()
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    raise OAuthUnavailableError(
                        self.server,
                        f"Another process is renewing the token of MCP server {self.server!r}",
                        why=f"It has held {self.lock_path} for {LOCK_SECONDS:g} seconds.",
                    )
                await asyncio.sleep(random.uniform(0.005, 0.02))  # noqa: S311 - no secret
            yield
        finally:
            os.close(descriptor)

    def _open_lock(self) -> int:
        self._make_directory()
        try:
            return os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreUnwritableError(f"Cannot make {self.lock_path}", why=error.strerror) from error

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnwritableError(f"Cannot make {self._directory}", why=error.strerror) from error
        _tighten(self._directory, 0o700)

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _log.warning("%s cannot be read: %s", path, error.strerror)
            return None
        _tighten(path, 0o600)
        try:
            found = json.loads(data) if len(data) <= _MAX_BYTES else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            _log.warning("%s is not what it should be; it is left as it is", path)
            return None
        return found

    def _write(self, path: Path, values: Mapping[str, Any]) -> None:
        self._make_directory()
        _tighten(path, 0o600)
        replace_atomically(path, json.dumps(dict(values), indent=2).encode(), mode=0o600)


def _tighten(path: Path, mode: int) -> None:
    """Take from others what an older program, or a copy, gave them."""
    with suppress(OSError):
        if path.stat().st_mode & 0o077:
            path.chmod(mode)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
