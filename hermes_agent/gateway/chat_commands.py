"""Slash commands in chats. What all surfaces do alike is in `agent.session_commands`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from hermes_agent import __version__
from hermes_agent.agent import session_commands
from hermes_agent.agent.checkpoints import rollback
from hermes_agent.agent.commands import CATEGORIES, CommandSpec, SlashCommand, commands_for, find, parse
from hermes_agent.agent.delegation import agents
from hermes_agent.core.approvals import Decision
from hermes_agent.core.errors import HermesError, UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.session import SessionRecord
from hermes_agent.gateway.keys import background_key, background_task, principal_of
from hermes_agent.gateway.replies import Reply

if TYPE_CHECKING:
    from hermes_agent.gateway.chat_run import ChatRun
    from hermes_agent.gateway.conversation import Conversation

OWNER_ONLY = frozenset(
    {"reload", "mcp", "reload-mcp", "restart", "platform", "yolo", "sethome", "rollback", "insights"}
)
"""Commands that concern the whole gateway, everybody's figures, or files of this machine."""
BUSY_MODES = ("interrupt", "queue", "steer")
PROGRESS_MODES = ("off", "new", "all", "verbose")
_LISTED = 15


Handler: TypeAlias = "Callable[[Conversation, InboxEntry, SlashCommand], Awaitable[Reply | None]]"


