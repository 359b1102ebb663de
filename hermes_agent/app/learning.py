"""Wires memory, skills, the background review and the curator into the agent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet

from hermes_agent.agent.review import Reviewer
from hermes_agent.agent.service import PromptScope, PromptSections
from hermes_agent.agent.session import Session
from hermes_agent.app.external_memory import ExchangeObserver, external_section, open_external
from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import RunFinished
from hermes_agent.core.loading import load
from hermes_agent.core.redaction import Redactor
from hermes_agent.core.session import SessionStore

if TYPE_CHECKING:
    from hermes_agent.memory.service import FileMemory
    from hermes_agent.skills.curator import Curator, Round
    from hermes_agent.skills.service import FileSkills

logger = logging.getLogger(__name__)

BUNDLED_VARIABLE = "HERMES_BUNDLED_SKILLS"
CURATOR_DELAY_SECONDS = 5.0
"""The curator looks at the skills so long after a run, if no other has begun; one-shot answers never wait."""


class Learning:
    """What lasts from one session to the next.

    Args:
        home: The state directory.
        settings: All settings.
        environ: Where variables that skills need are looked up.
        redactor: Keeps secrets out of memory and skills.
        store: Gives the session store; asked when the first session begins.
    """

    def __init__(
        self,
        home: Home,
        settings: Settings,
        environ: Environ,
        redactor: Redactor,
        store: Callable[[], Awaitable[SessionStore]],
    ) -> None:
        self._home = home
        self._settings = settings
        self._environ = environ
        self._redactor = redactor
        self._store = store
        self._curating: asyncio.Task[None] | None = None
        self._curator_timer: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._idle_before: float | None = None
        self._seen: WeakSet[Session] = WeakSet()
        self.memory: FileMemory = load("hermes_agent.memory.service:FileMemory")(
            home, settings.memory, redactor.redact
        )
        self.skills = make_skills(home, settings, environ, redactor)
        self.external = open_external(home, settings, environ, redactor)
        """The external memory service; None if there is none."""
        self.reviewer = Reviewer(
            memory_every=settings.memory.nudge_interval, skills_every=settings.skills.creation_nudge_interval
        )

    @property
    def has_memory(self) -> bool:
        """Whether any memory file is switched on."""
        return self._settings.memory.memory_enabled or self._settings.memory.user_profile_enabled

    async def prompt_sections(self, scope: PromptScope) -> PromptSections:
        """Memory and the index of skills, as they are now."""
        if not self._has_begun:
            self._has_begun = True
            self._idle_before = await self._idle_seconds(skip=1)  # the newest session is the one that begins
        toolsets: dict[str, Sequence[str]] = load("hermes_agent.tools.toolsets:TOOLSETS")
        offered = frozenset(name for name, tools in toolsets.items() if scope.tools & set(tools))
        index = await self.skills.index(tools=scope.tools, toolsets=offered)
        memory, warnings = await self.memory.snapshot(scope.principal) if self.has_memory else ("", ())
        model, doubts = await external_section(self.external, scope.principal)
        return PromptSections([index.text, memory, model], [*index.warnings, *warnings, *doubts])

    @property
    def observers(self) -> Sequence[Callable[[Session, RunFinished], None]]:
        """Who is told about finished runs."""
        others = () if self.external is None else (ExchangeObserver(self.external).observe,)
        return (self.reviewer.observe, self._curate_between_runs, *others)

    def curator(self) -> Curator:
        """Looks after the agent's own skills."""
        made: Curator = load("hermes_agent.skills.curator:Curator")(
            self._home, self.skills.library, self._settings.curator
        )
        return made

    async def curate(self, idle_seconds: float | None = None) -> Round | None:
        """One round of the curator, if it is time for one.

        Args:
            idle_seconds: For how long nobody has spoken; None looks it up.

        Raises:
            HermesError: The skills or the sessions cannot be read or written.
        """
        if idle_seconds is None:
            idle_seconds = await self._idle_seconds(skip=0)
        done = await asyncio.to_thread(self.curator().run_if_due, idle_seconds)
        if done is not None:
            logger.info("curated skills: %s", load("hermes_agent.skills.curator:summary")(done))
        return done

    async def _idle_seconds(self, *, skip: int) -> float:
        """How long ago the newest message was, leaving out so many of the newest sessions."""
        recent = (await (await self._store()).list(limit=skip + 1))[skip:]
        return time.time() - recent[0].last_active_at if recent else float("inf")

    def _curate_between_runs(self, session: Session, _finished: RunFinished) -> None:
        """Once in a process, a moment after a run; a run observer."""
        self._seen.add(session)
        if self._settings.curator.enabled and self._idle_before is not None and self._curator_timer is None:
            loop = asyncio.get_running_loop()
            self._curator_timer = loop.call_later(CURATOR_DELAY_SECONDS, self._start_curating)

    def _start_curating(self) -> None:
        self._curator_timer = None
        if any(session.current_run is not None for session in self._seen):
            return  # after the next run
        idle_seconds, self._idle_before = self._idle_before, None
        self._curating = asyncio.create_task(self._curate_quietly(idle_seconds))

    async def _curate_quietly(self, idle_seconds: float | None) -> None:
        try:
            await self.curate(idle_seconds)
        except (HermesError, OSError) as error:
            logger.warning("the curator could not work: %s", error)

    async def aclose(self) -> None:
        """Let a round of the curator end; it takes milliseconds."""
        if self._curator_timer is not None:
            self._curator_timer.cancel()
        task, self._curating = self._curating, None
        if task is not None:
            await task
        if self.external is not None:
            await self.external.aclose()


def make_skills(home: Home, settings: Settings, environ: Environ, redactor: Redactor) -> FileSkills:
    """The skills of a state directory."""
    shipped = environ.get(BUNDLED_VARIABLE)
    made: FileSkills = load("hermes_agent.skills.service:open_skills")(
        home, settings.skills, environ.get, redactor.redact, shipped
    )
    return made
