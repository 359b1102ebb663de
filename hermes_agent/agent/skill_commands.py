"""`/skill-name …`: a skill called like a slash command, on every surface."""

from __future__ import annotations

from hermes_agent.agent.commands import COMMANDS
from hermes_agent.core.skills import Skills

_TAKEN = frozenset(name for spec in COMMANDS for name in (spec.name, *spec.aliases))


async def expand(skills: Skills, text: str, *, session_id: str = "") -> str | None:
    """The message that a line stands for, if it calls a skill by its exact name; None if it does not.

    Commands of the program come first: a skill that bears the name of one cannot be called this way.

    Raises:
        ToolError: The skill cannot be used.
    """
    word, _, said = text.strip().removeprefix("/").partition(" ")
    if word in _TAKEN or word not in await skills.names():
        return None
    return await skills.invoke(word, said, session_id=session_id)
