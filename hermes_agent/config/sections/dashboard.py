"""`dashboard`: the web page for administration."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class DashboardBasicAuthSettings(Section):
    """`dashboard.basic_auth`: sign in with a name and a password."""

    username: str = ""
    """Name."""
    password_hash: str = ""
    """`scrypt$16384$8$1$salt$key`."""
    password: str = ""
    """Password in clear; better the hash."""
    secret: str = ""
    """Signs sessions; empty makes a new one at every start."""
    session_ttl_seconds: int = Field(default=43_200, ge=60)
    """Seconds a sign-in lasts."""


class DashboardOAuthSettings(Section):
    """`dashboard.oauth`: sign in with an account elsewhere."""

    client_id: str = ""
    """Registered client."""
    portal_url: str = ""
    """Address of the portal."""


class DashboardSettings(Section):
    """`dashboard`."""

    theme: str = "default"
    """Colours: default, default-large, midnight, ember, mono, cyberpunk, rose, or an own one."""
    public_url: str = ""
    """Address as the browser sees it, behind a proxy."""
    basic_auth: DashboardBasicAuthSettings = Field(default_factory=DashboardBasicAuthSettings)
    """Name and password."""
    oauth: DashboardOAuthSettings = Field(default_factory=DashboardOAuthSettings)
    """Account elsewhere."""
