"""Well-known servers: how `hermes mcp install` configures them. Data only; nothing is fetched from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hermes_agent.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class KnownServer:
    """A server that can be installed by name.

    Attributes:
        command: Program and arguments; empty for remote servers. `{directory}` is asked for.
        keys: Variables that it needs, each with a line about it; stored in `.env`.
        needs: The program that must be there.
    """

    name: str
    summary: str
    command: tuple[str, ...] = ()
    url: str = ""
    auth: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> str:
        """The program that must be there; empty for remote servers."""
        return self.command[0] if self.command else ""


_NPX = ("npx", "-y")

KNOWN: tuple[KnownServer, ...] = (
    KnownServer(
        "filesystem",
        "Read and write files below one directory",
        (*_NPX, "@modelcontextprotocol/server-filesystem", "{directory}"),
    ),
    KnownServer("fetch", "Fetch web pages as Markdown", ("uvx", "mcp-server-fetch")),
    KnownServer("git", "Read and change git repositories", ("uvx", "mcp-server-git")),
    KnownServer("time", "Time and time zones", ("uvx", "mcp-server-time")),
    KnownServer("memory", "A graph of facts", (*_NPX, "@modelcontextprotocol/server-memory")),
    KnownServer(
        "sequential-thinking",
        "Think in numbered steps",
        (*_NPX, "@modelcontextprotocol/server-sequential-thinking"),
    ),
    KnownServer(
        "everything",
        "Every feature of the protocol, to try it out",
        (*_NPX, "@modelcontextprotocol/server-everything"),
    ),
    KnownServer("playwright", "Drive a browser", (*_NPX, "@playwright/mcp@latest", "--headless")),
    KnownServer(
        "github",
        "GitHub: repositories, issues, pull requests",
        url="https://api.githubcopilot.com/mcp/",
        keys={"GITHUB_TOKEN": "A personal access token: https://github.com/settings/tokens"},
        headers={"Authorization": "Bearer ${GITHUB_TOKEN}"},
    ),
    KnownServer("context7", "Documentation of libraries", url="https://mcp.context7.com/mcp"),
    KnownServer("linear", "Linear: issues and projects", url="https://mcp.linear.app/mcp", auth="oauth"),
    KnownServer("notion", "Notion: pages and databases", url="https://mcp.notion.com/mcp", auth="oauth"),
    KnownServer("sentry", "Sentry: errors of your programs", url="https://mcp.sentry.dev/mcp", auth="oauth"),
)


def get_known(name: str) -> KnownServer:
    """The server of this name.

    Raises:
        UsageError: There is none.
    """
    for known in KNOWN:
        if known.name == name:
            return known
    raise UsageError(f"There is no server {name!r} in the catalogue", remedy="List it: hermes mcp catalog")
