"""The `MessageFeed` port: everything that is said, in one order, whoever said it in whichever process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hermes_agent.core.session import StoredMessage


class MessageFeed(Protocol):
    """Reads stored messages by their ids, which only ever grow. May raise `StoreError`."""

    async def newest(self) -> int:
        """Id of the newest message; 0 if there is none."""
        ...

    async def after(
        self, message_id: int, *, session_id: str | None = None, limit: int = 20
    ) -> Sequence[StoredMessage]:
        """Messages with a higher id, oldest first; of one session if it is named."""
        ...
