"""Every command of `hermes`, as data: the help is printed from it without importing any of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command: its name, where it lives (`module:attr`) and one line about it."""

    name: str
    path: str
    short_help: str


def _entry(name: str, short_help: str, module: str | None = None) -> CommandEntry:
    return CommandEntry(name, f"hermes_agent.cli.commands.{module or name}:command", short_help)


COMMANDS: tuple[CommandEntry, ...] = (
    _entry("chat", "Talk to the agent (also what plain `hermes` does)"),
    _entry("setup", "Connect a model, step by step, and test it"),
    _entry("model", "Show or choose the model"),
    _entry("tools", "Show or choose the tools the agent may use"),
    _entry("mcp", "Connect servers of the Model Context Protocol"),
    _entry("sessions", "List, search, show, rename, export and delete conversations"),
    _entry("memory", "Show and change what the agent remembers"),
    _entry("skills", "List skills, judge the agent's proposals"),
    _entry("curator", "Look after the skills that the agent wrote"),
    _entry("prompt-size", "Show what the beginning of every request costs", module="prompt_size"),
    _entry("gateway", "Run the service: messaging platforms, API, scheduled jobs"),
    _entry("cron", "Schedule jobs and see what became of them"),
    _entry("hooks", "Programs of yours that are told what happens in the gateway"),
    _entry("pairing", "Let people talk to the bot, by code"),
    _entry("send", "Send a message to a chat"),
    _entry("webhook", "Let other programs wake the agent"),
    _entry("insights", "Requests, tokens, cost and tool calls of the last days"),
    _entry("checkpoints", "Snapshots of files: list, compare, bring back, forget"),
    _entry("config", "Show, explain and change settings"),
    _entry("doctor", "Check the installation and say how to mend it"),
    _entry("logs", "Show the log files"),
    _entry("backup", "Save the whole state directory to a file"),
    _entry("import", "Restore a backup", module="import_"),
    _entry("completion", "Print completion code for bash, zsh or fish"),
    _entry("dev", "For developers: a scripted model server and more"),
    _entry("update", "Show how this installation is brought up to date"),
    _entry("version", "Show the version"),
)
