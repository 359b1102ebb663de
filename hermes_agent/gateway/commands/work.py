"""Commands about what goes on: stopping, guiding, deciding, doing something beside it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hermes_agent.agent import session_commands
from hermes_agent.agent.commands import SlashCommand
from hermes_agent.agent.delegation import agents
from hermes_agent.core.approvals import Decision
from hermes_agent.core.errors import UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.gateway.commands.rights import Handler, is_owner
from hermes_agent.gateway.keys import background_key, background_task
from hermes_agent.gateway.replies import Reply

if TYPE_CHECKING:
    from hermes_agent.gateway.chat_run import ChatRun
    from hermes_agent.gateway.conversation import Conversation

BUSY_MODES = ("interrupt", "queue", "steer")


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


async def _agents(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    session = await conversation.chat.open(entry.message)
    return Reply(agents(session, command.argument))


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
    if decision == "always" and not is_owner(conversation, entry):
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


HANDLERS: dict[str, Handler] = {
    "stop": _stop,
    "steer": _steer,
    "queue": _queue,
    "busy": _busy,
    "agents": _agents,
    "approve": _approve,
    "deny": _deny,
    "background": _background,
    "status": _status,
}
