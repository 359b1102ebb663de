"""Keep secrets out of everything that is shown, stored, logged or sent to a model."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "[REDACTED]"


class Redactor:
    """Replaces known secret values."""

    def __init__(self, values: Iterable[str] = (), *, enabled: bool = True) -> None:
        known = sorted({value for value in values if len(value) >= 8}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known and enabled else None
        self.enabled = enabled

    def redact(self, text: str) -> str:
        """The text without secrets."""
        return self._known.sub(MASK, text) if self._known else text
