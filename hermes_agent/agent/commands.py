"""The one table of slash commands: the chat, the gateway, completion and `/help` all read it.

The table only describes. What all surfaces do alike is in `agent.session_commands`; what belongs to
one surface (clearing a screen, quitting) is with that surface.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hermes_agent.core.errors import UsageError

Scope: TypeAlias = Literal["both", "cli", "gateway"]
Category: TypeAlias = Literal["Conversation", "Model and tools", "While it works", "Display", "Other"]

CATEGORIES: tuple[Category, ...] = (
    "Conversation",
    "Model and tools",
    "While it works",
    "Display",
    "Other",
)
CONFIRMATION_WORDS = frozenset({"now", "--yes", "-y"})
"""After a destructive command: do not ask."""


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One slash command.

    Attributes:
        name: Without the slash.
        summary: One line for `/help` and menus.
        args: How its arguments are written; empty if it takes none.
        aliases: Other names.
        scope: Where it exists.
        category: Its heading in `/help`.
        is_destructive: Asks before it acts, unless one of `CONFIRMATION_WORDS` follows.
        while_running: May be used while the agent works.
        choices: Fixed first arguments, for completion.
    """

    name: str
    summary: str
    category: Category
    args: str = ""
    aliases: tuple[str, ...] = ()
    scope: Scope = "both"
    is_destructive: bool = False
    while_running: bool = False
    choices: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """`/name args`."""
        return f"/{self.name} {self.args}".rstrip()


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A parsed line.

    Attributes:
        spec: Which command.
        argument: The rest of the line, stripped, without confirmation words.
        is_confirmed: A confirmation word was there, or the command needs none.
    """

    spec: CommandSpec
    argument: str = ""
    is_confirmed: bool = True


_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")

COMMANDS: tuple[CommandSpec, ...] = (
    # Conversation
    CommandSpec(
        "new",
        "Start a new conversation; the old one stays stored",
        "Conversation",
        args="[title]",
        aliases=("reset",),
        is_destructive=True,
    ),
    CommandSpec(
        "clear",
        "Clear the screen and start a new conversation",
        "Conversation",
        scope="cli",
        is_destructive=True,
    ),
    CommandSpec("retry", "Take back the last answer and ask again", "Conversation"),
    CommandSpec(
        "undo",
        "Take back the last exchange, or the last N",
        "Conversation",
        args="[N]",
        is_destructive=True,
    ),
    CommandSpec("history", "Show the conversation so far", "Conversation", args="[N]", scope="cli"),
    CommandSpec(
        "save", "Write the conversation to a file (.md or .jsonl)", "Conversation", "[file]", scope="cli"
    ),
    CommandSpec("title", "Show or set the title", "Conversation", args="[text]"),
    CommandSpec("resume", "Go on with an earlier conversation", "Conversation", args="[id or title]"),
    CommandSpec(
        "handoff",
        "Leave, and go on in the home channel of a platform",
        "Conversation",
        "<platform>",
        scope="cli",
    ),
    CommandSpec("sessions", "List earlier conversations", "Conversation", args="[search]"),
    CommandSpec(
        "branch", "Go on in a copy of this conversation", "Conversation", "[title]", aliases=("fork",)
    ),
    CommandSpec(
        "compress", "Shorten the conversation to save context", "Conversation", args="[what to keep]"
    ),
    CommandSpec(
        "rollback",
        "Bring files back to how they were before the agent changed them",
        "Conversation",
        args="[N [file]|diff N]",
    ),
    # Model and tools
    CommandSpec(
        "model",
        "Show or switch the model; --global also saves it",
        "Model and tools",
        args="[provider:model] [--global]",
    ),
    CommandSpec(
        "reasoning",
        "Set how hard the model thinks, or show or hide its thoughts",
        "Model and tools",
        args="[effort|show|hide]",
        choices=(*_EFFORTS, "show", "hide"),
    ),
    CommandSpec("personality", "Show or choose how the agent talks", "Model and tools", args="[name|none]"),
    CommandSpec("tools", "List the tools of this conversation", "Model and tools", scope="cli"),
    CommandSpec("toolsets", "List the toolsets", "Model and tools", scope="cli"),
    CommandSpec(
        "yolo",
        "Run risky commands without asking, until switched off",
        "Model and tools",
        args="[on|off]",
        choices=("on", "off"),
    ),
    CommandSpec(
        "reload",
        "Read .env again and start fresh with the changed settings",
        "Model and tools",
        while_running=True,
    ),
    CommandSpec(
        "mcp",
        "How the MCP servers stand; sign in to one",
        "Model and tools",
        args="[login NAME [ADDRESS]]",
        while_running=True,
        choices=("login",),
    ),
    CommandSpec("reload-mcp", "Connect to the MCP servers anew and take their tools", "Model and tools"),
    CommandSpec(
        "memory",
        "What the agent remembers; decide on changes that wait",
        "Model and tools",
        args="[pending|approve ID|reject ID|undo]",
        choices=("pending", "approve", "reject", "undo"),
    ),
    CommandSpec(
        "skills",
        "Skills you can call with /name; decide on what the agent proposes",
        "Model and tools",
        args="[proposals|diff ID|approve ID|reject ID]",
        choices=("proposals", "diff", "approve", "reject"),
    ),
    CommandSpec("config", "Show the settings that matter here", "Model and tools", scope="cli"),
    # While it works
    CommandSpec(
        "stop", "Interrupt the agent, or a background task", "While it works", args="[ID]", while_running=True
    ),
    CommandSpec(
        "approve",
        "Let the agent do what it asked for",
        "While it works",
        args="[once|session|always]",
        scope="gateway",
        while_running=True,
        choices=("once", "session", "always"),
    ),
    CommandSpec(
        "deny", "Refuse what the agent asked for", "While it works", scope="gateway", while_running=True
    ),
    CommandSpec(
        "background",
        "Let the agent do this beside the conversation",
        "While it works",
        args="<text>",
        aliases=("bg", "btw"),
        while_running=True,
    ),
    CommandSpec(
        "steer",
        "Tell the agent something without stopping it",
        "While it works",
        "<text>",
        while_running=True,
    ),
    CommandSpec(
        "queue",
        "Ask this when the agent is done",
        "While it works",
        args="<text>",
        aliases=("q",),
        while_running=True,
    ),
    CommandSpec(
        "busy",
        "What a message does while the agent works",
        "While it works",
        args="[interrupt|queue|steer]",
        while_running=True,
        choices=("interrupt", "queue", "steer"),
    ),
    CommandSpec(
        "agents",
        "List the subagents at work, or stop them",
        "While it works",
        args="[stop N|stop all]",
        aliases=("tasks",),
        while_running=True,
        choices=("stop",),
    ),
    # Display
    CommandSpec("copy", "Copy the last answer to the clipboard", "Display", scope="cli", while_running=True),
    CommandSpec("image", "Attach an image to the next message", "Display", args="<file>", scope="cli"),
    CommandSpec(
        "verbose",
        "How much of the tools' work is shown",
        "Display",
        args="[off|new|all|verbose]",
        while_running=True,
        choices=("off", "new", "all", "verbose"),
    ),
    CommandSpec(
        "statusbar",
        "Show or hide the line at the bottom",
        "Display",
        aliases=("sb",),
        scope="cli",
        while_running=True,
    ),
    CommandSpec("redraw", "Draw the screen again", "Display", scope="cli", while_running=True),
    # Other
    CommandSpec("sethome", "Send unasked messages (scheduled jobs) to this chat", "Other", scope="gateway"),
    CommandSpec(
        "platform",
        "Show, pause or resume a messaging platform",
        "Other",
        args="[pause|resume NAME]",
        scope="gateway",
        while_running=True,
        choices=("pause", "resume"),
    ),
    CommandSpec("restart", "Restart the gateway", "Other", scope="gateway", while_running=True),
    CommandSpec("whoami", "Show your id and rights", "Other", scope="gateway", while_running=True),
    CommandSpec("usage", "Tokens and cost of this conversation", "Other", while_running=True),
    CommandSpec(
        "insights", "Tokens, cost and tool calls of the last days", "Other", args="[days]", while_running=True
    ),
    CommandSpec("status", "Session, model, directory and context", "Other", while_running=True),
    CommandSpec("help", "What you can type", "Other", args="[command]", while_running=True),
    CommandSpec("version", "Show the version", "Other", aliases=("v",), while_running=True),
    CommandSpec(
        "quit",
        "Leave; `--delete` also deletes the conversation",
        "Other",
        args="[--delete]",
        aliases=("exit",),
        scope="cli",
        while_running=True,
        choices=("--delete",),
    ),
)
"""Every slash command, in the order of `/help`."""


def commands_for(scope: Literal["cli", "gateway"]) -> Iterator[CommandSpec]:
    """The commands of one surface, in table order."""
    return (spec for spec in COMMANDS if spec.scope in ("both", scope))


def is_command(text: str) -> bool:
    """Whether a line is meant as a slash command: `/word`, not a path such as `/etc/hosts`."""
    if not text.startswith("/") or text.startswith("//"):
        return False
    word = text[1:].split(maxsplit=1)[0] if text[1:].strip() else ""
    return bool(word) and not text[1].isspace() and "/" not in word


def parse(text: str, scope: Literal["cli", "gateway"] = "cli") -> SlashCommand:
    """Read a line that starts with a slash.

    Names match exactly, by alias, or by a prefix that only one command has.

    Raises:
        UsageError: No such command (the remedy names the nearest), or the prefix is ambiguous.
    """
    word, _, rest = text.strip().removeprefix("/").partition(" ")
    spec = find(word.lower(), scope)
    words = rest.split()
    if not spec.is_destructive and not (spec.name == "quit" and "--delete" in words):
        return SlashCommand(spec, rest.strip())
    kept = [part for part in words if part not in CONFIRMATION_WORDS]
    return SlashCommand(spec, " ".join(kept), is_confirmed=len(kept) < len(words))


def find(word: str, scope: Literal["cli", "gateway"] = "cli") -> CommandSpec:
    """The command with this name, alias or unique prefix.

    Raises:
        UsageError: There is none, or more than one.
    """
    available = tuple(commands_for(scope))
    for spec in available:
        if word == spec.name or word in spec.aliases:
            return spec
    by_prefix = [spec for spec in available if word and spec.name.startswith(word)]
    if not by_prefix:
        by_prefix = [spec for spec in available if word and any(a.startswith(word) for a in spec.aliases)]
    if len(by_prefix) == 1:
        return by_prefix[0]
    if by_prefix:
        names = ", ".join(f"/{spec.name}" for spec in by_prefix)
        raise UsageError(f"/{word} could be {names}", remedy="Type a few more letters.")
    names_known = [name for spec in available for name in (spec.name, *spec.aliases)]
    near = difflib.get_close_matches(word, names_known, n=3, cutoff=0.5)
    remedy = "Did you mean " + " or ".join(f"/{name}" for name in near) + "?" if near else "/help lists all."
    raise UsageError(f"There is no command /{word}", remedy=remedy)
