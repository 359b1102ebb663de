"""Commands about the gateway: its platforms, settings, servers and figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hermes_agent import __version__
from hermes_agent.agent import session_commands
from hermes_agent.agent.commands import SlashCommand
from hermes_agent.core.errors import UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.gateway.commands.rights import Handler
from hermes_agent.gateway.replies import Reply

if TYPE_CHECKING:
    from hermes_agent.gateway.conversation import Conversation


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


async def _insights(conversation: Conversation, _entry: InboxEntry, command: SlashCommand) -> Reply:
    service = await conversation.context.ports.service()
    return Reply(await service.insights(command.argument))


HANDLERS: dict[str, Handler] = {
    "insights": _insights,
    "version": _version,
    "whoami": _whoami,
    "sethome": _sethome,
    "platform": _platform,
    "reload": _reload,
    "mcp": _mcp,
    "reload-mcp": _reload_mcp,
    "restart": _restart,
}
