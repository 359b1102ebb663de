"""When snapshots are taken, and `/rollback`.

Before `write_file`, `patch` and commands that need approval because they destroy something: at most one
snapshot of a directory per turn. A snapshot that fails never stops the work; the person is told once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from hermes_agent.agent.session import Session
from hermes_agent.core.approvals import NeedsApproval, Verdict
from hermes_agent.core.checkpoints import CheckpointStore, Restored, Snapshot
from hermes_agent.core.errors import CheckpointError, ToolError, UsageError
from hermes_agent.core.tool import Tool, ToolContext

FILE_TOOLS: Final = frozenset(("write_file", "patch"))
COMMAND_TOOLS: Final = frozenset(("terminal", "execute_code"))
SLOW_SECONDS: Final = 1.0
"""A snapshot that takes longer is announced, so that nobody wonders what goes on."""


class Checkpoints:
    """The snapshots of one session."""

    def __init__(self, store: CheckpointStore) -> None:
        self.store = store
        self._done: set[str] = set()
        self._refused: set[str] = set()

    def begin_turn(self) -> None:
        """From now on a directory may get a snapshot again."""
        self._done.clear()

    async def before(
        self,
        tool: Tool,
        arguments: Mapping[str, Any],
        verdict: Verdict,
        context: ToolContext,
        tell: Callable[[str], None],
    ) -> None:
        """Take the snapshots that this call calls for; `tell` shows the person a line."""
        if context.environment.name != "local":
            return
        name = tool.definition.name
        places: dict[str, list[str]] = {}
        if name in FILE_TOOLS:
            try:
                touched = tool.touched_paths(arguments, context) or ()
            except ToolError:
                return
            for path in touched:
                places.setdefault(self.store.root_of(path, cwd=context.environment.cwd), []).append(path)
        elif name in COMMAND_TOOLS and isinstance(verdict, NeedsApproval):
            cwd = context.environment.cwd
            places[self.store.root_of(cwd, cwd=cwd)] = []
        for directory, paths in places.items():
            await self._take(directory, f"before {name}: {tool.preview(arguments)[:80]}", paths, tell)

    async def _take(self, directory: str, reason: str, paths: list[str], tell: Callable[[str], None]) -> None:
        if directory in self._done or directory in self._refused:
            return
        self._done.add(directory)
        loop = asyncio.get_running_loop()
        slow = loop.call_later(SLOW_SECONDS, tell, f"Taking a snapshot of {directory} for /rollback …")
        try:
            await self.store.take(directory, reason, tuple(paths))
        except CheckpointError as error:
            self._refused.add(directory)
            why = f": {error.why}" if error.why else ""
            tell(f"No snapshot, so /rollback cannot undo what follows. {error.message}{why}")
        finally:
            slow.cancel()


async def rollback(session: Session, argument: str) -> str:
    """`/rollback [N [file] | diff N]`: list snapshots, compare with one, go back to one.

    Raises:
        UsageError: Snapshots are off, or the words make no sense.
        CheckpointError: There is no such snapshot or file, or it cannot be restored.
    """
    checkpoints = session.checkpoints
    if checkpoints is None:
        raise UsageError(
            "Snapshots are off",
            remedy="hermes config set checkpoints.enabled true, or start with --checkpoints",
        )
    store = checkpoints.store
    cwd = session.scope.environment.cwd
    directory = store.root_of(cwd, cwd=cwd)
    words = argument.split(maxsplit=1)
    if not words:
        return snapshots_text(await store.snapshots(directory), directory)
    if words[0] == "diff":
        number = _number(words[1] if len(words) > 1 else "1")
        return await store.diff(directory, number) or "Nothing has changed since."
    number = _number(words[0])
    if session.current_run is not None:
        raise UsageError("A run is going on", remedy="/stop it first.")
    restored = await store.restore(directory, number, words[1].strip() if len(words) > 1 else None)
    session.add_note(
        f"The user took files in {directory} back to an earlier state ({_paths(restored)}). "
        "Read files again before you change them."
    )
    return (
        f"Back to snapshot {number} ({_ago(restored.snapshot.created_at)}): {_paths(restored)}.\n"
        "How it was before is snapshot 1 now."
    )


def snapshots_text(snapshots: tuple[Snapshot, ...], directory: str) -> str:
    """A list for people."""
    if not snapshots:
        return f"No snapshot of {directory} yet."
    rows = [
        f"{snapshot.number:>3}  {_ago(snapshot.created_at):>10}  {snapshot.reason}" for snapshot in snapshots
    ]
    hint = "/rollback N goes back, /rollback diff N compares, /rollback N FILE brings one file back."
    return "\n".join([directory, *rows, hint])


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{text!r} is not the number of a snapshot", remedy="/rollback lists them.")
    return int(text)


def _paths(restored: Restored) -> str:
    parts = []
    for names, verb in ((restored.written, "restored"), (restored.removed, "removed")):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"{verb} {', '.join(names[:5])}{more}")
    return "; ".join(parts) or "everything was like that already"


def _ago(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"
