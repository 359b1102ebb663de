"""A session made of the real store, the local environment and a scripted model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from hermes_agent.agent.approvals import ApprovalGate
from hermes_agent.agent.compaction import Compactor
from hermes_agent.agent.session import Session, SessionParts
from hermes_agent.config.sections.agent import AgentSettings, ApprovalSettings, GuardrailSettings
from hermes_agent.config.sections.compression import CompressionSettings
from hermes_agent.config.sections.tools import TerminalSettings
from hermes_agent.core.model import Model
from hermes_agent.core.session import SessionRecord
from hermes_agent.core.tool import Tool
from hermes_agent.environments import open_environment
from hermes_agent.models.scripted.model import ScriptedModel
from hermes_agent.store import SqliteStore, open_store


@dataclass
class Opened:
    session: Session
    model: ScriptedModel


class OpenSession(Protocol):
    def __call__(
        self,
        script: object,
        *,
        tools: Sequence[Tool] = (),
        record: SessionRecord | None = None,
        model: Model | None = None,
        **parts: Any,
    ) -> Awaitable[Opened]: ...


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(tmp_path / "state.db")
    yield opened
    await opened.aclose()


@pytest.fixture
async def open_session(store: SqliteStore, tmp_path: Path) -> AsyncIterator[OpenSession]:
    opened: list[Session] = []
    workspace = tmp_path / "workspace"
    workspace.mkdir()

    async def prompt() -> str:
        return "You are a test."

    async def make(
        script: object,
        *,
        tools: Sequence[Tool] = (),
        record: SessionRecord | None = None,
        model: Model | None = None,
        **parts: Any,
    ) -> Opened:
        scripted = ScriptedModel(script)  # type: ignore[arg-type]
        record = record or await store.create(source="cli", model="scripted:test")
        environment = open_environment(
            TerminalSettings(),
            cwd=workspace,
            child_env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            session_id=record.id,
        )
        settings: dict[str, Any] = {
            "gate": ApprovalGate(ApprovalSettings(timeout=5)),
            "agent": AgentSettings(),
            "guardrails": GuardrailSettings(),
            "compactor": Compactor(CompressionSettings(), lambda: session.model),
            "build_prompt": prompt,
            **parts,
        }
        session = Session(
            SessionParts(
                record=record,
                store=store,
                model=model or scripted,
                tools=tools,
                environment=environment,
                **settings,
            )
        )
        await session.load()
        opened.append(session)
        return Opened(session, scripted)

    yield make
    for session in opened:
        await session.aclose()
