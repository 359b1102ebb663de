"""What the gateway is given by `app`: everything behind these is somebody else's business."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from hermes_agent.agent.service import AgentService
from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.inbox import ChatApprovals, ChatDirectory, Inbox
from hermes_agent.core.outbox import OutboxStore
from hermes_agent.core.platform import Platform
from hermes_agent.core.session import SessionStore
from hermes_agent.gateway.files import ChatFiles
from hermes_agent.gateway.hooks import Hooks, NoHooks
from hermes_agent.gateway.pairing import PairingBook

PlatformFactory: TypeAlias = Callable[[], Platform]


async def _nothing() -> None:
    return None


async def _no_reload() -> str:
    return "Settings cannot be read again here."


async def _no_mcp(_argument: str) -> str:
    return "There are no MCP servers here."


async def _no_memory(_argument: str, _principal: str) -> str:
    return "There is no memory here."


async def _no_skills(_argument: str) -> str:
    return "There are no skills here."


async def _no_skill(_text: str, _session_id: str) -> str | None:
    return None


@dataclass(slots=True)
class GatewayPorts:
    """The gateway's surroundings.

    Attributes:
        settings: Read anew at every use, because a reload replaces them.
        service: Opens sessions.
        platforms: Builds the configured adapters: name to factory.
        reload: `/reload`; returns a text for people.
        mcp: `/mcp` with its argument; returns a text for people.
        memory: `/memory` with its argument, for a principal; returns a text for people.
        skills: `/skills` with its argument; returns a text for people.
        expand: The prompt that a line stands for which calls a skill by name (text, session id); None if it
            does not. Raises `ToolError`.
        files: Files of chats.
        hooks: Whom events are told.
        close_hooks: Ends their processes.
        redact: Takes secrets out of a text.
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
    files: ChatFiles
    platforms: Callable[[], Sequence[tuple[str, PlatformFactory]]]
    reload: Callable[[], Awaitable[str]] = field(default=_no_reload)
    mcp: Callable[[str], Awaitable[str]] = field(default=_no_mcp)
    memory: Callable[[str, str], Awaitable[str]] = field(default=_no_memory)
    skills: Callable[[str], Awaitable[str]] = field(default=_no_skills)
    expand: Callable[[str, str], Awaitable[str | None]] = field(default=_no_skill)
    hooks: Hooks = field(default_factory=NoHooks)
    close_hooks: Callable[[], Awaitable[None]] = field(default=_nothing)
    redact: Callable[[str], str] = field(default=str)
    restart: Callable[[str], None] = field(default=lambda _reason: None)
    prune: Callable[[], Awaitable[None]] = field(default=_nothing)
    adopt_index: Callable[[], Awaitable[None]] = field(default=_nothing)
    write_index: Callable[[], Awaitable[None]] = field(default=_nothing)
