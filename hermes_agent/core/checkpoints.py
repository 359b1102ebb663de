"""The checkpoint port: snapshots of a directory before the agent changes files in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files of a directory at one moment.

    Attributes:
        number: 1 is the newest.
        id: Hash of the snapshot in the store.
        created_at: Unix time.
        reason: Before what it was taken.
        changed_files: Files that differ from the snapshot before it.
    """

    number: int
    id: str
    directory: str
    created_at: float
    reason: str
    changed_files: int = 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What `CheckpointStore.restore` did: paths written and paths removed, relative to the directory."""

    snapshot: Snapshot
    written: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DirectorySummary:
    """One directory in the store."""

    directory: str
    snapshots: int
    newest_at: float


class CheckpointStore(Protocol):
    """Keeps snapshots of local directories. Methods do their work in threads.

    All raise `CheckpointError` for what cannot be done; the user's own repository is never written.
    """

    def root_of(self, path: str, *, cwd: str) -> str:
        """The directory that a snapshot for this path should cover.

        The project it is in; else the current directory, if it is below that; else its own folder.
        """
        ...

    async def take(self, directory: str, reason: str, touched: tuple[str, ...] = ()) -> Snapshot | None:
        """Take a snapshot; None if nothing has changed since the last one.

        Args:
            directory: Absolute path.
            reason: Before what, for people.
            touched: Absolute paths about to be changed: kept although the project ignores them.
        """
        ...

    async def snapshots(self, directory: str) -> tuple[Snapshot, ...]:
        """Newest first."""
        ...

    async def diff(self, directory: str, number: int) -> str:
        """What has changed since, as a unified diff (cut if it is very long)."""
        ...

    async def restore(self, directory: str, number: int, path: str | None = None) -> Restored:
        """Bring all files, or one, back to a snapshot; how it is now is kept as a snapshot first."""
        ...

    async def directories(self) -> tuple[DirectorySummary, ...]:
        """All directories with snapshots."""
        ...

    async def prune(self, *, everything: bool = False) -> int:
        """Forget snapshots that are too old, too many or too large; says how many."""
        ...
