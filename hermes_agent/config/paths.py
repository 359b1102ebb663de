"""`Home`: the only place that spells a file name under HERMES_HOME."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.core.errors import StoreUnwritableError


@dataclass(frozen=True, slots=True)
class Home:
    """The state directory and the files in it. Default `~/.hermes`; mode 0700 when we create it."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """The home named by `HERMES_HOME`, or `~/.hermes`."""
        named = os.environ.get("HERMES_HOME", "").strip()
        return cls(Path(named).expanduser().absolute() if named else Path.home() / ".hermes")

    def ensure(self) -> None:
        """Create the directory if it is missing; an existing one is never chmod-ed.

        Raises:
            StoreUnwritableError: It cannot be created, or is not a directory.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise StoreUnwritableError(
                f"{self.root} is not a directory",
                remedy="Move it away, or set HERMES_HOME to another directory.",
            ) from error
        except OSError as error:
            raise StoreUnwritableError(
                f"Cannot create the state directory {self.root}",
                why=error.strerror,
                remedy="Set HERMES_HOME to a directory you can write.",
            ) from error

    @property
    def config_file(self) -> Path:
        """Settings that people edit."""
        return self.root / "config.yaml"

    @property
    def env_file(self) -> Path:
        """Secrets, `NAME=value` lines, mode 0600."""
        return self.root / ".env"

    @property
    def managed_marker(self) -> Path:
        """Present when something else (NixOS, Homebrew) manages this installation."""
        return self.root / ".managed"

    @property
    def container_mode(self) -> Path:
        """Present when commands on this host belong into a container; says into which."""
        return self.root / ".container-mode"

    @property
    def deployed_state(self) -> Path:
        """What the last activation declared."""
        return self.root / ".deployed.json"

    @property
    def auth_file(self) -> Path:
        """OAuth tokens and the credential pool."""
        return self.root / "auth.json"

    @property
    def state_db(self) -> Path:
        """The database."""
        return self.root / "state.db"

    @property
    def response_store_db(self) -> Path:
        """What the API server keeps: responses, runs."""
        return self.root / "response_store.db"

    @property
    def soul_file(self) -> Path:
        """The persona: slot one of the system prompt."""
        return self.root / "SOUL.md"

    @property
    def logs(self) -> Path:
        """Log files."""
        return self.root / "logs"

    @property
    def cache(self) -> Path:
        """Files that can be made again."""
        return self.root / "cache"

    @property
    def tool_outputs(self) -> Path:
        """Tool results too long for the context window, one file each."""
        return self.cache / "tool-outputs"

    @property
    def history_file(self) -> Path:
        """Input history of the chat."""
        return self.root / "history"

    @property
    def sessions(self) -> Path:
        """Session exports and snapshots."""
        return self.root / "sessions"

    @property
    def memories(self) -> Path:
        """MEMORY.md and USER.md."""
        return self.root / "memories"

    @property
    def skills(self) -> Path:
        """Skill folders."""
        return self.root / "skills"

    @property
    def cron(self) -> Path:
        """Scheduled jobs."""
        return self.root / "cron"

    @property
    def run(self) -> Path:
        """Locks and sockets of running processes."""
        return self.root / "run"

    def platform_state(self, name: str) -> Path:
        """What the adapter of a messaging platform keeps: sessions and keys, mode 0700."""
        return self.root / "platforms" / name

    @property
    def backups(self) -> Path:
        """Default place of `hermes backup` archives and of files set aside."""
        return self.root / "backups"

    @property
    def config_lock(self) -> Path:
        """Held while config.yaml is changed."""
        return self.run / "config.lock"

    @property
    def env_lock(self) -> Path:
        """Held while `.env` is changed."""
        return self.run / "env.lock"

    @property
    def last_good_config(self) -> Path:
        """What config.yaml was before it was last edited by hand."""
        return self.backups / "config.yaml.last-good"

    @property
    def config_draft(self) -> Path:
        """An edited config.yaml that was not accepted."""
        return self.backups / "config.yaml.draft"

    @property
    def profiles(self) -> Path:
        """Further homes, one directory each."""
        return self.root / "profiles"

    @property
    def hooks(self) -> Path:
        """Event hooks."""
        return self.root / "hooks"

    @property
    def plugins(self) -> Path:
        """Plug-ins."""
        return self.root / "plugins"

    @property
    def scripts(self) -> Path:
        """Scripts of scheduled jobs."""
        return self.root / "scripts"

    @property
    def pairing(self) -> Path:
        """Pairing codes and approved users."""
        return self.root / "pairing"

    @property
    def pending(self) -> Path:
        """Changes that wait for approval."""
        return self.root / "pending"

    @property
    def checkpoints(self) -> Path:
        """Snapshots of files."""
        return self.root / "checkpoints"

    @property
    def mcp_tokens(self) -> Path:
        """OAuth tokens of MCP servers."""
        return self.root / "mcp-tokens"

    @property
    def gateway_pid(self) -> Path:
        """Who the running gateway is."""
        return self.root / "gateway.pid"

    @property
    def gateway_state(self) -> Path:
        """How the gateway is, or why it ended."""
        return self.root / "gateway_state.json"

    @property
    def gateway_socket(self) -> Path:
        """Where the running gateway answers commands."""
        return self.run / "gateway.sock"

    @property
    def gateway_lock(self) -> Path:
        """Held by the running gateway."""
        return self.run / "gateway.lock"

    @property
    def chat_index(self) -> Path:
        """Which chat of the gateway is in which session, for other programs."""
        return self.sessions / "sessions.json"
