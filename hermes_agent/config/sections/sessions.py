"""`sessions`: stored conversations."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class SessionSettings(Section):
    """`sessions`."""

    write_json_snapshots: bool = False
    """Also write each session to `sessions/session_<id>.json` after every run."""
    auto_prune: bool = False
    """Let the gateway delete sessions that were not used for `retention_days`."""
    retention_days: float = Field(default=90, gt=0)
    """Days a session is kept after its last message, if `auto_prune` is on."""
