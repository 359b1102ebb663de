"""`security`: what must not get out, and where the agent may go."""

from pydantic import Field

from hermes_agent.config.sections.base import Section


class SecuritySettings(Section):
    """`security`."""

    redact_secrets: bool = True
    """Black out known secrets and what looks like one in logs, tool output and prompts."""
    allow_private_urls: bool = False
    """Let web tools reach addresses of the local network."""
    blocked_domains: list[str] = Field(default_factory=list)
    """Domains that web tools never visit; a domain stands for its sub-domains too."""
    redact_personal_data: bool = False
    """Black out phone numbers and platform user ids in prompts."""
