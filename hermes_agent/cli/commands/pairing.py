"""`hermes pairing`: let people in who wrote to the bot."""

from __future__ import annotations

import json
import time

import click

from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError, UsageError
from hermes_agent.gateway.pairing import CODE_SECONDS, PairingBook


@click.group("pairing")
def command() -> None:
    """Let people talk to the bot: they write to it, get a code, and you approve it here."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
def list_(as_json: bool) -> None:
    """List who waits and who was let in. Codes are not stored and cannot be shown."""
    book = PairingBook(Home.from_environment())
    rows = [("waits", user) for user in book.pending()] + [("approved", user) for user in book.approved()]
    if not rows and not as_json:
        click.echo("Nobody waits, and nobody was let in by code.")
    for state, user in rows:
        if as_json:
            entry = {"state": state, "platform": user.platform, "user_id": user.user_id, "name": user.name}
            click.echo(json.dumps({**entry, "since": user.since}, ensure_ascii=False))
            continue
        moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(user.since))
        left = f", {max(0, round((user.since + CODE_SECONDS - time.time()) / 60))} min left"
        more = left if state == "waits" else ""
        name = "".join(char for char in user.name if char.isprintable())
        click.echo(f"{state:<9} {user.platform:<10} {user.user_id:<20} {name:<20} {moment}{more}")


@command.command("approve")
@click.argument("platform")
@click.argument("code")
def approve(platform: str, code: str) -> None:
    """Let in whoever got this code."""
    home = Home.from_environment()
    user = PairingBook(home).approve(platform.lower(), code)
    click.echo(f"{user.name or user.user_id} ({user.user_id}) may talk to the bot on {user.platform} now.")
    try:
        ask_gateway(home, "pairing.approved", platform=user.platform, user_id=user.user_id)
    except GatewayError:
        return  # it reads the file with their next message


@command.command("revoke")
@click.argument("platform")
@click.argument("user_id")
def revoke(platform: str, user_id: str) -> None:
    """Let somebody in no longer."""
    if not PairingBook(Home.from_environment()).revoke(platform.lower(), user_id):
        raise UsageError(
            f"{user_id} was not let in by code on {platform}",
            remedy="hermes pairing list shows who was; lists of allowed users are in config.yaml and .env.",
        )
    click.echo(f"{user_id} may not talk to the bot on {platform} any more.")


@command.command("clear-pending")
@click.argument("platform", required=False)
def clear_pending(platform: str | None) -> None:
    """Forget who waits (of one platform, or all)."""
    count = PairingBook(Home.from_environment()).clear_pending(platform)
    click.echo(f"Forgot {count} request{'' if count == 1 else 's'}.")
