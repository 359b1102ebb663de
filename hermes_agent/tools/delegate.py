"""`delegate_task`: give parts of a job to subagents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Required, TypedDict

from hermes_agent.core.delegation import Assignment, ChildReport, Delegation, Role
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.setup import ToolSetup


class Task(TypedDict, total=False):
    """One of several tasks."""

    goal: Required[str]
    context: str | None


def build(setup: ToolSetup) -> Tool:
    """The tool; what does the work is given by the session."""
    del setup

    @tool(emoji="🧩", toolset="delegation", preview=_preview)
    async def delegate_task(
        goal: str = "",
        context: Annotated[str, "All it needs to know"] = "",
        tasks: Annotated[list[Task] | None, "Several at once, done in parallel"] = None,
        toolsets: Annotated[list[str] | None, "Default: yours"] = None,
        role: Role = "leaf",
        background: Annotated[bool, "Return at once; you are told when it ends"] = False,
        *,
        call: ToolContext,
    ) -> ToolResult:
        """Give self-contained work to subagents with a fresh context; only their reports come back. Good for
        broad searches and independent parts. They know nothing of this conversation."""
        delegation = call.session.find(Delegation)
        if delegation is None:
            raise ToolError("No subagents can be started from here", remedy="Do it yourself.")
        if bool(goal.strip()) == bool(tasks):
            raise ToolArgumentsError("give either goal, or tasks with several goals")
        chosen = tuple(toolsets) if toolsets is not None else None
        given: list[Task] = tasks or [{"goal": goal, "context": context}]
        shared = context if tasks else ""
        assignments = [
            Assignment(
                item["goal"],
                "\n\n".join(part for part in (shared, item.get("context") or "") if part),
                chosen,
                role,
            )
            for item in given
        ]
        if background:
            delegation.start(
                assignments, lambda reports: call.notify("Subagents have ended.\n" + told(reports))
            )
            return ToolResult("Started in the background. You are told when it ends.", summary="started")
        reports = await delegation.run(assignments, call.report, call.tool_call_id)
        done = sum(report.outcome == "completed" for report in reports)
        return ToolResult(told(reports), is_error=done == 0, summary=f"{done} of {len(reports)} completed")

    return delegate_task


def told(reports: Sequence[ChildReport]) -> str:
    """Reports as the model reads them."""
    return "\n\n".join(_one(number, report) for number, report in enumerate(reports, 1))


def _one(number: int, report: ChildReport) -> str:
    head = f"## {number}. {' '.join(report.goal.split())[:120]}\n[{report.outcome}, {report.turns} turns]"
    error = "Error: " + "\n".join(report.error) if report.error else ""
    text = report.text.strip() or "(it said nothing)"
    return "\n".join(part for part in (head, text, error) if part)


def _preview(arguments: Arguments) -> str:
    goals = [item["goal"] for item in arguments["tasks"] or ()] or [arguments["goal"]]
    return f"{len(goals)} tasks: {'; '.join(goals)}" if len(goals) > 1 else goals[0]
