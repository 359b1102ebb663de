"""Settings of Discord: `platforms.discord.extra`."""

from __future__ import annotations

from pydantic import Field

from hermes_agent.config.sections.base import Section

API_BASE = "https://discord.com/api/v10"


class DiscordSettings(Section):
    """`platforms.discord.extra`."""

    require_mention: bool = True
    """In channels, answer only when mentioned or replied to. `DISCORD_REQUIRE_MENTION`."""
    free_response_channels: list[str] = Field(default_factory=list)
    """Ids of channels in which every message is for the bot. `DISCORD_FREE_RESPONSE_CHANNELS`."""
    ignored_channels: list[str] = Field(default_factory=list)
    """Ids of channels in which the bot never answers."""
    auto_thread: bool = True
    """Answer a mention in a channel in a thread of its own. `DISCORD_AUTO_THREAD`."""
    threads_need_mention: bool = False
    """Whether a mention is needed in threads that the bot opened, too."""
    allowed_bots: list[str] = Field(default_factory=list)
    """Ids of other bots that may talk to this one (they also need to be allowed as users)."""
    history_messages: int = Field(default=50, ge=0, le=100)
    """How many earlier messages of the channel the agent is shown with a mention."""
    catch_up_hours: float = Field(default=24.0, ge=0)
    """How old a message that was missed while the gateway was off may be to be answered; 0 answers none."""
    sync_commands: bool = True
    """Register the slash commands with Discord."""
    messages_per_second: float = Field(default=1.0, gt=0)
    """Pace of one channel."""
    max_silence_seconds: float = Field(default=150.0, gt=0)
    """A healthy connection has acknowledged a heartbeat within this time."""
    proxy: str = ""
    """`http://HOST:PORT`. `DISCORD_PROXY`; otherwise `HTTPS_PROXY`."""
    api_base: str = API_BASE
    """Address of the REST API; another one for tests and proxies."""
    file_hosts: list[str] = Field(default_factory=lambda: ["cdn.discordapp.com", "media.discordapp.net"])
    """Hosts that attachments may be downloaded from (and that of `api_base`, if it is another one)."""
