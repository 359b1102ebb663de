"""What the adapter must know after a restart, kept beside the cursor."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from hermes_agent.core.platform import Receiver

_PLATFORM = "matrix"
_MOST = 500

MapName: TypeAlias = Literal["invitations", "notices", "direct", "threads"]


@dataclass
class Memory:
    """All of it.

    Attributes:
        token: Where the next sync begins; empty at first.
        synced_at: Unix time of the last sync; 0 at first.
        salt: Part of all transaction ids: a new database counts from one again, but the server remembers.
        invitations: Rooms that wait, with who invites.
        notices: Rooms that were told why nothing comes back, with the reason.
        direct: People, with the room that only they and we are in.
        threads: Threads we take part in, with their rooms.
    """

    receiver: Receiver
    user_id: str
    token: str = ""
    synced_at: float = 0.0
    salt: str = ""
    invitations: dict[str, str] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)
    direct: dict[str, str] = field(default_factory=dict)
    threads: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def load(cls, receiver: Receiver, user_id: str) -> Memory:
        """What is known about an account; what another one left does not count. Raises `StoreError`."""
        memory = cls(receiver, user_id)
        stored = _mapping(await receiver.load_cursor(_PLATFORM))
        if stored.get("user") == user_id:
            memory.token = stored.get("token", "")
            memory.synced_at = _number(stored.get("at", ""))
        memory.salt = await receiver.load_cursor(f"{_PLATFORM}.salt")
        if not memory.salt:
            memory.salt = secrets.token_hex(6)
            await receiver.save_cursor(f"{_PLATFORM}.salt", memory.salt)
        memory.invitations = _mapping(await receiver.load_cursor(f"{_PLATFORM}.invitations"))
        memory.notices = _mapping(await receiver.load_cursor(f"{_PLATFORM}.notices"))
        memory.direct = _mapping(await receiver.load_cursor(f"{_PLATFORM}.direct"))
        memory.threads = _mapping(await receiver.load_cursor(f"{_PLATFORM}.threads"))
        return memory

    async def put(self, name: MapName, key: str, value: str) -> None:
        """Remember something; the oldest is forgotten when it becomes much. Raises `StoreError`."""
        known: dict[str, str] = getattr(self, name)
        if known.get(key) == value:
            return
        known.pop(key, None)
        known[key] = value
        for oldest in list(known)[:-_MOST]:
            del known[oldest]
        await self._save(name)

    async def drop(self, name: MapName, key: str) -> None:
        """Forget something. Raises `StoreError`."""
        if getattr(self, name).pop(key, None) is not None:
            await self._save(name)

    async def synced(self, token: str) -> None:
        """Everything before this token is taken. Raises `StoreError`."""
        self.token, self.synced_at = token, time.time()
        stored = {"user": self.user_id, "token": token, "at": f"{self.synced_at:.0f}"}
        await self.receiver.save_cursor(_PLATFORM, json.dumps(stored))

    async def _save(self, name: MapName) -> None:
        await self.receiver.save_cursor(f"{_PLATFORM}.{name}", json.dumps(getattr(self, name)))


def _mapping(text: str) -> dict[str, str]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
