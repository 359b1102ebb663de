"""`sessions.write_json_snapshots`: conversations as JSON files, for programs that do not read state.db."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from hermes_agent.agent.session import Session
from hermes_agent.config.files import replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import RunFinished
from hermes_agent.core.loading import load
from hermes_agent.core.session import SessionStore

logger = logging.getLogger(__name__)

_SCRATCHPAD: Final = re.compile(r"<(/?)REASONING_SCRATCHPAD>")
_SAFE_NAME: Final = re.compile(r"[\w.-]{1,200}")


class SnapshotWriter:
    """Writes `sessions/session_<id>.json` after each run; a run observer.

    A file with more messages than the conversation has now (after `/undo`) is left as it is.

    Args:
        home: The state directory.
        store: Gives the session store.
    """

    def __init__(self, home: Home, store: Callable[[], Awaitable[SessionStore]]) -> None:
        self._home = home
        self._store = store
        self._writing = asyncio.Lock()

    def observe(self, session: Session, _finished: RunFinished) -> None:
        """A run has ended. Returns at once."""
        if session.is_stored:
            session.add_background(self.write(session.id))

    async def write(self, session_id: str) -> None:
        """Write one session; what goes wrong is logged, for the database has everything."""
        try:
            async with self._writing:
                await self._write(session_id)
        except (HermesError, OSError) as error:
            logger.warning("no snapshot of session %s: %s", session_id, error)

    async def _write(self, session_id: str) -> None:
        if not _SAFE_NAME.fullmatch(session_id) or session_id.startswith("."):
            return
        store = await self._store()
        record, stored = await store.get(session_id), await store.messages(session_id)
        transfer = load("hermes_agent.store.transfer")
        messages = [_with_think_tags(transfer.message_json(item)) for item in stored]
        data = transfer.session_json(record) | {"message_count": len(messages), "messages": messages}
        await asyncio.to_thread(_replace, self._home.sessions / f"session_{session_id}.json", data)


def _replace(path: Path, data: dict[str, Any]) -> None:
    if _count(path) > len(data["messages"]):
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps(data, ensure_ascii=False, indent=1, default=str)
    replace_atomically(path, text.encode("utf-8", "backslashreplace"), mode=0o600)


def _count(path: Path) -> int:
    """Messages in a snapshot; 0 if there is none that can be read."""
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["messages"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _with_think_tags(message: dict[str, Any]) -> dict[str, Any]:
    if message.get("role") == "assistant" and isinstance(message.get("content"), str):
        message["content"] = _SCRATCHPAD.sub(r"<\1think>", message["content"])
    return message
