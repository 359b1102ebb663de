"""Settings of Slack: `platforms.slack.extra`."""

from __future__ import annotations

from pydantic import Field, ValidationError

from hermes_agent.config.sections.base import Section
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.gateway.platforms.downloads import proxy_for
from hermes_agent.gateway.platforms.outside import Ids, complaints
from hermes_agent.gateway.platforms.table import Variable

API_BASE = "https://slack.com/api/"


class SlackSettings(Section):
    """`platforms.slack.extra`."""

    app_token: str = ""
    """App-level token (`xapp-…`); better kept in `.env` as `SLACK_APP_TOKEN`."""
    require_mention: bool = True
    """In channels, answer only when mentioned. `SLACK_REQUIRE_MENTION`."""
    free_response_channels: Ids = ()
    """Ids of channels in which every message is for the bot. `SLACK_FREE_RESPONSE_CHANNELS`."""
    ignored_channels: Ids = ()
    """Ids of channels in which the bot never answers."""
    reply_in_thread: bool = True
    """Answer messages of channels in a thread below them."""
    threads_need_mention: bool = False
    """Whether a mention is needed in threads in which the bot has been spoken to, too."""
    allowed_bots: Ids = ()
    """Ids (`B…` or `U…`) of other bots that may talk to this one (they also need to be allowed as users)."""
    history_messages: int = Field(default=50, ge=0, le=200)
    """How many earlier messages of the channel or thread the agent is shown with a mention."""
    catch_up_hours: float = Field(default=24.0, ge=0)
    """How old a message that was missed while the gateway was off may be to be answered; 0 answers none."""
    messages_per_second: float = Field(default=1.0, gt=0)
    """Pace of one channel."""
    ping_seconds: float = Field(default=10.0, gt=0)
    """How often the connection is tried; without an answer to three of them it is opened anew."""
    max_silence_seconds: float = Field(default=90.0, gt=0)
    """A healthy connection has answered within this time."""
    proxy: str = ""
    """`http://HOST:PORT`. `SLACK_PROXY`; otherwise `HTTPS_PROXY`."""
    api_base: str = API_BASE
    """Address of the Web API; another one for tests and proxies."""
    file_hosts: Ids = ("files.slack.com",)
    """Hosts that files may be downloaded from with the bot's token (and that of another `api_base`)."""


def slack_settings(settings: PlatformSettings, variable: Variable) -> SlackSettings:
    """The settings; variables win over config.yaml.

    Raises:
        SettingError: They cannot be used.
    """
    changes = {
        key: value
        for name, key in (
            ("SLACK_REQUIRE_MENTION", "require_mention"),
            ("SLACK_FREE_RESPONSE_CHANNELS", "free_response_channels"),
            ("SLACK_APP_TOKEN", "app_token"),
            ("SLACK_PROXY", "proxy"),
        )
        if (value := (variable(name) or "").strip())
    }
    try:
        own = SlackSettings.model_validate({**settings.extra, **changes})
    except ValidationError as error:
        raise SettingError(
            "The settings of Slack cannot be used", key="platforms.slack.extra", why=complaints(error)
        ) from error
    if not own.api_base.startswith(("https://", "http://")):
        raise SettingError(f"{own.api_base!r} is no address", key="platforms.slack.extra.api_base")
    proxy = proxy_for(own.api_base, own.proxy, variable("HTTPS_PROXY"), variable("https_proxy"))
    return own.model_copy(update={"proxy": proxy})
