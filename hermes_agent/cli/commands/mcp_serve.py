"""`hermes mcp serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import click

from hermes_agent.app.container import App
from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.core.loading import load
from hermes_agent.mcp.server.ports import ServerPorts
from hermes_agent.mcp.server.token import TOKEN_VARIABLE, check_token
from hermes_agent.store.chats import SqliteChats
from hermes_agent.store.feed import SqliteFeed
from hermes_agent.store.store import SqliteStore


@click.command("serve")
@click.option("--http", "is_http", is_flag=True, help="Streamable HTTP instead of standard input and output.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen, with --http.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8650,
    show_default=True,
    help="Where to listen, with --http.",
)
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A further name it is reached by.")
@click.option(
    "--allow-origin", "origins", multiple=True, metavar="ORIGIN", help="A web page that may use it."
)
@click.option("--read-only", "is_read_only", is_flag=True, help="Leave out sending and permissions.")
def serve(
    is_http: bool, host: str, port: int, hosts: tuple[str, ...], origins: tuple[str, ...], is_read_only: bool
) -> None:
    """Offer the agent's conversations to other programs that speak MCP.

    \b
    Over HTTP clients must send a token, HERMES_MCP_SERVER_TOKEN of the .env file:
    hermes mcp serve --http --port 8650
    """
    app = App.load()
    if is_http:
        check_token(_token(app))
        asyncio.run(_serve_http(app, host, port, hosts, origins, is_read_only=is_read_only))
    else:
        asyncio.run(_serve_stdio(app, is_read_only=is_read_only))


async def _serve_stdio(app: App, *, is_read_only: bool) -> None:
    try:
        server = load("hermes_agent.mcp.server.application:build_server")
        await server(await _ports(app), is_read_only=is_read_only).run_stdio_async()
    finally:
        await app.aclose()


async def _serve_http(
    app: App, host: str, port: int, hosts: tuple[str, ...], origins: tuple[str, ...], *, is_read_only: bool
) -> None:
    try:
        server = load("hermes_agent.mcp.server.application:build_server")
        asgi = load("hermes_agent.mcp.server.http:build_app")(
            server(await _ports(app), is_read_only=is_read_only),
            token=_token(app),
            host=host,
            port=port,
            extra_hosts=hosts,
            extra_origins=origins,
        )
        uvicorn = load("uvicorn")
        config = uvicorn.Config(asgi, host=host, port=port, log_level="warning", ws="none")
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"Serving MCP at http://{shown}:{port}/mcp (Ctrl+C ends)", err=True)
        await uvicorn.Server(config).serve()
    finally:
        await app.aclose()


def _token(app: App) -> str:
    return app.environ.get(TOKEN_VARIABLE) or ""


async def _ports(app: App) -> ServerPorts:
    store = cast("SqliteStore", await app.store())

    async def ask(command: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(ask_gateway, app.home, command, timeout_seconds=20.0, **values)

    return ServerPorts(
        sessions=store,
        chats=SqliteChats(store),
        feed=SqliteFeed(store),
        ask_gateway=ask,
        redact=app.redactor.redact,
    )
