"""What a session has seen of files: keeps it from overwriting what it does not know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from hermes_agent.core.environment import Environment, FileInfo
from hermes_agent.core.errors import ToolError
from hermes_agent.core.messages import ToolMessage
from hermes_agent.core.tool import ToolContext

PageKey: TypeAlias = tuple[str, int, int]
"""Absolute path, first line, number of lines."""

Knowledge: TypeAlias = Literal["unseen", "current", "stale"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file as it was when the session last read or wrote it."""

    mtime_ns: int
    size: int
    digest: bytes | None = None


@dataclass(slots=True)
class FileLedger:
    """Session state: files by absolute path."""

    seen: dict[str, Sighting] = field(default_factory=dict)
    pages: dict[PageKey, tuple[Sighting, str]] = field(default_factory=dict)

    def note(self, path: str, info: FileInfo, data: bytes | None = None) -> None:
        """The session has read (some of) the file, or written it; `data` is its whole content."""
        digest = hashlib.sha256(data).digest() if data is not None else None
        self.seen[path] = Sighting(info.mtime_ns, info.size, digest)

    def forget(self, path: str) -> None:
        """The file is gone."""
        self.seen.pop(path, None)

    def knows(self, path: str, info: FileInfo, data: bytes | None = None) -> Knowledge:
        """Whether the file is as the session saw it; `data` settles it if only the time differs."""
        sighting = self.seen.get(path)
        if sighting is None:
            return "unseen"
        if (sighting.mtime_ns, sighting.size) == (info.mtime_ns, info.size):
            return "current"
        if data is not None and sighting.digest == hashlib.sha256(data).digest():
            return "current"
        return "stale"

    def note_page(self, key: PageKey, info: FileInfo, tool_call_id: str) -> None:
        """A page was given to the model by this call."""
        self.pages[key] = (Sighting(info.mtime_ns, info.size), tool_call_id)

    def is_page_known(self, key: PageKey, info: FileInfo, context: ToolContext) -> bool:
        """Whether the model still has this very page in its conversation.

        Says so once: whoever asks again gets the page.
        """
        sighting, tool_call_id = self.pages.pop(key, (None, ""))
        if sighting != Sighting(info.mtime_ns, info.size) or not tool_call_id:
            return False
        return any(
            isinstance(message, ToolMessage) and message.tool_call_id == tool_call_id
            for message in context.session.history
        )


async def existing_file(environment: Environment, path: str) -> FileInfo | None:
    """The regular file at an absolute path, or None.

    Raises:
        ToolError: Something else is there: a directory, a device.
    """
    info = await environment.stat(path)
    if info is None or info.kind == "file":
        return info
    if info.kind == "directory":
        raise ToolError(
            f"{path} is a directory",
            remedy="List it with search_files (target='files', pattern='*').",
        )
    raise ToolError(f"{path} is not a regular file (a device, socket or pipe)")
