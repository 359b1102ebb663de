"""Which conversation a message belongs to, and when a conversation starts afresh."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from hermes_agent.config.sections.session_reset import ResetMode, SessionResetSettings
from hermes_agent.core.platform import InboundMessage
from hermes_agent.gateway.platforms.table import has_chats

_LASTING = frozenset({"email"})
"""Where people come back to a conversation after days, and end it by beginning another."""
_BACKGROUND = "background:"
_OWN = "hermes:"


def session_key(
    message: InboundMessage, *, per_user_in_groups: bool = True, per_user_in_threads: bool = False
) -> str:
    """`agent:main:<platform>:<type>:<chat>[:<thread>][:<user>]`; a direct message has no user.

    Args:
        message: Whose conversation is wanted.
        per_user_in_groups: Each member has a conversation of their own.
        per_user_in_threads: The same in threads; otherwise a thread is shared.
    """
    parts = ["agent", "main", message.platform, message.chat_type, message.chat_id]
    if message.thread_id:
        parts.append(message.thread_id)
    if message.chat_type != "dm":
        own = per_user_in_threads if message.thread_id else per_user_in_groups
        if own:
            parts.append(message.sender.id)
    return ":".join(parts)


def is_shared(message: InboundMessage, key: str) -> bool:
    """Whether several people talk in this conversation."""
    return message.chat_type != "dm" and not key.endswith(f":{message.sender.id}")


def principal_of(message: InboundMessage, key: str) -> str:
    """Whom a conversation works for (whose memory it has): a person, or the chat that several share."""
    if not background_task(key) and is_shared(message, key):
        return ":".join(
            part for part in (message.platform, "chat", message.chat_id, message.thread_id) if part
        )
    return f"{message.platform}:{message.sender.id}"


def account_of(message: InboundMessage, key: str) -> str:
    """The user id under which a conversation's sessions are stored."""
    return principal_of(message, key).partition(":")[2]


def own_message_id(name: str) -> str:
    """The id of a message that the gateway itself puts into a conversation; no platform has such ids."""
    return f"{_OWN}{name}"


def is_own(message: InboundMessage) -> bool:
    """Whether the gateway itself put this message into the conversation."""
    return message.message_id.startswith(_OWN)


def background_key(task_id: str) -> str:
    """The key of a background task: a conversation of its own, with one message."""
    return f"{_BACKGROUND}{task_id}"


def background_task(key: str) -> str:
    """The task id of a background key; empty for any other."""
    return key.removeprefix(_BACKGROUND) if key.startswith(_BACKGROUND) else ""


def is_passing(key: str) -> bool:
    """Whether a conversation has one message only: a background task, or a request of a program."""
    parts = key.split(":", 3)
    return bool(background_task(key)) or (len(parts) > 3 and not has_chats(parts[2]))


@dataclass(frozen=True, slots=True)
class ResetPolicy:
    """When a conversation starts afresh."""

    mode: ResetMode
    at_hour: int
    idle_minutes: int
    notify: bool

    def reason(self, last_used: float, now: float) -> str:
        """Why a conversation last used then starts afresh now; empty if it goes on."""
        if self.mode in ("idle", "both") and now - last_used > self.idle_minutes * 60:
            hours = self.idle_minutes / 60
            return f"{hours:g} h of silence" if hours >= 1 else f"{self.idle_minutes} min of silence"
        if self.mode in ("daily", "both") and last_used < last_occurrence(self.at_hour, now):
            return f"a new day (it begins at {self.at_hour:02d}:00)"
        return ""


def last_occurrence(hour: int, now: float) -> float:
    """The latest moment at or before `now` at which a local clock showed `hour`:00."""
    local = time.localtime(now)
    today = time.mktime((local.tm_year, local.tm_mon, local.tm_mday, hour, 0, 0, 0, 0, -1))
    if today <= now:
        return today
    return time.mktime((local.tm_year, local.tm_mon, local.tm_mday - 1, hour, 0, 0, 0, 0, -1))


def policy_for(settings: SessionResetSettings, platform: str, kind: str) -> ResetPolicy:
    """The policy of a platform and kind of chat (`dm`, `group`, `channel`, `thread`)."""
    chosen = [
        found
        for found in (settings.by_platform.get(platform), settings.by_type.get(kind))
        if found is not None
    ]

    def pick(name: str) -> Any:
        values = [getattr(layer, name) for layer in (*chosen, settings)]
        return next(value for value in values if value is not None)

    mode = pick("mode")
    if (
        platform in _LASTING
        and "mode" not in settings.model_fields_set
        and not any(found.mode for found in chosen)
    ):
        mode = "none"
    return ResetPolicy(mode, pick("at_hour"), pick("idle_minutes"), pick("notify"))
