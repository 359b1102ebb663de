"""`WWW-Authenticate`: why a server refuses us."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(r'(?:^|[\s,])([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a `Bearer` challenge says.

    Attributes:
        resource_metadata: Where the server describes itself (RFC 9728).
        scope: What is needed.
        error: `invalid_token`, `insufficient_scope` …
    """

    resource_metadata: str = ""
    scope: str = ""
    error: str = ""

    @classmethod
    def parse(cls, header: str) -> Challenge:
        """From the header; nonsense is an empty challenge."""
        found: dict[str, str] = {}
        for name, quoted, plain in _FIELD.findall(header[:8192]):
            found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
        return cls(
            found.get("resource_metadata", ""),
            " ".join(found.get("scope", "").split()),
            found.get("error", ""),
        )


NO_CHALLENGE = Challenge()


def joined_scopes(*scopes: str | None) -> str:
    """All scopes once, in order."""
    return " ".join(dict.fromkeys(each for text in scopes if text for each in text.split()))
