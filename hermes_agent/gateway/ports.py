"""What the gateway is given by `app`: everything behind these is somebody else's business."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from hermes_agent.agent.service import AgentService
from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.inbox import ChatApprovals, ChatDirectory, Inbox
from hermes_agent.core.outbox import OutboxStore
from hermes_agent.core.platform import Platform
from hermes_agent.core.session import SessionStore
from hermes_agent.gateway.pairing import PairingBook

PlatformFactory: TypeAlias = Callable[[], Platform]


async def _nothing() -> None:
    return None


async def _no_reload() -> str:
    return "Settings cannot be read again here."


async def _no_mcp(_argument: str) -> str:
    return "There are no MCP servers here."


@dataclass(slots=True)
class GatewayPorts:
    """The gateway's surroundings.

    Attributes:
        settings: Read anew at every use, because a reload replaces them.
        service: Opens sessions.
        platforms: Builds the configured adapters: name to factory.
        reload: `/reload`; returns a text for people.
        mcp: `/mcp` with its argument; returns a text for people.
        adopt_index: Takes over the chats of an older agent, once.
        write_index: Writes `sessions/sessions.json` for other programs.
        prune: Forgets what was finished long ago.
        restart: `/restart`: ends the process, to be started again.
    """

    settings: Callable[[], Settings]
    environ: Callable[[], Environ]
    service: Callable[[], Awaitable[AgentService]]
    sessions: SessionStore
    inbox: Inbox
    outbox: OutboxStore
    chats: ChatDirectory
    approvals: ChatApprovals
    pairing: PairingBook
    home: Home
    platforms: Callable[[], Sequence[tuple[str, PlatformFactory]]]
    reload: Callable[[], Awaitable[str]] = field(default=_no_reload)
    mcp: Callable[[str], Awaitable[str]] = field(default=_no_mcp)
    restart: Callable[[str], None] = field(default=lambda _reason: None)
    prune: Callable[[], Awaitable[None]] = field(default=_nothing)
    adopt_index: Callable[[], Awaitable[None]] = field(default=_nothing)
    write_index: Callable[[], Awaitable[None]] = field(default=_nothing)

    @property
    def attachments(self) -> Path:
        """Where files that people send are kept for the agent."""
        return self.home.cache / "attachments"
