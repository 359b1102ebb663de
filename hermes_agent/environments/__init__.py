"""Where commands run: this machine, a container, another host."""

from __future__ import annotations

from hermes_agent.environments.opening import open_environment

__all__ = ["open_environment"]
