"""The curator on a timer: skills are looked after while the gateway has nothing to do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hermes_agent.app.container import App
from hermes_agent.core.errors import HermesError
from hermes_agent.core.loading import load
from hermes_agent.core.surface import Health

if TYPE_CHECKING:
    from hermes_agent.app.gateway import GatewayProcess

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 900.0


async def make_service(process: GatewayProcess) -> SkillCare:
    """The timer; it runs always, because the curator can be switched on at any time."""

    def active() -> int:
        return sum(each.health().active for each in process.supervisor.services)

    return SkillCare(lambda: process.app, active)


class SkillCare:
    """See `core.surface.Service`.

    Args:
        app: The process's app, with the settings of now.
        active: How many runs are going on.
        check_seconds: How often to look whether a round is due.
    """

    name = "skills"

    def __init__(
        self, app: Callable[[], App], active: Callable[[], int], *, check_seconds: float = CHECK_SECONDS
    ) -> None:
        self._app = app
        self._active = active
        self._check_seconds = check_seconds
        self._round = asyncio.Lock()
        self._last = ""

    async def run(self, started: Callable[[], None]) -> None:
        """Look now and then until cancelled."""
        started()
        while True:
            await asyncio.sleep(self._check_seconds)
            async with self._round:
                # A round takes milliseconds; half of one is worse than one that the end waits for.
                await asyncio.shield(self._look())

    async def drain(self) -> None:
        """Wait for a round that goes on."""
        async with self._round:
            pass

    async def reload(self) -> None:
        """Settings are read anew at every look."""

    def health(self) -> Health:
        """How the last round ended."""
        return Health(facts={"last_round": self._last} if self._last else {})

    async def _look(self) -> None:
        if self._active():
            return
        try:
            done = await self._app().learning.curate()
        except (HermesError, OSError) as error:
            logger.warning("the curator could not work: %s", error)
            return
        if done is not None:
            self._last = load("hermes_agent.skills.curator:summary")(done)
