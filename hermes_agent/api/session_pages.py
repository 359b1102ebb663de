"""`/api/sessions`: the stored conversations of a key, for front ends."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from hermes_agent.api.ask import Ask
from hermes_agent.api.call import Call
from hermes_agent.api.errors import ApiError, bad_request, not_found
from hermes_agent.api.fields import text_field
from hermes_agent.api.ports import ApiPorts
from hermes_agent.api.sessions import SOURCE, Sessions
from hermes_agent.core.errors import SessionNotFoundError, SessionTitleError
from hermes_agent.core.messages import AssistantMessage, Message, TextPart, ToolMessage, UserMessage
from hermes_agent.core.session import SessionRecord

_MOST: Final = 200
_TITLE_CHARS: Final = 200


class SessionPages:
    """Lists, reads, renames, copies and deletes conversations. Those of other keys are not there.

    Args:
        ports: Where they are stored.
        sessions: Those that are open.
    """

    def __init__(self, ports: ApiPorts, sessions: Sessions) -> None:
        self._ports = ports
        self._sessions = sessions

    async def list(self, call: Call) -> None:
        """Most recently used first."""
        limit = min(_number(call, "limit", 20), _MOST)
        offset = _number(call, "offset", 0)
        store = await self._ports.sessions()
        found = await store.list(limit=limit, offset=offset, source=SOURCE)
        own = [_shown(record) for record in found if record.user_id == call.owner]
        await call.answer({"sessions": own, "limit": limit, "offset": offset})

    async def get(self, call: Call) -> None:
        """One conversation with everything that was said."""
        record = await self._record(call)
        stored = await (await self._ports.sessions()).messages(record.id)
        messages = [{**_message(each.message), "timestamp": each.timestamp} for each in stored]
        await call.answer({"session": _shown(record), "messages": messages})

    async def rename(self, call: Call) -> None:
        """Give it a title."""
        record = await self._record(call)
        title = text_field(await call.read_json(), "title", max_chars=_TITLE_CHARS)
        if title is None or not title.strip():
            raise bad_request("title is missing", "title")
        store = await self._ports.sessions()
        try:
            await store.update(record.id, title=title.strip())
        except SessionTitleError as error:
            raise ApiError(409, " ".join(error.lines), code="title_taken", param="title") from None
        await call.answer({"session": _shown(await store.get(record.id))})

    async def delete(self, call: Call) -> None:
        """Delete it, unless it is working."""
        record = await self._record(call)
        await self._sessions.release(record.id)
        await (await self._ports.sessions()).delete(record.id)
        await call.answer({"id": record.id, "deleted": True})

    async def fork(self, call: Call) -> None:
        """A new conversation that begins with all of this one."""
        record = await self._record(call)
        ask = Ask(message=UserMessage.of(""), is_stored=True)
        length = len(await (await self._ports.sessions()).messages(record.id))
        session = await self._sessions.branch(record.id, length, ask, call.owner)
        await self._sessions.give_back(session)
        made = await (await self._ports.sessions()).get(session.id)
        await call.answer({"session": _shown(made), "forked_from": record.id}, 201)

    async def _record(self, call: Call) -> SessionRecord:
        """Raises `ApiError` 404."""
        session_id = call.path_params["session_id"]
        try:
            record = await (await self._ports.sessions()).get(session_id)
        except SessionNotFoundError:
            raise not_found("session", session_id, param="session_id") from None
        if record.source != SOURCE or record.user_id != call.owner:
            raise not_found("session", session_id, param="session_id")
        return record


def _number(call: Call, name: str, default: int) -> int:
    text = parse_qs(call.query).get(name, [""])[0]
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise bad_request(f"{name} must be a whole number", name)
    return int(text)


def _shown(record: SessionRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "title": record.title,
        "preview": record.preview,
        "model": record.model,
        "started_at": record.started_at,
        "last_active_at": record.last_active_at,
        "ended_at": record.ended_at,
        "end_reason": record.end_reason,
        "parent_session_id": record.parent_session_id,
        "message_count": record.message_count,
        "tool_call_count": record.tool_call_count,
        "input_tokens": record.usage.input_tokens,
        "output_tokens": record.usage.output_tokens,
    }


def _message(message: Message) -> dict[str, Any]:
    if isinstance(message, UserMessage):
        parts = [part.text if isinstance(part, TextPart) else "[image]" for part in message.parts]
        return {"role": "user", "content": "\n".join(parts)}
    if isinstance(message, ToolMessage):
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
    assert isinstance(message, AssistantMessage)
    shown: dict[str, Any] = {"role": "assistant", "content": message.text}
    if message.tool_calls:
        shown["tool_calls"] = [
            {
                "id": each.id,
                "type": "function",
                "function": {"name": each.name, "arguments": each.arguments},
            }
            for each in message.tool_calls
        ]
    return shown
