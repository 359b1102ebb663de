"""Configuration for processes that run for weeks: fresh when the files change, never gone when they break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from hermes_agent.config.loader import LoadedConfig, load
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError

Signature = tuple[str, int, int, int]
"""Path behind links, inode, mtime in ns, size: a new file behind a link has another path or inode."""


class ConfigCache:
    """The newest configuration that was good.

    Args:
        home: The state directory.
        overrides: Flags, as for `loader.load`.
        on_problem: Told once about each broken state of the files.

    Raises:
        ConfigError: From the constructor, if the files are broken from the start.
    """

    def __init__(
        self,
        home: Home,
        *,
        overrides: Mapping[str, object] = MappingProxyType({}),
        on_problem: Callable[[ConfigError], None] | None = None,
    ) -> None:
        self._home = home
        self._overrides = dict(overrides)
        self._on_problem = on_problem
        self._seen = self._signatures()
        self._good = load(home, overrides=self._overrides)
        self.problem: ConfigError | None = None

    def current(self) -> LoadedConfig:
        """The configuration; reads the files only if they changed since the last call."""
        seen = self._signatures()
        if seen != self._seen:
            # Remembered before reading: a change while we read is seen next time.
            self._seen = seen
            try:
                self._good = load(self._home, overrides=self._overrides)
                self.problem = None
            except ConfigError as error:
                self.problem = error
                if self._on_problem is not None:
                    self._on_problem(error)
        return self._good

    async def changes(self, *, poll_seconds: float = 2.0) -> AsyncIterator[LoadedConfig]:
        """Yield the configuration each time a good new one appears. Ends when cancelled."""
        known = self._good
        while True:
            fresh = await asyncio.to_thread(self.current)
            if fresh is not known:
                known = fresh
                yield fresh
            await asyncio.sleep(poll_seconds)

    def _signatures(self) -> tuple[Signature | None, ...]:
        return tuple(_signature(path) for path in (self._home.config_file, self._home.env_file))


def _signature(path: Path) -> Signature | None:
    try:
        target = path.resolve()
        known = target.stat()
    except (OSError, RuntimeError):
        return None
    return str(target), known.st_ino, known.st_mtime_ns, known.st_size
