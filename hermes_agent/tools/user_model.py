"""`user_model`: what an external memory service has concluded about the person."""

from __future__ import annotations

from typing import Annotated

from hermes_agent.core.errors import HermesError, ToolArgumentsError, ToolError
from hermes_agent.core.memory import UserModel
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.setup import ToolSetup


def build(setup: ToolSetup) -> Tool | None:
    """The tool; None without such a service."""
    return None if setup.services.user_model is None else make(setup.services.user_model)


def make(service: UserModel) -> Tool:
    """The tool on a service."""

    @tool(name="user_model", emoji="🪞", toolset="memory", parallel_safe=True, preview=_preview)
    async def user_model(
        question: Annotated[str, "About the user, in plain language"], *, context: ToolContext
    ) -> ToolResult:
        """Ask the memory service what it has concluded about the user over all conversations: likes, habits,
        background, goals. Its conclusions may be wrong.
        """
        if not question.strip():
            raise ToolArgumentsError("question is empty")
        try:
            answer = await service.recall(question, context.session.principal)
        except HermesError as error:
            raise ToolError(error.message, why=error.why, remedy="Go on without it.") from error
        if not answer.strip():
            return ToolResult("It knows nothing about that.", summary="nothing known")
        return ToolResult(answer, summary=f"{len(answer):,} characters")

    return user_model


def _preview(arguments: Arguments) -> str:
    return str(arguments["question"])
