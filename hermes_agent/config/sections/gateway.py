"""`gateway` and `platforms`: chats with people on messaging platforms."""

from typing import Any, Literal

from pydantic import Field

from hermes_agent.config.sections.base import Section


class GatewaySettings(Section):
    """`gateway`."""

    cwd: str = ""
    """Where sessions of the gateway start; empty means `terminal.cwd`."""
    allowed_users: str = ""
    """User ids allowed on every platform, separated by commas."""
    allow_all_users: bool = False
    """Let everybody in. Anyone who finds the bot can then use this machine."""
    owners: str = ""
    """Users, as `id` or `platform:id`, who may use commands that concern the whole gateway (`/reload`,
    `/restart`, `/platform`, `/yolo`); empty means everybody whom a list or a pairing names."""
    media_roots: list[str] = Field(default_factory=list)
    """Further directories that files may be sent from. Without them: the directory of the conversation, the
    temporary directory, the home directory without what is hidden there. Files that look secret never are."""
    max_parts: int = Field(default=5, ge=1)
    """Messages one answer may take; a longer one is sent as a file, where the platform takes files."""
    max_cached_agents: int = Field(default=128, ge=1)
    """Sessions kept in memory."""
    agent_idle_seconds: float = Field(default=3600, gt=0)
    """Seconds after which an idle session leaves the memory."""


class HomeChannelSettings(Section):
    """`platforms.<name>.home_channel`: where unasked messages go."""

    chat_id: str = ""
    """Chat id as the platform spells it."""
    name: str = ""
    """Name for people."""
    thread_id: str = ""
    """Thread or topic."""


class PlatformSettings(Section):
    """`platforms.<name>`: one messaging platform."""

    enabled: bool | None = None
    """Connect to it; null means: if it has a credential."""
    token: str = ""
    """Bot token; better kept in `.env` under the platform's own name."""
    api_key: str = ""
    """API key; better kept in `.env`."""
    home_channel: HomeChannelSettings = Field(default_factory=HomeChannelSettings)
    """Where unasked messages go."""
    reply_to_mode: Literal["first", "all", "off"] = "first"
    """Which parts of a reply quote the message they answer."""
    unauthorized_dm_behavior: Literal["pair", "ignore"] | None = None
    """As the top-level key."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """What only this platform knows."""


class GatewayRoot(Section):
    """Gateway keys at the top level."""

    platforms: dict[str, PlatformSettings] = Field(default_factory=dict)
    """Messaging platforms by name."""
    unauthorized_dm_behavior: Literal["pair", "ignore"] = "pair"
    """What a stranger's direct message gets: a pairing code, or nothing."""
    group_sessions_per_user: bool = True
    """Give each member of a group a conversation of their own."""
    thread_sessions_per_user: bool = False
    """The same in threads."""


class WhatsAppSettings(Section):
    """`whatsapp`."""

    reply_prefix: str | None = None
    """Put before every reply; `''` is none, null is the default header."""
