"""Reading single fields of a request body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from hermes_agent.api.errors import bad_request
from hermes_agent.core.model import ReasoningEffort

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


def text_field(body: Mapping[str, Any], name: str, *, max_chars: int = 1_000) -> str | None:
    """A text, or None if it is absent, null or empty."""
    value = body.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise bad_request(f"{name} must be a text", name)
    if len(value) > max_chars:
        raise bad_request(f"{name} is longer than {max_chars} characters", name)
    return value


def flag_field(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """true or false."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise bad_request(f"{name} must be true or false", name)
    return value


def map_field(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object, empty if absent."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request(f"{name} must be an object", name)
    return value


def effort_field(value: Any, name: str) -> ReasoningEffort | None:
    """A reasoning effort."""
    if value is None:
        return None
    if value not in _EFFORTS:
        raise bad_request(f"{name} must be one of {', '.join(_EFFORTS)}", name)
    return cast(ReasoningEffort, value)


def metadata_field(body: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata`, which is handed back."""
    metadata = map_field(body, "metadata")
    if len(metadata) > 64 or any(not isinstance(value, str | int | bool) for value in metadata.values()):
        raise bad_request("metadata may have up to 64 texts", "metadata")
    return metadata


def event_kinds(body: Mapping[str, Any], headers: Mapping[str, str]) -> frozenset[str]:
    """Which extension events the client wants: of `tools`, `approvals`, `reasoning`.

    From the header `X-Hermes-Events` (a list with commas, or `all`) or the field `hermes_events`.
    """
    asked = body.get("hermes_events", headers.get("x-hermes-events", ""))
    names = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
        raise bad_request("hermes_events must be a list of texts", "hermes_events")
    wanted = frozenset(name.strip().lower() for name in names if name.strip())
    if "all" in wanted:
        return EVENT_KINDS
    unknown = wanted - EVENT_KINDS
    if unknown:
        raise bad_request(
            f"Unknown events {', '.join(sorted(unknown))}: use {', '.join(sorted(EVENT_KINDS))} or all",
            "hermes_events",
        )
    return wanted


EVENT_KINDS = frozenset({"tools", "approvals", "reasoning"})
