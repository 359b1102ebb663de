"""The slash commands as Discord's menu shows them, and the texts that choosing one stands for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hermes_agent.agent.commands import CommandSpec, commands_for

_MAX_DESCRIPTION = 100
_STRING_OPTION = 3
_OPTION = "input"


def command_payloads() -> list[dict[str, Any]]:
    """Every command that works in chats, for `PUT /applications/ID/commands`."""
    return [_payload(spec) for spec in commands_for("gateway")]


def digest(payloads: Sequence[Mapping[str, Any]]) -> str:
    """Changes when the commands do."""
    return hashlib.sha256(json.dumps(payloads, sort_keys=True).encode()).hexdigest()[:16]


def command_text(data: Mapping[str, Any]) -> str:
    """`/name input`, from the `data` of an interaction."""
    given = [str(option.get("value", "")) for option in data.get("options") or ()]
    return " ".join([f"/{data.get('name', '')}", *given]).strip()


def _payload(spec: CommandSpec) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "name": spec.name,
        "description": spec.summary[:_MAX_DESCRIPTION],
        "type": 1,
        "contexts": [0, 1],  # servers, and direct messages with the bot
    }
    if spec.args:
        option: dict[str, Any] = {
            "type": _STRING_OPTION,
            "name": _OPTION,
            "description": spec.args[:_MAX_DESCRIPTION],
            "required": spec.args.startswith("<"),
        }
        if spec.choices and spec.args.strip("[]<>") == "|".join(spec.choices):
            option["choices"] = [{"name": each, "value": each} for each in spec.choices]
        payload["options"] = [option]
    return payload
