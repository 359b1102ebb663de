"""Every skill that comes with the program: valid, small, and followed by a scripted model with real tools."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.compaction import Compactor
from hermes_agent.agent.prompt import PromptParts, build_system_prompt
from hermes_agent.agent.session import Session, SessionParts
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.agent import AgentSettings, ApprovalSettings, GuardrailSettings
from hermes_agent.config.sections.compression import CompressionSettings
from hermes_agent.config.sections.skills import SkillSettings
from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.injection import find_orders
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.services import ToolServices
from hermes_agent.environments import open_environment
from hermes_agent.models.scripted.model import ScriptedModel
from hermes_agent.skills.bundle import SHIPPED
from hermes_agent.skills.front_matter import NAME, parse
from hermes_agent.skills.library import SkillLibrary
from hermes_agent.skills.service import FileSkills
from hermes_agent.store import open_store
from hermes_agent.tools.toolsets import build_tools

NAMES = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())


def run(command: str) -> dict[str, Any]:
    return {"name": "terminal", "arguments": {"command": command}}


NEW_SKILL = "---\nname: make-tea\ndescription: Make tea.\n---\n1. Boil water.\n"

FIRST_STEPS: dict[str, tuple[dict[str, Any], str]] = {
    "code-review": (run("git diff --stat HEAD~1...HEAD"), "price.py"),
    "data-look": (run("ls -lh d.csv; head -c 600 d.csv; wc -l d.csv"), "4 d.csv"),
    "debugging": (run("python3 price.py || echo it failed"), "ZeroDivisionError"),
    "git-history": (
        run("git status --short; git branch --show-current; git log --oneline -10"),
        "second",
    ),
    "nixos-change": ({"name": "search_files", "arguments": {"pattern": "services"}}, "flake.nix"),
    "research": ({"name": "todo", "arguments": {}}, "no tasks"),
    "server-check": (run("uptime; free -m; df -hT -x tmpfs -x overlay; df -i / | tail -1"), "Mem:"),
    "tests-first": ({"name": "search_files", "arguments": {"pattern": "def test_"}}, "test_price.py"),
    "writing-skills": (
        {"name": "skill_manage", "arguments": {"action": "create", "name": "make-tea", "content": NEW_SKILL}},
        "Proposed",
    ),
}
"""What following a skill begins with, and what the result must hold."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "flake.nix").write_text("{ services.nginx.enable = true; }\n")
    (folder / "test_price.py").write_text("def test_price():\n    assert True\n")
    (folder / "d.csv").write_text("name,age\nann,3\nbob,\ncy,200\n")
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for title, source in (("first", "print(1)\n"), ("second", "print(1 / 0)\n")):
        (folder / "price.py").write_text(source)
        if title == "first":
            subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", title], check=True)
    return folder


@pytest.fixture
async def session_with(home: Home, workspace: Path) -> AsyncIterator[Any]:
    store = await open_store(home.state_db)
    opened: list[Session] = []

    async def make(script: object) -> tuple[Session, ScriptedModel]:
        skills = FileSkills(SkillLibrary(home, SkillSettings()))
        services = ToolServices(sessions=store, skills=skills)
        tools = build_tools(["terminal", "file", "todo", "skills"], Settings(), home, Redactor(), services)
        names = frozenset(tool.definition.name for tool in tools) | {"web_search"}
        model = ScriptedModel(script)  # type: ignore[arg-type]

        async def prompt() -> str:
            index = await skills.index(tools=names, toolsets=frozenset())
            assert index.warnings == []
            return build_system_prompt(PromptParts(sections=[index.text]))

        record = await store.create(source="cli")
        environment = open_environment(
            TerminalSettings(),
            cwd=workspace,
            child_env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home.root.parent)},
            session_id=record.id,
        )
        session = Session(
            SessionParts(
                record=record,
                store=store,
                model=model,
                tools=tools,
                environment=environment,
                gate=ApprovalGate(ApprovalSettings(timeout=5)),
                compactor=Compactor(CompressionSettings(), lambda: model),
                agent=AgentSettings(),
                guardrails=GuardrailSettings(),
                build_prompt=prompt,
            )
        )
        await session.load()
        opened.append(session)
        return session, model

    yield make
    for session in opened:
        await session.aclose()
    await store.aclose()


def test_there_are_few_and_all_of_them_are_tested() -> None:
    assert 0 < len(NAMES) <= 12
    assert sorted(FIRST_STEPS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_skill_is_valid_small_and_harmless(name: str) -> None:
    text = (SHIPPED / name / "SKILL.md").read_text(encoding="utf-8")
    front, body = parse(text)
    assert front.name == name and NAME.fullmatch(name)
    assert len(front.description) <= 110
    assert len(body) < 4_000
    assert find_orders(text) is None
    assert "Report" in body or name == "writing-skills"
    assert "license: MIT" in text


@pytest.mark.parametrize("name", NAMES)
async def test_a_model_finds_loads_and_follows_a_bundled_skill(name: str, session_with: Any) -> None:
    call, found = FIRST_STEPS[name]
    heading = next(
        line for line in (SHIPPED / name / "SKILL.md").read_text().splitlines() if line[:2] == "# "
    )
    script = [
        {
            "tool_calls": [{"name": "skill_view", "arguments": {"name": name}}],
            "expect": {"system_contains": f"- {name}: "},
        },
        {"tool_calls": [call], "expect": {"contains": [json.dumps(heading)[1:-1]]}},
        {"text": "Done.", "expect": {"contains": [found]}},
    ]
    session, model = await session_with(script)
    result = await session.start("do it").result()
    assert (result.outcome, result.text) == ("completed", "Done.")
    model.assert_complete()
