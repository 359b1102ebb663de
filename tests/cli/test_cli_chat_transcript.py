"""The transcript against event sequences, on a recorded surface."""

from __future__ import annotations

import json
import re

import pytest

from hermes_agent.cli.chat.painter import Painter, clean, clip
from hermes_agent.cli.chat.transcript import Transcript, View
from hermes_agent.core.events import (
    ApprovalResolved,
    Notice,
    ReasoningDelta,
    RunEvent,
    RunFinished,
    RunStarted,
    TextDelta,
    ToolCallFinished,
    ToolCallProgress,
    ToolCallStarted,
    TurnRestarted,
    TurnStarted,
)
from hermes_agent.core.model import ModelInfo, Usage

INFO = ModelInfo("demo", "demo", "demo")
START = (RunStarted("run_1", "s", INFO), TurnStarted(1))
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Recording:
    """A surface that keeps what it is given."""

    def __init__(self, width: int = 80, rows: int = 20) -> None:
        self.width = width
        self.live_rows = rows
        self.committed = ""
        self.live = ""
        self.overlap: list[str] = []

    def commit(self, text: str) -> None:
        assert text.endswith("\n")
        self.committed += text
        self.overlap += [line for line in text.split("\n") if line.strip() and line in self.live.split("\n")]

    def set_live(self, text: str) -> None:
        self.live = text

    @property
    def text(self) -> str:
        return ANSI.sub("", self.committed)

    @property
    def live_text(self) -> str:
        return ANSI.sub("", self.live)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def finished(text: str = "", **fields: object) -> RunFinished:
    values = {"outcome": "completed", "text": text, "usage": Usage(), "turns": 1, "duration_seconds": 1.0}
    return RunFinished(**{**values, **fields})  # type: ignore[arg-type]


def play(
    *events: RunEvent, width: int = 80, rows: int = 20, view: View | None = None, color: bool = True
) -> tuple[Recording, Transcript, Clock]:
    surface, clock = Recording(width, rows), Clock()
    transcript = Transcript(surface, Painter(color=color), view or View(shows_footer=False), clock)
    for event in events:
        transcript.handle(event)
        transcript.refresh()
    return surface, transcript, clock


def test_final_blocks_are_printed_once_and_the_open_one_is_only_live() -> None:
    surface, transcript, _ = play(*START, TextDelta("First.\n\nSec"), TextDelta("ond"))
    assert surface.text == "First.\n"
    assert surface.live_text == "\nSecond"
    transcript.handle(finished())
    assert surface.text == "First.\n\nSecond\n"
    assert surface.live == ""


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = (
        "word " * 60
        + "\n\n- "
        + "item " * 30
        + "\n\n```\n"
        + "x" * 300
        + "\n```\n\n| a | b |\n|-|-|\n|"
        + "c " * 80
        + "| d |\n"
    )
    surface, _, _ = play(
        *START,
        TextDelta(long),
        ToolCallStarted("1", "terminal", "p" * 300, "{}", "💻"),
        ToolCallProgress("1", "y" * 500),
        ToolCallFinished("1", "terminal", "z" * 500 + "\nq\n", "s" * 200, False, 1.0),
        finished(),
        width=width,
    )
    from rich.cells import cell_len

    assert max(cell_len(line) for line in surface.text.split("\n")) <= width


def test_an_answer_longer_than_the_screen_goes_into_the_scrollback_while_it_is_written() -> None:
    code = "\n".join(f"print({number})" for number in range(200))
    surface, transcript, _ = play(*START, TextDelta("```python\n" + code), rows=10)
    assert "print(150)" in surface.text
    assert surface.live.count("\n") <= 11
    assert not surface.overlap, "what becomes final must have left the live region, or the screen jumps"
    transcript.handle(finished())
    assert [int(n) for n in re.findall(r"print\((\d+)\)", surface.text)] == list(range(200))


def test_a_restart_voids_what_was_live_and_says_so_for_what_was_printed() -> None:
    surface, transcript, _ = play(
        *START, TextDelta("Old one.\n\nOld two"), TurnRestarted("The stream was cut", 2.0)
    )
    assert "does not\n  count" in surface.text
    assert "2.0s" in surface.text
    transcript.handle(TextDelta("New."))
    transcript.handle(finished())
    assert "Old two" not in surface.text
    assert surface.text.endswith("New.\n")


def test_a_restart_before_any_text_mentions_no_text() -> None:
    surface, _, _ = play(*START, TurnRestarted("Busy (429)", 0.0))
    assert "does not count" not in surface.text
    assert "Busy (429)" in surface.text


def test_a_running_tool_shows_its_last_lines_and_time() -> None:
    surface, transcript, clock = play(
        *START,
        ToolCallStarted("1", "terminal", "make", "{}", "💻"),
        ToolCallProgress("1", "".join(f"step {number}\n" for number in range(20)) + "par"),
        ToolCallProgress("1", "tial"),
    )
    clock.now += 12
    transcript.refresh()
    assert "terminal make" in surface.live_text
    assert "12s" in surface.live_text
    assert "partial" in surface.live_text
    assert "step 19" in surface.live_text
    assert "step 3\n" not in surface.live_text


