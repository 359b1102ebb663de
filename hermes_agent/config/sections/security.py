"""`security`: what must not get out, and where the agent may go."""

import ipaddress

from pydantic import Field, field_validator

from hermes_agent.config.sections.base import Section


class SecuritySettings(Section):
    """`security`."""

    redact_secrets: bool = True
    """Black out known secrets and what looks like one in logs, tool output and prompts."""
    allow_private_urls: bool = False
    """Let web tools reach addresses of the local network."""
    allowed_networks: list[str] = Field(default_factory=list)
    """Networks (`192.168.1.0/24`) and addresses that web tools may reach though they are private."""
    blocked_domains: list[str] = Field(default_factory=list)
    """Domains that web tools never visit; a domain stands for its sub-domains too."""
    redact_personal_data: bool = False
    """Black out phone numbers and platform user ids in prompts."""

    @field_validator("allowed_networks")
    @classmethod
    def _are_networks(cls, values: list[str]) -> list[str]:
        for value in values:
            ipaddress.ip_network(value.strip(), strict=False)
        return values
