"""MCP servers as surfaces see them: how they stand, and the port that reloads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

McpState: TypeAlias = Literal["disabled", "idle", "connecting", "ready", "failed", "needs_reauth"]
"""`idle`: not connected, will be when it is needed. `needs_reauth`: somebody must sign in."""


@dataclass(frozen=True, slots=True)
class McpServerStatus:
    """How a server stands.

    Attributes:
        tools: How many tools it offers, as far as is known.
        detail: What it calls itself, or what is wrong.
        rejected: Tools that cannot be offered: name to reason.
    """

    name: str
    state: McpState
    transport: str
    tools: int = 0
    detail: str = ""
    rejected: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def line(self) -> str:
        """One line for people."""
        words = {"needs_reauth": "needs a login", "idle": "not connected"}.get(self.state, self.state)
        count = f", {self.tools} tool{'' if self.tools == 1 else 's'}" if self.tools else ""
        left_out = f", {len(self.rejected)} left out" if self.rejected else ""
        return f"{self.name} ({self.transport}): {words}{count}{left_out}" + (
            f" - {self.detail}" if self.detail else ""
        )


class McpControl(Protocol):
    """All servers of a process."""

    def statuses(self) -> Sequence[McpServerStatus]:
        """How each configured server stands, by name."""
        ...

    def unknown(self, toolsets: Sequence[str]) -> frozenset[str]:
        """Servers of a session with these toolsets whose tools are not known (yet)."""
        ...

    async def discover(self, toolsets: Sequence[str], *, is_attended: bool) -> None:
        """Wait for those servers, not for long.

        Args:
            is_attended: A person waits, and writes again; a job gets its tools now or never.
        """
        ...

    def try_again(self, names: Collection[str]) -> None:
        """Connect, in the background, to those of these servers that were given up for now."""
        ...

    async def reload(self) -> Sequence[McpServerStatus]:
        """Read the configuration again, connect to every server, and learn its tools anew."""
        ...
