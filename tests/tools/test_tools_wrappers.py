from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.config.sections.tools import ToolOutputSettings
from hermes_agent.core.errors import ToolError
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.function import tool
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.wrappers import GuardedTool, preview, without_surrogates

SECRET = "hunter2-hunter2"


@tool(preview="text")
async def say(text: str, *, context: ToolContext) -> ToolResult:
    """Say it."""
    for piece in (text[:5], text[5:], "\n"):
        context.report(piece)
    if "fail" in text:
        raise ToolError(f"failed: {text}", why=text, remedy=text)
    return ToolResult(text, summary=text[:40])


def guarded(home: Path, **output: int) -> Tool:
    return GuardedTool(say, Redactor([SECRET]), ToolSetup(Home(home), output=ToolOutputSettings(**output)))


async def test_results_previews_errors_and_live_output_are_redacted(bench: Any) -> None:
    wrapped = guarded(bench.setup.home.root)
    result = await wrapped.run({"text": f"x {SECRET} y"}, bench.context)
    assert result.text == result.summary == "x [REDACTED] y"
    assert "".join(bench.reports) == "x [REDACTED] y\n"
    assert wrapped.preview({"text": SECRET}) == "[REDACTED]"
    with pytest.raises(ToolError) as caught:
        await wrapped.run({"text": f"fail {SECRET}"}, bench.context)
    assert SECRET not in "".join([*caught.value.lines, str(caught.value)])


async def test_a_long_result_goes_to_a_private_file(bench: Any) -> None:
    home = bench.setup.home.root
    text = "".join(f"line {n} {SECRET if n == 500 else ''}\n" for n in range(1000))
    result = await guarded(home, max_bytes=2000).run({"text": text}, bench.context)
    (path,) = (home / "cache/tool-outputs").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == text.replace(SECRET, "[REDACTED]")
    assert len(result.text) < 2500
    assert str(path) in result.text and "read_file" in result.text
    assert result.text.startswith("line 0 \nline 1 \n") and result.text.endswith("line 999 \n")


async def test_a_read_only_home_still_gives_the_preview(bench: Any) -> None:
    home = bench.folder / "file"
    home.write_text("in the way")
    result = await guarded(home, max_bytes=1000).run({"text": "é" * 5000}, bench.context)
    assert "could not be kept" in result.text and len(result.text.encode()) < 1400


async def test_lone_surrogates_do_not_survive(bench: Any) -> None:
    result = await guarded(bench.setup.home.root).run({"text": "a\ud83d\ude00b\udcffc\ud83d"}, bench.context)
    assert result.text == "a😀b\ufffdc\ufffd"
    assert without_surrogates("plain") == "plain"


def test_a_preview_is_never_longer_than_asked() -> None:
    for text in ("x" * 5000, "é\n" * 3000, "😀" * 2000, "\n" * 4000):
        head, tail = preview(text, 1000)
        assert len((head + tail).encode()) <= 1000
        assert text.startswith(head) and text.endswith(tail)
