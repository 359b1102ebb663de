"""The check of the external memory service, if one is used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hermes_agent.cli.checks.finding import Finding, Surroundings
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load
from hermes_agent.core.memory import OWNER, MemoryProvider

if TYPE_CHECKING:
    from hermes_agent.memory.provider_thread import ProviderThread

_SECONDS: Final = 10.0


def check_memory_service(around: Surroundings) -> Iterator[Finding]:
    """Whether it is set up and its library installed; online: whether it answers."""
    settings = around.config.settings
    name = settings.memory.provider
    if not name:
        return
    providers = load("hermes_agent.memory.providers")
    label: str = providers.label_of(name)
    thread: ProviderThread = load("hermes_agent.memory.provider_thread:ProviderThread")(
        label, lambda: providers.make_provider(around.home, settings, around.config.environ.get)
    )
    try:
        asyncio.run(_look(thread, is_online=around.is_online))
    except HermesError as error:
        yield Finding.of_error("Memory service", error)
        return
    waiting = len(load("hermes_agent.memory.exchanges:Exchanges")(around.home, name).waiting())
    more = f", {waiting} waiting to be sent" if waiting else ""
    yield Finding("Memory service", "ok", f"{label}{' answers' if around.is_online else ''}{more}")


async def _look(thread: ProviderThread, *, is_online: bool) -> None:
    async def look(provider: MemoryProvider) -> None:
        if is_online:  # otherwise making it is enough
            await provider.profile(OWNER)

    try:
        await thread.call(look, timeout_seconds=_SECONDS)
    finally:
        await thread.aclose()