async def run_command(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply | None:
    """Do it. None means that the message went to a run, which finishes it.

    Failures are told in the reply.
    """
    name = command.spec.name
    if name in OWNER_ONLY and not _is_owner(conversation, entry):
        return Reply(f"/{name} is for the owner of this gateway.")
    handler = _HANDLERS.get(name)
    if handler is None:
        return _terminal_only(command.spec)
    try:
        return await handler(conversation, entry, command)
    except HermesError as error:
        return Reply("\n".join(error.lines))


def unknown_command(text: str) -> Reply:
    """The answer to `/word` that is no command of chats (and calls no skill)."""
    word = text.removeprefix("/").split(maxsplit=1)[0].lower()
    try:
        spec = find(word, "cli")
        if word in (spec.name, *spec.aliases):
            return _terminal_only(spec)
    except UsageError:
        pass
    try:
        parse(text, "gateway")
    except UsageError as error:
        return Reply("\n".join(error.lines))
    return Reply(f"/{word} cannot be used now.")


def _terminal_only(spec: CommandSpec) -> Reply:
    instead = _INSTEAD.get(spec.name, "")
    return Reply(f"/{spec.name} works in the terminal only.{f' {instead}' if instead else ''}")


def _is_owner(conversation: Conversation, entry: InboxEntry) -> bool:
    return conversation.context.access.is_owner(entry.message.platform, entry.message.sender)


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
    listed = session_commands.sessions_text(records[:_LISTED], current)
    more = len(records) - _LISTED
    return Reply(f"{listed}\n… and {more} more: /sessions WORD looks for some." if more > 0 else listed)


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


async def _stop(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if command.argument:
        task = command.argument.split()[0]
        for each in _background_of(conversation, entry):
            if background_task(each.key) == task and each.interrupt():
                return Reply(f"⏹ Stopped {task}.")
        raise UsageError(f"No background task {task!r} of yours is running", remedy="/status lists them.")
    if not conversation.interrupt():
        tasks = [background_task(each.key) for each in _background_of(conversation, entry)]
        more = f" In the background: {', '.join(tasks)} (/stop ID ends one)." if tasks else ""
        return Reply(f"Nothing is running.{more}")
    more = f" {conversation.waiting} more wait." if conversation.waiting else ""
    return Reply(f"⏹ Stopped.{more}")


def _background_of(conversation: Conversation, entry: InboxEntry) -> list[Conversation]:
    """Background tasks that this person has running from this chat."""
    return [
        each
        for each in conversation.context.conversations()
        if background_task(each.key)
        and each.run is not None
        and each.is_running
        and _is_mine(each.run, entry)
    ]


def _is_mine(run: ChatRun, entry: InboxEntry) -> bool:
    return run.address == entry.message.address and run.approver_id == entry.message.sender.id


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
    sender = entry.message.sender
    asking = [conversation, *_background_of(conversation, entry)]
    found = ((each.run, each.run.open_approval) for each in asking if each.run is not None)
    run, request = next(((run, asked) for run, asked in found if asked is not None), (None, None))
    if run is None or request is None:
        return Reply("Nothing waits for a decision.")
    if decision == "always" and not _is_owner(conversation, entry):
        raise UsageError("Only the owner may approve something for good", remedy="/approve session")
    approvals = conversation.context.ports.approvals
    if await approvals.decide_approval(request.id, sender.id, decision, action=request.action) is None:
        raise UsageError("This is not yours to decide, or it is too late")
    if run.decide(decision, sender.id, request_id=request.id):
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
        running = conversation.session.scope.running
        lines += [f"Background process {each.id}: {each.command[:80]}" for each in running]
    tasks = [background_task(each.key) for each in _background_of(conversation, entry)]
    if tasks:
        lines.append(f"Background tasks: {', '.join(tasks)} (/stop ID ends one)")
    state = "working" if conversation.is_running else "idle"
    waiting = f", {conversation.waiting} waiting" if conversation.waiting else ""
    return Reply("\n".join([*lines, f"Now: {state}{waiting}"]))


async def _usage(conversation: Conversation, entry: InboxEntry, _command: SlashCommand) -> Reply:
    session = conversation.session or await conversation.chat.open(entry.message)
    return Reply(session_commands.usage_text(session))


async def _help(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if command.argument:
        word = command.argument.split()[0].removeprefix("/").lower()
        spec = find(word, "gateway")
        text = session_commands.help_text(word, "gateway")
        return Reply(f"{text} For the owner." if spec.name in OWNER_ONLY else text)
    is_owner = _is_owner(conversation, entry)
    lines: list[str] = []
    for category in CATEGORIES:
        shown = [
            f"- `{spec.usage}` {spec.summary}"
            for spec in commands_for("gateway")
            if spec.category == category and spec.name in _HANDLERS
            if is_owner or spec.name not in OWNER_ONLY
        ]
        lines += ["", f"**{category}**", "", *shown] if shown else []
    lines += ["", "`/skills` lists the skills, each of which `/name` calls."]
    return Reply("\n".join(lines).strip())


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
    address = entry.message.address
    asked = {
        "key": str(entry.id),
        "platform": address.platform,
        "chat_id": address.chat_id,
        "thread_id": address.thread_id,
    }
    await conversation.context.ports.chats.put_fact("gateway", "restarted_from", json.dumps(asked))
    conversation.after_finish(
        lambda: conversation.context.ports.restart(f"/restart of {entry.message.sender.id}")
    )
    return Reply("♻️ Restarting. What is going on is finished or gone on with.")


async def _memory(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    principal = principal_of(entry.message, conversation.key)
    return Reply(await conversation.context.ports.memory(command.argument, principal))


async def _skills(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if command.argument and not _is_owner(conversation, entry):
        return Reply("Skills are shared by everybody: the owner of this gateway decides on changes.")
    return Reply(await conversation.context.ports.skills(command.argument))


async def _busy(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    word = command.argument.strip().lower()
    if word and word not in BUSY_MODES:
        raise UsageError(f"/busy takes {', '.join(BUSY_MODES)}, not {word!r}")
    if word:
        await conversation.chat.choose(entry.message, busy=word)
    does = {
        "interrupt": "ends what I do, and I answer it at once",
        "queue": "waits its turn",
        "steer": "is told to me while I go on",
    }[conversation.busy_mode]
    return Reply(f"A message that comes while I work {does} ({conversation.busy_mode}).")


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


_INSTEAD = {
    "clear": "/new begins a new conversation.",
    "quit": "A chat needs no end; /new begins another conversation.",
    "copy": "",
    "image": "Send the image as an attachment.",
    "history": "It stands above.",
    "tools": "/status tells about this conversation.",
    "config": "/status tells about this conversation; the owner changes settings with hermes config.",
}
"""What helps in a chat where a command of the terminal does not."""

_HANDLERS: dict[str, Handler] = {
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
    "stop": _stop,
    "steer": _steer,
    "queue": _queue,
    "busy": _busy,
    "verbose": _verbose,
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
