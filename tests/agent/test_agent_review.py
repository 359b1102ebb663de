"""The background review: what it may do, what it costs, when it comes, and that it never gets in the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from hermes_agent.agent.prompt import PromptParts, build_system_prompt
from hermes_agent.agent.review import REVIEW_SECONDS, Reviewer, review
from hermes_agent.agent.session import BACKGROUND_GRACE_SECONDS, Session
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.memory import MemorySettings
from hermes_agent.config.sections.skills import SkillSettings
from hermes_agent.config.settings import Settings
from hermes_agent.core.events import Notice, RunFinished
from hermes_agent.core.messages import ToolMessage
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.services import ToolServices
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.memory.service import FileMemory
from hermes_agent.skills.library import SkillLibrary
from hermes_agent.skills.service import FileSkills
from hermes_agent.store import SqliteStore
from hermes_agent.tools.function import tool
from hermes_agent.tools.memory import make as memory_tool
from hermes_agent.tools.skills import make_list, make_manage, make_view
from hermes_agent.tools.toolsets import build_tools

OpenSession = Callable[..., Awaitable[Any]]

SKILL = "---\nname: release\ndescription: Make a release.\n---\n1. Tag it.\n"
IN_REVIEW = {"user": "silent review", "after": "user"}


def remember(text: str) -> dict[str, Any]:
    return {"name": "memory", "arguments": {"action": "add", "target": "user", "content": text}}


@pytest.fixture
def touched() -> list[str]:
    return []


@pytest.fixture
def tools(home: Home, touched: list[str]) -> Sequence[Tool]:
    @tool(name="touch", description="Touches something. " + "Long words about it. " * 60)
    async def touch(what: str = "it", *, context: ToolContext) -> ToolResult:
        touched.append(what)
        return ToolResult("touched")

    skills = FileSkills(SkillLibrary(home, SkillSettings(bundled=False)))
    memory = FileMemory(home, MemorySettings())
    return (touch, memory_tool(memory), make_list(skills), make_view(skills), make_manage(skills))


async def finish(session: Session, text: str) -> RunFinished:
    run = session.start(text)
    return await run.result()


async def settle(session: Session) -> None:
    """Let the callbacks of a run start the review, then wait for it."""
    await asyncio.sleep(0)  # gives way once, waits for nothing
    async with asyncio.timeout(60):
        while session._background:
            await asyncio.wait(session._background)


async def test_at_least_95_percent_of_a_reviews_prompt_comes_from_the_cache(
    open_session: OpenSession, home: Home
) -> None:
    script = {
        "rules": [
            {"when": IN_REVIEW, "text": "Nothing to save."},
            {
                "when": {"after": "user"},
                "tool_calls": [{"name": "read_file", "arguments": {"path": "a.txt"}}],
            },
            {"text": "An answer of some length, as answers are. " * 3},
        ]
    }
    memory, skills = FileMemory(home, MemorySettings()), FileSkills(SkillLibrary(home, SkillSettings()))
    index = await skills.index(tools=frozenset({"skill_view", "terminal"}), toolsets=frozenset())
    all_tools = build_tools(
        ["hermes-cli"], Settings(), home, Redactor(), ToolServices(memory=memory, skills=skills)
    )

    async def prompt() -> str:
        return build_system_prompt(PromptParts(sections=[index.text]))

    reviewer = Reviewer(memory_every=10, skills_every=10)
    opened = await open_session(
        script, tools=all_tools, build_prompt=prompt, run_observers=(reviewer.observe,)
    )
    session = opened.session
    await session.scope.environment.write_bytes(
        session.scope.environment.resolve("a.txt"), b"A line of a file that was read.\n" * 40
    )
    for number in range(10):
        before = session.usage
        spent = (await finish(session, f"question {number}")).usage
    await settle(session)
    last, seen = opened.model.requests[-2:]
    assert "Memory:" in seen.messages[-1].text and "Skills:" in seen.messages[-1].text
    assert seen.system == last.system and seen.tools == last.tools and seen.session_id == last.session_id
    assert all(ours is theirs for ours, theirs in zip(seen.messages, last.messages, strict=False))
    used = session.usage.input_tokens - before.input_tokens - spent.input_tokens
    cached = session.usage.cache_read_tokens - before.cache_read_tokens - spent.cache_read_tokens
    assert used > 3_000
    assert cached / used >= 0.95
    assert len(session.messages) == 40


async def test_a_review_saves_to_memory_and_proposes_skills_and_says_so_in_one_line(
    open_session: OpenSession, tools: Sequence[Tool], home: Home, store: SqliteStore
) -> None:
    manage = {"name": "skill_manage", "arguments": {"action": "create", "name": "release", "content": SKILL}}
    script = {
        "rules": [
            {"when": IN_REVIEW, "tool_calls": [remember("Likes short answers."), manage]},
            {"text": "ok"},
        ]
    }
    opened = await open_session(
        script, tools=tools, run_observers=(Reviewer(memory_every=2, skills_every=0).observe,)
    )
    session, news = opened.session, []
    session.on_news = news.append
    await finish(session, "one")
    await settle(session)
    assert news == []
    await finish(session, "two")
    await settle(session)
    assert news == [
        "Learned: memory + Likes short answers.; skill proposed: create release "
        f"({SkillLibrary(home, SkillSettings()).proposals.list()[0].id})"
    ]
    (entry,) = FileMemory(home, MemorySettings()).view_now("user").entries
    assert entry.origin == "review" and entry.session_id == session.id
    stored = await store.messages(session.id)
    assert [item.message for item in stored] == list(session.messages) and len(stored) == 4
    assert (await store.get(session.id)).usage == session.usage


async def test_other_tools_are_on_offer_and_refuse(
    open_session: OpenSession, tools: Sequence[Tool], touched: list[str]
) -> None:
    script = {
        "rules": [
            {"when": IN_REVIEW, "tool_calls": [{"name": "touch", "arguments": {}}]},
            {"text": "ok"},
        ]
    }
    opened = await open_session(script, tools=tools)
    await finish(opened.session, "hello")
    assert await review(opened.session, ["Memory: …"]) == []
    result = opened.model.requests[-1].messages[-1]
    assert isinstance(result, ToolMessage) and "does not work in a review" in result.text
    assert touched == []
    await finish(opened.session, "and now?")
    assert opened.session.messages[-1].text == "ok"  # type: ignore[union-attr]


async def test_skills_are_reviewed_after_so_many_tool_rounds(
    open_session: OpenSession, tools: Sequence[Tool]
) -> None:
    script = {
        "rules": [
            {"when": IN_REVIEW, "text": "Nothing to save."},
            {"when": {"max_messages": 6}, "tool_calls": [{"name": "touch", "arguments": {}}]},
            {"text": "ok"},
        ]
    }
    opened = await open_session(
        script, tools=tools, run_observers=(Reviewer(memory_every=0, skills_every=3).observe,)
    )
    await finish(opened.session, "work")
    await settle(opened.session)
    asked = opened.model.last_request.messages[-1].text
    assert "Skills:" in asked and "Memory:" not in asked


async def test_zero_turns_reviews_off_and_failed_runs_do_not_count(
    open_session: OpenSession, tools: Sequence[Tool]
) -> None:
    script = {"steps": [{"text": "ok"}, {"error": 400}], "rules": [{"text": "ok"}]}
    never = Reviewer(memory_every=0, skills_every=0)
    soon = Reviewer(memory_every=2, skills_every=0)
    opened = await open_session(script, tools=tools, run_observers=(never.observe, soon.observe))
    await finish(opened.session, "one")
    assert (await finish(opened.session, "two")).outcome == "failed"
    await settle(opened.session)
    assert len(opened.model.requests) == 2


async def test_a_user_who_goes_on_is_not_delayed(open_session: OpenSession, tools: Sequence[Tool]) -> None:
    script = {"rules": [{"when": IN_REVIEW, "hang": True}, {"text": "ok"}]}
    opened = await open_session(
        script, tools=tools, run_observers=(Reviewer(memory_every=1, skills_every=0).observe,)
    )
    await finish(opened.session, "one")
    started = time.monotonic()
    assert (await finish(opened.session, "two")).outcome == "completed"
    assert time.monotonic() - started < 60 < REVIEW_SECONDS


async def test_closing_waits_for_a_review_only_a_moment(
    open_session: OpenSession, tools: Sequence[Tool]
) -> None:
    script = {"rules": [{"when": IN_REVIEW, "hang": True}, {"text": "ok"}]}
    opened = await open_session(
        script, tools=tools, run_observers=(Reviewer(memory_every=1, skills_every=0).observe,)
    )
    await finish(opened.session, "one")
    started = time.monotonic()
    await opened.session.aclose()
    assert time.monotonic() - started < BACKGROUND_GRACE_SECONDS + 30
    assert opened.session._background == set()


async def test_a_failing_review_is_silent_and_the_next_one_comes(
    open_session: OpenSession, tools: Sequence[Tool]
) -> None:
    script = {
        "rules": [
            {"when": IN_REVIEW, "error": 500, "times": 1},
            {"when": IN_REVIEW, "tool_calls": [remember("Likes rain.")], "times": 1},
            {"text": "ok"},
        ]
    }
    opened = await open_session(
        script, tools=tools, run_observers=(Reviewer(memory_every=1, skills_every=0).observe,)
    )
    session, news = opened.session, []
    session.on_news = news.append
    await finish(session, "one")
    await settle(session)
    await finish(session, "two")
    await settle(session)
    assert news == ["Learned: memory + Likes rain."]


async def test_where_nobody_listens_the_line_comes_with_the_next_run(
    open_session: OpenSession, tools: Sequence[Tool]
) -> None:
    script = {
        "rules": [
            {"when": IN_REVIEW, "tool_calls": [remember("Likes rain.")], "times": 1},
            {"text": "ok"},
        ]
    }
    opened = await open_session(
        script, tools=tools, run_observers=(Reviewer(memory_every=1, skills_every=0).observe,)
    )
    await finish(opened.session, "one")
    await settle(opened.session)
    events = [event async for event in opened.session.start("two")]
    assert Notice("Learned: memory + Likes rain.") in events


async def test_a_resumed_session_goes_on_counting(
    open_session: OpenSession, tools: Sequence[Tool], store: SqliteStore
) -> None:
    script = {"rules": [{"when": IN_REVIEW, "text": "Nothing to save."}, {"text": "ok"}]}

    def observers() -> tuple[Any, ...]:
        return (Reviewer(memory_every=2, skills_every=0).observe,)

    first = await open_session(script, tools=tools, run_observers=observers())
    for text in ("one", "two", "three"):
        await finish(first.session, text)
        await settle(first.session)
    assert len(first.model.requests) == 4
    record = await store.get(first.session.id)
    second = await open_session(script, tools=tools, run_observers=observers(), record=record)
    await finish(second.session, "four")
    await settle(second.session)
    assert len(second.model.requests) == 2
