"""The external memory service of a process, if `memory.provider` names one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hermes_agent.agent.session import Session
from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.events import RunFinished
from hermes_agent.core.loading import load
from hermes_agent.core.memory import Exchange
from hermes_agent.core.redaction import Redactor

if TYPE_CHECKING:
    from hermes_agent.memory.external import ExternalMemory

UNOBSERVED_SOURCES: Final = frozenset({"cron", "subagent", "webhook"})
"""Where no person speaks: what is said there says nothing about one."""


def open_external(
    home: Home, settings: Settings, environ: Environ, redactor: Redactor
) -> ExternalMemory | None:
    """The service; nothing is imported from it, or sent to it, yet. None if there is none."""
    name = settings.memory.provider.strip()
    if not name:
        return None
    providers = load("hermes_agent.memory.providers")
    label: str = providers.label_of(name)
    thread = load("hermes_agent.memory.provider_thread:ProviderThread")(
        label, lambda: providers.make_provider(home, settings, environ.get)
    )
    made: ExternalMemory = load("hermes_agent.memory.external:ExternalMemory")(
        home, name, label, thread, redactor.redact
    )
    return made


class ExchangeObserver:
    """Hands what was said to the service after each run; a run observer."""

    def __init__(self, service: ExternalMemory) -> None:
        self._service = service

    def observe(self, session: Session, finished: RunFinished) -> None:
        """A run has ended. Returns at once."""
        if not session.is_stored or finished.outcome != "completed":
            return
        said = session.last_input()
        if not said.strip() or not finished.text.strip() or session.record.source in UNOBSERVED_SOURCES:
            return
        exchange = Exchange(
            secrets.token_hex(8),
            session.id,
            session.scope.principal,
            said,
            finished.text,
            time.time(),
        )
        session.add_background(self._service.keep(exchange))


async def external_section(service: ExternalMemory | None, principal: str) -> tuple[str, Sequence[str]]:
    """The block for the prompt, and warnings."""
    return ("", ()) if service is None else await service.profile(principal)
