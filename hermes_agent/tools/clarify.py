"""`clarify`: ask the person."""

from __future__ import annotations

import secrets
from typing import Annotated

from hermes_agent.core.approvals import Question
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import tool
from hermes_agent.tools.setup import ToolSetup

MAX_CHOICES = 4


def build(setup: ToolSetup) -> Tool:
    """The tool; a question stays open for `setup.clarify_timeout_seconds`."""

    @tool(emoji="❓", toolset="clarify", preview="question")
    async def clarify(
        question: str,
        choices: Annotated[
            list[str] | None, "Up to 4 answers to pick from; free text is always possible"
        ] = None,
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Ask the user a question you cannot answer yourself and wait for the answer."""
        text = question.strip()
        if not text:
            raise ToolArgumentsError("question: must not be empty")
        options = tuple(dict.fromkeys(choice.strip() for choice in choices or () if choice.strip()))
        if len(options) > MAX_CHOICES:
            raise ToolArgumentsError(
                f"choices: at most {MAX_CHOICES}, got {len(options)}",
                remedy="Offer the likeliest ones; the user can always type another answer.",
            )
        answer = await context.ask(
            Question(f"q_{secrets.token_hex(6)}", text, options, setup.clarify_timeout_seconds)
        )
        if answer is None:
            return ToolResult(
                "No answer: nobody is there, or the time is up. Decide with your best judgement, say what "
                "you assumed, and do nothing that cannot be undone.",
                summary="no answer",
            )
        return ToolResult(chosen(answer, options), summary="answered")

    return clarify


def chosen(answer: str, choices: tuple[str, ...]) -> str:
    """What the person meant: the number of a choice stands for the choice."""
    stripped = answer.strip()
    if stripped.isdecimal() and 1 <= int(stripped) <= len(choices) and stripped not in choices:
        return choices[int(stripped) - 1]
    return stripped or "(empty answer)"
