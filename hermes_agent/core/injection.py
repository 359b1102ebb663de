"""Signs that a text tries to give the agent orders: project rules, memory, skills are looked through."""

from __future__ import annotations

import re

_ORDERS = (
    (
        "orders to ignore earlier instructions",
        re.compile(
            r"\b(?:ignore|disregard|forget)\b.{0,30}\b(?:previous|prior|above|earlier|all|system)\b"
            r".{0,20}\b(?:instructions?|prompts?|rules?)\b",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
    (
        "orders to hide something from the user",
        re.compile(
            r"\b(?:do not|don't|never)\s+(?:tell|inform|mention\s+(?:this\s+)?to)\s+the\s+user\b",
            re.IGNORECASE,
        ),
    ),
    (
        "orders to send secrets away",
        re.compile(
            r"\b(?:curl|wget|post|send|upload|exfiltrate)\b.{0,80}(?:\$\w*(?:KEY|TOKEN|SECRET|PASSWORD)|\.env\b|"
            r"id_rsa|credentials)",
            re.IGNORECASE | re.DOTALL,
        ),
    ),
    (
        "invisible characters",
        re.compile(r"[\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"),
    ),
)


def find_orders(text: str) -> str | None:
    """What makes a text look like an attempt to take over the agent, or None."""
    for name, pattern in _ORDERS:
        if pattern.search(text):
            return name
    return None
