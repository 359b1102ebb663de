"""When snapshots are taken, and `/rollback` in a conversation."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.checkpoints import Checkpoints, rollback
from hermes_agent.agent.session import Session
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.agent import ApprovalSettings
from hermes_agent.core.errors import CheckpointError, UsageError
from hermes_agent.core.events import Notice
from hermes_agent.core.redaction import Redactor
from hermes_agent.environments.checkpoints import GitCheckpoints
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.toolsets import build_tool


def call(name: str, **arguments: object) -> dict[str, object]:
    return {"name": name, "arguments": arguments}


async def opened(open_session: Any, tmp_path: Path, script: object) -> tuple[Session, GitCheckpoints, str]:
    setup = ToolSetup(Home(tmp_path / "home"))
    tools = [build_tool(name, setup, Redactor()) for name in ("write_file", "terminal")]
    gate = ApprovalGate(ApprovalSettings(mode="off"))
    session: Session = (await open_session(script, tools=tools, gate=gate)).session
    store = GitCheckpoints(tmp_path / "home" / "checkpoints")
    session.use_checkpoints(Checkpoints(store))
    return session, store, session.scope.environment.cwd


async def test_a_turn_makes_one_snapshot_and_rollback_brings_the_files_back(
    open_session: Any, tmp_path: Path
) -> None:
    session, store, cwd = await opened(
        open_session,
        tmp_path,
        [
            {
                "tool_calls": [
                    call("write_file", path="a.txt", content="1"),
                    call("write_file", path="b.txt", content="1"),
                ]
            },
            {"tool_calls": [call("terminal", command="rm -r a.txt"), call("terminal", command="ls")]},
            "done",
            "again",
        ],
    )
    await session.start("go").result()
    listed = await store.snapshots(cwd)
    assert [item.reason.partition(":")[0] for item in listed] == ["before terminal", "before write_file"]
    assert "before terminal: rm -r a.txt" in await rollback(session, "")
    assert not Path(cwd, "a.txt").exists()
    assert "deleted file" in await rollback(session, "diff 1")
    assert "restored a.txt" in await rollback(session, "1")
    assert Path(cwd, "a.txt").read_text() == "1"
    await session.start("what now?").result()
    assert "back to an earlier state" in str(session.messages[-2])
    for wrong in ("9", "x", "diff x", "1 nothing.txt"):
        with pytest.raises((UsageError, CheckpointError)):
            await rollback(session, wrong)


async def test_a_snapshot_that_takes_long_is_announced(open_session: Any, tmp_path: Path) -> None:
    session, _, cwd = await opened(
        open_session, tmp_path, [{"tool_calls": [call("write_file", path="a.txt", content="1")]}, "done"]
    )
    lock = tmp_path / "home" / "checkpoints" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # another process is at it
        run = session.start("go")
        async for event in run:
            if isinstance(event, Notice):
                assert event.text == f"Taking a snapshot of {cwd} for /rollback …"
                break
        fcntl.flock(other, fcntl.LOCK_UN)
    assert (await run.result()).outcome == "completed"


async def test_a_snapshot_that_fails_is_told_once_and_stops_nothing(
    open_session: Any, tmp_path: Path
) -> None:
    session, _, cwd = await opened(
        open_session,
        tmp_path,
        [
            {"tool_calls": [call("write_file", path="a.txt", content="1")]},
            {"tool_calls": [call("write_file", path="b.txt", content="1")]},
            "done",
        ],
    )
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home" / "checkpoints").write_text("in the way")
    events = [event async for event in session.start("go")]
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1 and "No snapshot" in notices[0]
    assert Path(cwd, "b.txt").read_text() == "1"


async def test_without_snapshots_rollback_says_how_to_switch_them_on(open_session: Any) -> None:
    session: Session = (await open_session(["x"])).session
    with pytest.raises(UsageError, match="off"):
        await rollback(session, "")
