"""A run from its input to its end, as a surface sees it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Annotated

import pytest

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.run import Run
from hermes_agent.agent.session import LOST_RESULT_TEXT
from hermes_agent.agent.tool_runner import SKIPPED_TEXT
from hermes_agent.config.sections.agent import AgentSettings, ApprovalSettings, GuardrailSettings
from hermes_agent.core.approvals import Forbidden, NeedsApproval, Question
from hermes_agent.core.errors import SessionBusyError, ToolError
from hermes_agent.core.events import (
    ApprovalRequested,
    ApprovalResolved,
    Notice,
    QuestionAsked,
    ReasoningDelta,
    RunEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallFinished,
    ToolCallProgress,
    ToolCallStarted,
    UsageUpdated,
)
from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.store import SqliteStore
from hermes_agent.tools.function import tool


def kinds(events: list[RunEvent]) -> list[type]:
    return [type(event) for event in events]


async def collect(run: Run) -> list[RunEvent]:
    return [event async for event in run]


async def until(run: Run, check: Callable[[RunEvent], bool]) -> list[RunEvent]:
    seen: list[RunEvent] = []
    async for event in run:
        seen.append(event)
        if check(event):
            return seen
    raise AssertionError(f"the run ended first: {seen[-1]}")


def call(name: str, /, *, call_id: str | None = None, **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments, **({"id": call_id} if call_id else {})}


@tool(name="shout", description="Say it louder.", parallel_safe=True)
async def shout(text: Annotated[str, "what"], *, context: ToolContext) -> ToolResult:
    context.report(f"shouting {text}\n")
    return ToolResult(text.upper(), summary="loud")


@tool(name="fail", description="Fails.")
async def fail(why: str, *, context: ToolContext) -> ToolResult:
    raise ToolError(f"no: {why}")


@tool(name="crash", description="Has a bug.")
async def crash(*, context: ToolContext) -> ToolResult:
    raise RuntimeError("a bug")


@tool(
    name="danger",
    description="Risky.",
    review=lambda arguments, context: NeedsApproval(str(arguments["what"]), ("it is risky",), ("risky",)),
)
async def danger(what: str, *, context: ToolContext) -> ToolResult:
    return ToolResult(f"did {what}")


@tool(
    name="never", description="Forbidden.", review=lambda arguments, context: Forbidden("x", "it is a bomb")
)
async def never(*, context: ToolContext) -> ToolResult:
    raise AssertionError("must not run")


@tool(name="wait", description="Waits for ever.")
async def wait(*, context: ToolContext) -> ToolResult:
    context.report("waiting\n")
    await asyncio.Event().wait()
    return ToolResult("never")


@tool(name="ask", description="Asks.")
async def ask(*, context: ToolContext) -> ToolResult:
    answer = await context.ask(Question("q1", "Which?", ("a", "b"), 5))
    return ToolResult(f"answer: {answer}")


async def test_a_text_answer_is_streamed_stored_and_counted(open_session, store: SqliteStore) -> None:
    opened = await open_session([{"text": ["Hel", "lo"], "reasoning": "hm"}])
    events = await collect(opened.session.start("Hi"))
    assert isinstance(events[0], RunStarted)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello"
    assert "".join(event.text for event in events if isinstance(event, ReasoningDelta)) == "hm"
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    assert (finished.outcome, finished.text, finished.exit_code, finished.turns) == (
        "completed",
        "Hello",
        0,
        1,
    )
    assert finished.usage.input_tokens > 0
    assert any(isinstance(event, UsageUpdated) for event in events)
    stored = [item.message for item in await store.messages(opened.session.id)]
    assert stored == list(opened.session.messages)
    assert [type(message) for message in stored] == [UserMessage, AssistantMessage]
    assert (await store.get(opened.session.id)).usage.output_tokens == finished.usage.output_tokens


async def test_tool_results_go_back_to_the_model_in_call_order(open_session) -> None:
    opened = await open_session(
        [
            {"tool_calls": [call("shout", text="one"), call("shout", text="two")]},
            {"text": "done", "expect": {"contains": ["ONE", "TWO"]}},
        ],
        tools=[shout],
    )
    events = await collect(opened.session.start("go"))
    opened.model.assert_complete()
    results = [message for message in opened.session.messages if isinstance(message, ToolMessage)]
    assert [message.text for message in results] == ["ONE", "TWO"]
    assert any(isinstance(event, ToolCallProgress) and "shouting" in event.text for event in events)
    finished = [event for event in events if isinstance(event, ToolCallFinished)]
    assert {event.summary for event in finished} == {"loud"}


async def test_the_serialised_prefix_only_ever_grows(open_session) -> None:
    opened = await open_session(
        [{"tool_calls": [call("shout", text=str(number))]} for number in range(5)]
        + [{"text": "done"}, "again"],
        tools=[shout],
    )
    await opened.session.start("go").result()
    await opened.session.start("more").result()
    requests = opened.model.requests
    for earlier, later in itertools.pairwise(requests):
        assert later.system == earlier.system
        assert later.tools == earlier.tools
        assert tuple(later.messages[: len(earlier.messages)]) == tuple(earlier.messages)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [('{"text": "unfin', "not valid JSON"), ('["a"]', "one JSON object"), ('{"txt": "a"}', "text")],
)
async def test_bad_arguments_are_explained_to_the_model_and_the_run_goes_on(
    open_session, arguments: str, expected: str
) -> None:
    opened = await open_session(
        [{"tool_calls": [{"name": "shout", "arguments": arguments}]}, {"text": "sorry"}], tools=[shout]
    )
    finished = await opened.session.start("go").result()
    assert finished.outcome == "completed"
    result = next(message for message in opened.session.messages if isinstance(message, ToolMessage))
    assert result.is_error
    assert expected in result.text


async def test_an_invented_tool_names_the_real_ones(open_session) -> None:
    opened = await open_session([{"tool_calls": [call("shoot", text="x")]}, {"text": "ok"}], tools=[shout])
    await opened.session.start("go").result()
    result = next(message for message in opened.session.messages if isinstance(message, ToolMessage))
    assert "Did you mean shout?" in result.text


async def test_a_bug_in_a_tool_is_a_result_not_the_end(open_session) -> None:
    opened = await open_session([{"tool_calls": [call("crash")]}, {"text": "ok"}], tools=[crash])
    finished = await opened.session.start("go").result()
    assert finished.text == "ok"


async def test_equal_call_ids_of_later_turns_are_made_unique(open_session) -> None:
    opened = await open_session(
        [
            {"tool_calls": [call("shout", call_id="call_0", text="a")]},
            {"tool_calls": [call("shout", call_id="call_0", text="b")]},
            {"text": "ok"},
        ],
        tools=[shout],
    )
    await opened.session.start("go").result()
    ids = [message.tool_call_id for message in opened.session.messages if isinstance(message, ToolMessage)]
    assert len(set(ids)) == 2


async def test_interrupting_keeps_what_was_shown_and_answers_every_call(
    open_session, store: SqliteStore
) -> None:
    opened = await open_session(
        [
            {"text": "Working", "tool_calls": [call("wait"), call("shout", text="later")]},
            {"text": "redirected"},
        ],
        tools=[wait, shout],
    )
    run = opened.session.start("go")
    await until(run, lambda event: isinstance(event, ToolCallProgress))
    run.interrupt()
    finished = await run.result()
    assert (finished.outcome, finished.exit_code) == ("interrupted", 130)
    results = [message for message in opened.session.messages if isinstance(message, ToolMessage)]
    assert "interrupted" in results[0].text
    assert "waiting" in results[0].text
    assert results[1].text == SKIPPED_TEXT
    again = await opened.session.start("do this instead").result()
    assert again.text == "redirected"
    last_user = opened.model.last_request.messages[-1]
    assert isinstance(last_user, UserMessage)
    assert "interrupted" in last_user.text
    assert len(await store.messages(opened.session.id)) == len(opened.session.messages)


async def test_interrupting_a_stream_keeps_the_text_so_far(open_session, store: SqliteStore) -> None:
    opened = await open_session([{"text": ["shown "], "hang": 1}])
    run = opened.session.start("go")
    await until(run, lambda event: isinstance(event, TextDelta))
    run.interrupt()
    finished = await run.result()
    assert finished.text == "shown "
    last = (await store.messages(opened.session.id))[-1].message
    assert isinstance(last, AssistantMessage)
    assert (last.text, last.finish_reason) == ("shown ", "interrupted")


async def test_interrupting_before_the_first_step_still_ends_the_run(open_session) -> None:
    opened = await open_session(["x"])
    run = opened.session.start("go")
    run.interrupt()
    assert (await asyncio.wait_for(run.result(), 5)).outcome == "interrupted"


@pytest.mark.parametrize(
    ("decision", "expected"), [("once", "did it"), ("deny", "Denied"), ("session", "did it")]
)
async def test_an_approval_decides_whether_the_call_runs(open_session, decision: str, expected: str) -> None:
    opened = await open_session([{"tool_calls": [call("danger", what="it")]}, {"text": "ok"}], tools=[danger])
    run = opened.session.start("go")
    events = await until(run, lambda event: isinstance(event, ApprovalRequested))
    request = events[-1].request
    assert request.action == "it"
    assert run.decide(request.id, decision)
    assert not run.decide(request.id, "once"), "a second answer changes nothing"
    await run.result()
    result = next(message for message in opened.session.messages if isinstance(message, ToolMessage))
    assert expected in result.text


async def test_a_session_approval_is_not_asked_again(open_session) -> None:
    opened = await open_session(
        [
            {"tool_calls": [call("danger", what="first")]},
            {"tool_calls": [call("danger", what="second")]},
            {"text": "ok"},
        ],
        tools=[danger],
    )
    run = opened.session.start("go")
    events: list[RunEvent] = []
    async for event in run:
        events.append(event)
        if isinstance(event, ApprovalRequested):
            run.decide(event.request.id, "session")
    assert kinds(events).count(ApprovalRequested) == 1


async def test_always_is_remembered_for_good(open_session) -> None:
    remembered: list[str] = []
    gate = ApprovalGate(ApprovalSettings(timeout=5), remember=remembered.extend)
    opened = await open_session(
        [{"tool_calls": [call("danger", what="it")]}, {"text": "ok"}], tools=[danger], gate=gate
    )
    run = opened.session.start("go")
    events = await until(run, lambda event: isinstance(event, ApprovalRequested))
    run.decide(events[-1].request.id, "always")
    await run.result()
    assert remembered == ["risky"]


async def test_no_answer_in_time_means_no(open_session) -> None:
    opened = await open_session(
        [{"tool_calls": [call("danger", what="it")]}, {"text": "ok"}],
        tools=[danger],
        gate=ApprovalGate(ApprovalSettings(timeout=0.05)),
    )
    events = await collect(opened.session.start("go"))
    resolved = next(event for event in events if isinstance(event, ApprovalResolved))
    assert (resolved.decision, resolved.by) == ("deny", "time-out")


async def test_without_a_person_risky_calls_are_denied(open_session) -> None:
    opened = await open_session([{"tool_calls": [call("danger", what="it")]}, {"text": "ok"}], tools=[danger])
    events = await collect(opened.session.start("go", is_interactive=False))
    assert ApprovalRequested not in kinds(events)
    result = next(message for message in opened.session.messages if isinstance(message, ToolMessage))
    assert "nobody can be asked" in result.text


async def test_yolo_skips_questions_but_never_the_floor(open_session) -> None:
    opened = await open_session(
        [{"tool_calls": [call("danger", what="it"), call("never")]}, {"text": "ok"}],
        tools=[danger, never],
        gate=ApprovalGate(ApprovalSettings(), is_yolo=True),
    )
    await opened.session.start("go").result()
    results = [message for message in opened.session.messages if isinstance(message, ToolMessage)]
    assert results[0].text == "did it"
    assert "never allowed" in results[1].text


async def test_a_question_reaches_the_person_and_the_answer_the_tool(open_session) -> None:
    opened = await open_session([{"tool_calls": [call("ask")]}, {"text": "ok"}], tools=[ask])
    run = opened.session.start("go")
    events = await until(run, lambda event: isinstance(event, QuestionAsked))
    assert run.answer(events[-1].question.id, "b")
    await run.result()
    result = next(message for message in opened.session.messages if isinstance(message, ToolMessage))
    assert result.text == "answer: b"


async def test_steering_is_read_with_the_next_turn_without_a_new_message(open_session) -> None:
    opened = await open_session(
        [{"tool_calls": [call("danger", what="it")]}, {"text": "ok", "expect": {"contains": "in French"}}],
        tools=[danger],
    )
    run = opened.session.start("go")
    events = await until(run, lambda event: isinstance(event, ApprovalRequested))
    run.steer("answer in French")
    run.decide(events[-1].request.id, "once")
    await run.result()
    opened.model.assert_complete()
    assert sum(isinstance(message, UserMessage) for message in opened.session.messages) == 1


async def test_steering_that_comes_too_late_becomes_the_next_message(open_session) -> None:
    opened = await open_session([{"text": "first"}, {"text": "second", "expect": {"user": "also this"}}])
    run = opened.session.start("go")
    run.steer("also this")
    finished = await run.result()
    opened.model.assert_complete()
    assert finished.text == "second"


async def test_the_turn_limit_ends_with_a_summary_without_tools(open_session) -> None:
    opened = await open_session(
        [{"tool_calls": [call("shout", text=str(number))]} for number in range(3)]
        + [{"text": "this is where I got", "expect": {"lacks_tool": "shout"}}],
        tools=[shout],
        agent=AgentSettings(max_turns=3),
    )
    finished = await opened.session.start("go").result()
    opened.model.assert_complete()
    assert (finished.outcome, finished.text) == ("budget_exhausted", "this is where I got")
    assert finished.exit_code == 8


async def test_an_answer_cut_by_the_output_limit_is_continued(open_session) -> None:
    opened = await open_session([{"text": "one ", "finish_reason": "length"}, {"text": "two"}])
    finished = await opened.session.start("go").result()
    assert (finished.outcome, finished.text) == ("completed", "one two")


async def test_an_answer_that_never_ends_is_reported_as_truncated(open_session) -> None:
    opened = await open_session([{"text": "x", "finish_reason": "length", "times": 4}])
    finished = await opened.session.start("go").result()
    assert (finished.outcome, finished.text, finished.exit_code) == ("truncated", "xxxx", 9)


async def test_calls_of_a_cut_reply_are_not_run(open_session) -> None:
    opened = await open_session(
        [{"tool_calls": [call("shout", text="x")], "finish_reason": "length"}, {"text": "ok"}], tools=[shout]
    )
    await opened.session.start("go").result()
    result = next(message for message in opened.session.messages if isinstance(message, ToolMessage))
    assert "output limit" in result.text


async def test_a_failed_request_is_told_in_three_lines_and_the_session_goes_on(open_session) -> None:
    opened = await open_session([{"error": {"status": 401, "message": "bad key"}}, {"text": "better"}])
    finished = await opened.session.start("go").result()
    assert finished.outcome == "failed"
    assert finished.exit_code == 4
    assert 1 <= len(finished.error) <= 3
    assert (await opened.session.start("again").result()).text == "better"


async def test_text_shown_before_a_stream_was_cut_is_kept(open_session, store: SqliteStore) -> None:
    opened = await open_session([{"text": ["half ", "more"], "cut": 1}])
    events = await collect(opened.session.start("go"))
    assert events[-1].outcome == "failed"
    last = (await store.messages(opened.session.id))[-1].message
    assert isinstance(last, AssistantMessage)
    assert (last.text, last.finish_reason) == ("half ", "error")


async def test_repeated_failures_are_pointed_out_and_can_end_the_run(open_session) -> None:
    opened = await open_session(
        [{"tool_calls": [call("fail", why="same")], "times": 3}, {"text": "unused"}],
        tools=[fail],
        guardrails=GuardrailSettings(stop_enabled=True, stop_same_call_failures=3),
    )
    finished = await opened.session.start("go").result()
    results = [message.text for message in opened.session.messages if isinstance(message, ToolMessage)]
    assert "failed 2 times" in results[1]
    assert finished.outcome == "failed"
    assert "guardrail" in finished.error[0]


async def test_only_one_run_at_a_time(open_session) -> None:
    opened = await open_session([{"hang": True}])
    opened.session.start("go")
    with pytest.raises(SessionBusyError):
        opened.session.start("and this")


async def test_safe_calls_run_together_and_unsafe_ones_in_order(open_session) -> None:
    running: set[str] = set()
    together: set[frozenset[str]] = set()
    gate = asyncio.Barrier(2)

    @tool(name="look", description="x", parallel_safe=True)
    async def look(name: str, *, context: ToolContext) -> ToolResult:
        running.add(name)
        await asyncio.wait_for(gate.wait(), 5)
        together.add(frozenset(running))
        return ToolResult(name)

    opened = await open_session(
        [{"tool_calls": [call("look", name="a"), call("look", name="b")]}, {"text": "ok"}], tools=[look]
    )
    await opened.session.start("go").result()
    assert frozenset({"a", "b"}) in together


@pytest.mark.parametrize(("paths", "expected"), [(("a/x", "b"), 2), (("a", "a/b"), 1), (("a", "a"), 1)])
async def test_calls_with_separate_paths_may_overlap_in_time(open_session, paths, expected: int) -> None:
    running = 0
    most = 0
    started: list[Awaitable[None]] = []

    @tool(
        name="edit", description="x", touched_paths=lambda arguments, context: ("/" + str(arguments["path"]),)
    )
    async def edit(path: str, *, context: ToolContext) -> ToolResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return ToolResult(path)

    opened = await open_session(
        [{"tool_calls": [call("edit", path=path) for path in paths]}, {"text": "ok"}], tools=[edit]
    )
    await opened.session.start("go").result()
    assert most == expected
    assert not started


async def test_a_session_cut_off_in_a_tool_call_can_be_resumed(open_session, store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(
        record.id,
        [
            UserMessage.of("go"),
            AssistantMessage(tool_calls=(ToolCall("c1", "shout", json.dumps({"text": "x"})),)),
        ],
    )
    opened = await open_session([{"text": "ok"}], tools=[shout], record=record)
    assert opened.session.messages[-1] == ToolMessage("c1", "shout", LOST_RESULT_TEXT, is_error=True)
    assert (await opened.session.start("and?").result()).text == "ok"


async def test_a_draft_left_by_a_killed_process_is_part_of_the_resumed_session(
    open_session, store: SqliteStore
) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("go")])
    await store.append_draft(record.id, "text", "half an ")
    await store.append_draft(record.id, "text", "answer")
    opened = await open_session([{"text": "ok"}], record=record)
    assert opened.session.messages[-1] == AssistantMessage("half an answer", finish_reason="interrupted")
    await opened.session.start("go on").result()
    texts = [item.message.text for item in await store.messages(record.id)]
    assert texts[1] == "half an answer"
    assert len(texts) == 4


async def test_undo_takes_back_the_last_exchange(open_session, store: SqliteStore) -> None:
    opened = await open_session(["one", "two"])
    await opened.session.start("first").result()
    await opened.session.start("second").result()
    assert await opened.session.undo() == "second"
    assert [message.text for message in opened.session.messages] == ["first", "one"]
    assert len(await store.messages(opened.session.id)) == 2


async def test_notes_stand_before_the_next_message_and_not_in_the_prompt(open_session) -> None:
    opened = await open_session(["ok", "ok"])
    await opened.session.start("hi").result()
    before = opened.session.system_prompt
    opened.session.add_note("A process ended.")
    await opened.session.start("next").result()
    assert opened.session.system_prompt == before
    assert opened.model.last_request.messages[-1].text.startswith("[hermes] A process ended.\nnext")


async def test_edits_that_failed_are_reported_at_the_end(open_session) -> None:
    @tool(name="patch", description="x")
    async def patch(path: str, *, context: ToolContext) -> ToolResult:
        raise ToolError("no match")

    opened = await open_session(
        [{"tool_calls": [call("patch", path="a.py")]}, {"text": "I changed a.py"}], tools=[patch]
    )
    events = await collect(opened.session.start("go"))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert any("a.py" in text for text in notices)


async def test_every_event_has_a_json_form(open_session) -> None:
    from hermes_agent.core.events import to_json

    opened = await open_session(
        [{"tool_calls": [call("shout", text="x")]}, {"text": "ok", "reasoning": "r"}], tools=[shout]
    )
    lines = [json.loads(json.dumps(to_json(event))) for event in await collect(opened.session.start("go"))]
    assert lines[0]["type"] == "run_started"
    assert lines[-1]["type"] == "run_finished"
    assert {"tool_call_started", "tool_call_finished", "text_delta"} <= {line["type"] for line in lines}
    assert ToolCallStarted.__name__


async def test_a_session_that_was_never_used_leaves_no_trace(open_session, store: SqliteStore) -> None:
    opened = await open_session(["unused"])
    await opened.session.aclose()
    assert await store.list() == []
