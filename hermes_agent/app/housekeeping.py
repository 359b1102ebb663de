"""What the gateway does in idle moments: skills are looked after, old sessions go if that is wanted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from hermes_agent.app.container import App
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load
from hermes_agent.core.surface import Health
from hermes_agent.store.locks import running_sessions

if TYPE_CHECKING:
    from hermes_agent.app.gateway import GatewayProcess
    from hermes_agent.store.store import SqliteStore

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 900.0
PRUNE_SECONDS: Final = 86_400.0


async def make_service(process: GatewayProcess) -> Housekeeping:
    """The timer; it runs always, because both can be switched on at any time."""

    def active() -> int:
        return sum(each.health().active for each in process.supervisor.services)

    return Housekeeping(lambda: process.app, active)


class Housekeeping:
    """See `core.surface.Service`.

    Args:
        app: The process's app, with the settings of now.
        active: How many runs are going on.
        check_seconds: How often to look whether something is due.
    """

    name = "housekeeping"

    def __init__(
        self, app: Callable[[], App], active: Callable[[], int], *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._app = app
        self._active = active
        self._check_seconds = check_seconds
        self._work = asyncio.Lock()
        self._last_round = ""
        self._pruned_at = 0.0

    async def run(self, started: Callable[[], None]) -> None:
        """Look now and then until cancelled."""
        started()
        if (service := self._app().learning.external) is not None:
            service.wake()  # what an earlier process could not send any more
        while True:
            await asyncio.sleep(self._check_seconds)
            async with self._work:
                # It takes milliseconds; half of a round is worse than one that the end waits for.
                await asyncio.shield(self._look())

    async def drain(self) -> None:
        """Wait for what goes on."""
        async with self._work:
            pass

    async def reload(self) -> None:
        """Settings are read anew at every look."""

    def health(self) -> Health:
        """How the curator's last round ended."""
        return Health(facts={"curator": self._last_round} if self._last_round else {})

    async def _look(self) -> None:
        if self._active():
            return
        app = self._app()
        try:
            done = await app.learning.curate()
            if done is not None:
                self._last_round = load("hermes_agent.skills.curator:summary")(done)
            if app.settings.sessions.auto_prune and time.monotonic() - self._pruned_at > PRUNE_SECONDS:
                count = await prune_sessions(app)
                self._pruned_at = time.monotonic()
                logger.info("deleted %d sessions that were not used for long", count)
        except (HermesError, OSError) as error:
            logger.warning("housekeeping could not be done: %s", error)


async def prune_sessions(app: App) -> int:
    """Delete ended sessions that were not used for `sessions.retention_days`; says how many.

    Raises:
        StoreError: The database cannot be used.
    """
    store = cast("SqliteStore", await app.store())
    limit = time.time() - app.settings.sessions.retention_days * 86_400
    running = {holder.session_id for holder in running_sessions(app.home.run)}
    old = [record for record in await store.inactive_since(limit) if record.id not in running]
    for record in old:
        await store.delete(record.id)
    return len(old)
