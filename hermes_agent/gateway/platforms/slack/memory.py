"""What the adapter remembers across restarts: how far each conversation was read.

Slack gives up on an event after three tries in five minutes; what was missed for longer is read from the
history. A message's id is its time (`1700000000.000100`): ten digits, a point and six, so that texts compare
as the times do.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

_MARGIN_SECONDS = 60.0
_MAX_CHANNELS = 300
_MAX_THREADS = 200


def stamp(at: float) -> str:
    """The id of a message of a Unix time."""
    return f"{max(0.0, at):017.6f}"


@dataclass
class Memory:
    """Kept as the platform's cursor.

    Attributes:
        newest: The newest message seen anywhere.
        channels: The newest message of each channel, least recently used first.
        threads: The newest message of each thread in which the bot takes part: `channel:thread`.
    """

    newest: str = ""
    channels: dict[str, str] = field(default_factory=dict)
    threads: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, cursor: str) -> Memory:
        """From the stored cursor; a fresh one if there is none (or it is not ours)."""
        try:
            data = json.loads(cursor)
            return cls(str(data["newest"]), _texts(data["channels"]), _texts(data["threads"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(newest=stamp(time.time()))

    def dump(self) -> str:
        """For `Receiver.save_cursor`."""
        return json.dumps(
            {"newest": self.newest, "channels": self.channels, "threads": self.threads}, separators=(",", ":")
        )

    def received(self, channel: str, ts: str, thread: str = "") -> None:
        """A message is on disk, and everything before it in its channel (or thread)."""
        self.newest = max(self.newest, ts)
        key = f"{channel}:{thread}"
        if key in self.threads:
            self.threads[key] = max(ts, self.threads.pop(key))
        if not thread or thread == ts:
            _put(self.channels, channel, ts, _MAX_CHANNELS)

    def takes_part(self, channel: str, thread: str, ts: str) -> None:
        """The bot was spoken to in a thread: what follows there is for it."""
        _put(self.threads, f"{channel}:{thread}", ts, _MAX_THREADS)

    def is_known(self, channel: str, thread: str) -> bool:
        """Whether the bot takes part in a thread."""
        return f"{channel}:{thread}" in self.threads

    def missed_after(self, channel: str, oldest: float) -> str:
        """Messages of a channel after this were not seen yet.

        Args:
            channel: Id.
            oldest: Unix time; older messages do not count.
        """
        known = self.channels.get(channel)
        if known is None:
            # Channels do not deliver in step: one may have been a little behind the newest.
            known = stamp(float(self.newest or 0) - _MARGIN_SECONDS)
        return max(known, stamp(oldest))


def _put(kept: dict[str, str], key: str, ts: str, limit: int) -> None:
    kept[key] = max(ts, kept.pop(key, ""))
    if len(kept) > limit:
        del kept[next(iter(kept))]


def _texts(value: dict[str, str]) -> dict[str, str]:
    return {str(key): str(each) for key, each in value.items()}
