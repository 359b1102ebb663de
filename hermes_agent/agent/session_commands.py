"""What slash commands do on every surface: plain functions over an open session that return text.

A surface parses (`agent.commands.parse`), calls one of these and shows the reply in its own way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from hermes_agent.agent.commands import CATEGORIES, commands_for, find
from hermes_agent.agent.compaction import CompactionFailed
from hermes_agent.agent.personalities import PRESETS, get_personality
from hermes_agent.agent.session import Session
from hermes_agent.core.errors import UsageError
from hermes_agent.core.messages import AssistantMessage, Message, ToolMessage, UserMessage
from hermes_agent.core.model import Model, ReasoningEffort
from hermes_agent.core.session import SessionRecord

EFFORTS: tuple[str, ...] = get_args(ReasoningEffort)


def help_text(argument: str, scope: Literal["cli", "gateway"] = "cli") -> str:
    """`/help`: all commands by category, or one of them, as Markdown."""
    if argument:
        spec = find(argument.strip().removeprefix("/").lower(), scope)
        also = f" Also: {', '.join('/' + alias for alias in spec.aliases)}." if spec.aliases else ""
        asks = " Asks first, unless `now`, `-y` or `--yes` follows." if spec.is_destructive else ""
        return f"`{spec.usage}`: {spec.summary}.{also}{asks}"
    lines: list[str] = []
    for category in CATEGORIES:
        lines += ["", f"**{category}**", ""]
        for spec in commands_for(scope):
            if spec.category == category:
                names = ", ".join(f"/{name}" for name in (spec.name, *spec.aliases))
                args = f" {spec.args}" if spec.args else ""
                lines.append(f"- `{names}{args}` {spec.summary}")
    return "\n".join(lines).strip()


async def compress(session: Session, focus: str = "") -> str:
    """`/compress [what to keep]`: shorten the conversation now.

    Raises:
        UsageError: It was left as it was; says why.
    """
    if session.current_run is not None:
        raise UsageError("A run is going on", remedy="/stop it first.")
    try:
        shorter = await session.compact(focus=focus, force=True)
    except CompactionFailed as failure:
        raise UsageError(f"The conversation was left as it is: {failure}") from failure
    warning = f"{shorter.warning}\n" if shorter.warning else ""
    return (
        f"{warning}Shortened from about {shorter.tokens_before:,} to {shorter.tokens_after:,} tokens; "
        f"it goes on as {session.id}, the long one stays stored."
    )


async def reload_mcp(session: Session) -> str:
    """`/reload-mcp`: read the configuration of MCP servers again, connect anew, adopt their tools.

    Raises:
        SessionBusyError: A run is going on.
        ConfigError: The configuration cannot be used; everything stays as it was.
    """
    statuses = await session.reload_mcp()
    if not statuses:
        return (
            "No MCP servers are configured. Add one: hermes mcp add NAME --command PROGRAM or --url ADDRESS"
        )
    return "\n".join(f"- {status.line}" for status in statuses)


def usage_text(session: Session) -> str:
    """`/usage`: tokens, requests and cost so far."""
    usage = session.usage
    rows = [
        f"Requests: {usage.requests:,}",
        f"Tokens read: {usage.input_tokens:,}"
        + (f" ({usage.cache_read_tokens:,} from the cache)" if usage.cache_read_tokens else ""),
        f"Tokens written: {usage.output_tokens:,}"
        + (f" ({usage.reasoning_tokens:,} of them reasoning)" if usage.reasoning_tokens else ""),
        f"Context: {context_text(session)}",
    ]
    if usage.cost_usd is not None:
        rows.append(f"Cost: ${usage.cost_usd:.4f}")
    for scope, limit in session.budget.limits.items():
        parts = [f"{limit.tokens:,} tokens"] * bool(limit.tokens) + [f"${limit.usd:.2f}"] * bool(limit.usd)
        rows.append(f"Budget of the {scope}: {', '.join(parts)}")
    return "\n".join(rows)


def context_text(session: Session) -> str:
    """How full the context window is."""
    window = session.model.info.context_window
    if not session.context_tokens or not window:
        return f"not measured yet, window {window:,} tokens"
    return f"{session.context_tokens:,} of {window:,} tokens ({100 * session.context_tokens // window} %)"


def status_text(session: Session) -> str:
    """`/status`: where this conversation stands."""
    info = session.model.info
    demo = " (the demo model: offline, understands a few requests only)" if info.is_demo else ""
    rows = [
        f"Session: {session.id}",
        f"Title: {session.record.title or '(none)'}",
        f"Model: {info.label}{demo}",
        f"Reasoning: {session.reasoning_effort or 'as the provider chooses'}",
        f"Messages: {len(session.messages)}",
        f"Context: {context_text(session)}",
        f"Directory: {session.scope.environment.cwd}",
        f"Commands run: {session.scope.environment.name}",
        f"Risky commands: {'run without asking; /yolo off ends it' if session.gate.is_yolo else 'ask first'}",
        *(f"MCP server {status.line}" for status in session.mcp_servers),
    ]
    return "\n".join(rows)


async def title(session: Session, argument: str) -> str:
    """`/title`: show or set. Raises `SessionTitleError`."""
    if not argument:
        return (
            f"Title: {session.record.title}"
            if session.record.title
            else "No title yet. /title TEXT sets one."
        )
    await session.set_title(argument)
    return f"Title: {session.record.title}"


def reasoning(session: Session, argument: str) -> str:
    """`/reasoning EFFORT`. Raises `UsageError`. (`show` and `hide` belong to the surface.)"""
    if not argument:
        return f"Reasoning effort: {session.reasoning_effort or 'as the provider chooses'}"
    for effort in EFFORTS:
        if argument.lower() == effort:
            session.reasoning_effort = effort  # type: ignore[assignment]
            return f"Reasoning effort: {effort}, from the next message on"
    raise UsageError(
        f"{argument!r} is not a reasoning effort", remedy=f"One of: {', '.join(EFFORTS)}, show, hide"
    )


def yolo(session: Session, argument: str) -> str:
    """`/yolo [on|off]`: switch approval questions off or on. Raises `UsageError`."""
    word = argument.strip().lower()
    if word not in ("", "on", "off"):
        raise UsageError(f"/yolo takes on or off, not {argument!r}")
    session.gate.is_yolo = word == "on" if word else not session.gate.is_yolo
    if session.gate.is_yolo:
        return "YOLO is on: risky commands run without asking (a few never run). /yolo off ends it."
    return "YOLO is off: risky commands ask first."


def personality(session: Session, argument: str, own: Mapping[str, str]) -> str:
    """`/personality [name|none]`: change the tone from the next message on.

    The system prompt of a session is frozen, so the change travels with the next message.

    Raises:
        UsageError: There is none of that name.
    """
    if not argument:
        names = sorted({*PRESETS, *own})
        return (
            f"Personalities: {', '.join(names)}.\n/personality NAME takes one, /personality none goes back."
        )
    if argument.lower() in ("none", "off", "default"):
        session.add_note("The user switched the personality off: talk in your normal way again.")
        return "Back to the normal way of talking, from the next message on."
    text = get_personality(argument, own)
    session.add_note(f"The user chose the personality {argument!r} for the rest of this conversation: {text}")
    return f"Personality {argument}, from the next message on."


async def switch_model(
    session: Session, argument: str, make_model: Callable[[str | None, str | None], Model]
) -> str:
    """`/model NAME`: use another model from the next message on.

    Raises:
        ProviderSetupError: There is none, or it has no key.
    """
    model = make_model(None, argument)
    await session.switch_model(model)
    note = ""
    if not model.info.supports_tools:
        note = "\nThis model cannot use tools."
    return f"Model: {model.info.label} ({model.info.context_window:,} tokens of context){note}"


async def undo(session: Session, argument: str) -> tuple[str, int]:
    """`/undo [N]`: take back exchanges.

    Returns:
        What the user had said in the earliest of them, and how many were taken back.

    Raises:
        UsageError: There is nothing to take back, or N is not a number.
    """
    if argument and not (argument.isdecimal() and int(argument) > 0):
        raise UsageError(f"/undo takes a number, not {argument!r}")
    wanted = int(argument or 1)
    text = await session.undo()
    done = 1
    while done < wanted:
        try:
            text = await session.undo()
        except UsageError:
            break
        done += 1
    return text, done


def session_line(record: SessionRecord, now: float | None = None) -> str:
    """One stored session in one line."""
    elapsed = (time.time() if now is None else now) - (record.last_active_at or record.started_at)
    return f"{record.id}  {_ago(elapsed):>9}  {record.title or record.preview or '(empty)'}"


def sessions_text(records: Sequence[SessionRecord], current: str) -> str:
    """`/sessions`: one line each."""
    if not records:
        return "No other conversation yet."
    lines = [("* " if record.id == current else "  ") + session_line(record) for record in records]
    return "\n".join(lines)


def _ago(elapsed: float) -> str:
    for limit, unit, name in ((3600, 60, "min"), (86_400, 3600, "h")):
        if elapsed < limit:
            return f"{max(0, int(elapsed // unit))} {name}"
    return f"{int(elapsed // 86_400)} d"


def to_markdown(session: Session) -> str:
    """The conversation as a Markdown document (`/save`)."""
    record = session.record
    parts = [f"# {record.title or record.id}", f"{record.id} · {session.model.info.label}"]
    parts.extend(_message_markdown(message) for message in session.messages)
    return "\n\n".join(part for part in parts if part) + "\n"


def _message_markdown(message: Message) -> str:
    if isinstance(message, UserMessage):
        return f"## You\n\n{message.text}"
    if isinstance(message, ToolMessage):
        fence = "````" if "```" in message.text else "```"
        body = f"{fence}\n{message.text}\n{fence}"
        return f"<details><summary>{message.tool_name}</summary>\n\n{body}\n\n</details>"
    assert isinstance(message, AssistantMessage)
    calls = "\n".join(f"- `{call.name}` `{call.arguments}`" for call in message.tool_calls)
    text = "\n\n".join(part for part in (message.text, calls) if part)
    return f"## Hermes\n\n{text}" if text else ""
