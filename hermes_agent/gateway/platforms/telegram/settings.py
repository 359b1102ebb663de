"""Settings of Telegram: `platforms.telegram.extra`, and the variables that stand for some of them."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError

from hermes_agent.config.sections.base import Section
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.gateway.platforms.outside import complaints
from hermes_agent.gateway.platforms.table import Variable

OFFICIAL_SERVER = "https://api.telegram.org"
SECRET_FORM = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""What Telegram takes as the secret of a webhook."""


def _listed(value: object) -> object:
    if isinstance(value, str | int):
        return [part.strip() for part in str(value).split(",") if part.strip()]
    return value


Ids = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A list, or a text with commas."""


class TelegramSettings(Section):
    """`platforms.telegram.extra`."""

    base_url: str = OFFICIAL_SERVER
    """The Bot API server; another one if you run your own."""
    proxy: str = ""
    """Proxy for Telegram only: `http://…` or `socks5://…` (also `TELEGRAM_PROXY`)."""
    poll_seconds: float = Field(default=30.0, ge=1, le=50)
    """How long Telegram holds a poll without news."""
    require_mention: bool = True
    """In groups, listen only to mentions, replies and commands; false listens to everything."""
    free_response_chats: Ids = ()
    """Groups in which no mention is needed, by chat id."""
    allowed_chats: Ids = ()
    """Groups and channels the bot listens in, by chat id; empty means all."""
    link_previews: bool = True
    """Let Telegram show previews of links in answers."""
    command_menu: bool = True
    """Show the commands in Telegram's menu."""
    rich_text: bool = True
    """Format answers; false sends them as plain text."""
    messages_per_second: float = Field(default=1.0, gt=0)
    """Pace of one chat; Telegram asks for one a second."""
    mode: Literal["polling", "webhook"] = "polling"
    """How messages come: fetched by the gateway, or delivered to it."""
    webhook_url: str = ""
    """Public `https://` address that Telegram delivers to. `TELEGRAM_WEBHOOK_URL` also chooses the mode."""
    webhook_secret: str = ""
    """Telegram proves itself with it; better kept in `.env` as `TELEGRAM_WEBHOOK_SECRET`."""
    webhook_host: str = "127.0.0.1"
    """Address to listen on."""
    webhook_port: int = Field(default=8443, ge=0, le=65535)
    """Port to listen on (also `TELEGRAM_WEBHOOK_PORT`)."""


_EXTRA = "platforms.telegram.extra"


def telegram_settings(settings: PlatformSettings, variable: Variable) -> TelegramSettings:
    """The settings; variables win over config.yaml, and an address for deliveries chooses the mode.

    Raises:
        SettingError: They cannot be used.
    """
    changes = {
        field: value
        for name, field in (
            ("TELEGRAM_WEBHOOK_URL", "webhook_url"),
            ("TELEGRAM_WEBHOOK_SECRET", "webhook_secret"),
            ("TELEGRAM_WEBHOOK_PORT", "webhook_port"),
            ("TELEGRAM_PROXY", "proxy"),
        )
        if (value := (variable(name) or "").strip())
    }
    if "webhook_url" in changes:
        changes["mode"] = "webhook"
    try:
        own = TelegramSettings.model_validate({**settings.extra, **changes})
    except ValidationError as error:
        raise SettingError(
            "The settings of Telegram cannot be used",
            key=_EXTRA,
            why=complaints(error),
        ) from error
    if not own.base_url.startswith(("https://", "http://")):
        raise SettingError(f"{own.base_url!r} is no address of a Bot API server", key=f"{_EXTRA}.base_url")
    if own.mode == "webhook":
        _check_webhook(own)
    return own


def _check_webhook(settings: TelegramSettings) -> None:
    """Raises `SettingError`."""
    if not settings.webhook_url.startswith("https://") and settings.base_url == OFFICIAL_SERVER:
        raise SettingError(
            "Telegram delivers to https:// addresses only",
            key=f"{_EXTRA}.webhook_url",
            remedy="Set TELEGRAM_WEBHOOK_URL to the public address that leads here, or leave it out to poll.",
        )
    if not SECRET_FORM.fullmatch(settings.webhook_secret):
        raise SettingError(
            "Webhook mode needs a secret by which Telegram proves itself",
            key=f"{_EXTRA}.webhook_secret",
            why="It has 1 to 256 letters, digits, - and _." if settings.webhook_secret else None,
            remedy="Put one into .env: TELEGRAM_WEBHOOK_SECRET=$(openssl rand -hex 32)",
        )
