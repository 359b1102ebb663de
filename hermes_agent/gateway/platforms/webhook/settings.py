"""Settings of webhooks: `platforms.webhook.extra`, its routes, and variables that stand for some of them."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError

from hermes_agent.config.sections.base import Section
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.gateway.platforms.outside import complaints
from hermes_agent.gateway.platforms.table import Variable

Scheme: TypeAlias = Literal["auto", "generic", "github", "gitlab", "standard", "stripe", "slack"]

UNPROTECTED = "INSECURE_NO_AUTH"
"""In place of a secret: takes requests of anybody, on this machine only."""


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A list, or a text with commas."""


class RouteSettings(Section):
    """`platforms.webhook.extra.routes.<name>`, and an entry of `webhook_subscriptions.json`."""

    enabled: bool = True
    """False answers 403."""
    description: str = ""
    """For people."""
    secret: str = ""
    """What requests are signed with; empty takes the one of all routes."""
    signature: Scheme = "auto"
    """How they are signed; `auto` goes by the header."""
    events: Names = ()
    """Kinds of events to act on; empty means all."""
    prompt: str = ""
    """What the agent is told: `{a.b}` is a field of the payload, `{__raw__}` the whole of it."""
    skills: Names = ()
    """Skills to use; the first one is loaded."""
    deliver: str = "log"
    """Where the answer goes: `log`, `PLATFORM` (its home channel), or `PLATFORM:CHAT[:THREAD]`."""
    deliver_extra: dict[str, str] = Field(default_factory=dict)
    """`chat_id` and `thread_id`, if `deliver` does not name them."""
    deliver_only: bool = False
    """Send the filled-in prompt itself, without an agent."""
    rate_limit: int | None = Field(default=None, ge=1)
    """Deliveries in a minute; null is the limit of all routes."""


class WebhookSettings(Section):
    """`platforms.webhook.extra`."""

    host: str = "127.0.0.1"
    """Address to listen on (also `WEBHOOK_HOST`)."""
    port: int = Field(default=8644, ge=0, le=65535)
    """Port to listen on (also `WEBHOOK_PORT`)."""
    public_url: str = ""
    """How the outside world reaches it, for what `hermes webhook` prints: `https://hooks.example.org`."""
    secret: str = ""
    """Secret of routes that have none of their own; better in `.env` as `WEBHOOK_SECRET`."""
    routes: dict[str, RouteSettings] = Field(default_factory=dict)
    """Routes by name."""
    rate_limit: int = Field(default=30, ge=1)
    """Deliveries to one route in a minute."""
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024)
    """Longer bodies are refused."""
    duplicate_seconds: float = Field(default=3600.0, ge=0)
    """A delivery with the same id within this time is not acted on again."""
    tolerance_seconds: float = Field(default=300.0, gt=0)
    """How old a signed time may be."""

    @property
    def is_local(self) -> bool:
        """Only programs on this machine reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def address_of(self, route: str) -> str:
        """Where a route's deliveries go."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        base = self.public_url.rstrip("/") or f"http://{host}:{self.port}"
        return f"{base}/webhooks/{route}"


def webhook_settings(settings: PlatformSettings, variable: Variable) -> WebhookSettings:
    """The settings; variables win.

    Raises:
        SettingError: A value is of the wrong kind.
    """
    changes = {
        field: value
        for name, field in (
            ("WEBHOOK_HOST", "host"),
            ("WEBHOOK_PORT", "port"),
            ("WEBHOOK_SECRET", "secret"),
            ("WEBHOOK_PUBLIC_URL", "public_url"),
        )
        if (value := (variable(name) or "").strip())
    }
    try:
        return WebhookSettings.model_validate({**settings.extra, **changes})
    except ValidationError as error:
        raise SettingError(
            "The settings of webhooks cannot be used",
            key="platforms.webhook.extra",
            why=complaints(error),
        ) from error
