"""From one logical message to what is sent: texts within the limit, or a preview and a file."""

from __future__ import annotations

from dataclasses import replace

from hermes_agent.core.outbox import OutboxEntry
from hermes_agent.core.platform import OutgoingFile, OutgoingPart, Platform
from hermes_agent.gateway.splitting import split_text

_NOTE = "\n\n… the whole answer is in the file."


def plan_parts(entry: OutboxEntry, platform: Platform, limit: int, *, max_parts: int) -> list[OutgoingPart]:
    """Everything to send for an entry, in order; the same for every try.

    Args:
        entry: What to send.
        platform: Measures texts.
        limit: Units of one part.
        max_parts: More text parts than this become one part and a file.
    """
    message = entry.message
    texts = split_text(message.text, limit, platform.measure)
    files = list(message.files)
    if len(texts) > max_parts and platform.capabilities.can_send_files:
        room = limit - platform.measure(_NOTE)
        texts = [split_text(message.text, room, platform.measure)[0] + _NOTE]
        files.insert(0, OutgoingFile(name="answer.md", data=message.text.encode()))
    parts = [OutgoingPart(message.address, text=text, is_silent=message.is_silent) for text in texts]
    if platform.capabilities.can_send_files:
        parts += [OutgoingPart(message.address, file=each, is_silent=message.is_silent) for each in files]
    elif files:
        names = ", ".join(each.name or each.path for each in files)
        parts.append(OutgoingPart(message.address, text=f"(Files cannot be sent here: {names})"))
    parts = [replace(part, key=f"{entry.id}-{index}", kind=message.kind) for index, part in enumerate(parts)]
    if parts:
        quoting = len(parts) if message.quotes_all else 1
        parts[:quoting] = [replace(part, reply_to_id=message.reply_to_id) for part in parts[:quoting]]
        last_text = max((index for index, part in enumerate(parts) if part.file is None), default=None)
        if last_text is not None:
            parts[last_text] = replace(parts[last_text], buttons=message.buttons)
    return parts
