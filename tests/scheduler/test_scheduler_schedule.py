"""What people write as a schedule, and when it is due."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.errors import UsageError
from hermes_agent.scheduler.schedule import Schedule, parse_schedule

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "kind", "first"),
    [
        ("30m", "once", NOW + 1800),
        ("2h", "once", NOW + 7200),
        ("1d", "once", NOW + 86_400),
        ("every 2h", "interval", NOW + 7200),
        ("every hour", "interval", NOW + 3600),
        ("every 15 minutes", "interval", NOW + 900),
    ],
)
def test_spans_are_understood(text: str, kind: str, first: float) -> None:
    schedule = parse_schedule(text, now=NOW)
    assert schedule.kind == kind
    assert schedule.next_after(NOW, anchor=NOW) == first


def test_a_cron_expression_follows_local_time() -> None:
    due = parse_schedule("30 9 * * *", now=NOW).next_after(NOW, anchor=NOW)
    assert due is not None
    assert time.localtime(due)[3:5] == (9, 30)
    assert NOW < due <= NOW + 86_400 + 3600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "every",
        "every 0m",
        "0m",
        "* * * *",
        "99 * * * *",
        "0 0 30 2 *",
        "2001-01-01",
        "@never",
        "-5m",
    ],
)
def test_nonsense_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError):
        parse_schedule(text, now=NOW)


@given(
    minutes=st.integers(1, 100_000),
    anchor=st.floats(0, NOW),
    moment=st.floats(NOW, NOW + 10_000_000),
)
def test_an_interval_is_always_ahead_and_never_by_more_than_its_period(
    minutes: int, anchor: float, moment: float
) -> None:
    due = Schedule("interval", "", minutes=minutes).next_after(moment, anchor=anchor)
    assert due is not None
    assert moment < due <= moment + minutes * 60 + 0.01


@given(text=st.text(max_size=20))
def test_any_text_is_a_schedule_or_a_clear_refusal(text: str) -> None:
    try:
        schedule = parse_schedule(text, now=NOW)
    except UsageError:
        return
    assert Schedule.from_json(schedule.to_json()).kind == schedule.kind
