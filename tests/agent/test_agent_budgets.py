"""Budgets: a run pauses at a limit, and goes on or ends as a person says."""

from __future__ import annotations

import time
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.agent.budgets import Budget, insights, insights_text, says_go_on, since_day
from hermes_agent.agent.session import Session
from hermes_agent.agent.session_commands import usage_text
from hermes_agent.config.sections.budgets import BudgetSettings
from hermes_agent.core.errors import UsageError
from hermes_agent.core.events import QuestionAsked
from hermes_agent.core.messages import UserMessage
from hermes_agent.core.model import ModelInfo, Usage
from hermes_agent.core.prices import Price, cost_of, price_of
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.store import SqliteStore
from hermes_agent.tools.function import tool


@tool()
async def look(what: Annotated[str, "x"] = "", *, context: ToolContext) -> ToolResult:
    """Look."""
    del context
    return ToolResult(f"saw {what} " * 50)


def looks(count: int) -> list[object]:
    return [{"tool_calls": [{"name": "look", "arguments": {"what": str(n)}}]} for n in range(count)]


async def opened(open_session: Any, store: SqliteStore, script: object, **limits: Any) -> Session:
    session: Session = (await open_session(script, tools=[look])).session
    session.budget = Budget.of(BudgetSettings(**limits), "cli", session.usage, store)
    return session


async def test_a_run_pauses_at_its_limit_and_goes_on_when_a_person_says_so(
    open_session: Any, store: SqliteStore
) -> None:
    session = await opened(open_session, store, [*looks(6), "done"], session_tokens=500)
    run = session.start("go")
    asked = []
    async for event in run:
        if isinstance(event, QuestionAsked):
            asked.append(event.question)
            run.answer(event.question.id, "Go on")
    finished = await run.result()
    assert finished.outcome == "completed" and finished.text == "done"
    assert asked and "500 tokens for this conversation" in asked[0].text
    assert asked[0].choices == ("Go on", "Stop here")
    assert "Budget of the session: 500 tokens" in usage_text(session)


async def test_what_tools_use_of_other_models_is_counted(open_session: Any, store: SqliteStore) -> None:
    @tool()
    async def think(*, context: ToolContext) -> ToolResult:
        """Ask another model."""
        context.session.spend(Usage(input_tokens=5_000, requests=1), ModelInfo("other", "small", "test"))
        return ToolResult("thought")

    script = [{"tool_calls": [{"name": "think", "arguments": {}}]}, "done"]
    session: Session = (await open_session(script, tools=[think])).session
    session.budget = Budget.of(BudgetSettings(session_tokens=4_000), "cli", session.usage, store)
    run = session.start("go")
    async for event in run:
        if isinstance(event, QuestionAsked):
            run.answer(event.question.id, "Go on")
    finished = await run.result()
    assert finished.outcome == "completed" and finished.usage.input_tokens > 5_000
    assert (await store.get(session.id)).usage.input_tokens == finished.usage.input_tokens


async def test_a_run_that_is_stopped_there_can_be_taken_up_again(
    open_session: Any, store: SqliteStore
) -> None:
    session = await opened(open_session, store, [*looks(6), "done"], session_tokens=300)
    run = session.start("go")
    async for event in run:
        if isinstance(event, QuestionAsked):
            run.answer(event.question.id, "no, stop")
    finished = await run.result()
    assert finished.outcome == "budget_exhausted" and finished.exit_code == 8
    assert "used up" in finished.error[0]
    before = len(session.messages)
    session.budget = Budget()
    assert (await session.start("go on").result()).outcome == "completed"
    assert len(session.messages) > before


async def test_where_nobody_can_be_asked_the_run_ends(open_session: Any, store: SqliteStore) -> None:
    session = await opened(open_session, store, [*looks(6), "done"], session_tokens=300)
    finished = await session.start("go", is_interactive=False).result()
    assert finished.outcome == "budget_exhausted"
    assert "hermes config set budgets.session_tokens " in finished.error[1]


async def test_money_is_counted_by_the_price_of_the_model(open_session: Any, store: SqliteStore) -> None:
    session = await opened(
        open_session,
        store,
        [*looks(6), "done"],
        session_usd=0.01,
        prices={session_model(open_session): {"input": 100, "output": 100}},
    )
    finished = await session.start("go", is_interactive=False).result()
    assert finished.outcome == "budget_exhausted"
    assert finished.usage.cost_usd is not None and finished.usage.cost_usd >= 0.01
    assert (await store.get(session.id)).usage.cost_usd == pytest.approx(finished.usage.cost_usd)


