"""Slash commands in chats. What all surfaces do alike is in `agent.session_commands`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from hermes_agent import __version__
from hermes_agent.agent import session_commands
from hermes_agent.agent.checkpoints import rollback
from hermes_agent.agent.commands import SlashCommand
from hermes_agent.agent.delegation import agents
from hermes_agent.core.approvals import Decision
from hermes_agent.core.errors import HermesError, UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.outbox import Kind
from hermes_agent.core.session import SessionRecord
from hermes_agent.gateway.keys import background_key

if TYPE_CHECKING:
    from hermes_agent.gateway.conversation import Conversation

OWNER_ONLY = frozenset(
    {"reload", "mcp", "reload-mcp", "restart", "platform", "yolo", "sethome", "rollback", "insights"}
)
_LISTED = 15


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command or run gives: a text to send, or a prompt to run."""

    text: str = ""
    kind: Kind = "command"
    live_entry: int = 0
    prompt: str = ""


Handler: TypeAlias = "Callable[[Conversation, InboxEntry, SlashCommand], Awaitable[Reply | None]]"


async def run_command(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply | None:
    """Do it. None means that the message went to a run, which finishes it.

    Failures are told in the reply.
    """
    message = entry.message
    name = command.spec.name
    if name in OWNER_ONLY and not conversation.context.access.is_owner(message.platform, message.sender):
        return Reply(f"/{name} is for the owner of this gateway.")
    handler = _HANDLERS.get(name)
    if handler is None:
        return Reply(f"/{name} works in the terminal only.")
    try:
        return await handler(conversation, entry, command)
    except HermesError as error:
        return Reply("\n".join(error.lines))


async def _new(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    await conversation.chat.forget("new")
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


async def _own_sessions(conversation: Conversation, entry: InboxEntry) -> Sequence[SessionRecord]:
    """Stored sessions this person may see: their own; the owner's are all."""
    message = entry.message
    records = await conversation.context.ports.sessions.list(limit=200)
    if conversation.context.access.is_owner(message.platform, message.sender):
        return records
    return [each for each in records if each.source == message.platform and each.user_id == message.sender.id]


async def _sessions(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    records = await _own_sessions(conversation, entry)
    wanted = command.argument.lower()
    if wanted:
        records = [each for each in records if wanted in f"{each.title} {each.preview}".lower()]
    current = conversation.session.id if conversation.session else ""
    return Reply(session_commands.sessions_text(records[:_LISTED], current))


async def _resume(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if not command.argument:
        listed = await _sessions(conversation, entry, command)
        return replace(listed, text=f"{listed.text}\n\n/resume ID or title goes on with one.")
    record = await conversation.context.ports.sessions.resolve(command.argument)
    if record.id not in {each.id for each in await _own_sessions(conversation, entry)}:
        raise UsageError(f"No conversation of yours is called {command.argument!r}")
    session = await conversation.chat.take(record, entry.message)
    return Reply(f"Going on with {record.title or record.id} ({len(session.messages)} messages).")


async def _compress(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    text = await session_commands.compress(session, command.argument)
    await conversation.chat.remember(entry.message)
    return Reply(text)


async def _rollback(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(await rollback(session, command.argument))


async def _agents(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(agents(session, command.argument))


async def _insights(conversation: Conversation, _entry: InboxEntry, command: SlashCommand) -> Reply:
    service = await conversation.context.ports.service()
    return Reply(await service.insights(command.argument))


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
    session = await conversation.chat.open(entry.message)
    return Reply(session_commands.reasoning(session, command.argument))


async def _personality(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    own = conversation.context.ports.settings().agent.personalities
    return Reply(session_commands.personality(session, command.argument, own))


async def _yolo(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(session_commands.yolo(session, command.argument))


async def _stop(conversation: Conversation, _entry: InboxEntry, _command: SlashCommand) -> Reply:
    if not conversation.interrupt():
        return Reply("Nothing is running.")
    more = f" {conversation.waiting} more wait." if conversation.waiting else ""
    return Reply(f"⏹ Stopped.{more}")


async def _steer(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply | None:
    if not command.argument:
        raise UsageError("/steer needs a text")
    if await conversation.steer(entry, command.argument):
        return None
    return Reply(prompt=command.argument)


async def _queue(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply | None:
    if not command.argument:
        raise UsageError("/queue needs a text")
    if conversation.is_running and entry.state == "waiting":
        conversation.enqueue(entry)
        return None
    return Reply(prompt=command.argument)


async def _approve(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    word = command.argument.strip().lower() or "once"
    decisions: dict[str, Decision] = {"once": "once", "session": "session", "always": "always"}
    if word not in decisions:
        raise UsageError(f"/approve takes once, session or always, not {word!r}")
    return await _decide(conversation, entry, decisions[word])


async def _deny(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    return await _decide(conversation, entry, "deny")


async def _decide(conversation: Conversation, entry: InboxEntry, decision: Decision) -> Reply:
    request = conversation.open_approval
    if request is None:
        return Reply("Nothing waits for a decision.")
    sender = entry.message.sender
    if decision == "always" and not conversation.context.access.is_owner(entry.message.platform, sender):
        raise UsageError("Only the owner may approve something for good", remedy="/approve session")
    approvals = conversation.context.ports.approvals
    if await approvals.decide_approval(request.id, sender.id, decision, action=request.action) is None:
        raise UsageError("This is not yours to decide, or it is too late")
    if conversation.decide(decision, sender.id, request_id=request.id):
        await approvals.use_approval(request.id)
    return Reply("🚫 Not run." if decision == "deny" else "👍 Approved.")


async def _background(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if not command.argument:
        raise UsageError("/background needs a text")
    digest = hashlib.sha256(f"{entry.id}:{entry.received_at}".encode()).hexdigest()[:6]
    task = f"bg_{time.strftime('%H%M%S', time.localtime(entry.received_at))}_{digest}"
    message = replace(
        entry.message,
        message_id=f"{entry.message.message_id}:background",
        text=command.argument,
        attachments=(),
    )
    arrival, stored = await conversation.context.ports.inbox.add(message, background_key(task))
    if stored is not None and arrival == "new":
        conversation.context.route(stored)
    preview = " ".join(command.argument.split())
    preview = preview if len(preview) <= 60 else f"{preview[:59]}…"
    return Reply(f'🔄 Background task started: "{preview}"\nTask ID: {task}')


async def _status(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    lines = conversation.context.platform_lines()
    if conversation.session is None and not conversation.is_running:
        await conversation.chat.open(entry.message)
    if conversation.session is not None:
        lines.insert(0, session_commands.status_text(conversation.session))
    state = "working" if conversation.is_running else "idle"
    waiting = f", {conversation.waiting} waiting" if conversation.waiting else ""
    return Reply("\n".join([*lines, f"Now: {state}{waiting}"]))


async def _usage(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    session = conversation.session or await conversation.chat.open(entry.message)
    return Reply(session_commands.usage_text(session))


async def _help(_conversation: Conversation, _entry: InboxEntry, command: SlashCommand) -> Reply:
    return Reply(session_commands.help_text(command.argument, "gateway"))


async def _version(_conversation: Conversation, _entry: InboxEntry, _command: SlashCommand) -> Reply:
    return Reply(f"hermes-agent {__version__}")


async def _whoami(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    message, access = entry.message, conversation.context.access
    admission = access.admit(message.platform, message.sender)
    owner = "yes" if access.is_owner(message.platform, message.sender) else "no"
    return Reply(
        f"Platform: {message.platform}\nUser id: {message.sender.id}\nChat id: {message.chat_id}\n"
        f"Allowed by: {admission.rule}\nOwner: {owner}"
    )


async def _sethome(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    message = entry.message
    separator = "|" if message.chat_id[:1] in ("!", "#", "@") else ":"
    value = separator.join(part for part in (message.chat_id, message.thread_id) if part)
    await conversation.context.ports.chats.put_fact(message.platform, "home_channel", value)
    return Reply(f"🏠 Unasked messages of {message.platform} come to this chat now.")


async def _platform(conversation: Conversation, _entry: InboxEntry, command: SlashCommand) -> Reply:
    word, _, name = command.argument.partition(" ")
    if word == "pause":
        await conversation.context.pause(name.strip())
    elif word == "resume":
        await conversation.context.resume(name.strip())
    elif word:
        raise UsageError("/platform takes pause NAME or resume NAME")
    return Reply("\n".join(conversation.context.platform_lines()))


async def _reload(conversation: Conversation, _entry: InboxEntry, _command: SlashCommand) -> Reply:
    return Reply(await conversation.context.ports.reload())


async def _reload_mcp(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(await session_commands.reload_mcp(session))


async def _mcp(conversation: Conversation, _entry: InboxEntry, command: SlashCommand) -> Reply:
    return Reply(await conversation.context.ports.mcp(command.argument))


async def _restart(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    conversation.after_finish(
        lambda: conversation.context.ports.restart(f"/restart of {entry.message.sender.id}")
    )
    return Reply("♻️ Restarting. What is going on is finished or gone on with.")


_HANDLERS: dict[str, Handler] = {
    "new": _new,
    "retry": _retry,
    "undo": _undo,
    "title": _title,
    "resume": _resume,
    "sessions": _sessions,
    "compress": _compress,
    "rollback": _rollback,
    "model": _model,
    "reasoning": _reasoning,
    "personality": _personality,
    "yolo": _yolo,
    "stop": _stop,
    "steer": _steer,
    "queue": _queue,
    "agents": _agents,
    "approve": _approve,
    "deny": _deny,
    "background": _background,
    "status": _status,
    "usage": _usage,
    "insights": _insights,
    "help": _help,
    "version": _version,
    "whoami": _whoami,
    "sethome": _sethome,
    "platform": _platform,
    "reload": _reload,
    "mcp": _mcp,
    "reload-mcp": _reload_mcp,
    "restart": _restart,
}
