"""`/memory`, `/skills` and `/skill-name` as the chat's handlers run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_agent.agent.skill_commands import expand
from hermes_agent.app.container import App
from hermes_agent.app.learning_commands import memory_command, skills_command
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import HermesError, UsageError
from hermes_agent.core.memory import MemoryChange
from hermes_agent.core.skills import SkillChange

SKILL = "---\nname: tea\ndescription: Make tea.\n---\n1. Boil water.\n"


@pytest.fixture
def app(home: Home) -> App:
    home.config_file.write_text("memory: {write_approval: true}\n")
    return App.load(home=home)


async def test_memory_is_shown_and_waiting_changes_are_decided(app: App, home: Home) -> None:
    learning = app.learning
    change = MemoryChange("add", "user", "Likes tea.")
    await learning.memory.change(change)
    await learning.memory.change(MemoryChange("add", "user", "Likes rain."))
    tea, rain = learning.memory.queue.list()
    assert tea.id in await memory_command(learning, "pending")
    assert await memory_command(learning, f"approve {tea.id}") == "+ Likes tea."
    assert "Rejected" in await memory_command(learning, f"reject {rain.id}")
    assert "Likes tea." in await memory_command(learning, "")
    assert "Taken back" in await memory_command(learning, "undo")
    assert (home.memories / "USER.md").read_text() == ""
    for wrong in ("approve nothing", "undo", "unknown"):
        with pytest.raises(HermesError):
            await memory_command(learning, wrong)


async def test_others_decide_only_on_what_is_theirs(app: App) -> None:
    learning = app.learning
    await learning.memory.change(MemoryChange("add", "user", "Likes tea."))
    (item,) = learning.memory.queue.list()
    assert "Nothing waits" in await memory_command(learning, "pending", principal="telegram:1")
    with pytest.raises(UsageError):
        await memory_command(learning, f"approve {item.id}", principal="telegram:1")


async def test_proposals_are_shown_and_decided(app: App, home: Home) -> None:
    learning = app.learning
    await learning.skills.change(SkillChange("create", "tea", SKILL))
    assert "create  tea" in await skills_command(learning, "proposals")
    assert "+1. Boil water." in await skills_command(learning, "diff tea")
    assert "Done: create tea" in await skills_command(learning, "approve tea")
    assert "/tea  Make tea." in await skills_command(learning, "")
    assert (home.skills / "tea" / "SKILL.md").read_text() == SKILL
    await learning.skills.change(SkillChange("delete", "tea"))
    assert "Rejected" in await skills_command(learning, "reject tea")
    with pytest.raises(UsageError):
        await skills_command(learning, "what")


async def test_a_skill_is_called_by_its_exact_name_only(app: App, home: Home) -> None:
    folder: Path = home.skills / "model"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(SKILL.replace("tea", "model", 1))
    skills = app.learning.skills
    text = await expand(skills, "/debugging the build fails")
    assert text is not None and "# Debugging" in text and text.endswith("the build fails")
    assert await expand(skills, "/debug") is None
    assert await expand(skills, "/model x") is None
    assert await expand(skills, "/../etc") is None
