"""`checkpoints`: snapshots of files before the agent changes them."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class CheckpointSettings(Section):
    """`checkpoints`."""

    enabled: bool = False
    """Take snapshots, so that `/rollback` can bring files back."""
    max_snapshots: int = Field(default=20, ge=1)
    """Snapshots kept for one directory."""
    max_total_size_mb: int = Field(default=500, ge=1)
    """MiB of all snapshots together."""
    max_file_size_mb: int = Field(default=10, ge=1)
    """MiB above which a file is left out."""
    retention_days: float = Field(default=7, gt=0)
    """Days a snapshot is kept."""
