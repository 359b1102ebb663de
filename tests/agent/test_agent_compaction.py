"""Compaction: shorter or exactly as it was, and facts survive."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_agent.agent.compaction import (
    COOL_DOWN_SECONDS,
    SUMMARY_PREFIX,
    CompactionFailed,
    Compactor,
    is_invented,
)
from hermes_agent.agent.tokens import estimate
from hermes_agent.config.sections.compression import CompressionSettings
from hermes_agent.core.errors import ContextOverflowError
from hermes_agent.core.events import CompactionFinished, CompactionStarted, Notice
from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.model import ModelEvent, ModelInfo, ModelReply, ModelRequest, TextChunk, Usage
from hermes_agent.models.scripted.model import ScriptedModel
from hermes_agent.store import SqliteStore

FACT = re.compile(r"FACT \d+: \w+")
WINDOW = 8_000


class Honest:
    """A model with a small window: refuses what does not fit, keeps facts in summaries, answers by heart."""

    def __init__(self, window: int = WINDOW) -> None:
        self.info = ModelInfo("test", "honest", "test", context_window=window)
        self.largest = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        size = estimate(request.messages) + len(request.system) // 4
        self.largest = max(self.largest, size)
        assert size <= self.info.context_window, "the request does not fit the window"
        seen = "\n".join(getattr(message, "text", "") for message in request.messages)
        facts = list(dict.fromkeys(FACT.findall(seen)))
        last = request.messages[-1]
        if "You condense" in request.system:
            text = "## Facts\n" + "\n".join(facts)
        elif isinstance(last, UserMessage) and last.text.endswith("Which facts?"):
            text = "; ".join(facts)
        else:
            text = "Noted. " + "I keep that in mind while we go on. " * 3
        yield TextChunk(text)
        yield ModelReply(
            AssistantMessage(text), Usage(input_tokens=size, output_tokens=40, requests=1), self.info
        )

    async def aclose(self) -> None:
        pass


def conversation(turns: int, *, size: int = 400) -> list[Message]:
    messages: list[Message] = []
    for number in range(turns):
        call = ToolCall(f"c{number}", "read_file", "{}")
        messages += [
            UserMessage.of(f"question {number}"),
            AssistantMessage(tool_calls=(call,), finish_reason="tool_calls"),
            ToolMessage(call.id, call.name, f"result {number} " + "x" * size),
            AssistantMessage(f"answer {number} " + "y" * 100),
        ]
    return messages


def is_valid(messages: Sequence[Message]) -> bool:
    """Every result follows its call, every call has its result."""
    open_calls: set[str] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in open_calls:
                return False
            open_calls.discard(message.tool_call_id)
        else:
            if open_calls:
                return False
            if isinstance(message, AssistantMessage):
                open_calls = {call.id for call in message.tool_calls}
    return not open_calls


async def test_two_thousand_turns_in_an_8k_window_keep_their_facts(open_session, store: SqliteStore) -> None:
    model = Honest()
    compactor = Compactor(CompressionSettings(), lambda: model)
    opened = await open_session(["unused"], model=model, compactor=compactor)
    session = opened.session
    first_id = session.id
    planted = [f"FACT {number}: value{number}" for number in range(10)]
    for number in range(2000):
        fact = planted[number // 200] if number % 200 == 77 else ""
        finished = await session.start(f"Turn {number}. {fact} Please go on with the work.").result()
        assert finished.outcome == "completed", finished.error
    answer = (await session.start("Which facts?").result()).text
    assert all(fact in answer for fact in planted)
    assert model.largest <= WINDOW
    assert session.id != first_id
    parent = await store.get(first_id)
    assert parent.end_reason == "compressed"
    assert len(await store.messages(first_id)) > 20


async def test_the_child_continues_under_the_next_title_and_the_parent_is_untouched(
    open_session, store: SqliteStore
) -> None:
    record = await store.create(source="cli", title="work")
    await store.append(record.id, conversation(40))
    before = [item.message for item in await store.messages(record.id)]
    model = Honest(100_000)
    opened = await open_session(
        ["unused"], record=record, compactor=Compactor(CompressionSettings(), lambda: model)
    )
    result = await opened.session.compact(force=True)
    assert result.has_summary
    assert result.tokens_after < result.tokens_before
    assert opened.session.record.parent_session_id == record.id
    assert opened.session.record.title == "work #2"
    assert [item.message for item in await store.messages(record.id)] == before
    stored = [item.message for item in await store.messages(opened.session.id)]
    assert stored == list(opened.session.messages)
    assert stored[-20:] == before[-20:]
    assert is_valid(stored)
    assert "COMPACTION" not in (await store.get(opened.session.id)).preview


async def test_old_results_are_reduced_before_anything_is_summarised() -> None:
    def no_model() -> ScriptedModel:
        raise AssertionError("no summary is needed")

    messages = conversation(30, size=8_000)
    compactor = Compactor(CompressionSettings(), no_model)
    shorter = await compactor.compact(messages, fixed_tokens=1_000, window=128_000)
    assert not shorter.has_summary
    assert len(shorter.messages) == len(messages)
    assert shorter.tokens_after < shorter.tokens_before
    assert shorter.messages[-20:] == tuple(messages[-20:])


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"text": ""}, "no summary"),
        ({"text": "z" * 200_000}, "too long"),
        ({"text": "half", "finish_reason": "length"}, "cut off"),
        ({"error": 500}, "failed"),
        ({"text": "a", "cut": 1}, "failed"),
        ({"tool_calls": [{"name": "terminal", "arguments": {"command": "rm -rf /"}}]}, "no summary"),
        (
            {
                "text": "The user asked to pay invoice 4711 of 2031-04-05 to ada@bank.example, stored in "
                "/srv/invoices/4711.pdf, by 14:30, with code 998877, as before on 2031-03-05."
            },
            "never said",
        ),
    ],
)
async def test_a_bad_summary_changes_nothing_and_says_why(
    open_session, store: SqliteStore, step: dict, expected: str
) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, conversation(40))
    compactor = Compactor(CompressionSettings(), lambda: ScriptedModel([{**step, "times": "forever"}]))
    opened = await open_session(["still here"], record=record, compactor=compactor)
    before = list(opened.session.messages)
    with pytest.raises(CompactionFailed, match=expected):
        await opened.session.compact(force=True)
    assert list(opened.session.messages) == before
    assert opened.session.id == record.id
    assert (await opened.session.start("go on").result()).text == "still here"


async def test_if_wanted_the_middle_goes_without_a_summary_and_everybody_is_told(
    open_session, store: SqliteStore
) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, conversation(60))
    compactor = Compactor(
        CompressionSettings(abort_on_summary_failure=False), lambda: ScriptedModel([{"error": 500}] * 9)
    )
    opened = await open_session(["still here"], model=Honest(), record=record, compactor=compactor)
    events = [event async for event in opened.session.start("go on")]
    assert any(isinstance(event, Notice) and "left out without a summary" in event.text for event in events)
    assert events[-1].outcome == "completed"
    note = next(message for message in opened.session.messages if message.text.startswith(SUMMARY_PREFIX))
    assert "was left out here" in note.text
    assert is_valid(opened.session.messages)


async def test_a_chat_of_too_many_messages_is_summarised_whatever_its_size(
    open_session, store: SqliteStore
) -> None:
    model = Honest(1_000_000)
    compactor = Compactor(CompressionSettings(), lambda: model, max_messages=50)
    opened = await open_session(["unused"], model=model, compactor=compactor)
    for number in range(40):
        assert (await opened.session.start(f"Turn {number}").result()).outcome == "completed"
    assert len(opened.session.messages) < 50
    assert any(message.text.startswith(SUMMARY_PREFIX) for message in opened.session.messages)


async def test_a_summariser_with_a_smaller_window_than_known_gets_smaller_pieces() -> None:
    class Small(Honest):
        def __init__(self) -> None:
            super().__init__(100_000)
            self.sizes: list[int] = []

        async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
            self.sizes.append(estimate(request.messages))
            if self.sizes[-1] > 9_000:
                raise ContextOverflowError("too long for this model")
            async for event in super().stream(request):
                yield event

    model = Small()
    compactor = Compactor(CompressionSettings(), lambda: model)
    shorter = await compactor.compact(conversation(150), fixed_tokens=0, window=100_000, force=True)
    assert shorter.has_summary
    assert model.sizes[0] > 9_000 and model.sizes[-1] <= 9_000


async def test_what_summaries_use_is_counted(open_session, store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, conversation(60))
    summariser = Honest(100_000)
    opened = await open_session(
        ["done"], record=record, compactor=Compactor(CompressionSettings(), lambda: summariser)
    )
    before = opened.session.usage.input_tokens
    await opened.session.compact(force=True)
    used = opened.session.usage.input_tokens - before
    assert used >= summariser.largest > 0
    assert opened.session.budget.used.input_tokens == used
    assert (await store.get(opened.session.id)).usage.input_tokens == used
    failing = Compactor(CompressionSettings(), lambda: ScriptedModel([{"text": "z" * 200_000}]))
    opened.session._parts.compactor = failing
    with pytest.raises(CompactionFailed) as caught:
        await opened.session.compact(force=True)
    assert caught.value.spent


def test_a_summary_that_repeats_what_was_said_is_no_invention() -> None:
    source = (
        "On 2026-11-21 Ada deployed /srv/app to 10.0.0.5:8080, invoice 4711 over 1,200 EUR, ada@example.org"
    )
    assert not is_invented(source.replace("1,200", "1200"), [source])
    assert not is_invented("Nothing with any figure in it.", [source])
    assert is_invented("1111 2222 3333 4444 5555 6666 7777", [source])


async def test_after_a_failure_it_rests_and_force_does_not_wait() -> None:
    now = 0.0
    compactor = Compactor(
        CompressionSettings(), lambda: ScriptedModel([{"text": ""}, "short"]), clock=lambda: now
    )
    assert compactor.is_due(60_000, 100_000)
    assert not compactor.is_due(40_000, 100_000)
    with pytest.raises(CompactionFailed):
        await compactor.compact(conversation(40), fixed_tokens=0, window=8_000)
    assert not compactor.is_due(60_000, 100_000)
    now = COOL_DOWN_SECONDS + 1
    assert compactor.is_due(60_000, 100_000)
    with pytest.raises(CompactionFailed, match="nothing old enough"):
        await compactor.compact(conversation(1), fixed_tokens=0, window=8_000, force=True)
    assert compactor.is_due(60_000, 100_000)


async def test_the_user_sees_that_it_runs_and_how_it_ended(open_session, store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, conversation(60))
    model = Honest()
    opened = await open_session(
        ["unused"], record=record, model=model, compactor=Compactor(CompressionSettings(), lambda: model)
    )
    events = [event async for event in opened.session.start("go on")]
    started = next(event for event in events if isinstance(event, CompactionStarted))
    finished = next(event for event in events if isinstance(event, CompactionFinished))
    assert finished.error is None
    assert finished.tokens < started.tokens
    assert events[-1].outcome == "completed"


async def test_an_overflow_reported_by_the_provider_is_answered_by_compacting_once(
    open_session, store: SqliteStore
) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, conversation(40))
    overflow = {
        "status": 400,
        "message": "maximum context length exceeded",
        "code": "context_length_exceeded",
    }
    summary = Honest(100_000)
    opened = await open_session(
        [{"error": overflow}, "it fits now"],
        record=record,
        compactor=Compactor(CompressionSettings(), lambda: summary),
    )
    finished = await opened.session.start("go on").result()
    assert finished.text == "it fits now"
    assert any(message.text.startswith(SUMMARY_PREFIX) for message in opened.session.messages)


MESSAGES = st.lists(
    st.sampled_from(["user", "answer", "call", "calls"]).flatmap(
        lambda kind: st.tuples(st.just(kind), st.integers(0, 3_000))
    ),
    max_size=60,
)


def build(kinds: list[tuple[str, int]]) -> list[Message]:
    messages: list[Message] = []
    for number, (kind, size) in enumerate(kinds):
        if kind == "user":
            messages.append(UserMessage.of(f"u{number} " + "u" * size))
        elif kind == "answer":
            messages.append(AssistantMessage(f"a{number} " + "a" * size))
        else:
            calls = tuple(
                ToolCall(f"c{number}_{index}", "t", "{}") for index in range(1 if kind == "call" else 3)
            )
            messages.append(AssistantMessage(tool_calls=calls, finish_reason="tool_calls"))
            messages += [ToolMessage(call.id, "t", "r" * size) for call in calls]
    return messages


@given(
    kinds=MESSAGES,
    first=st.integers(0, 5),
    last=st.integers(0, 30),
    window=st.sampled_from([2_000, 8_000, 128_000]),
)
@settings(max_examples=150, deadline=None)
async def test_any_history_stays_valid_and_keeps_its_task(
    kinds: list[tuple[str, int]], first: int, last: int, window: int
) -> None:
    messages = build(kinds)
    assert is_valid(messages)
    model = ScriptedModel([{"text": "## Facts\nshort", "times": "forever"}])
    compactor = Compactor(CompressionSettings(protect_first_n=first, protect_last_n=last), lambda: model)
    before = list(messages)
    try:
        shorter = await compactor.compact(messages, fixed_tokens=500, window=window, force=True)
    except CompactionFailed:
        assert messages == before
        return
    assert messages == before
    assert is_valid(shorter.messages)
    assert shorter.tokens_after < shorter.tokens_before
    tasks = [message for message in messages if isinstance(message, UserMessage)]
    if tasks:
        assert tasks[-1] in shorter.messages
