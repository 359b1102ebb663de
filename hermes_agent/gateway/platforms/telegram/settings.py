"""Settings of Telegram: `platforms.telegram.extra`, and the variables that stand for some of them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section

OFFICIAL_SERVER = "https://api.telegram.org"
SECRET_FORM = re.compile(r"[A-Za-z0-9_-]{1,256}")
"""What Telegram takes as the secret of a webhook."""


class TelegramSettings(Section):
    """`platforms.telegram.extra`."""

    base_url: str = OFFICIAL_SERVER
    """The Bot API server; another one if you run your own."""
    proxy: str = ""
    """Proxy for Telegram only: `http://…` or `socks5://…` (also `TELEGRAM_PROXY`)."""
    poll_seconds: float = Field(default=30.0, gt=0, le=50)
    """How long Telegram holds a poll without news."""
    require_mention: bool = True
    """In groups, listen only to mentions, replies and commands; false listens to everything."""
    free_response_chats: tuple[str, ...] = ()
    """Groups in which no mention is needed, by chat id."""
    allowed_chats: tuple[str, ...] = ()
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
