"""`sessions`: stored conversations."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class SessionSettings(Section):
    """`sessions`."""

    write_json_snapshots: bool = False
    """Also write each session to a JSON file after every turn."""
    auto_prune: bool = False
    """Delete ended sessions older than `retention_days`."""
    retention_days: float = Field(default=90, gt=0)
    """Days an ended session is kept, if `auto_prune` is on."""
