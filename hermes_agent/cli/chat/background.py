"""`/background`: work beside the conversation, each in a session of its own by the same engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermes_agent.agent.run import Run
from hermes_agent.agent.session import Session
from hermes_agent.cli.chat.painter import clean
from hermes_agent.core.approvals import ApprovalRequest, Decision
from hermes_agent.core.errors import HermesError, UsageError
from hermes_agent.core.events import RunFinished

if TYPE_CHECKING:
    from hermes_agent.cli.chat.conversation import Conversation

MAX_TASKS = 5


@dataclass(slots=True)
class _Task:
    """One piece of work."""

    id: str
    text: str
    session: Session
    run: Run


class BackgroundTasks:
    """What is done beside one conversation.

    Args:
        chat: Where it is told.
        open_session: Opens a session like the conversation's.
    """

    def __init__(self, chat: Conversation, open_session: Callable[[], Awaitable[Session]]) -> None:
        self._chat = chat
        self._open_session = open_session
        self._number = 0
        self._tasks: dict[str, _Task] = {}
        self._watches: set[asyncio.Task[None]] = set()

    @property
    def lines(self) -> list[str]:
        """What is going on, for people."""
        return [f"{task.id}  {_short(task.text)}" for task in self._tasks.values()]

    async def start(self, text: str) -> str:
        """Begin; gives the task's id.

        Raises:
            UsageError: There is nothing to do, or enough is going on already.
            HermesError: No session can be opened.
        """
        if not text:
            raise UsageError("/background needs the text for the agent")
        if len(self._tasks) >= MAX_TASKS:
            raise UsageError(f"{MAX_TASKS} tasks are going on already", remedy="/stop ID ends one.")
        session = await self._open_session()
        self._number += 1
        identifier = f"bg_{self._number}"
        run = session.start(
            text, is_interactive=False, approver=lambda request: self._approve(identifier, request)
        )
        task = self._tasks[identifier] = _Task(identifier, text, session, run)
        watch = asyncio.create_task(self._watch(task), name=identifier)
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        return identifier

    def stop(self, identifier: str) -> None:
        """Interrupt one. Raises `UsageError` if there is none of this id."""
        task = self._tasks.get(identifier)
        if task is None:
            known = f"Going on: {', '.join(self._tasks)}." if self._tasks else "None is going on."
            raise UsageError(f"There is no background task {identifier!r}", remedy=known)
        task.run.interrupt()

    async def aclose(self) -> None:
        """Interrupt all; what they did is stored."""
        for task in list(self._tasks.values()):
            task.run.interrupt()
        await asyncio.gather(*self._watches, return_exceptions=True)

    async def _approve(self, identifier: str, request: ApprovalRequest) -> Decision:
        self._chat.transcript.note(f"Background task {identifier} asks:", "warning")
        return await self._chat.ask_about(request)

    async def _watch(self, task: _Task) -> None:
        try:
            finished = await task.run.result()
        finally:
            self._tasks.pop(task.id, None)
        try:
            await task.session.aclose()
        except HermesError as error:
            self._chat.transcript.note("\n".join(error.lines), "error")
        if not self._chat.is_leaving:
            self._tell(task, finished)

    def _tell(self, task: _Task, finished: RunFinished) -> None:
        words = {"completed": "is done", "interrupted": "was stopped", "failed": "failed"}
        how = words.get(finished.outcome, "ended early")
        head = f"Background task {task.id} {how}: {_short(task.text)}  (hermes -r {task.session.id})"
        self._chat.transcript.note(head, "info" if finished.outcome == "completed" else "warning")
        if finished.text.strip():
            self._chat.transcript.markdown(finished.text)
        if finished.error:
            self._chat.transcript.note("\n".join(finished.error), "error")


def _short(text: str) -> str:
    line = " ".join(clean(text).split())
    return line if len(line) <= 60 else line[:59] + "…"
