"""What an answer needs to know about the mail thread it belongs to: subject and ids.

Kept beside the cursor, in a bounded number of buckets, so that years of mail do not fill the database.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hermes_agent.core.platform import Receiver

_BUCKETS = 256
_PER_BUCKET = 64
_MOST_IDS = 20
_OWN_ID = re.compile(r"^hermes\.([0-9a-f]{16})\.[0-9a-f]{24}@")


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread as seen with its newest mail. `ids` are Message-IDs, the oldest first."""

    subject: str = ""
    ids: tuple[str, ...] = ()


def thread_of(message_id: str, references: Sequence[str]) -> str:
    """The id of the thread a mail belongs to: 16 hex digits, made of its first mail's id."""
    for each in reversed(references):
        if match := _OWN_ID.match(each):
            return match[1]  # our own ids name their thread: clients may leave out all the others
    return short(references[0] if references else message_id)


def own_id(thread_id: str, digest: str, domain: str) -> str:
    """A Message-ID of ours, without brackets."""
    thread = thread_id if re.fullmatch(r"[0-9a-f]{16}", thread_id) else short(thread_id or digest)
    return f"hermes.{thread}.{digest[:24]}@{domain}"


def short(text: str) -> str:
    """16 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


class Threads:
    """The memory of threads."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def remember(self, chat_id: str, thread_id: str, thread: Thread) -> None:
        """Keep what is known with the newest mail. Raises `StoreError`."""
        name, key = _place(chat_id, thread_id)
        bucket = await self._load(name)
        bucket.pop(key, None)
        ids = thread.ids if len(thread.ids) <= _MOST_IDS else (thread.ids[0], *thread.ids[1 - _MOST_IDS :])
        bucket[key] = [thread.subject, *ids]
        for oldest in list(bucket)[:-_PER_BUCKET]:
            del bucket[oldest]
        await self._receiver.save_cursor(name, json.dumps(bucket, ensure_ascii=False))

    async def recall(self, chat_id: str, thread_id: str) -> Thread:
        """What is known; an empty thread if nothing is. Raises `StoreError`."""
        name, key = _place(chat_id, thread_id)
        found = (await self._load(name)).get(key)
        return Thread(found[0], tuple(found[1:])) if found else Thread()

    async def _load(self, name: str) -> dict[str, list[str]]:
        text = await self._receiver.load_cursor(name)
        try:
            found = json.loads(text) if text else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def _place(chat_id: str, thread_id: str) -> tuple[str, str]:
    key = short(f"{chat_id}\0{thread_id}")
    return f"email.threads.{int(key[:2], 16) % _BUCKETS}", key
