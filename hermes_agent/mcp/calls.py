"""Calls that are going on at a server, and whom it means when it asks something back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hermes_agent.core.tool import ToolContext
from hermes_agent.mcp.deadline import Deadline


@dataclass(eq=False)
class Call:
    """A call that is going on, and who waits for it.

    Attributes:
        fields: What its request carries besides its parameters: answers to what the server asked first.
        has_opened_urls: Whether pages were visited on its behalf already.
    """

    context: ToolContext
    deadline: Deadline
    fields: dict[str, Any] = field(default_factory=dict)
    has_opened_urls: bool = False

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Show progress; the call is alive."""
        self.deadline.touch()
        share = f"{progress:g}/{total:g}" if total else f"{progress:g}"
        self.context.report(f"{message} ({share})\n" if message else f"{share}\n")


class CallsUnderWay:
    """The calls of one connection."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    @contextmanager
    def running(self, call: Call) -> Iterator[None]:
        """Count it as going on."""
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    def asking(self) -> Call | None:
        """The call that a request of the server belongs to.

        The wire does not say; with calls of several sessions going on it is nobody's, rather than the
        wrong person's.
        """
        sessions = {id(call.context.session) for call in self._calls}
        return self._calls[-1] if len(sessions) == 1 else None

    @contextmanager
    def asked(self) -> Iterator[ToolContext | None]:
        """Whom to ask; the call's time stands still meanwhile."""
        call = self.asking()
        if call is None:
            yield None
            return
        with call.deadline.paused():
            yield call.context
