"""`response_store.db`: what the API server keeps, apart from conversations. Opened at its first use."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from hermes_agent.core.errors import StoreCorruptError, StoreVersionError
from hermes_agent.core.runs import LoggedEvent, StoredResponse, StoredRun
from hermes_agent.store import runs
from hermes_agent.store.database import begin_immediate, commit, connect, enable_wal, prepare_file, rollback
from hermes_agent.store.guard import CheckpointGuard
from hermes_agent.store.migrate import statements
from hermes_agent.store.writer import Writer

ResultT = TypeVar("ResultT")

API_STORE_VERSION: Final = 1
"""Number of the newest migration (`PRAGMA user_version`)."""

MAX_RESPONSES: Final = 100
MAX_SESSION_NAMES: Final = 10_000
_MIGRATIONS: Final = Path(__file__).parent / "api_migrations"


class ApiDatabase:
    """`core.runs.ApiStore` on one SQLite file with mode 0600; the file is made at the first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Writer | None = None
        self._opening = asyncio.Lock()

    async def save(self, response: StoredResponse, *, conversation: str | None = None) -> None:
        """Add or replace; the least recently used responses beyond the limit are forgotten."""
        await self._run(partial(_save, response=response, conversation=conversation))

    async def get(self, response_id: str) -> StoredResponse | None:
        """The response; reading it counts as use."""
        return await self._run(partial(_get, response_id=response_id))

    async def delete(self, response_id: str) -> bool:
        """Forget a response and the names that point to it."""
        return await self._run(partial(_delete, response_id=response_id))

    async def newest_of(self, conversation: str) -> str | None:
        """Id of the newest response of a named conversation."""
        query = "SELECT response_id FROM conversations WHERE name = ?"
        return await self._run(partial(_one_text, query=query, key=conversation))

    async def name_session(self, name: str, session_id: str) -> None:
        """Let a client's own name stand for a session."""
        await self._run(partial(_name_session, name=name, session_id=session_id))

    async def session_named(self, name: str) -> str | None:
        """Id of the session that a client's own name stands for."""
        query = "SELECT session_id FROM session_names WHERE name = ?"
        return await self._run(partial(_one_text, query=query, key=name))

    async def save_run(self, run: StoredRun, events: Sequence[LoggedEvent] = ()) -> None:
        """Add or replace a run and append events to its log."""
        await self._run(partial(runs.save, run=run, events=tuple(events)))

    async def get_run(self, run_id: str) -> StoredRun | None:
        """The run, or None."""
        return await self._run(partial(runs.get, run_id=run_id))

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> Sequence[LoggedEvent]:
        """Events with a higher number than `after`, in order."""
        return await self._run(partial(runs.events, run_id=run_id, after=after, limit=limit))

    async def delete_run(self, run_id: str) -> bool:
        """Forget a run and its events."""
        return await self._run(partial(runs.delete, run_id=run_id))

    async def purge(self, before: float) -> int:
        """Forget old runs. Does not make the file if there is none."""
        if self._writer is None and not self.path.exists():
            return 0
        return await self._run(partial(runs.purge, before=before))

    async def aclose(self) -> None:
        """Finish pending writes and close; a later use opens the file again."""
        async with self._opening:
            writer, self._writer = self._writer, None
        if writer is not None:
            await writer.aclose()

    async def _run(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        writer = self._writer
        if writer is None:
            async with self._opening:
                writer = self._writer or await self._open()
        return await writer.run(work)

    async def _open(self) -> Writer:
        writer = Writer(
            partial(_open_connection, self.path),
            self.path,
            before_commit=_nothing_to_do,
            when_idle=_nothing_to_do,
        )
        await writer.start(has_idle_work=_nothing_to_do)
        self._writer = writer
        return writer


def _nothing_to_do(_connection: sqlite3.Connection) -> bool:
    return False


def _open_connection(path: Path, guard: CheckpointGuard) -> sqlite3.Connection:
    prepare_file(path)
    connection = connect(path)
    try:
        _check_version(connection, path)
        with guard.writing():
            enable_wal(connection)
            _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > API_STORE_VERSION:
        raise StoreVersionError(
            f"The database {path} was written by a newer program",
            remedy="Update hermes-agent, or move the file away; it was not changed.",
        )
    return int(version)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _check_version(connection, path) == API_STORE_VERSION:
        return
    begin_immediate(connection, path)
    try:
        version = _check_version(connection, path)
        for file in sorted(_MIGRATIONS.glob("*.sql")):
            if int(file.name[:4]) > version:
                for statement in statements(file.read_text(encoding="utf-8")):
                    connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {API_STORE_VERSION}")
        commit(connection, path)
    except sqlite3.OperationalError as error:
        rollback(connection)
        raise StoreCorruptError(
            f"{path} is not a response store of hermes",
            why=str(error),
            remedy="Move the file away; it was not changed.",
        ) from error
    except BaseException:
        rollback(connection)
        raise


def dump(value: object) -> str:
    """JSON text that SQLite can keep (lone surrogates replaced)."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def _save(connection: sqlite3.Connection, response: StoredResponse, conversation: str | None) -> None:
    data = {
        "owner": response.owner,
        "response": response.body,
        "items": response.items,
        "session_id": response.session_id,
        "position": response.position,
    }
    connection.execute(
        "INSERT OR REPLACE INTO responses (response_id, data, accessed_at) VALUES (?, ?, ?)",
        (response.id, dump(data), time.time()),
    )
    if conversation is not None:
        connection.execute(
            "INSERT OR REPLACE INTO conversations (name, response_id) VALUES (?, ?)",
            (conversation, response.id),
        )
    pushed_out = connection.execute(
        "SELECT response_id FROM responses ORDER BY accessed_at DESC, rowid DESC LIMIT -1 OFFSET ?",
        (MAX_RESPONSES,),
    ).fetchall()
    for (response_id,) in pushed_out:
        _delete(connection, response_id)


def _get(connection: sqlite3.Connection, response_id: str) -> StoredResponse | None:
    row = connection.execute("SELECT data FROM responses WHERE response_id = ?", (response_id,)).fetchone()
    if row is None:
        return None
    found = _read(response_id, row[0])
    if found is not None:
        connection.execute(
            "UPDATE responses SET accessed_at = ? WHERE response_id = ?", (time.time(), response_id)
        )
    return found


def _read(response_id: str, text: str) -> StoredResponse | None:
    try:
        data: Any = json.loads(text)
        return StoredResponse(
            response_id,
            str(data["owner"]),
            dict(data["response"]),
            list(data["items"]),
            str(data["session_id"]),
            int(data["position"]),
        )
    except (ValueError, KeyError, TypeError):
        return None  # of the older agent, or damaged: nobody can be said to own it


def _delete(connection: sqlite3.Connection, response_id: str) -> bool:
    connection.execute("DELETE FROM conversations WHERE response_id = ?", (response_id,))
    return connection.execute("DELETE FROM responses WHERE response_id = ?", (response_id,)).rowcount > 0


def _one_text(connection: sqlite3.Connection, query: str, key: str) -> str | None:
    row = connection.execute(query, (key,)).fetchone()
    return None if row is None else str(row[0])


def _name_session(connection: sqlite3.Connection, name: str, session_id: str) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO session_names (name, session_id, used_at) VALUES (?, ?, ?)",
        (name, session_id, time.time()),
    )
    connection.execute(
        "DELETE FROM session_names WHERE name IN"
        " (SELECT name FROM session_names ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
        (MAX_SESSION_NAMES,),
    )