def session_model(_open_session: Any) -> str:
    from hermes_agent.models.scripted.model import ScriptedModel

    return ScriptedModel(["x"]).info.model


async def test_the_day_counts_all_conversations(open_session: Any, store: SqliteStore) -> None:
    other = await store.create(source="telegram", model="openai:gpt-5")
    await store.append(other.id, [UserMessage.of("x")], usage=Usage(1000, 50, requests=1))
    session = await opened(open_session, store, ["never"], day_tokens=1000)
    finished = await session.start("go", is_interactive=False).result()
    assert finished.outcome == "budget_exhausted" and "today" in finished.error[0]
    assert finished.usage.requests == 0


async def test_what_was_used_is_told_by_model_source_and_day(store: SqliteStore) -> None:
    day = time.strftime("%Y-%m-%d")
    first = await store.create(source="cli", model="openai:gpt-5")
    await store.append(first.id, [UserMessage.of("x")], usage=Usage(100, 10, 40, requests=1, cost_usd=0.5))
    await store.append(first.id, (), usage=Usage(100, 10, requests=1))
    second = await store.create(source="telegram", model="x:other")
    await store.append(second.id, (), usage=Usage(7, 3, requests=1))
    await store.delete(second.id)
    found = await store.insights(day)
    assert found.total == Usage(207, 23, 40, requests=3, cost_usd=0.5)
    assert found.sessions == 2
    assert [row.name for row in found.models] == ["openai:gpt-5", "x:other"]
    assert [row.name for row in found.sources] == ["cli", "telegram"]
    assert [row.name for row in found.days] == [day]
    text = insights_text(found)
    assert "207 tokens read (40 cached)" in text and "$0.5000" in text and "telegram" in text
    assert await store.usage_on(day) == found.total
    assert await store.usage_on("2001-01-01") == Usage()
    assert "Nothing was used" in insights_text(await store.insights("2999-01-01"))
    assert "207" in await insights(store, "7")
    for wrong in ("x", "0", "-3", "1.5", "99999999"):
        with pytest.raises(UsageError):
            await insights(store, wrong)


def test_scheduled_jobs_have_limits_of_their_own() -> None:
    settings = BudgetSettings(session_tokens=5, job_tokens=7, day_usd=1)
    assert set(Budget.of(settings, "cron", Usage(), None).limits) == {"job", "day"}
    assert set(Budget.of(settings, "cli", Usage(), None).limits) == {"session", "day"}
    assert Budget.of(BudgetSettings(), "cli", Usage(), None).limits == {}


def test_prices_are_found_by_the_longest_name() -> None:
    assert price_of("gpt-5-mini-2025-08-07") == price_of("openai/gpt-5-mini")
    assert price_of("anthropic/claude-sonnet-4.5:beta") == price_of("claude-sonnet-4-20250514")
    assert price_of("my-own-model") is None
    assert price_of("gpt-5", {"gpt": Price(1, 1)}) == Price(1, 1)
    assert cost_of(Usage(1_000_000, 1_000_000, 400_000, 100_000), Price(10, 20, 1, 12)) == pytest.approx(
        5 + 0.4 + 1.2 + 20
    )


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_cost_is_never_negative(read: int, written: int, cached: int) -> None:
    assert cost_of(Usage(read, written, cached, cached), Price(3, 15, 0.3, 3.75)) >= 0


def test_a_cost_that_the_provider_names_is_kept_and_demos_cost_nothing() -> None:
    budget = Budget()
    info = ModelInfo("openai", "gpt-5", "chat")
    assert budget.priced(Usage(10, 10, cost_usd=7.0), info).cost_usd == 7.0
    assert budget.priced(Usage(10, 10), info).cost_usd is not None
    assert budget.priced(Usage(10, 10), ModelInfo("demo", "gpt-5", "demo", is_demo=True)).cost_usd is None


def test_words_that_let_a_run_go_on() -> None:
    assert all(says_go_on(word) for word in ("Go on", "yes", "OK!", "continue", "1"))
    assert not any(says_go_on(word) for word in (None, "", "no", "Stop here", "go away", "2"))
    assert since_day("1") == time.strftime("%Y-%m-%d")
