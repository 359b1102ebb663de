"""`skills_list`, `skill_view`, `skill_manage`: instructions that the agent loads, and improves."""

from __future__ import annotations

from typing import Annotated, Literal

from hermes_agent.core.memory import Author
from hermes_agent.core.skills import SkillChange, Skills
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.setup import ToolSetup


def build_list(setup: ToolSetup) -> Tool | None:
    """`skills_list`; None without skills."""
    return None if setup.services.skills is None else make_list(setup.services.skills)


def build_view(setup: ToolSetup) -> Tool | None:
    """`skill_view`; None without skills."""
    return None if setup.services.skills is None else make_view(setup.services.skills)


def build_manage(setup: ToolSetup) -> Tool | None:
    """`skill_manage`; None without skills."""
    return None if setup.services.skills is None else make_manage(setup.services.skills)


def make_list(skills: Skills) -> Tool:
    """`skills_list` on a collection."""

    @tool(name="skills_list", emoji="📚", toolset="skills", parallel_safe=True)
    async def skills_list(*, context: ToolContext) -> ToolResult:  # noqa: ARG001 - every tool takes it
        """List all skills with their descriptions."""
        found = await skills.list()
        if not found:
            return ToolResult("There are no skills yet.", summary="none")
        lines = [f"{info.name} ({info.source}): {info.description}" for info in found]
        return ToolResult("\n".join(lines), summary=f"{len(lines)} skills")

    return skills_list


def make_view(skills: Skills) -> Tool:
    """`skill_view` on a collection."""

    @tool(name="skill_view", emoji="📖", toolset="skills", parallel_safe=True, preview="name")
    async def skill_view(
        name: str,
        file_path: Annotated[str, "One of its other files"] = "",
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Load a skill's instructions; do so before work that a skill describes."""
        view = await skills.view(name, file_path, session_id=context.session.session_id)
        notes = []
        if view.files:
            notes.append(f"[Other files of this skill, in {view.path}: {', '.join(view.files)}]")
        if view.missing:
            notes.append(f"[Not set, but needed: {', '.join(view.missing)}]")
        return ToolResult(
            "\n\n".join([view.text, *notes]), summary=file_path or f"{len(view.text):,} characters"
        )

    return skill_view


def make_manage(skills: Skills) -> Tool:
    """`skill_manage` on a collection."""

    @tool(name="skill_manage", emoji="🛠️", toolset="skills", preview=_preview)
    async def skill_manage(
        action: Literal["create", "edit", "patch", "delete", "write_file", "remove_file"],
        name: Annotated[str, "a-z, 0-9, - and ."],
        content: Annotated[str, "The whole file (create, edit, write_file)"] = "",
        old_string: Annotated[str, "Text to replace, occurs once (patch)"] = "",
        new_string: str = "",
        file_path: Annotated[str, "File in the skill; default SKILL.md"] = "",
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Write down how a kind of task is done well, for later sessions, or mend such a skill.

        SKILL.md begins with a front matter (---, name, description saying when to use it, ---), then short
        numbered steps, pitfalls, and how to check the result. Prefer patch over edit.
        """
        outcome = await skills.change(
            SkillChange(
                action,
                name,
                content,
                old_string,
                new_string,
                file_path,
                principal=context.session.principal,
                origin=context.session.state(Author).name,
                session_id=context.session.session_id,
            )
        )
        return ToolResult(outcome.text, summary=outcome.summary)

    return skill_manage


def _preview(arguments: Arguments) -> str:
    return f"{arguments['action']} {arguments['name']} {arguments['file_path']}".rstrip()
