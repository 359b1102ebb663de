"""`SqliteStore`: the `core.session.SessionStore` port on one SQLite file."""

from __future__ import annotations

import builtins
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from hermes_agent.core.errors import StoreCorruptError
from hermes_agent.core.messages import Message
from hermes_agent.core.model import Usage
from hermes_agent.core.session import DraftKind, SearchHit, SessionRecord, StoredMessage
from hermes_agent.core.usage import Insights
from hermes_agent.store import conversation, identifiers, search_index, sessions, statistics, usage_days
from hermes_agent.store.arrivals import Arrivals
from hermes_agent.store.database import connect, enable_wal, prepare_file
from hermes_agent.store.failures import is_damaged_index
from hermes_agent.store.guard import CheckpointGuard
from hermes_agent.store.migrate import STORE_VERSION, current_version, migrate
from hermes_agent.store.readers import Readers
from hermes_agent.store.search import search
from hermes_agent.store.writer import Writer

ResultT = TypeVar("ResultT")

_CATCH_UP_STEP: Final = 1_000
_MOST_STEPS: Final = 50
"""Steps that a search waits for; the rest of a large index follows in idle moments."""


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far the search index is. `waiting` is about how many messages are not in it yet."""

    waiting: int


async def open_store(path: Path) -> SqliteStore:
    """Open (or create, or bring up to date) the database at `path`.

    Raises:
        StoreVersionError: It was written by a newer program; it is left untouched.
        StoreCorruptError: It is damaged, or not ours.
        StoreUnwritableError: Read-only, full, or a directory in its place.
        StoreBusyError: Another process holds the lock for too long.
    """
    writer = Writer(
        partial(_open_connection, path),
        path,
        before_commit=search_index.index_new,
        when_idle=search_index.index_some,
    )
    await writer.start(has_idle_work=partial(search_index.has_backlog, path=path))
    return SqliteStore(path, writer)


def _open_connection(path: Path, guard: CheckpointGuard) -> sqlite3.Connection:
    prepare_file(path)
    connection = connect(path)
    try:
        # Look before anything is written: a file that is refused stays as it is.
        version = current_version(connection, path)
        with guard.writing():
            enable_wal(connection)
            if version < STORE_VERSION:
                migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


class SqliteStore:
    """See `core.session.SessionStore`; made by `open_store`. What goes beyond the port says so."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self.path = path
        self._writer = writer
        self._readers = Readers(path)
        self.outgoing_listeners: list[Callable[[], None]] = []
        """Called when something was queued in the outbox (for the delivery of this process)."""
        self.arrivals = Arrivals()
        """How many messages come in just now."""

    async def create(
        self,
        *,
        source: str,
        model: str | None = None,
        cwd: str | None = None,
        user_id: str | None = None,
        title: str | None = None,
        parent_session_id: str | None = None,
        model_config: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> SessionRecord:
        """Open a new session."""
        new = sessions.NewSession(
            source, model, cwd, user_id, title, parent_session_id, model_config, session_id
        )
        return await self._writer.run(partial(sessions.create, new=new))

    async def get(self, session_id: str) -> SessionRecord:
        """Load by exact id. Raises `SessionNotFoundError`."""
        return await self._readers.run(partial(sessions.get, session_id=session_id))

    async def resolve(self, reference: str, *, exact_title: bool = False) -> SessionRecord:
        """Find by id, title or unique id prefix; see `sessions.resolve`. Raises `SessionNotFoundError`."""
        return await self._readers.run(
            partial(sessions.resolve, reference=reference, exact_title=exact_title)
        )

    async def latest(self, *, source: str | None = None, title: str | None = None) -> SessionRecord | None:
        """The session that was active last."""
        return await self._readers.run(partial(sessions.latest, source=source, title=title))

    async def list(
        self, *, limit: int = 20, offset: int = 0, source: str | None = None
    ) -> Sequence[SessionRecord]:
        """Sessions, most recently active first."""
        return await self._readers.run(
            partial(sessions.list_sessions, limit=limit, offset=offset, source=source)
        )

    async def messages(self, session_id: str) -> Sequence[StoredMessage]:
        """The active messages, oldest first; a left draft last, with id 0."""
        return await self._readers.run(partial(conversation.messages, session_id=session_id))

    async def append(
        self, session_id: str, messages: Sequence[Message], *, usage: Usage | None = None
    ) -> Sequence[int]:
        """Append messages, add usage and settle the draft, in one transaction."""
        return await self._writer.run(
            partial(conversation.append, session_id=session_id, messages=tuple(messages), usage=usage)
        )

    async def append_draft(self, session_id: str, kind: DraftKind, text: str) -> None:
        """Keep a piece of an unfinished answer."""
        if text:
            await self._writer.run(
                partial(conversation.append_draft, session_id=session_id, kind=kind, text=text)
            )

    async def discard_draft(self, session_id: str) -> None:
        """Forget the unfinished answer."""
        await self._writer.run(partial(conversation.discard_draft, session_id=session_id))

    async def rewind(self, session_id: str, message_id: int) -> int:
        """Deactivate the message and all after it; returns how many."""
        return await self._writer.run(
            partial(conversation.rewind, session_id=session_id, message_id=message_id)
        )

    async def update(
        self,
        session_id: str,
        *,
        title: str | None = None,
        system_prompt: str | None = None,
        model: str | None = None,
        model_config: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> SessionRecord:
        """Change what is given; an empty title removes it. Raises `SessionTitleError`."""
        return await self._writer.run(
            partial(
                sessions.update,
                session_id=session_id,
                title=title,
                model_config=model_config,
                system_prompt=system_prompt,
                model=model,
                cwd=cwd,
            )
        )

    async def end(self, session_id: str, reason: str) -> None:
        """Mark as ended."""
        await self._writer.run(partial(sessions.end, session_id=session_id, reason=reason))

    async def reopen(self, session_id: str) -> None:
        """Undo `end`."""
        await self._writer.run(partial(sessions.reopen, session_id=session_id))

    async def delete(self, session_id: str) -> None:
        """Remove a session and its messages for good."""
        await self._writer.run(partial(sessions.delete, session_id=session_id))

    async def search(
        self, query: str, *, limit: int = 20, session_id: str | None = None, source: str | None = None
    ) -> Sequence[SearchHit]:
        """Full-text search; any text is a valid query.

        Messages that wait to be indexed (of another program, or after damage) are indexed first, up to
        50,000 of them; of more the newest are found, and the rest follows in idle moments.
        """
        run = partial(_search, query=query, limit=limit, session_id=session_id, source=source)
        try:
            hits, waiting = await self._readers.run(run)
        except StoreCorruptError as error:
            cause = error.__cause__
            if not (isinstance(cause, sqlite3.Error) and is_damaged_index(cause)):
                raise
            await self.rebuild_index()
            waiting = 1
        if not waiting:
            return hits
        for _ in range(_MOST_STEPS):
            if not (await self.index_step()).waiting:
                break
        return (await self._readers.run(run))[0]

    async def aclose(self) -> None:
        """Finish pending writes and close."""
        await self._readers.aclose()  # first, so that the writer is the last to close and tidies up
        await self._writer.aclose()

    async def usage_on(self, day: str) -> Usage:
        """What all sessions used on one day (`core.usage.UsageStore`)."""
        return await self._readers.run(partial(usage_days.on_day, day=day))

    async def insights(self, since: str) -> Insights:
        """Figures since a day (`core.usage.UsageStore`)."""
        return await self._readers.run(partial(usage_days.insights, since=since))

    # Beyond the port.

    async def write(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Run a function of the connection as (part of) one transaction on the writer thread."""
        return await self._writer.run(work)

    async def read(self, query: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """Run a query on a reader thread."""
        return await self._readers.run(query)

    async def next_title(self, title: str) -> str:
        """The first free numbered form of a title: `plan`, `plan #2` …"""
        return await self._readers.run(partial(identifiers.next_title, title=title))

    async def lineage(self, session_id: str) -> builtins.list[SessionRecord]:
        """The session and those it goes on from, oldest first."""
        return await self._readers.run(partial(sessions.lineage, session_id=session_id))

    async def children(self, session_id: str) -> builtins.list[SessionRecord]:
        """Sessions that go on from this one."""
        return await self._readers.run(partial(sessions.children, session_id=session_id))

    async def around(self, message_id: int, *, window: int = 5) -> builtins.list[StoredMessage]:
        """A message and its neighbours (scrolling from a search hit)."""
        return await self._readers.run(partial(conversation.around, message_id=message_id, window=window))

    async def inactive_since(
        self, before: float, *, source: str | None = None
    ) -> builtins.list[SessionRecord]:
        """Sessions not used since `before` (Unix time), oldest first: what `prune` would remove."""
        return await self._readers.run(partial(sessions.inactive_since, before=before, source=source))

    async def identifiers(self, *, source: str | None = None) -> builtins.list[str]:
        """Ids of all sessions, archived ones too, oldest first."""
        return await self._readers.run(partial(sessions.identifiers, source=source))

    async def statistics(self) -> statistics.Statistics:
        """Counts and sizes."""
        return await self._readers.run(statistics.collect)

    async def index_step(self) -> IndexProgress:
        """Index some more of the messages that wait; call until nothing waits."""
        return await self._writer.run(_index_step)

    async def rebuild_index(self) -> None:
        """Empty the search index; messages are indexed anew in idle moments or by `index_step`."""
        await self._writer.run(search_index.reset)

    async def compact(self, *, drop_old_index: bool = False) -> None:
        """Merge the search index and give free space back to the disk; may take minutes.

        Args:
            drop_old_index: Also remove the search tables and triggers of the older agent.
        """
        await self._writer.run(partial(statistics.prepare_compaction, drop_old_index=drop_old_index))
        await self._writer.run(statistics.vacuum, in_transaction=False)


def _search(
    connection: sqlite3.Connection, query: str, limit: int, session_id: str | None, source: str | None
) -> tuple[list[SearchHit], int]:
    """Hits, and about how many messages are not indexed."""
    hits = search(connection, query, limit=limit, session_id=session_id, source=source)
    return hits, search_index.waiting(connection)


def _index_step(connection: sqlite3.Connection) -> IndexProgress:
    search_index.index_some(connection, _CATCH_UP_STEP)
    return IndexProgress(search_index.waiting(connection))
