"""Which toolsets a surface (the terminal, a messaging platform, the API) offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hermes_agent.tools.toolsets import TOOLSETS

if TYPE_CHECKING:
    from hermes_agent.config.settings import Settings

TERMINAL = "cli"
PREFIX = "hermes-"


def toolset_names(settings: Settings, surface: str) -> Sequence[str]:
    """Names of toolsets and tools, as configured.

    A list under `platform_toolsets` decides, also an empty one: no tools. Without one the terminal, and
    surfaces nobody knows, take `toolsets`; each other surface takes the set made for it.
    """
    own = settings.platform_toolsets.get(surface)
    if own is not None:
        return own
    default = PREFIX + surface.replace("_", "-")
    if surface == TERMINAL or default not in TOOLSETS:
        return settings.toolsets
    return (default,)
