"""What the agent is told about the chat it talks in: a block of the system prompt, the same for a session."""

from __future__ import annotations

from hermes_agent.core.platform import InboundMessage
from hermes_agent.gateway.keys import background_task, is_shared
from hermes_agent.gateway.platforms.table import has_chats


def surface_prompt(message: InboundMessage, key: str) -> str:
    """The block for a conversation; empty where programs talk to the gateway."""
    if not has_chats(message.platform):
        return ""
    place = f"Your answers are messages on {message.platform}"
    if background_task(key):
        place = f"You work on a task in the background; only your final answer is sent, on {message.platform}"
    elif is_shared(message, key):
        place += (
            ", in a conversation of several people: each message begins with its author's name in brackets"
        )
    elif message.chat_type != "dm":
        place += ", in a group where others read along"
    return f"# Where you talk\n{place}. {surface_rules(message.platform)}"


def surface_rules(platform: str) -> str:
    """How to use a chat."""
    length = "Write a letter" if platform == "email" else "Write as one does in a chat: short, few headings"
    return (
        f"{length}. To send a file, put `MEDIA:/absolute/path` on a line of its own ([[audio_as_voice]] or "
        "[[as_document]] beside it say how). If nothing needs to be said, answer exactly [SILENT]. Start "
        "what takes long with background=true and notify_on_complete=true: you are woken when it ends."
    )
