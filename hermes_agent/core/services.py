"""Ports that some tools need beside their environment. What is None is not offered to the model."""

from __future__ import annotations

from dataclasses import dataclass

from hermes_agent.core.session import SessionStore


@dataclass(frozen=True, slots=True)
class ToolServices:
    """Handed to tool factories by `app`.

    Attributes:
        sessions: Stored conversations (`session_search`).
    """

    sessions: SessionStore | None = None
