"""Names of MCP tools as models see them: `mcp_<server>_<tool>`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

PREFIX = "mcp_"
MAX_CHARS = 64
"""What every provider accepts."""

_FOREIGN = re.compile(r"[^A-Za-z0-9_]")


def tool_name(server: str, tool: str, taken: Collection[str] = ()) -> str:
    """The name for models: characters that some provider refuses become `_`.

    A name that is too long, or already `taken`, ends in a hash of the original, so that it is the
    same in every process.
    """
    name = f"{PREFIX}{_FOREIGN.sub('_', server)}_{_FOREIGN.sub('_', tool)}"
    if len(name) <= MAX_CHARS and name not in taken:
        return name
    mark = hashlib.sha256(f"{server}\0{tool}".encode()).hexdigest()[:8]
    return f"{name[: MAX_CHARS - 9]}_{mark}"


def file_name(server: str) -> str:
    """A server's name as part of a file name: no path tricks, at most 128 characters."""
    return re.sub(r"[^\w-]", "_", server, flags=re.ASCII)[:128]
