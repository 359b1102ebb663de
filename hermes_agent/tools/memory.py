"""`memory`: the agent's notes that outlive the conversation."""

from __future__ import annotations

from typing import Annotated, Literal

from hermes_agent.core.memory import Author, Memory, MemoryChange
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.setup import ToolSetup


def build(setup: ToolSetup) -> Tool | None:
    """The tool; None without a memory."""
    return None if setup.services.memory is None else make(setup.services.memory)


def make(store: Memory) -> Tool:
    """The tool on a memory."""

    @tool(name="memory", emoji="🧠", toolset="memory", preview=_preview)
    async def memory(
        action: Literal["add", "replace", "remove"],
        target: Annotated[
            Literal["memory", "user"], "user: who the person is, what they like. memory: all else"
        ],
        content: Annotated[str, "The entry: one short, lasting fact (add, replace)"] = "",
        old_text: Annotated[str, "A part of the entry meant (replace, remove)"] = "",
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Keep facts for later sessions: preferences, corrections, facts on this machine and its projects.

        Not for progress of the current task, secrets, or what is easily found again. What you know already
        is in your prompt; changes show there from the next session on.
        """
        outcome = await store.change(
            MemoryChange(
                action,
                target,
                content,
                old_text,
                principal=context.session.principal,
                origin=context.session.state(Author).name,
                session_id=context.session.session_id,
            )
        )
        return ToolResult(outcome.text, summary=outcome.summary)

    return memory


def _preview(arguments: Arguments) -> str:
    return f"{arguments['action']} {arguments['content'] or arguments['old_text']}"
