"""`hermes webhook`: let other programs wake the agent."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import click

from hermes_agent.app.container import App
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import GatewayError, UsageError
from hermes_agent.core.loading import load
from hermes_agent.gateway.platforms.table import PLATFORMS, is_enabled
from hermes_agent.gateway.platforms.webhook.routes import (
    NAME_FORM,
    changing_subscriptions,
    check_route,
    read_subscriptions,
    subscriptions_file,
)
from hermes_agent.gateway.platforms.webhook.settings import (
    UNPROTECTED,
    RouteSettings,
    WebhookSettings,
    webhook_settings,
)
from hermes_agent.gateway.platforms.webhook.signatures import sign

_SCHEMES = ("auto", "generic", "github", "gitlab", "standard", "stripe", "slack")


@click.group("webhook")
def command() -> None:
    """Let other programs wake the agent: each subscription is an address with a secret."""


@command.command("subscribe")
@click.argument("name")
@click.option("--prompt", default=None, help="What the agent is told; {a.b} is a field of the payload.")
@click.option("--events", default=None, help="Only these kinds of events (commas).")
@click.option("--description", default=None, help="For people.")
@click.option("--skills", default=None, help="Skills to use (commas).")
@click.option("--deliver", default=None, help="log, PLATFORM, or PLATFORM:CHAT[:THREAD].")
@click.option("--deliver-chat-id", default=None, help="The chat, if --deliver does not name it.")
@click.option("--deliver-only", is_flag=True, default=None, help="Send the prompt itself, without an agent.")
@click.option("--secret", default=None, help="Made up if not given.")
@click.option("--signature", type=click.Choice(_SCHEMES), default=None, help="How requests are signed.")
def subscribe(name: str, secret: str | None, deliver_chat_id: str | None, **given: Any) -> None:
    """Add a subscription, or change one: what is not given stays as it was.

    The running gateway takes it at once.
    """
    name = name.lower()
    if not NAME_FORM.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a webhook", remedy="Take letters, digits, - and _.")
    app = App.load()
    settings = _settings(app)
    if name in settings.routes:
        raise UsageError(
            f"{name} is a route of config.yaml already", remedy="Change it there, or take another name."
        )
    chosen = {key: value for key, value in given.items() if value is not None}
    for key in ("events", "skills"):
        if key in chosen:
            chosen[key] = [part.strip() for part in chosen[key].split(",") if part.strip()]
    with changing_subscriptions(app.home) as subscriptions:
        before = subscriptions.get(name)
        entry: dict[str, Any] = {
            **(before or {"created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}),
            **chosen,
        }
        if deliver_chat_id is not None:
            entry["deliver_extra"] = {**entry.get("deliver_extra", {}), "chat_id": deliver_chat_id}
        entry["secret"] = secret or entry.get("secret") or secrets.token_hex(32)
        check_route(name, RouteSettings.model_validate(entry), settings)
        subscriptions[name] = entry
    click.echo(f"{'Changed' if before else 'Added'}: {settings.address_of(name)}")
    if entry["secret"] != UNPROTECTED and (before is None or secret):
        click.echo(f"Secret (shown once): {entry['secret']}")
    click.echo(f"Answers go to: {_target(entry)}")
    _advise(app, settings, entry)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each, without secrets.")
def list_(as_json: bool) -> None:
    """List routes of config.yaml and subscriptions. Secrets are not shown."""
    app = App.load()
    settings = _settings(app)
    rows = [("config.yaml", name, route.model_dump(mode="json")) for name, route in settings.routes.items()]
    found = read_subscriptions(subscriptions_file(app.home))
    rows += [("subscription", name, entry) for name, entry in found.items() if name not in settings.routes]
    if not rows and not as_json:
        click.echo("There are no webhooks. Add one: hermes webhook subscribe NAME --prompt TEXT")
    for origin, name, entry in rows:
        url = settings.address_of(name)
        if as_json:
            shown = {key: value for key, value in entry.items() if key != "secret"}
            click.echo(json.dumps({"name": name, "origin": origin, "url": url, **shown}, ensure_ascii=False))
            continue
        events = entry.get("events") or []
        kinds = events if isinstance(events, str) else ", ".join(events)
        state = "" if entry.get("enabled", True) else "  (off)"
        click.echo(f"{name}{state}  {url}")
        click.echo(f"    {kinds or 'all events'} → {_target(entry)}")
        if entry.get("description"):
            click.echo(f"    {' '.join(str(entry['description']).split())}")


@command.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Remove a subscription."""
    home = Home.from_environment()
    with changing_subscriptions(home) as subscriptions:
        if subscriptions.pop(name.lower(), None) is None:
            raise _unknown(name, subscriptions)
    click.echo(f"Removed: {name.lower()}")


