"""`hermes send`: a message to a chat, through the gateway's outbox."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.app.daemon.identity import running_pid
from hermes_agent.core.errors import UsageError
from hermes_agent.core.loading import load
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import ChatAddress


@click.command("send")
@click.argument("target")
@click.argument("text", required=False)
@click.option("--key", help="Names the message: sent once, however often the command is repeated with it.")
@click.option("--wait", "wait_seconds", type=float, default=10, show_default=True, help="Seconds to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of it as JSON.")
@click.pass_context
def command(
    ctx: click.Context, target: str, text: str | None, key: str | None, wait_seconds: float, as_json: bool
) -> None:
    """Send TEXT (or standard input) to TARGET: PLATFORM, PLATFORM:CHAT or PLATFORM:CHAT:THREAD.

    PLATFORM alone is its home channel. If no gateway runs, the message is kept and sent when one does.
    Exit code 1 if it was not sent within the time.
    """
    body = text if text not in (None, "-") else sys.stdin.read()
    if not (body or "").strip():
        raise UsageError("There is nothing to send")
    result = asyncio.run(_send(target, str(body), key or f"send:{secrets.token_hex(12)}", wait_seconds))
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=False))
    else:
        click.echo(_words(result))
    ctx.exit(0 if result["state"] in ("sent", "queued") else 1)


async def _send(target: str, text: str, key: str, wait_seconds: float) -> dict[str, Any]:
    app = App.load()
    try:
        address = await _address(app, target)
        request: dict[str, Any] = {
            "platform": address.platform,
            "chat_id": address.chat_id,
            "thread_id": address.thread_id,
            "text": text,
            "key": key,
            "wait_seconds": wait_seconds,
        }
        if running_pid(app.home) is not None:
            answer = await asyncio.to_thread(
                ask_gateway, app.home, "send", timeout_seconds=wait_seconds + 10, **request
            )
            return {name: value for name, value in answer.items() if name != "ok"}
        outbox = load("hermes_agent.store.outbox:SqliteOutbox")(await app.store())
        entry_id = await outbox.put(Outgoing(key=key, address=address, text=text, kind="send"))
        return {"id": entry_id, "state": "queued", "message_ids": [], "error": ""}
    finally:
        await app.aclose()


async def _address(app: App, target: str) -> ChatAddress:
    platform, _, rest = target.partition(":")
    platform = platform.lower()
    known = load("hermes_agent.gateway.platforms.table:PLATFORMS")
    if platform not in {entry.name for entry in known}:
        names = ", ".join(entry.name for entry in known)
        raise UsageError(f"There is no platform {platform!r}", remedy=f"One of: {names}")
    if not rest:
        chats = load("hermes_agent.store.chats:SqliteChats")(await app.store())
        found: ChatAddress | None = await load("hermes_agent.gateway.home_channel:home_channel")(
            platform, app.settings, app.environ.get, chats
        )
        if found is None:
            raise UsageError(
                f"{platform} has no home channel",
                remedy=f"Write /sethome in a chat with the bot, or name the chat: {platform}:CHAT",
            )
        return found
    address: ChatAddress = load("hermes_agent.gateway.home_channel:parse_chat")(platform, rest)
    return address


def _words(result: dict[str, Any]) -> str:
    state = result["state"]
    words = {
        "sent": "Sent.",
        "queued": "No gateway is running: the message is kept and sent when one does.",
        "waiting": "Not sent yet; the gateway goes on trying for a day.",
        "sending": "Not sent yet; the gateway goes on trying for a day.",
        "unknown": "Nobody knows whether it arrived; it is not sent again.",
    }
    text = words.get(state, f"Not sent: {state}.")
    return f"{text} ({result['error']})" if result["error"] else text
