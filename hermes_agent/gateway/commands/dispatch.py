"""Finds and does a command; says what is wrong with one that cannot be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermes_agent.agent.commands import CATEGORIES, CommandSpec, SlashCommand, commands_for, find, parse
from hermes_agent.core.errors import HermesError, UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.gateway.commands import dialogue, service, work
from hermes_agent.gateway.commands.rights import OWNER_ONLY, Handler, is_owner
from hermes_agent.gateway.replies import Reply

if TYPE_CHECKING:
    from hermes_agent.gateway.conversation import Conversation


async def run_command(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply | None:
    """Do it. None means that the message went to a run, which finishes it.

    Failures are told in the reply.
    """
    name = command.spec.name
    if name in OWNER_ONLY and not is_owner(conversation, entry):
        return Reply(f"/{name} is for the owner of this gateway.")
    handler = HANDLERS.get(name)
    if handler is None:
        return _terminal_only(command.spec)
    try:
        return await handler(conversation, entry, command)
    except HermesError as error:
        return Reply("\n".join(error.lines))


def unknown_command(text: str) -> Reply:
    """The answer to `/word` that is no command of chats (and calls no skill)."""
    word = text.removeprefix("/").split(maxsplit=1)[0].lower()
    if word == "start":  # what some platforms send when somebody opens the chat
        return Reply("👋 Hello! Write what you need; /help shows what else I understand.")
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


async def _help(conversation: Conversation, entry: InboxEntry, command: SlashCommand) -> Reply:
    if command.argument:
        word = command.argument.split()[0].removeprefix("/").lower()
        spec = find(word, "gateway")
        also = f" Also: {', '.join(f'/{alias}' for alias in spec.aliases)}." if spec.aliases else ""
        whose = " For the owner." if spec.name in OWNER_ONLY else ""
        return Reply(f"`{spec.usage}`: {spec.summary}.{also}{whose}")
    may_all = is_owner(conversation, entry)
    lines: list[str] = []
    for category in CATEGORIES:
        shown = [
            f"- `{spec.usage}` {spec.summary}"
            for spec in commands_for("gateway")
            if spec.category == category and spec.name in HANDLERS
            if may_all or spec.name not in OWNER_ONLY
        ]
        lines += ["", f"**{category}**", "", *shown] if shown else []
    lines += ["", "`/skills` lists the skills, each of which `/name` calls."]
    return Reply("\n".join(lines).strip())


_INSTEAD = {
    "clear": "/new begins a new conversation.",
    "quit": "A chat needs no end; /new begins another conversation.",
    "image": "Send the image as an attachment.",
    "handoff": "Write /resume NAME in the other chat.",
    "history": "It stands above.",
    "tools": "/status tells about this conversation.",
    "config": "/status tells about this conversation; the owner changes settings with hermes config.",
}
"""What helps in a chat where a command of the terminal does not."""

HANDLERS: dict[str, Handler] = {
    **dialogue.HANDLERS,
    **work.HANDLERS,
    **service.HANDLERS,
    "help": _help,
}
"""Every command of chats."""
