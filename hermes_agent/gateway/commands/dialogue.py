"""Commands about the conversation itself: which one it is, its model, what it remembers and shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hermes_agent.agent import session_commands
from hermes_agent.agent.checkpoints import rollback
from hermes_agent.agent.commands import SlashCommand
from hermes_agent.core.errors import UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.session import SessionRecord
from hermes_agent.gateway.commands.rights import Handler, is_owner
from hermes_agent.gateway.keys import account_of, is_shared, principal_of
from hermes_agent.gateway.replies import Reply

if TYPE_CHECKING:
    from hermes_agent.gateway.conversation import Conversation

PROGRESS_MODES = ("off", "new", "all", "verbose")
_LISTED = 15


async def _new(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    await conversation.chat.forget("new", entry.message)
    session = await conversation.chat.open(entry.message)
    if command.argument:
        await session.set_title(command.argument)
    return Reply("🆕 A new conversation. The old one is kept: /resume brings it back.")


async def _retry(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(prompt=await session.undo())


async def _undo(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    text, count = await session_commands.undo(session, command.argument)
    first = " ".join(text.split())[:80]
    return Reply(f"Took back {count} exchange{'s' if count > 1 else ''}, from: {first}")


async def _title(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(await session_commands.title(session, command.argument))


def _may_open(conversation: Conversation, entry: InboxEntry, record: SessionRecord) -> bool:
    """Whether a stored session may be gone on with here.

    One's own, and those of the conversation that several share; for owners also those of the terminal; all
    of them for whom `gateway.owners` or `memory.owners` names.
    """
    message, access = entry.message, conversation.context.access
    if access.is_listed_owner(message.platform, message.sender):
        return True
    if not record.user_id:
        return access.is_owner(message.platform, message.sender)
    own = {message.sender.id, account_of(message, conversation.key)}
    return record.source == message.platform and record.user_id in own


async def _own_sessions(conversation: Conversation, entry: InboxEntry) -> Sequence[SessionRecord]:
    """Stored sessions that can be listed here; where others read along, only those they took part in."""
    records = await conversation.context.ports.sessions.list(limit=200)
    if is_shared(entry.message, conversation.key):
        account = account_of(entry.message, conversation.key)
        return [each for each in records if (each.source, each.user_id) == (entry.message.platform, account)]
    return [each for each in records if _may_open(conversation, entry, each)]


async def _sessions(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    records = await _own_sessions(conversation, entry)
    wanted = command.argument.lower()
    if wanted:
        records = [each for each in records if wanted in f"{each.title} {each.preview}".lower()]
    current = conversation.session.id if conversation.session else ""
    listed = session_commands.sessions_text(records[:_LISTED], current)
    more = len(records) - _LISTED
    return Reply(f"{listed}\n… and {more} more: /sessions WORD looks for some." if more > 0 else listed)


async def _resume(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if not command.argument:
        listed = await _sessions(conversation, entry, command)
        return replace(listed, text=f"{listed.text}\n\n/resume ID or title goes on with one.")
    record = await conversation.context.ports.sessions.resolve(command.argument)
    if not _may_open(conversation, entry, record):
        raise UsageError(
            f"No conversation of yours is called {command.argument!r}",
            remedy="Those of others are open to whom gateway.owners names.",
        )
    session = await conversation.chat.take(record, entry.message)
    return Reply(f"Going on with {record.title or record.id} ({len(session.messages)} messages).")


async def _branch(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    old = await conversation.chat.open(entry.message)
    if not old.messages:
        raise UsageError("There is nothing to branch from yet")
    store = conversation.context.ports.sessions
    record = await store.create(
        source=old.record.source,
        model=old.model.info.label,
        cwd=old.record.cwd,
        user_id=old.record.user_id,
        title=command.argument or None,
        parent_session_id=old.id,
        model_config=dict(old.record.model_config),
    )
    await store.append(record.id, list(old.messages))
    if old.system_prompt:
        record = await store.update(record.id, system_prompt=old.system_prompt)
    left = old.record.title or old.id
    await conversation.chat.take(record, entry.message)
    return Reply(f"🌿 A copy goes on here as {record.id}; the original stays as it is (/resume {left}).")


async def _compress(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    text = await session_commands.compress(session, command.argument)
    await conversation.chat.remember(entry.message)
    return Reply(text)


async def _rollback(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(await rollback(session, command.argument))


async def _model(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    name = command.argument.replace("--global", "").strip()
    if "--global" in command.argument:
        raise UsageError("Only the terminal saves a model for good", remedy="hermes model NAME")
    if not name:
        return Reply(f"Model: {session.model.info.label}. /model NAME takes another one for this chat.")
    service = await conversation.context.ports.service()
    return Reply(await session_commands.switch_model(session, name, service.make_model))


async def _reasoning(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    word = command.argument.strip().lower()
    if word in ("show", "hide"):
        await conversation.chat.choose(entry.message, reasoning=word)
        return Reply(f"What the model thinks is {'shown' if word == 'show' else 'not shown'} in this chat.")
    session = await conversation.chat.open(entry.message)
    return Reply(session_commands.reasoning(session, command.argument))


async def _personality(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    own = conversation.context.ports.settings().agent.personalities
    return Reply(session_commands.personality(session, command.argument, own))


async def _yolo(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(session_commands.yolo(session, command.argument))


async def _memory(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    principal = principal_of(entry.message, conversation.key)
    return Reply(await conversation.context.ports.memory(command.argument, principal))


async def _skills(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if command.argument and not is_owner(conversation, entry):
        return Reply("Skills are shared by everybody: the owner of this gateway decides on changes.")
    return Reply(await conversation.context.ports.skills(command.argument))


async def _verbose(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    word = command.argument.strip().lower()
    if word and word not in PROGRESS_MODES:
        raise UsageError(f"/verbose takes {', '.join(PROGRESS_MODES)}, not {word!r}")
    if word:
        await conversation.chat.choose(entry.message, progress=word)
    chosen = conversation.chat.choices.progress
    if not chosen:
        display = conversation.context.ports.settings().display
        own = display.platforms.get(entry.message.platform)
        chosen = (own.tool_progress if own is not None else None) or display.tool_progress
    return Reply(f"Tool calls shown in this chat: {chosen}")


async def _usage(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    session = conversation.session or await conversation.chat.open(entry.message)
    return Reply(session_commands.usage_text(session))


HANDLERS: dict[str, Handler] = {
    "new": _new,
    "retry": _retry,
    "undo": _undo,
    "title": _title,
    "resume": _resume,
    "sessions": _sessions,
    "branch": _branch,
    "compress": _compress,
    "rollback": _rollback,
    "model": _model,
    "reasoning": _reasoning,
    "personality": _personality,
    "yolo": _yolo,
    "memory": _memory,
    "skills": _skills,
    "verbose": _verbose,
    "usage": _usage,
}
