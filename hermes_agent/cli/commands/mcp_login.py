"""`hermes mcp login` and `hermes mcp logout`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import webbrowser

import click

from hermes_agent.app.container import App
from hermes_agent.cli.options import Invocation
from hermes_agent.config.sections.mcp import McpServerSettings
from hermes_agent.core.errors import UsageError


@click.command("login")
@click.argument("name")
@click.option("--no-browser", is_flag=True, help="Only print the address; open it anywhere.")
@click.option("--timeout", type=click.FloatRange(min=1), metavar="SECONDS", help="How long to wait.")
@click.pass_context
def login(ctx: click.Context, name: str, no_browser: bool, timeout: float | None) -> None:
    """Sign in to a remote server.

    Open the printed address on any machine. If the browser then cannot reach this one, paste the address
    it ended up at. What was stored before is replaced only when the new sign-in has worked.
    """
    app = App.load()
    settings = _settings(app, name)
    if timeout is not None:
        settings = settings.model_copy(
            update={"oauth": settings.oauth.model_copy(update={"timeout": timeout})}
        )
    invocation: Invocation = ctx.obj
    asyncio.run(_login(app, name, settings, may_open=not no_browser and _has_display(invocation)))


async def _login(app: App, name: str, settings: McpServerSettings, *, may_open: bool) -> None:
    is_person = sys.stdin.isatty()

    def show(url: str, text: str) -> None:
        if not url:
            click.echo(text, err=True)
            return
        click.echo(f"Open this address to sign in to {name}:\n\n  {url}\n")
        click.echo(f"The browser comes back to {text}")
        click.echo("If it cannot, paste the address it ended up at here and press Enter.")
        if may_open:
            with contextlib.suppress(webbrowser.Error):
                webbrowser.open(url)

    try:
        token = await app.mcp.broker().login(
            name, settings, show=show if is_person else None, read_pasted=_read_line if is_person else None
        )
    finally:
        await app.aclose()
    until = f", until {time.strftime('%Y-%m-%d %H:%M', time.localtime(token.expires_at))}" * bool(
        token.expires_at
    )
    renews = "; it is renewed by itself" * bool(token.refresh_token)
    click.echo(f"Signed in to {name}{f' ({token.scope})' if token.scope else ''}{until}{renews}.")


async def _read_line() -> str:
    """The next line; the thread dies with the program if none ever comes."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def set_line(text: str) -> None:
        if not line.done():
            line.set_result(text)

    def read() -> None:
        text = sys.stdin.readline()
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(set_line, text)

    threading.Thread(target=read, daemon=True).start()
    return await line


def _has_display(invocation: Invocation) -> bool:
    """Whether a browser would appear before the person: not over SSH, not on a server."""
    environ = invocation.environ
    if environ.get("SSH_CONNECTION"):
        return False
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


@click.command("logout")
@click.argument("name")
def logout(name: str) -> None:
    """Sign out of a server: revoke the grant where that is possible, and delete what is stored."""
    app = App.load()
    settings = app.settings.mcp_servers.get(name) or McpServerSettings()
    found, problem = asyncio.run(_logout(app, name, settings))
    if problem:
        click.echo(f"The grant could not be revoked ({problem}); remove it in your account there.", err=True)
    click.echo(f"Signed out of {name}." if found else f"Nobody was signed in to {name}.")


async def _logout(app: App, name: str, settings: McpServerSettings) -> tuple[bool, str]:
    try:
        return await app.mcp.broker().logout(name, settings)
    finally:
        await app.aclose()


def _settings(app: App, name: str) -> McpServerSettings:
    settings = app.settings.mcp_servers.get(name)
    if settings is None:
        known = ", ".join(sorted(app.settings.mcp_servers)) or "none"
        raise UsageError(f"There is no MCP server {name!r}", remedy=f"Configured servers: {known}")
    if settings.auth != "oauth" and settings.url:
        raise UsageError(
            f"MCP server {name!r} is not set up to sign in",
            remedy=f"hermes config set mcp_servers.{name}.auth oauth",
        )
    return settings
