"""`/memory` and `/skills`: what is remembered, what waits for the person, and deciding on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from hermes_agent.app.learning import Learning
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load
from hermes_agent.core.memory import OWNER, MemoryTarget

if TYPE_CHECKING:
    from hermes_agent.memory.queue import Waiting

_TARGETS: tuple[MemoryTarget, ...] = ("memory", "user")


async def memory_command(learning: Learning, argument: str, *, principal: str = OWNER) -> str:
    """`/memory [pending | approve ID | reject ID | undo]`.

    Raises:
        HermesError: It cannot be done.
    """
    word, _, rest = argument.strip().partition(" ")
    actions: dict[str, Callable[[Learning, str, str], str]] = {
        "": _show_memory,
        "pending": _pending,
        "approve": _approve_memory,
        "reject": _reject_memory,
        "undo": _undo_memory,
    }
    if word not in actions:
        raise UsageError(f"/memory takes pending, approve, reject or undo, not {word!r}")
    return await asyncio.to_thread(actions[word], learning, rest.strip(), principal)


async def skills_command(learning: Learning, argument: str) -> str:
    """`/skills [proposals | diff ID | approve ID | reject ID]`.

    Raises:
        HermesError: It cannot be done.
    """
    word, _, rest = argument.strip().partition(" ")
    actions: dict[str, Callable[[Learning, str], str]] = {
        "": _show_skills,
        "proposals": _proposals,
        "diff": _diff,
        "approve": _approve_skill,
        "reject": _reject_skill,
    }
    if word not in actions:
        raise UsageError(f"/skills takes proposals, diff, approve or reject, not {word!r}")
    return await asyncio.to_thread(actions[word], learning, rest.strip())


def _show_memory(learning: Learning, _rest: str, principal: str) -> str:
    lines = []
    for target in _TARGETS:
        view = learning.memory.view_now(target, principal)
        path = learning.memory.files(principal).path(target)
        lines.append(f"{path.name}: {view.used_chars:,} of {view.limit_chars:,} characters")
        lines += [f"  {' '.join(entry.text.split())}" for entry in view.entries]
        lines += [f"  Warning: {warning}" for warning in view.warnings]
    if learning.memory.queue.list():
        lines.append("Changes wait for you: /memory pending")
    return "\n".join(lines)


def _pending(learning: Learning, _rest: str, principal: str) -> str:
    lines = [
        f"{item.id}  {item.change.action} {item.change.target}: "
        + " → ".join(part for part in (item.change.old_text, item.change.content) if part)
        for item in learning.memory.queue.list()
        if principal in (OWNER, item.change.principal)
    ]
    return "\n".join([*lines, "/memory approve ID, or reject ID"]) if lines else "Nothing waits for approval."


def _approve_memory(learning: Learning, rest: str, principal: str) -> str:
    item = _waiting(learning, rest, principal)
    outcome = learning.memory.change_now(item.change, is_approved=True)
    learning.memory.queue.drop(item.id)
    return outcome.summary


def _reject_memory(learning: Learning, rest: str, principal: str) -> str:
    item = _waiting(learning, rest, principal)
    learning.memory.queue.drop(item.id)
    return f"Rejected {item.id}."


def _waiting(learning: Learning, rest: str, principal: str) -> Waiting:
    item = learning.memory.queue.get(rest)
    if principal not in (OWNER, item.change.principal):
        raise UsageError(f"No change {rest!r} waits for approval")
    return item


def _undo_memory(learning: Learning, _rest: str, principal: str) -> str:
    record = learning.memory.files(principal).undo(None)
    return f"Taken back: {record.action} {'; '.join(text for _, text in record.added or record.removed)}"


def _show_skills(learning: Learning, _rest: str) -> str:
    found = learning.skills.usable()
    lines = [f"/{skill.name}  {skill.front.description}" for skill in found.skills]
    if learning.skills.library.proposals.list():
        lines.append("The agent proposes changes: /skills proposals")
    return "\n".join(lines) or "There are no skills."


def _proposals(learning: Learning, _rest: str) -> str:
    waiting = learning.skills.library.proposals.list()
    text: str = load("hermes_agent.skills.library:describe")(waiting)
    return f"{text}\n/skills diff ID, approve ID, or reject ID" if waiting else "Nothing is proposed."


def _diff(learning: Learning, rest: str) -> str:
    record = learning.skills.library.proposal(rest)
    text: str = load("hermes_agent.skills.edits:diff")(record.edits)
    return text or "The whole skill goes to the archive."


def _approve_skill(learning: Learning, rest: str) -> str:
    record = learning.skills.library.approve(rest)
    return f"Done: {record.action} {record.name} (version {record.id})"


def _reject_skill(learning: Learning, rest: str) -> str:
    return f"Rejected: {learning.skills.library.reject(rest).name}"