@command.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Switch a subscription on again."""
    _switch(name, is_on=True)


@command.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Switch a subscription off: it answers 403 and keeps its secret."""
    _switch(name, is_on=False)


@command.command("test")
@click.argument("name")
@click.option("--payload", default='{"test": true, "message": "hello"}', help="JSON to deliver.")
@click.option("--event", default="test", show_default=True, help="Kind of event.")
@click.pass_context
def test(ctx: click.Context, name: str, payload: str, event: str) -> None:
    """Send a signed delivery to the gateway on this machine. Exit code 1 if it is not taken."""
    app = App.load()
    settings = _settings(app)
    name = name.lower()
    found = read_subscriptions(subscriptions_file(app.home))
    if name in settings.routes:
        entry = settings.routes[name]
    elif name in found:
        entry = RouteSettings.model_validate(found[name])
    else:
        raise _unknown(name, {**found, **settings.routes})
    try:
        json.loads(payload)
    except ValueError as error:
        raise UsageError("The payload is not JSON", why=str(error)) from error
    route = check_route(name, entry, settings)
    body = payload.encode()
    headers = {"Content-Type": "application/json", "X-Webhook-Event": event}
    if route.secret:
        delivery_id = f"test-{secrets.token_hex(8)}"
        headers |= sign(entry.signature, body, route.secret, now=time.time(), delivery_id=delivery_id)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host.strip("[]"), settings.host)  # noqa: S104
    url = settings.model_copy(update={"host": host, "public_url": ""}).address_of(name)
    status, text = _post(url, body, headers)
    click.echo(f"{status} {text}")
    ctx.exit(0 if 200 <= status < 300 else 1)


def _post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    httpx = load("httpx:Client")
    try:
        with httpx(trust_env=False, timeout=30.0) as client:
            response = client.post(url, content=body, headers=headers)
    except load("httpx:HTTPError") as error:
        raise GatewayError(
            f"Nothing answers on {url}",
            why=str(error),
            remedy="Is the gateway running (hermes gateway status), with WEBHOOK_ENABLED=true in .env?",
        ) from error
    return int(response.status_code), str(response.text)


def _settings(app: App) -> WebhookSettings:
    return webhook_settings(app.settings.platforms.get("webhook") or PlatformSettings(), app.environ.get)


def _switch(name: str, *, is_on: bool) -> None:
    with changing_subscriptions(Home.from_environment()) as subscriptions:
        entry = subscriptions.get(name.lower())
        if entry is None:
            raise _unknown(name, subscriptions)
        entry["enabled"] = is_on
    click.echo(f"{name.lower()} is {'on' if is_on else 'off'}.")


def _target(entry: dict[str, Any]) -> str:
    deliver = str(entry.get("deliver") or "log")
    chat = (entry.get("deliver_extra") or {}).get("chat_id", "")
    if deliver == "log":
        return "the log"
    return f"{deliver}:{chat}" if chat and ":" not in deliver else deliver


def _unknown(name: str, known: Any) -> UsageError:
    names = ", ".join(sorted(known)) or "none"
    return UsageError(f"There is no webhook {name.lower()!r}", remedy=f"Known: {names}")


def _advise(app: App, settings: WebhookSettings, entry: dict[str, Any]) -> None:
    """What is still to be done."""
    target = str(entry.get("deliver") or "log").partition(":")[0]
    for platform in PLATFORMS:
        is_on = is_enabled(platform, app.settings.platforms.get(platform.name), app.environ.get)
        if platform.name == "webhook" and not is_on:
            click.echo(
                "Webhooks are switched off. Put WEBHOOK_ENABLED=true into "
                f"{app.home.env_file} and run: hermes gateway reload"
            )
        elif platform.name == target and not is_on:
            click.echo(f"{target} is not set up yet: hermes gateway setup {target}")
        elif platform.name == target and _target(entry) == target:
            click.echo(f"That is the home channel: write /sethome in a chat on {target} to choose it.")
    if settings.is_local and not settings.public_url:
        click.echo(
            "Only this machine reaches that address. Lead a proxy to it (WEBHOOK_PUBLIC_URL=https://…) "
            "or set WEBHOOK_HOST=0.0.0.0."
        )
