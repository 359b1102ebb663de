"""`session_search`: what was said in earlier conversations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

from hermes_agent.core.errors import ModelError, StoreError, ToolArgumentsError, ToolError
from hermes_agent.core.messages import AssistantMessage, Message, ToolMessage
from hermes_agent.core.recall import SessionSummaries, may_read
from hermes_agent.core.session import SearchHit, SessionRecord, SessionStore, StoredMessage
from hermes_agent.core.tool import SessionScope, Tool, ToolContext, ToolResult
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.setup import ToolSetup

MAX_LIMIT = 20
MAX_WINDOW = 20
MESSAGE_CHARS = 1_500


def build(setup: ToolSetup) -> Tool | None:
    """The tool; None without stored sessions."""
    services = setup.services
    return None if services.sessions is None else make(services.sessions, services.summaries)


def make(store: SessionStore, summaries: SessionSummaries | None = None) -> Tool:
    """The tool on a store."""

    @tool(name="session_search", emoji="🔎", toolset="session_search", parallel_safe=True, preview=_preview)
    async def session_search(
        query: Annotated[str, "Words to look for"] = "",
        session_id: str = "",
        around_message_id: Annotated[int, "With session_id: read on around this message"] = 0,
        window: Annotated[int, "Messages before and after it"] = 5,
        limit: Annotated[int, "Most results"] = 8,
        summarize: Annotated[bool, "With query: one answer from all sessions that match"] = False,
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Search earlier conversations: query finds messages, session_id with around_message_id shows the
        messages around one, neither lists recent sessions.
        """
        principal = context.session.principal
        if not 1 <= limit <= MAX_LIMIT:
            raise ToolArgumentsError(f"limit: 1 to {MAX_LIMIT}")
        if summarize and query.strip() and summaries is not None:
            return await _summarise(store, summaries, query, session_id, limit, context.session)
        if query.strip():
            return await _search(store, query, session_id or None, limit, principal)
        if session_id:
            return await _scroll(store, session_id, around_message_id, window, principal)
        if around_message_id:
            raise ToolArgumentsError("around_message_id needs session_id")
        return await _recent(store, limit, principal, context.session.session_id)

    return session_search


def _preview(arguments: Arguments) -> str:
    return str(arguments["query"] or arguments["session_id"] or "recent sessions")


async def _search(
    store: SessionStore, query: str, session_id: str | None, limit: int, principal: str
) -> ToolResult:
    if session_id is not None:
        await _readable(store, session_id, principal)
    hits = await store.search(query, limit=limit if principal == "owner" else 200, session_id=session_id)
    if principal != "owner":
        hits = await _own(store, hits, principal)
    if not hits:
        return ToolResult("Nothing found. Try fewer or other words.", summary="nothing found")
    lines = [
        f"[{hit.message_id}] {_day(hit.timestamp)} {hit.role} in session {hit.session_id}"
        f"{f' ({hit.session_title})' if hit.session_title else ''}\n  {hit.snippet}"
        for hit in hits[:limit]
    ]
    return ToolResult("\n".join(lines), summary=f"{len(lines)} found")


async def _summarise(
    store: SessionStore,
    summaries: SessionSummaries,
    query: str,
    session_id: str,
    limit: int,
    scope: SessionScope,
) -> ToolResult:
    principal = scope.principal
    within = (await _readable(store, session_id, principal)).id if session_id else ""
    try:
        found = await summaries.summarise(query, principal=principal, session_id=within, spend=scope.spend)
    except ModelError as error:
        plain = await _search(store, query, session_id or None, limit, principal)
        return ToolResult(
            f"No summary: {error.message}.\n{plain.text}", summary=f"no summary, {plain.summary}"
        )
    if found is None:
        return ToolResult("Nothing found. Try fewer or other words.", summary="nothing found")
    more = ["More sessions match than were read."] if found.is_partial else []
    text = "\n".join([found.text, "", "Sessions:", *found.source_lines, *more])
    return ToolResult(text, summary=f"summary of {len(found.sources)} sessions")


async def _own(store: SessionStore, hits: Sequence[SearchHit], principal: str) -> list[SearchHit]:
    allowed: dict[str, bool] = {}
    for hit in hits:
        if hit.session_id not in allowed:
            allowed[hit.session_id] = may_read(await store.get(hit.session_id), principal)
    return [hit for hit in hits if allowed[hit.session_id]]


async def _readable(store: SessionStore, session_id: str, principal: str) -> SessionRecord:
    try:
        record = await store.resolve(session_id)
    except StoreError as error:
        raise ToolError(error.message, remedy="session_search without arguments lists sessions.") from error
    if not may_read(record, principal):
        raise ToolError(f"There is no session {session_id!r}")
    return record


async def _scroll(
    store: SessionStore, session_id: str, message_id: int, window: int, principal: str
) -> ToolResult:
    record = await _readable(store, session_id, principal)
    wanted = max(1, min(window, MAX_WINDOW))
    messages: Sequence[StoredMessage]
    if message_id:
        messages = await store.around(message_id, window=wanted)
        if not messages or messages[0].session_id != record.id:
            raise ToolError(f"Session {record.id} has no message {message_id}")
    else:
        messages = (await store.messages(record.id))[: 2 * wanted + 1]
    head = (
        f"Session {record.id}{f' ({record.title})' if record.title else ''}, {record.message_count} messages"
    )
    shown = [f"[{item.id}] {_text(item.message)}" for item in messages]
    return ToolResult("\n\n".join([head, *shown]), summary=f"{len(shown)} messages")


async def _recent(store: SessionStore, limit: int, principal: str, current: str) -> ToolResult:
    records = await store.list(limit=limit + 1 if principal == "owner" else 200)
    lines = [
        f"{record.id} {_day(record.last_active_at or record.started_at)} {record.source}, "
        f"{record.message_count} messages: {record.title or ' '.join(record.preview.split())[:100]}"
        for record in records
        if record.id != current and record.message_count and may_read(record, principal)
    ][:limit]
    if not lines:
        return ToolResult("There are no earlier sessions.", summary="none")
    return ToolResult("\n".join(lines), summary=f"{len(lines)} sessions")


def _text(message: Message) -> str:
    if isinstance(message, AssistantMessage):
        calls = "".join(f"\n  called {call.name}({call.arguments[:200]})" for call in message.tool_calls)
        return f"assistant: {_cut(message.text)}{calls}".replace("assistant: \n ", "assistant")
    if isinstance(message, ToolMessage):
        return f"{message.tool_name} gave: {_cut(message.text)}"
    return f"user: {_cut(message.text)}"


def _cut(text: str) -> str:
    if len(text) <= MESSAGE_CHARS:
        return text
    return f"{text[:MESSAGE_CHARS]} [… {len(text) - MESSAGE_CHARS} more characters]"


def _day(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(timestamp))
