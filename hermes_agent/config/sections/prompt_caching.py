"""`prompt_caching`: how long providers keep the unchanging part of a prompt."""

from typing import Literal

from hermes_agent.config.sections.base import Section


class PromptCachingSettings(Section):
    """`prompt_caching`."""

    cache_ttl: Literal["5m", "1h"] = "5m"
    """Life of a cache entry at providers that let one choose."""
