"""Settings of Discord: `platforms.discord.extra`."""

from __future__ import annotations

from pydantic import Field, ValidationError

from hermes_agent.config.sections.base import Section
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.gateway.platforms.downloads import proxy_for
from hermes_agent.gateway.platforms.outside import Ids, complaints
from hermes_agent.gateway.platforms.table import Variable

API_BASE = "https://discord.com/api/v10"


class DiscordSettings(Section):
    """`platforms.discord.extra`."""

    require_mention: bool = True
    """In channels, answer only when mentioned or replied to. `DISCORD_REQUIRE_MENTION`."""
    free_response_channels: Ids = ()
    """Ids of channels in which every message is for the bot. `DISCORD_FREE_RESPONSE_CHANNELS`."""
    ignored_channels: Ids = ()
    """Ids of channels in which the bot never answers."""
    auto_thread: bool = True
    """Answer a mention in a channel in a thread of its own. `DISCORD_AUTO_THREAD`."""
    threads_need_mention: bool = False
    """Whether a mention is needed in threads that the bot opened, too."""
    allowed_bots: Ids = ()
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
    file_hosts: Ids = ("cdn.discordapp.com", "media.discordapp.net")
    """Hosts that attachments may be downloaded from (and that of `api_base`, if it is another one)."""


def discord_settings(settings: PlatformSettings, variable: Variable) -> DiscordSettings:
    """The settings; variables win over config.yaml.

    Raises:
        SettingError: They cannot be used.
    """
    changes = {
        key: value
        for name, key in (
            ("DISCORD_REQUIRE_MENTION", "require_mention"),
            ("DISCORD_AUTO_THREAD", "auto_thread"),
            ("DISCORD_FREE_RESPONSE_CHANNELS", "free_response_channels"),
            ("DISCORD_PROXY", "proxy"),
        )
        if (value := (variable(name) or "").strip())
    }
    try:
        own = DiscordSettings.model_validate({**settings.extra, **changes})
    except ValidationError as error:
        raise SettingError(
            "The settings of Discord cannot be used", key="platforms.discord.extra", why=complaints(error)
        ) from error
    if not own.api_base.startswith(("https://", "http://")):
        raise SettingError(f"{own.api_base!r} is no address", key="platforms.discord.extra.api_base")
    proxy = proxy_for(own.api_base, own.proxy, variable("HTTPS_PROXY"), variable("https_proxy"))
    return own.model_copy(update={"proxy": proxy})
