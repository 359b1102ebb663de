"""`hermes mcp login` and `logout`, as a person uses them."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from oauth_stage import Stage, browse, staged

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from command_line import CommandLine

from hermes_agent.app.container import App
from hermes_agent.app.mcp_command import mcp_command
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import UsageError
from hermes_agent.mcp.oauth.errors import OAuthFlowError


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path / "home" / "mcp-tokens") as made:
        yield made


@pytest.fixture
def hermes(tmp_path: Path, stage: Stage) -> CommandLine:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / "config.yaml").write_text(
        f"mcp_servers:\n  notes:\n    url: {stage.resource.url}\n    auth: oauth\n"
    )
    return CommandLine(home)


async def test_login_prints_the_address_and_takes_the_pasted_one(stage: Stage, hermes: CommandLine) -> None:
    terminal = hermes.spawn("mcp", "login", "notes", "--no-browser")
    terminal.setwinsize(30, 1000)
    await asyncio.to_thread(terminal.expect, "browser comes back")
    url = re.search(r"(http://\S+/authorize\?\S+)", terminal.before)[1]
    address = (await browse(url, back=False)).headers["location"]
    terminal.sendline("what?")
    await asyncio.to_thread(terminal.expect, "not the address")
    terminal.sendline(address)
    await asyncio.to_thread(terminal.expect, "Signed in to notes")
    await asyncio.to_thread(terminal.wait)
    assert terminal.exitstatus == 0
    assert stage.authority.is_good(stage.files.load_token().access_token)

    listed = await asyncio.to_thread(hermes.run, "mcp", "list", "--json")
    assert json.loads(listed.stdout)[0]["auth_state"] == "authorized"
    out = await asyncio.to_thread(hermes.run, "mcp", "logout", "notes")
    assert out.stdout == "Signed out of notes.\n"
    assert stage.files.load_token() is None
    listed = await asyncio.to_thread(hermes.run, "mcp", "list")
    assert "needs_reauth" in listed.stdout
    assert "hermes mcp login notes" in listed.stdout


async def test_the_browser_ends_the_command_by_coming_back(stage: Stage, hermes: CommandLine) -> None:
    terminal = hermes.spawn("mcp", "login", "notes", "--no-browser")
    terminal.setwinsize(30, 1000)
    await asyncio.to_thread(terminal.expect, "browser comes back")
    url = re.search(r"(http://\S+/authorize\?\S+)", terminal.before)[1]
    page = await browse(url)
    assert "signed in to notes" in page.text
    await asyncio.to_thread(terminal.expect, "Signed in to notes")
    await asyncio.to_thread(terminal.wait)
    assert terminal.exitstatus == 0


async def test_without_a_terminal_the_command_says_so_at_once(stage: Stage, hermes: CommandLine) -> None:
    result = await asyncio.to_thread(hermes.run, "mcp", "login", "notes")
    assert result.returncode != 0
    assert "needs a person" in result.stderr
    assert "Traceback" not in result.stderr


async def test_unknown_names_and_programs_are_explained(hermes: CommandLine) -> None:
    result = await asyncio.to_thread(hermes.run, "mcp", "login", "nope")
    assert "There is no MCP server 'nope'" in result.stderr
    result = await asyncio.to_thread(hermes.run, "mcp", "logout", "../../etc/passwd")
    assert result.stdout == "Nobody was signed in to ../../etc/passwd.\n"


async def test_signing_in_from_any_chat(stage: Stage, hermes: CommandLine) -> None:
    app = App.load(home=Home(hermes.home))
    try:
        assert "nobody has signed in yet: /mcp login notes" in await mcp_command(app, "")
        shown = await mcp_command(app, "login notes")
        url = next(line for line in shown.splitlines() if line.startswith("http"))
        address = (await browse(url, back=False)).headers["location"]
        with pytest.raises(OAuthFlowError):
            await mcp_command(app, "login notes https://example.com/?code=1&state=2")
        assert "signed in to notes" in await mcp_command(app, f"login notes {address}")
        assert "login notes" not in await mcp_command(app, "")
        token = stage.files.load_token()
        assert token is not None
        assert stage.authority.is_good(token.access_token)
        assert token.access_token not in app.redactor.redact(f"it is {token.access_token}")
        for nonsense in ("login", "login nope", "logout notes", "what is this"):
            with pytest.raises(UsageError):
                await mcp_command(app, nonsense)
        with pytest.raises(UsageError):
            await mcp_command(app, f"login notes {address}")
    finally:
        await app.aclose()
