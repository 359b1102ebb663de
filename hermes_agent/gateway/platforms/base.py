"""What most adapters do alike: defaults for the parts of `core.platform.Platform` that not all have."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hermes_agent.core.errors import DeliveryError
from hermes_agent.core.platform import Attachment, Capabilities, ChatAddress, OutgoingPart, Receiver


class BaseAdapter:
    """Override what the platform can do; declare it in `capabilities`.

    Attributes:
        receiver: Set by `start`; messages go there.
    """

    def __init__(self, name: str, capabilities: Capabilities) -> None:
        self._name = name
        self._capabilities = capabilities
        self._last_progress = time.monotonic()
        self.receiver: Receiver | None = None

    @property
    def name(self) -> str:
        """Constant."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self._capabilities

    @property
    def last_progress(self) -> float:
        """`time.monotonic()` of the last `progressed`."""
        return self._last_progress

    def progressed(self) -> None:
        """A poll or heartbeat was completed. Call it for empty polls too, and never for sends."""
        self._last_progress = time.monotonic()

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:  # noqa: ARG002
        """Not possible here."""
        raise DeliveryError(f"{self._name} cannot edit messages", is_permanent=True)

    async def typing(self, address: ChatAddress) -> None:
        """Nothing to show."""

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:  # noqa: ARG002
        """Not possible here."""
        raise DeliveryError(f"{self._name} has no attachments", is_permanent=True)

    def measure(self, text: str) -> int:
        """Characters."""
        return len(text)

    def facts(self) -> Mapping[str, str]:
        """Nothing to tell."""
        return {}
