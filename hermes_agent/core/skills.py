"""The skills port and its values: folders of instructions that the agent loads when it needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from hermes_agent.core.memory import OWNER

SkillSource: TypeAlias = Literal["user", "bundled", "agent", "external"]
"""Who a skill belongs to. What is not known to be another's is the user's."""

SkillAction: TypeAlias = Literal["create", "edit", "patch", "delete", "write_file", "remove_file"]


@dataclass(frozen=True, slots=True)
class SkillInfo:
    """One skill, as lists show it."""

    name: str
    description: str
    source: SkillSource = "user"
    category: str = ""


@dataclass(frozen=True, slots=True)
class SkillView:
    """A skill, or one of its files, as the agent reads it.

    Attributes:
        text: The file, with `${HERMES_SKILL_DIR}` and `${HERMES_SESSION_ID}` replaced.
        files: Its other files, relative paths.
        missing: Environment variables it needs that are not set.
    """

    name: str
    path: str
    text: str
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SkillChange:
    """A wish of the agent to change a skill.

    Attributes:
        content: The whole SKILL.md (`create`, `edit`), or of the file named (`write_file`).
        old_string: Text to replace (`patch`); it must occur once.
        file_path: File within the skill; empty is SKILL.md.
        principal: For whom the agent works; only the owner's sessions may change skills without a proposal.
    """

    action: SkillAction
    name: str
    content: str = ""
    old_string: str = ""
    new_string: str = ""
    file_path: str = ""
    principal: str = OWNER
    origin: str = "agent"
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class SkillOutcome:
    """What became of a change. `is_pending`: it is a proposal that the person decides on."""

    text: str
    summary: str
    is_pending: bool = False


@dataclass(frozen=True, slots=True)
class SkillsIndex:
    """The block for the system prompt (empty without skills), and warnings for the person."""

    text: str
    warnings: Sequence[str] = field(default=())


class Skills(Protocol):
    """Finds, shows and changes skills. Blocking work happens in threads."""

    async def index(self, *, tools: frozenset[str], toolsets: frozenset[str]) -> SkillsIndex:
        """What the prompt says of the skills that fit these tools. Never raises."""
        ...

    async def list(self) -> Sequence[SkillInfo]:
        """All usable skills, by name."""
        ...

    async def view(self, name: str, file_path: str = "", *, session_id: str = "") -> SkillView:
        """A skill or one of its files. Raises `ToolError`."""
        ...

    async def change(self, change: SkillChange) -> SkillOutcome:
        """Write it, or keep it as a proposal. Raises `ToolError` and `StoreError`."""
        ...

    async def names(self) -> Sequence[str]:
        """Names that `/name` can call."""
        ...

    async def invoke(self, name: str, said: str = "", *, session_id: str = "") -> str:
        """The message that `/name said` stands for. Raises `ToolError`."""
        ...
