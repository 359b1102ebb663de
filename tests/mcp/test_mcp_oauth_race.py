"""Gateway, command line and a scheduler renew one rotating token at the same time, as processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from oauth_stage import Stage, staged

RENEWER = Path(__file__).parent / "oauth_renewer.py"


async def start(stage: Stage, kind: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(RENEWER),
        str(stage.directory),
        stage.resource.url,
        kind,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_three_processes_renew_one_token_five_hundred_times_and_keep_the_grant(tmp_path: Path) -> None:
    async with staged(tmp_path / "mcp-tokens") as stage:
        first = await stage.login()
        authority = stage.authority
        authority.enough = 500
        started = [await start(stage, kind) for kind in ("gateway", "cli", "cron")]

        async with asyncio.timeout(90):
            await authority.reached.wait()
            (stage.directory / "stop").touch()
            said = [json.loads((await process.communicate())[0]) for process in started]

        assert all(each["renewed"] >= 20 for each in said)
        assert authority.reuses == 0
        assert authority.ended == set()
        assert {token.grant for token in authority.tokens.values()} == {
            authority.tokens[first.access_token].grant
        }
        assert authority.calls["authorization_code"] == 1
        assert authority.calls["refresh_token"] >= 500
        assert (await stage.call(stage.broker())).status_code == 200
        assert list(stage.directory.glob("*.tmp")) == []


async def test_killed_processes_leave_a_readable_token_and_no_lock(tmp_path: Path) -> None:
    async with staged(tmp_path / "mcp-tokens") as stage:
        await stage.login()
        # The old refresh token stays good here: what dies between the answer and the disk is lost to
        # anybody, and is not what is tested.
        stage.authority.rotates = False
        for _ in range(5):
            process = await start(stage, "cli")
            stage.authority.asked.clear()
            async with asyncio.timeout(60):
                await stage.authority.asked.wait()
            process.send_signal(signal.SIGKILL)
            await process.communicate()
            assert stage.files.load_token() is not None
        assert (await stage.call(stage.broker())).status_code == 200
