"""What the API server needs from the rest of the program; `app.api` provides it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hermes_agent.agent.service import AgentService
from hermes_agent.config.sections.api_server import ApiServerSettings
from hermes_agent.core.jobs import JobDesk
from hermes_agent.core.model import ModelInfo
from hermes_agent.core.runs import ApiStore
from hermes_agent.core.session import SessionStore


@dataclass(frozen=True, slots=True)
class ApiPorts:
    """Ports of the API server.

    Attributes:
        settings: The `api_server` section.
        key: What clients must send.
        version: Of this program.
        service: Opens sessions; models, tools and configuration are shared between them.
        sessions: Stored conversations.
        store: Responses and runs.
        describe_model: Who answers; raises `ProviderSetupError`.
        skills: Installed skills, each with `name` and `description`.
        toolsets: What the agent offers on this surface, each with `name`, `description` and `tools`.
        jobs: Scheduled jobs.
        redact: Takes secrets out of a text.
    """

    settings: ApiServerSettings
    key: str
    version: str
    service: Callable[[], Awaitable[AgentService]]
    sessions: Callable[[], Awaitable[SessionStore]]
    store: ApiStore
    describe_model: Callable[[], ModelInfo]
    skills: Callable[[], Awaitable[Sequence[dict[str, Any]]]]
    toolsets: Callable[[], Sequence[dict[str, Any]]]
    jobs: JobDesk
    redact: Callable[[str], str]