def test_parallel_tools_are_live_side_by_side_and_finish_in_any_order() -> None:
    surface, transcript, _ = play(
        *START,
        ToolCallStarted("1", "read_file", "a", "{}", "📖"),
        ToolCallStarted("2", "read_file", "b", "{}", "📖"),
    )
    assert surface.live_text.count("read_file") == 2
    transcript.handle(ToolCallFinished("2", "read_file", "…", "2 lines", False, 0.1))
    transcript.refresh()
    assert "read_file b · 2 lines" in surface.text
    assert surface.live_text.count("read_file") == 1


def test_a_failed_tool_shows_why() -> None:
    surface, _, _ = play(
        *START,
        ToolCallStarted("1", "read_file", "x.py", "{}"),
        ToolCallFinished("1", "read_file", "Error: x.py does not exist", "", True, 0.0),
    )
    assert "✗" in surface.text
    assert "x.py does not exist" in surface.text


def test_a_patch_is_shown_as_a_coloured_diff() -> None:
    arguments = json.dumps({"mode": "replace", "old_string": "a\nb", "new_string": "a\nc"})
    surface, _, _ = play(
        *START,
        ToolCallStarted("1", "patch", "x.py", arguments),
        ToolCallFinished("1", "patch", "ok", "1 replacement", False, 0.0),
    )
    assert "-b" in surface.text
    assert "+c" in surface.text
    assert "\x1b[32m+c" in surface.committed


@pytest.mark.parametrize(("verbosity", "shown"), [("off", 0), ("new", 1), ("all", 3), ("verbose", 3)])
def test_verbosity_decides_which_calls_are_shown(verbosity: str, shown: int) -> None:
    events: list[RunEvent] = [*START]
    for number in range(3):
        events.append(ToolCallStarted(str(number), "read_file", f"f{number}", "{}"))
        events.append(ToolCallFinished(str(number), "read_file", "text", "", False, 0.0))
    surface, _, _ = play(*events, view=View(verbosity=verbosity, shows_footer=False))  # type: ignore[arg-type]
    assert surface.text.count("read_file") == shown


def test_reasoning_is_shown_or_summed_up() -> None:
    hidden, transcript, clock = play(*START, ReasoningDelta("secret thought"))
    clock.now += 4
    transcript.handle(TextDelta("Answer"))
    transcript.handle(finished())
    assert "secret thought" not in hidden.text
    assert "Thought for 4.0s" in hidden.text
    shown, transcript, _ = play(*START, ReasoningDelta("open thought"), view=View(shows_reasoning=True))
    assert "open thought" in shown.live_text
    transcript.handle(TextDelta("Answer"))
    assert "open thought" in shown.text


def test_each_outcome_is_told() -> None:
    for outcome, words in (
        ("interrupted", "Interrupted"),
        ("budget_exhausted", "turn limit"),
        ("truncated", "output limit"),
    ):
        surface, _, _ = play(*START, finished(outcome=outcome))
        assert words in surface.text
    surface, _, _ = play(*START, finished(outcome="failed", error=("What", "Why", "Next")))
    assert surface.text == "✗ What\n  Why\n  Next\n"


def test_decisions_and_notices_are_told() -> None:
    surface, _, _ = play(*START, ApprovalResolved("1", "deny", "time-out"), Notice("Careful", "warning"))
    assert "Not allowed (time-out)" in surface.text
    assert "! Careful" in surface.text


def test_nothing_from_outside_can_move_the_cursor() -> None:
    evil = "\x1b[2J\x1b]0;title\x07\x1b[31mred\rover\x08\x00\x9b5A"
    surface, _, _ = play(
        *START,
        TextDelta(evil),
        ToolCallStarted("1", "terminal", evil, evil, "💻"),
        ToolCallProgress("1", evil),
        ToolCallFinished("1", "terminal", evil, evil, False, 0.1),
        Notice(evil),
        finished(),
    )
    shown = surface.committed + surface.live
    assert set(re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown)) <= {"\x1b"}
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown).count("\x1b") == 0


def test_raw_html_and_generics_in_an_answer_are_not_swallowed() -> None:
    surface, _, _ = play(
        *START, TextDelta("Use Vec<String> and <b>bold</b>.\n\n<div>\nblock\n</div>\n"), finished()
    )
    assert "Vec<String>" in surface.text
    assert "<b>bold</b>" in surface.text
    assert "<div>" in surface.text


def test_without_colour_only_attributes_remain() -> None:
    surface, _, _ = play(
        *START, TextDelta("# T\n\n`code` and\n\n```python\nx = 1\n```\n"), finished(), color=False
    )
    codes = {
        code for group in re.findall(r"\x1b\[([0-9;]*)m", surface.committed) for code in group.split(";")
    }
    assert codes <= {"", "0", "1", "2", "3", "4", "7", "9", "39", "49"}


def test_the_live_region_never_grows_beyond_its_rows() -> None:
    surface, _, _ = play(*START, TextDelta("word " * 3000), rows=6, width=40)
    assert surface.live.count("\n") <= 7


def test_cleaning_keeps_the_last_version_of_a_progress_line() -> None:
    assert clean("10%\r50%\r100%\ndone") == "100%\ndone"
    assert clean("a\r\nb") == "a\nb"
    assert clip("日本語のとても長い文字列", 10) == "日本語の…"
    assert clip("x" * 5, 0) == "…" or clip("x" * 5, 0) == ""
