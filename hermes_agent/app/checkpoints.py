"""The checkpoint store of this process, as the settings want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_agent.environments.checkpoints import GitCheckpoints

if TYPE_CHECKING:
    from hermes_agent.app.container import App


def checkpoint_store(app: App) -> GitCheckpoints:
    """Built from the `checkpoints` section; nothing is opened yet."""
    section = app.settings.checkpoints
    return GitCheckpoints(
        app.home.checkpoints,
        max_snapshots=section.max_snapshots,
        max_total_bytes=section.max_total_size_mb << 20,
        max_file_bytes=section.max_file_size_mb << 20,
        retention_seconds=section.retention_days * 86_400,
    )
