"""Subagents: what they get, what comes back, and how they are stopped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.compaction import Compactor
from hermes_agent.agent.delegation import ChildParts, Subagents, agents
from hermes_agent.agent.session import Session
from hermes_agent.config.sections.agent import ApprovalSettings, GuardrailSettings
from hermes_agent.config.sections.compression import CompressionSettings
from hermes_agent.config.sections.delegation import DelegationSettings
from hermes_agent.core.approvals import NeedsApproval
from hermes_agent.core.errors import UsageError
from hermes_agent.core.events import ApprovalRequested, RunEvent, ToolCallFinished, ToolCallProgress
from hermes_agent.core.messages import ToolMessage
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.environments.local import LocalEnvironment
from hermes_agent.models.scripted.model import ScriptedModel
from hermes_agent.store import SqliteStore
from hermes_agent.tools.delegate import build
from hermes_agent.tools.function import FunctionTool, tool

DELEGATE: Any = build(None)  # type: ignore[arg-type]


def call(name: str, /, **arguments: object) -> dict[str, object]:
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


def note_tool(started: asyncio.Semaphore | None = None, release: asyncio.Event | None = None) -> FunctionTool:
    @tool()
    async def look(what: str = "", *, context: ToolContext) -> ToolResult:
        """Look."""
        context.report(what)
        if started is not None and release is not None:
            started.release()
            await release.wait()
        return ToolResult(f"saw {what} from {context.environment.cwd}")

    return look


@tool()
async def clarify(*, context: ToolContext) -> ToolResult:
    """Never for children."""
    raise AssertionError(context)


@tool(review=lambda _given, _context: NeedsApproval("rm x", ("deletes",), ("rm",)))
async def risky(*, context: ToolContext) -> ToolResult:
    """Ask first."""
    del context
    return ToolResult("removed")


async def caller(
    open_session: Any,
    store: SqliteStore,
    script: object,
    child_script: object,
    *,
    tools: Sequence[Any] = (),
    **settings: Any,
) -> tuple[Session, ScriptedModel]:
    opened = await open_session(
        script, tools=(DELEGATE, clarify, *tools), gate=ApprovalGate(ApprovalSettings(timeout=5))
    )
    session: Session = opened.session
    child_model = ScriptedModel(child_script)  # type: ignore[arg-type]
    session.subagents = Subagents(
        session,
        ChildParts(
            settings=DelegationSettings(**settings),
            guardrails=GuardrailSettings(),
            make_model=lambda: child_model,
            make_tools=lambda names: [item for item in tools if item.definition.name in names],
            make_environment=lambda name, _show: LocalEnvironment(
                cwd="/", child_env={"PATH": "/usr/bin:/bin"}, session_id=name
            ),
            make_compactor=lambda model: Compactor(CompressionSettings(), lambda: model),
            store=store,
        ),
    )
    return session, child_model


async def drive(session: Session, text: str = "go") -> list[RunEvent]:
    return [event async for event in session.start(text)]


def result_of(session: Session) -> ToolMessage:
    return next(message for message in session.messages if isinstance(message, ToolMessage))


async def test_a_subagent_knows_only_its_task_and_only_its_report_comes_back(
    open_session: Any, store: SqliteStore
) -> None:
    session, child = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Count the files", context="In src"), "All counted."],
        [call("look", what="src"), "There are 7 files."],
        tools=[note_tool()],
    )
    session.add_note("a secret of the conversation")
    events = await drive(session, "the whole story")
    assert "There are 7 files." in result_of(session).text
    assert "completed, 2 turns" in result_of(session).text
    assert session.last_answer() == "All counted."
    first = child.requests[0]
    sent = str(first.messages) + first.system
    assert "Count the files" in sent and "In src" in sent
    assert "the whole story" not in sent and "secret" not in sent
    assert [definition.name for definition in first.tools] == ["look"]
    tree = "".join(event.text for event in events if isinstance(event, ToolCallProgress))
    assert "├─ 1 Count the files" in tree and "look" in tree and "└─ 1 completed" in tree


async def test_children_work_in_the_callers_directory_and_their_use_is_counted_with_it(
    open_session: Any, store: SqliteStore
) -> None:
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Look"), "ok"],
        [call("look", what="x"), "done"],
        tools=[note_tool()],
    )
    await drive(session)
    assert session.usage.requests == 4
    assert (await store.get(session.id)).usage == session.usage
    assert [record.id for record in await store.list()] == [session.id]


async def test_three_work_at_a_time_and_reports_keep_their_order(
    open_session: Any, store: SqliteStore
) -> None:
    started, release = asyncio.Semaphore(0), asyncio.Event()
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", tasks=[{"goal": f"part {n}"} for n in range(5)]), "ok"],
        [*([call("look", what="x")] * 3), *(["done"] * 3), *([call("look", what="x")] * 2), *(["done"] * 2)],
        tools=[note_tool(started, release)],
    )
    run = session.start("go")
    async with asyncio.timeout(60):
        for _ in range(3):
            await started.acquire()
        assert session.subagents is not None
        assert len(session.subagents.working) == 5
        assert started.locked()
        assert "part 0" in agents(session, "")
        release.set()
        await run.result()
    text = result_of(session).text
    assert [text.index(f"part {n}") for n in range(5)] == sorted(text.index(f"part {n}") for n in range(5))
    assert text.count("completed") == 5
    assert session.subagents.working == {}


async def test_one_can_be_stopped_while_the_others_go_on(open_session: Any, store: SqliteStore) -> None:
    started, release = asyncio.Semaphore(0), asyncio.Event()
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", tasks=[{"goal": "first"}, {"goal": "second"}]), "ok"],
        [call("look", what="x"), call("look", what="x"), "done"],
        tools=[note_tool(started, release)],
    )
    run = session.start("go")
    async with asyncio.timeout(60):
        await started.acquire()
        await started.acquire()
        assert agents(session, "stop 1") == "Stopped 1 subagent."
        release.set()
        await run.result()
    text = result_of(session).text
    assert "Cancelled by the user" in text.partition("## 2.")[0]
    assert "[completed" in text.partition("## 2.")[2]
    with pytest.raises(UsageError):
        agents(session, "stop 1")
    with pytest.raises(UsageError):
        agents(session, "dance")
    assert agents(session, "stop all") == "No subagent is at work."


async def test_stopping_the_caller_stops_them_all(open_session: Any, store: SqliteStore) -> None:
    started, release = asyncio.Semaphore(0), asyncio.Event()
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", tasks=[{"goal": "first"}, {"goal": "second"}])],
        [call("look", what="x"), call("look", what="x")],
        tools=[note_tool(started, release)],
    )
    run = session.start("go")
    async with asyncio.timeout(60):
        await started.acquire()
        await started.acquire()
        run.interrupt()
        finished = await run.result()
    assert finished.outcome == "interrupted"
    assert session.subagents is not None and session.subagents.working == {}
    # The caller's answer, and one answer of each child.
    assert session.usage.requests == 3


async def test_the_callers_person_is_asked_and_told_who_wants_it(
    open_session: Any, store: SqliteStore
) -> None:
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Tidy up"), "ok"],
        [call("risky"), "It is removed."],
        tools=[risky],
    )
    run = session.start("go")
    asked = []
    async for event in run:
        if isinstance(event, ApprovalRequested):
            asked.append(event.request)
            run.decide(event.request.id, "once")
    assert asked[0].action == "rm x"
    assert "subagent 1: Tidy up" in asked[0].reasons[-1]
    assert "It is removed." in result_of(session).text


async def test_where_nobody_can_be_asked_children_may_not_either(
    open_session: Any, store: SqliteStore
) -> None:
    session, child = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Tidy up"), "ok"],
        [call("risky"), "I could not."],
        tools=[risky],
    )
    await session.start("go", is_interactive=False).result()
    assert "nobody can be asked" in str(child.requests[1].messages)


async def test_depth_is_limited_and_an_orchestrator_may_go_one_deeper(
    open_session: Any, store: SqliteStore
) -> None:
    session, child = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Plan", role="orchestrator"), "ok"],
        [call("delegate_task", goal="Deeper", role="orchestrator"), "deep", "planned"],
        max_spawn_depth=2,
    )
    await drive(session)
    assert [definition.name for definition in child.requests[0].tools] == ["delegate_task"]
    assert child.requests[1].tools == ()  # at the last level nobody may delegate
    assert "deep" in str(child.requests[2].messages)
    assert "planned" in result_of(session).text
    assert session.usage.requests == 5


async def test_a_leaf_and_an_orchestrator_at_the_last_level_cannot_delegate(
    open_session: Any, store: SqliteStore
) -> None:
    session, child = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Plan", role="orchestrator"), "ok"],
        [call("delegate_task", goal="Deeper"), "alone then"],
    )
    await drive(session)
    assert child.requests[0].tools == ()
    assert "no tool 'delegate_task'" in str(child.requests[1].messages)


async def test_a_child_that_fails_or_runs_out_of_turns_says_so(open_session: Any, store: SqliteStore) -> None:
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Loop"), "ok"],
        [call("look", what="1"), call("look", what="2"), "This far I came."],
        tools=[note_tool()],
        max_iterations=2,
    )
    events = await drive(session)
    message = result_of(session)
    assert "budget_exhausted" in message.text and "This far I came." in message.text
    finished = next(event for event in events if isinstance(event, ToolCallFinished))
    assert finished.summary == "0 of 1 completed"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"goal": "  "},
        {"goal": "x", "tasks": [{"goal": "y"}]},
        {"tasks": []},
        {"tasks": [{"goal": " "}]},
        {"tasks": [{"context": "no goal"}]},
        {"tasks": [{"goal": "x"}] * 21},
        {"goal": "x", "role": "king"},
    ],
)
async def test_wrong_arguments_start_nothing(
    arguments: dict[str, object], open_session: Any, store: SqliteStore
) -> None:
    session, child = await caller(
        open_session, store, [call("delegate_task", **arguments), "sorry"], ["never"]
    )
    await drive(session)
    assert result_of(session).is_error
    assert child.requests == []


async def test_the_background_tells_when_it_has_ended(open_session: Any, store: SqliteStore) -> None:
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Slowly", background=True), "started", "heard"],
        ["It took a while."],
    )
    await drive(session)
    assert session.subagents is not None
    async with asyncio.timeout(60):
        while session.subagents.working or session.subagents._background:
            await asyncio.tasks.sleep(0.001)
    await drive(session, "and?")
    assert "It took a while." in json.dumps([str(message) for message in session.messages])


async def test_closing_the_session_ends_what_is_in_the_background(
    open_session: Any, store: SqliteStore
) -> None:
    started, release = asyncio.Semaphore(0), asyncio.Event()
    session, _ = await caller(
        open_session,
        store,
        [call("delegate_task", goal="Slowly", background=True), "started"],
        [call("look", what="x")],
        tools=[note_tool(started, release)],
    )
    await drive(session)
    async with asyncio.timeout(60):
        await started.acquire()
        await session.aclose()
    assert session.subagents is not None and session.subagents.working == {}
