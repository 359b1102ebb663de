"""What a server offers, as values, and how it is remembered on disk.

The catalogue of a server is kept per configuration. Sessions announce its tools from there, so that a
slow server neither delays them nor changes the prompt prefix; the connection refreshes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from hermes_agent.config.files import replace_atomically
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import HermesError
from hermes_agent.mcp.names import file_name

FORMAT = 1


@dataclass(frozen=True, slots=True)
class RemoteTool:
    """One tool as its server describes it.

    Attributes:
        name: The server's own name of it.
        parameters: Its input schema, as sent.
        is_read_only: The server says that it changes nothing.
        is_idempotent: The server says that calling it twice does no harm.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    is_read_only: bool = False
    is_idempotent: bool = False


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a server offers.

    Attributes:
        server: Name and version that it gives itself.
        protocol: Version of the protocol that was agreed on.
        rejected: Tools that cannot be offered: name to reason.
    """

    server: str = ""
    protocol: str = ""
    tools: tuple[RemoteTool, ...] = ()
    has_resources: bool = False
    has_prompts: bool = False
    rejected: Mapping[str, str] = field(default_factory=dict, hash=False)


def fingerprint(settings: McpServerSettings) -> str:
    """Identifies a configuration without its secrets: what runs or is called, not with which key."""
    parts = urlsplit(settings.url)
    address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    identity = {
        "format": FORMAT,
        "command": settings.command,
        "args": settings.args,
        "env": sorted(settings.env),
        "cwd": settings.cwd,
        "url": address,
        "headers": sorted(name.lower() for name in settings.headers),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


class CatalogueCache:
    """Catalogues on disk, one file per server and configuration."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, server: str, settings: McpServerSettings) -> Path:
        """Where the catalogue of this configuration is kept."""
        return self._directory / f"{file_name(server)}-{fingerprint(settings)}.json"

    def read(self, server: str, settings: McpServerSettings) -> Catalogue | None:
        """What is remembered; None if there is nothing, or nothing that can be read."""
        try:
            data = json.loads(self.path(server, settings).read_bytes())
            tools = tuple(RemoteTool(**tool) for tool in data.pop("tools"))
            return Catalogue(tools=tools, **data)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def write(self, server: str, settings: McpServerSettings, catalogue: Catalogue) -> Catalogue:
        """Remember it.

        Returns:
            What is remembered now: the earlier one if it is equal, so that the order of keys (and with it
            the prompt prefix) does not depend on how the server felt today.
        """
        known = self.read(server, settings)
        if known == catalogue:
            return known
        path = self.path(server, settings)
        data = json.dumps(asdict(catalogue), ensure_ascii=False).encode(errors="replace")
        # It is only a cache: what cannot be written is asked for again.
        with contextlib.suppress(OSError, HermesError):
            _make_private(path.parent)
            replace_atomically(path, data, mode=0o600)
        return catalogue

    def forget(self, server: str) -> None:
        """Remove what is remembered of a server, whatever its configuration was."""
        for path in self._directory.glob(f"{file_name(server)}-{'[0-9a-f]' * 16}.json"):
            path.unlink(missing_ok=True)


def _make_private(directory: Path) -> None:
    """Make a directory and its parents, all with mode 0700 (`mkdir` would leave parents to the umask)."""
    if not directory.exists():
        _make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)
