"""What the web tools need from the layers above: keys, and somebody who shortens long pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from hermes_agent.core.egress import EgressPolicy
from hermes_agent.core.model import Spend

Summarise = Callable[[str, str, Spend], Awaitable[str]]
"""(address, text, who pays) to a shorter text; raises `ModelError`."""


@dataclass(frozen=True, slots=True)
class WebPorts:
    """Filled by `app`.

    Attributes:
        variable: Value of an environment variable (a key, an address), or None.
        policy: Where fetches may go; made at first use.
        summarise: Shortens long pages; None leaves them long.
    """

    variable: Callable[[str], str | None] = field(default=lambda _name: None)
    policy: Callable[[], EgressPolicy] = field(default=EgressPolicy)
    summarise: Summarise | None = None
