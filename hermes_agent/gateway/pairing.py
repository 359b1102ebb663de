"""Pairing: a stranger gets a code, the owner approves it on the machine (`hermes pairing approve`).

Codes are stored as salted hashes only and compared in constant time. The files are those of the older
agent: `<platform>-pending.json`, `<platform>-approved.json`, `_rate_limits.json`, all 0600.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hermes_agent.config.files import exclusive, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import StoreError, UsageError

ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
CODE_LENGTH = 8
CODE_SECONDS = 3600
MAX_PENDING = 3
REQUEST_SECONDS = 600
MAX_FAILURES = 5
LOCK_SECONDS = 3600

_PENDING = "-pending.json"
_APPROVED = "-approved.json"


@dataclass(frozen=True, slots=True)
class PairingUser:
    """Somebody who waits, or was let in. `since` is Unix time."""

    platform: str
    user_id: str
    name: str
    since: float


class PairingBook:
    """The pairing files of a home.

    Args:
        home: Its `platforms/pairing` (or the older `pairing`) directory is used.
        clock: Unix time.
    """

    def __init__(self, home: Home, clock: Callable[[], float] = time.time) -> None:
        newer = home.root / "platforms" / "pairing"
        self.directory = home.pairing if home.pairing.is_dir() and not newer.is_dir() else newer
        self._lock = home.run / "pairing.lock"
        self._clock = clock
        self._cache: dict[str, tuple[tuple[int, int], frozenset[str]]] = {}

    def is_approved(self, platform: str, user_id: str) -> bool:
        """Whether somebody was let in. Reads the file only when it has changed."""
        path = self._path(platform, _APPROVED)
        try:
            known = path.stat()
        except OSError:
            return False
        stamp = (known.st_mtime_ns, known.st_size)
        cached = self._cache.get(platform)
        if cached is None or cached[0] != stamp:
            cached = self._cache[platform] = (stamp, frozenset(_read(path)))
        return user_id in cached[1]

    def request(self, platform: str, user_id: str, name: str) -> str | None:
        """A new code for a stranger; None if they asked a short time ago, or too many wait."""
        with self._change():
            now = self._clock()
            limits = _read(self._limits)
            key = f"{platform}:{user_id}"
            if now - _number(limits.get(key)) < REQUEST_SECONDS:
                return None
            path = self._path(platform, _PENDING)
            pending = self._alive(path)
            own = [entry for entry, value in pending.items() if value.get("user_id") == user_id]
            for entry in own:
                del pending[entry]
            if len(pending) >= MAX_PENDING:
                return None
            code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
            salt = secrets.token_bytes(16)
            pending[secrets.token_hex(8)] = {
                "hash": _hash(salt, code),
                "salt": salt.hex(),
                "user_id": user_id,
                "user_name": name,
                "created_at": now,
            }
            self._write(path, pending)
            self._write(self._limits, {**_fresh(limits, now), key: now})
            return code

    def approve(self, platform: str, code: str) -> PairingUser:
        """Let in whoever got this code.

        Raises:
            UsageError: The code is wrong or too old, or too many wrong ones were tried.
        """
        with self._change():
            now = self._clock()
            limits = _read(self._limits)
            locked_until = _number(limits.get(f"_lockout:{platform}"))
            if now < locked_until:
                minutes = max(1, round((locked_until - now) / 60))
                raise UsageError(
                    f"Too many wrong codes for {platform}", remedy=f"Try again in {minutes} min."
                )
            path = self._path(platform, _PENDING)
            pending = self._alive(path)
            wanted = code.strip().upper()
            found = [entry for entry, value in pending.items() if _fits(value, wanted)]
            if not found:
                self._count_failure(platform, limits, now)
                raise UsageError(
                    f"No request on {platform} has this code",
                    why="Codes are valid for an hour",
                    remedy="See who waits: hermes pairing list. Writing to the bot again gives a new code.",
                )
            entry = pending.pop(found[0])
            user = PairingUser(platform, str(entry.get("user_id")), str(entry.get("user_name") or ""), now)
            approved = _read(self._path(platform, _APPROVED))
            approved[user.user_id] = {"user_name": user.name, "approved_at": now}
            self._write(self._path(platform, _APPROVED), approved)
            self._write(path, pending)
            limits.pop(f"_failures:{platform}", None)
            self._write(self._limits, _fresh(limits, now))
            return user

    def revoke(self, platform: str, user_id: str) -> bool:
        """Let somebody in no longer; False if they were not."""
        with self._change():
            path = self._path(platform, _APPROVED)
            approved = _read(path)
            if approved.pop(user_id, None) is None:
                return False
            self._write(path, approved)
            return True

    def clear_pending(self, platform: str | None = None) -> int:
        """Forget who waits; returns how many."""
        with self._change():
            count = 0
            for path in sorted(self.directory.glob(f"{platform or '*'}{_PENDING}")):
                count += len(_read(path))
                self._write(path, {})
            return count

    def pending(self) -> list[PairingUser]:
        """Who waits, oldest first."""
        found = []
        for path in sorted(self.directory.glob(f"*{_PENDING}")):
            platform = path.name.removesuffix(_PENDING)
            for value in self._alive(path).values():
                user_id, name = str(value.get("user_id")), str(value.get("user_name") or "")
                found.append(PairingUser(platform, user_id, name, _number(value.get("created_at"))))
        return sorted(found, key=lambda user: user.since)

    def approved(self) -> list[PairingUser]:
        """Who was let in."""
        found = []
        for path in sorted(self.directory.glob(f"*{_APPROVED}")):
            platform = path.name.removesuffix(_APPROVED)
            for user_id, value in _read(path).items():
                entry = value if isinstance(value, dict) else {}
                name = str(entry.get("user_name") or "")
                found.append(PairingUser(platform, user_id, name, _number(entry.get("approved_at"))))
        return found

    @property
    def _limits(self) -> Path:
        return self.directory / "_rate_limits.json"

    def _path(self, platform: str, ending: str) -> Path:
        if not platform.replace("_", "").replace("-", "").isalnum():
            raise UsageError(f"{platform!r} is not the name of a platform")
        return self.directory / f"{platform}{ending}"

    def _alive(self, path: Path) -> dict[str, Any]:
        """Requests that are not too old."""
        limit = self._clock() - CODE_SECONDS
        return {
            entry: value
            for entry, value in _read(path).items()
            if isinstance(value, dict) and _number(value.get("created_at")) > limit
        }

    def _count_failure(self, platform: str, limits: dict[str, Any], now: float) -> None:
        failures = int(_number(limits.get(f"_failures:{platform}"))) + 1
        limits[f"_failures:{platform}"] = failures
        if failures >= MAX_FAILURES:
            limits[f"_lockout:{platform}"] = now + LOCK_SECONDS
            limits.pop(f"_failures:{platform}")
        self._write(self._limits, limits)

    @contextmanager
    def _change(self) -> Iterator[None]:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(self._lock):
            yield

    def _write(self, path: Path, value: dict[str, Any]) -> None:
        replace_atomically(path, (json.dumps(value, indent=2) + "\n").encode(), mode=0o600)


def _hash(salt: bytes, code: str) -> str:
    return hashlib.sha256(salt + code.encode()).hexdigest()


def _fits(entry: dict[str, Any], code: str) -> bool:
    """Compare in constant time. The salt may have gone into the hash as bytes or as its hex text."""
    known, salt = str(entry.get("hash", "")), str(entry.get("salt", ""))
    try:
        as_bytes = _hash(bytes.fromhex(salt), code)
    except ValueError:
        as_bytes = ""
    as_text = _hash(salt.encode(), code)
    return hmac.compare_digest(known, as_bytes) | hmac.compare_digest(known, as_text)


def _fresh(limits: dict[str, Any], now: float) -> dict[str, Any]:
    """Limits without requests that no longer count."""
    return {
        key: value
        for key, value in limits.items()
        if key.startswith("_") or now - _number(value) < REQUEST_SECONDS
    }


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read", why=str(error), remedy="Mend it, or move it away to start over."
        ) from error
    return found if isinstance(found, dict) else {}
