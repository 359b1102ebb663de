"""Every platform, as data. A new one is a folder and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.platform import Platform

Variable: TypeAlias = Callable[[str], str | None]
"""Reads an environment variable or a line of `.env`."""

AdapterFactory: TypeAlias = Callable[[PlatformSettings, Variable], Platform]
"""`make_adapter(settings, variable)`: no I/O; raises `ConfigError` for what is missing or wrong."""


@dataclass(frozen=True, slots=True)
class Question:
    """What `hermes gateway setup` asks for a platform.

    Attributes:
        name: Where the answer goes: a variable of `.env` (`TELEGRAM_BOT_TOKEN`; hidden while it is typed if
            its name sounds secret), or a key below `platforms.<name>` (`extra.url`).
        label: The question, a few words.
        help: One line: where the answer is to be found.
        default: Taken by Enter.
        is_required: Without an answer the platform cannot be connected.
    """

    name: str
    label: str
    help: str = ""
    default: str = ""
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class PlatformEntry:
    """One platform.

    Attributes:
        name: As in `platforms.<name>` and in session keys.
        path: Import string of its `AdapterFactory`.
        credentials: Variables that switch it on when they are set (unless `enabled: false`).
        extra: The extra of pyproject.toml that brings its library; empty if it needs none.
        label: Its name as people write it; empty means `name` with a capital.
        help: For `hermes gateway setup`: how to get the credentials, a few short lines, with the address.
        questions: What `hermes gateway setup` asks; empty means the credentials.
        user_id_help: How people find their own stable id there, one line.
        has_chats: People talk there, so that it has an allowlist and a home channel (not webhooks).
        is_for_tests: Not offered by `hermes gateway setup` unless it is named.
    """

    name: str
    path: str
    credentials: tuple[str, ...] = ()
    extra: str = ""
    label: str = ""
    help: str = ""
    questions: tuple[Question, ...] = ()
    user_id_help: str = ""
    has_chats: bool = True
    is_for_tests: bool = False


_HERE = "hermes_agent.gateway.platforms"

PLATFORMS: tuple[PlatformEntry, ...] = (
    PlatformEntry(
        "telegram",
        f"{_HERE}.telegram.adapter:make_adapter",
        ("TELEGRAM_BOT_TOKEN",),
        help="In Telegram, write /newbot to @BotFather (https://t.me/BotFather), answer its two questions.\n"
        "It gives you the token: digits, a colon, letters.",
        questions=(Question("TELEGRAM_BOT_TOKEN", "Bot token", "123456789:AAE…"),),
        user_id_help="Write to @userinfobot in Telegram: it answers with your id, a number.",
    ),
    PlatformEntry(
        "discord",
        f"{_HERE}.discord.adapter:make_adapter",
        ("DISCORD_BOT_TOKEN",),
        extra="discord",
        help="At https://discord.com/developers/applications make a New Application. Under Bot: Reset Token\n"
        "gives the token; switch on MESSAGE CONTENT INTENT. Under OAuth2, URL Generator: choose bot and\n"
        "applications.commands, and open the address it shows to bring the bot into your server.",
        questions=(Question("DISCORD_BOT_TOKEN", "Bot token", "Under Bot, Reset Token."),),
        user_id_help="Settings, Advanced, Developer Mode on; then right-click your name, Copy User ID.",
    ),
    PlatformEntry(
        "email",
        f"{_HERE}.email.adapter:make_adapter",
        ("EMAIL_ADDRESS", "EMAIL_PASSWORD"),
        extra="email",
        help="Give the agent a mailbox of its own. Many providers want a password for apps instead of yours.",
        questions=(
            Question(
                "EMAIL_ADDRESS", "The agent's address", "A mailbox of its own, such as hermes@example.org."
            ),
            Question("EMAIL_PASSWORD", "Password"),
            Question("EMAIL_IMAP_HOST", "IMAP server", "Such as imap.example.org."),
            Question("EMAIL_IMAP_PORT", "Its port", "143 begins with STARTTLS.", "993", is_required=False),
            Question("EMAIL_SMTP_HOST", "SMTP server", "Such as smtp.example.org."),
            Question("EMAIL_SMTP_PORT", "Its port", "465 is TLS from the start.", "587", is_required=False),
            Question(
                "EMAIL_TRUSTED_AUTHSERV_IDS",
                "Server that proves senders",
                "Authentication-Results of your mail begin with it. Enter if you do not know it.",
                is_required=False,
            ),
        ),
        user_id_help="Your mail address.",
    ),
    PlatformEntry(
        "webhook",
        f"{_HERE}.webhook.adapter:make_adapter",
        ("WEBHOOK_ENABLED",),
        label="Webhooks",
        help="Other programs wake the agent with signed requests: hermes webhook subscribe NAME adds one.",
        questions=(
            Question("WEBHOOK_ENABLED", "Listen for webhooks", "true or false", default="true"),
            Question("WEBHOOK_PORT", "Port", default="8644"),
            Question(
                "WEBHOOK_SECRET",
                "Secret of routes without their own",
                "openssl rand -hex 32; Enter if each has its own",
                is_required=False,
            ),
        ),
        has_chats=False,
    ),
    PlatformEntry(
        "slack",
        f"{_HERE}.slack.adapter:make_adapter",
        ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"),
        extra="slack",
        help="At https://api.slack.com/apps choose Create New App, From a manifest, and paste the one that\n"
        "docs/platforms/slack.md has. Install it; make an app-level token with the scope connections:write.",
        questions=(
            Question("SLACK_BOT_TOKEN", "Bot token (xoxb-…)", "Under OAuth & Permissions."),
            Question("SLACK_APP_TOKEN", "App-level token (xapp-…)", "Under Basic Information."),
        ),
        user_id_help="In Slack: your profile, the three dots, Copy member ID (U…).",
    ),
    PlatformEntry(
        "matrix",
        f"{_HERE}.matrix.adapter:make_adapter",
        ("MATRIX_HOMESERVER",),
        extra="matrix",
        help="Register an account for the agent on your home server.",
        questions=(
            Question("MATRIX_HOMESERVER", "Home server", "Such as https://matrix.example.org."),
            Question("MATRIX_USER_ID", "The agent's user id", "Such as @hermes:example.org."),
            Question(
                "MATRIX_PASSWORD",
                "Password",
                "Or Enter, and an access token next.",
                is_required=False,
            ),
            Question(
                "MATRIX_ACCESS_TOKEN", "Access token", "Only needed without a password.", is_required=False
            ),
        ),
        user_id_help="Your user id, @you:example.org: Element shows it under Settings.",
    ),
    PlatformEntry(
        "loopback",
        f"{_HERE}.loopback.adapter:make_adapter",
        label="Loopback",
        help="A chat server on this machine, for tests and demonstrations.",
        questions=(
            Question("extra.url", "Address of the chat server", "http://127.0.0.1:PORT"),
            Question("LOOPBACK_TOKEN", "Token", "What the server was started with."),
        ),
        user_id_help="As the server calls you.",
        is_for_tests=True,
    ),
)


_OFF = frozenset({"0", "false", "no", "off"})


def has_chats(name: str) -> bool:
    """Whether people talk on a platform; otherwise programs do, and each request proves whose it is."""
    return next((entry.has_chats for entry in PLATFORMS if entry.name == name), True)


def is_enabled(entry: PlatformEntry, settings: PlatformSettings | None, variable: Variable) -> bool:
    """Whether a platform is to be connected."""
    if settings is not None and settings.enabled is not None:
        return settings.enabled
    if settings is not None and (settings.token or settings.api_key):
        return True
    values = [(variable(name) or "").strip().lower() for name in entry.credentials]
    return bool(values) and all(value and value not in _OFF for value in values)
