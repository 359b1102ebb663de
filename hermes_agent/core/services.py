"""Ports that some tools need beside their environment. What is None is not offered to the model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from hermes_agent.core.jobs import JobDesk
from hermes_agent.core.memory import Memory, UserModel
from hermes_agent.core.recall import SessionSummaries
from hermes_agent.core.session import SessionStore
from hermes_agent.core.skills import Skills
from hermes_agent.core.web import WebPorts


@dataclass(frozen=True, slots=True)
class ToolServices:
    """Handed to tool factories by `app`.

    Attributes:
        sessions: Stored conversations (`session_search`).
        memory: What outlives a conversation (`memory`).
        skills: Folders of instructions (`skills_list`, `skill_view`, `skill_manage`).
        jobs: Scheduled jobs (`cronjob`).
        web: Keys and limits of the web (`web_search`, `web_extract`).
        summaries: Answers from stored conversations (`session_search`).
        user_model: An external memory service (`user_model`).
        chat_of: The chat on a messaging platform that a session belongs to, by the session's id
            (`platform`, `chat_id`, `thread_id`); None if it belongs to none.
    """

    sessions: SessionStore | None = None
    memory: Memory | None = None
    skills: Skills | None = None
    jobs: JobDesk | None = None
    web: WebPorts | None = None
    summaries: SessionSummaries | None = None
    user_model: UserModel | None = None
    chat_of: Callable[[str], Awaitable[Mapping[str, str] | None]] | None = None
