"""Sessions as JSON, for export."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hermes_agent.core.messages import AssistantMessage, ImagePart, ToolMessage, UserMessage
from hermes_agent.core.session import SessionRecord, StoredMessage
from hermes_agent.store.file_failures import translate_os


def session_json(record: SessionRecord) -> dict[str, Any]:
    """A session without its messages."""
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    del values["preview"]
    values["usage"] = dataclasses.asdict(record.usage)
    return values


def message_json(stored: StoredMessage) -> dict[str, Any]:
    """A message in the shape of OpenAI's chat completions, with id and time; images lie beside the text."""
    message = stored.message
    base: dict[str, Any] = {"id": stored.id, "timestamp": stored.timestamp}
    if isinstance(message, UserMessage):
        images = [part for part in message.parts if isinstance(part, ImagePart)]
        return base | {"role": "user", "content": message.text} | _images(images)
    if isinstance(message, ToolMessage):
        base |= {"role": "tool", "content": message.text}
        base |= {"tool_call_id": message.tool_call_id, "tool_name": message.tool_name}
        return base | ({"is_error": True} if message.is_error else {}) | _images(list(message.images))
    return base | _assistant(message)


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    values: dict[str, Any] = {"role": "assistant", "content": message.text}
    if message.tool_calls:
        values["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.reasoning:
        values["reasoning"] = message.reasoning
    if message.provider_data:
        values["provider_data"] = message.provider_data
    return values | {"finish_reason": message.finish_reason}


def _images(images: list[ImagePart]) -> dict[str, Any]:
    return {"images": [dataclasses.asdict(image) for image in images]} if images else {}


async def write_lines(path: Path, lines: AsyncIterator[str]) -> None:
    """Write lines to a file that appears when it is complete; mode 0600 if it is new.

    Raises:
        StoreUnwritableError: It cannot be written.
    """
    if _is_stream(path):
        await _write_through(path, lines)
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                async for line in lines:
                    file.write(line)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise translate_os(error, path) from error


def _is_stream(path: Path) -> bool:
    """A pipe, a terminal, /dev/stdout: nothing that could be replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


async def _write_through(path: Path, lines: AsyncIterator[str]) -> None:
    try:
        with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            async for line in lines:
                file.write(line)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise translate_os(error, path) from error
