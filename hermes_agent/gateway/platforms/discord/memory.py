"""What the adapter remembers across restarts: the newest message of each channel, and how it signs sends.

Discord redelivers events only to a connection that resumes; after a restart the messages that came
meanwhile are fetched over REST. Message ids grow with time in all channels alike, so the newest id seen
anywhere also bounds the channels in which nothing was seen yet.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field

_EPOCH_MS = 1420070400000
_MARGIN_SECONDS = 60.0
_MAX_CHANNELS = 300


def snowflake(at: float) -> int:
    """The smallest id of a message that was written at a Unix time."""
    return max(0, int(at * 1000) - _EPOCH_MS) << 22


@dataclass
class Memory:
    """Kept as the platform's cursor.

    Attributes:
        salt: Makes the nonces of two installations differ: their outboxes count alike.
        newest: The newest message seen anywhere.
        channels: The newest message of each channel, least recently used first.
        direct: Those of them that are direct chats.
        commands: Digest of the slash commands registered last.
    """

    salt: str = field(default_factory=lambda: secrets.token_hex(8))
    newest: int = 0
    channels: dict[int, int] = field(default_factory=dict)
    direct: dict[int, int] = field(default_factory=dict)
    commands: str = ""

    @classmethod
    def load(cls, cursor: str) -> Memory:
        """From the stored cursor; a fresh one if there is none (or it is not ours)."""
        try:
            data = json.loads(cursor)
            return cls(
                str(data["salt"]),
                int(data["newest"]),
                {int(key): int(value) for key, value in data["channels"].items()},
                {int(key): int(value) for key, value in data["direct"].items()},
                str(data["commands"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(newest=snowflake(time.time()))

    def dump(self) -> str:
        """For `Receiver.save_cursor`."""
        return json.dumps(
            {
                "salt": self.salt,
                "newest": self.newest,
                "channels": self.channels,
                "direct": self.direct,
                "commands": self.commands,
            },
            separators=(",", ":"),
        )

    def received(self, channel_id: int, message_id: int, *, is_direct: bool) -> None:
        """A message is on disk, and everything before it in its channel."""
        self.newest = max(self.newest, message_id)
        kept = self.direct if is_direct else self.channels
        kept[channel_id] = max(message_id, kept.pop(channel_id, 0))
        if len(kept) > _MAX_CHANNELS:
            del kept[next(iter(kept))]

    def missed_after(self, channel_id: int, oldest: float) -> int:
        """Messages of a channel with greater ids were not seen yet.

        Args:
            channel_id: Of a channel or a direct chat.
            oldest: Unix time; older messages do not count.
        """
        known = self.channels.get(channel_id) or self.direct.get(channel_id)
        if known is None:
            # Channels do not deliver in step: one may have been a little behind the newest.
            known = self.newest - (int(_MARGIN_SECONDS * 1000) << 22)
        return max(known, snowflake(oldest), 0)

    def nonce(self, channel_id: int, key: str) -> str:
        """The same for every try of a part; at most 25 characters."""
        digest = hashlib.sha256(f"{self.salt}:{channel_id}:{key}".encode())
        return digest.hexdigest()[:25]
