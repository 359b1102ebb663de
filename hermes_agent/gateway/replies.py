"""What a chat is answered: made of a run's end, of what a history already holds, or of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hermes_agent.agent.session import NOTE_PREFIX
from hermes_agent.core.events import RunFinished
from hermes_agent.core.messages import AssistantMessage, Message, UserMessage
from hermes_agent.core.outbox import Kind
from hermes_agent.core.platform import OutgoingFile

SILENCE_TOKENS = frozenset({"[SILENT]", "SILENT", "NO_REPLY", "NO REPLY"})
"""An answer that is nothing but one of these is not sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command or run gives: a text to send, or a prompt to run.

    Attributes:
        live_entry: The streamed message that the text completes; 0 if it was not streamed.
        prompt: Work on this instead of sending something.
        is_plain: `MEDIA:` lines are text like any other (the reply of a command).
    """

    text: str = ""
    kind: Kind = "command"
    live_entry: int = 0
    prompt: str = ""
    files: tuple[OutgoingFile, ...] = ()
    is_plain: bool = True


def is_silent(text: str) -> bool:
    """Whether an answer asks not to be sent."""
    return text.strip() in SILENCE_TOKENS


def may_become_silent(text: str) -> bool:
    """Whether the beginning of an answer could still turn out to ask for silence."""
    begun = text.strip()
    return any(token.startswith(begun) for token in SILENCE_TOKENS)


def reply_of(finished: RunFinished, live_entry: int, task: str = "") -> Reply | None:
    """What to send when a run has ended; None for nothing.

    Args:
        finished: How it ended.
        live_entry: The streamed message that the answer completes.
        task: Id of the background task it was; empty for a conversation.
    """
    text = finished.text.strip()
    silent = is_silent(text)
    if finished.outcome == "interrupted":
        if not (live_entry and text) or silent:
            return None
        return Reply(f"{text}\n\n(stopped)", "answer", live_entry=live_entry)
    problem = "\n".join(finished.error)
    if task:
        return task_reply(task, "" if silent else text, problem, has_failed=finished.outcome == "failed")
    if silent and not problem:
        return None
    if finished.outcome == "failed":
        text = "\n\n".join(part for part in (text, f"❌ {problem}") if part)
    elif problem:
        text = f"{text}\n\n⚠️ {problem}"
    return Reply(text or "(The model gave no answer.)", "answer", live_entry=live_entry, is_plain=False)


def reply_of_history(tail: Sequence[Message], task: str = "") -> Reply | None:
    """The answer that a killed run had already stored; None if it asks for silence."""
    text = answer_in(tail)
    if task:
        return task_reply(task, "" if is_silent(text) else text)
    return None if is_silent(text) else Reply(text, "answer", is_plain=False)


def task_reply(task: str, text: str, problem: str = "", *, has_failed: bool = False) -> Reply:
    """The result of a background task."""
    head = "❌ Background task failed" if has_failed else "✅ Background task complete"
    body = "\n\n".join(part for part in (text, problem) if part) or "(It had nothing to say.)"
    return Reply(f"{head}\nTask ID: {task}\n\n{body}", "background", is_plain=False)


def is_whole(message: AssistantMessage) -> bool:
    """Whether an answer was finished."""
    return message.finish_reason not in ("interrupted", "error") and bool(message.text.strip())


def answer_in(tail: Sequence[Message]) -> str:
    """The visible answer at the end of a history: text of the last assistant messages without calls."""
    texts: list[str] = []
    for message in reversed(tail):
        if isinstance(message, AssistantMessage) and not message.tool_calls:
            texts.insert(0, message.text)
        elif not (isinstance(message, UserMessage) and message.text.startswith(NOTE_PREFIX)):
            break
    return "".join(texts).strip()
