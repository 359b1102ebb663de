"""Keeps one adapter connected: start, receive, start again with growing pauses, notice silence.

Liveness is progress: a connection that has completed no poll or heartbeat within its bound is rebuilt; if
that does not help it is reported, and in the end the process exits so that everything is built anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

from hermes_agent.core.errors import AuthFailedError, ConfigError, HermesError, NotReadyError
from hermes_agent.core.platform import Platform, Receiver
from hermes_agent.gateway.delivery import finish_quietly

_LOG = logging.getLogger(__name__)

KeeperState: TypeAlias = Literal[
    "connecting", "connected", "retrying", "silent", "auth_failed", "failed", "paused"
]

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 120.0
_STEADY_SECONDS = 120.0
MAX_SILENT_REBUILDS = 3


class _SilentError(HermesError):
    """The connection is open, but nothing moves."""


class Keeper:
    """One platform.

    Args:
        name: Of the platform.
        build: Makes a fresh adapter; may raise `ConfigError`.
        receiver: Takes its messages.
        on_change: Called when it has connected or lost its connection.
    """

    def __init__(
        self,
        name: str,
        build: Callable[[], Platform],
        receiver: Receiver,
        on_change: Callable[[str], None],
    ) -> None:
        self.name = name
        self.state: KeeperState = "connecting"
        self.error = ""
        self.since = time.time()
        self.reconnects = 0
        self.settled = asyncio.Event()
        self.silent_rebuilds = 0
        self._build = build
        self._receiver = receiver
        self._on_change = on_change
        self._platform: Platform | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def platform(self) -> Platform | None:
        """The adapter while it is connected."""
        return self._platform if self.state in ("connected", "silent") else None

    @property
    def is_stuck(self) -> bool:
        """Rebuilding did not help: the connection opens and then nothing moves."""
        return self.silent_rebuilds >= MAX_SILENT_REBUILDS

    def start(self) -> None:
        """Connect, and stay connected."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"platform {self.name}")

    async def stop(self, state: KeeperState = "connecting") -> None:
        """Disconnect."""
        task, self._task = self._task, None
        await finish_quietly(task)
        self._set(state)

    async def restart(self, build: Callable[[], Platform]) -> None:
        """Connect anew with other settings."""
        await self.stop()
        self._build = build
        self.silent_rebuilds = 0
        self.start()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            wait: float | None = None
            try:
                await self._connect_and_receive()
                self._set("retrying", "the connection ended")
            except _SilentError as error:
                self.silent_rebuilds += 1
                self._set("retrying", error.message)
                wait = 0.0
            except NotReadyError as error:
                wait = error.retry_after_seconds
                self._set("retrying", " ".join(error.lines))
            except AuthFailedError as error:
                self._set("auth_failed", " ".join(error.lines))
            except ConfigError as error:
                self._set("failed", " ".join(error.lines))
            except HermesError as error:
                self._set("retrying", " ".join(error.lines))
            except Exception as error:  # noqa: BLE001 - one adapter must not end the others
                _LOG.exception("the adapter %s failed", self.name)
                self._set("retrying", f"{type(error).__name__}: {error}")
            self.settled.set()
            if self.state in ("auth_failed", "failed"):
                return  # only new settings help: `restart`
            if time.monotonic() - began > _STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await asyncio.sleep(pause * random.uniform(0.8, 1.2) if wait is None else wait)  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            self.reconnects += 1

    async def _connect_and_receive(self) -> None:
        platform = self._build()
        self._platform = platform
        if self.state == "paused":
            self._set("connecting")
        try:
            await platform.start(self._receiver)
            self._set("connected")
            self.settled.set()
            receive = asyncio.create_task(platform.run(), name=f"receive {self.name}")
            watch = asyncio.create_task(self._watch(platform), name=f"watch {self.name}")
            try:
                done, _ = await asyncio.wait((receive, watch), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in (receive, watch):
                    task.cancel()
                await asyncio.gather(receive, watch, return_exceptions=True)
        finally:
            self._platform = None
            with suppress(HermesError):
                await platform.stop()

    async def _watch(self, platform: Platform) -> None:
        limit = platform.capabilities.max_silence_seconds
        connected_at = time.monotonic()
        while True:
            await asyncio.sleep(limit / 4)
            now = time.monotonic()
            if platform.last_progress > connected_at + limit:
                self.silent_rebuilds = 0  # it has lived long enough to count as well
            if now - max(platform.last_progress, connected_at) > limit:
                raise _SilentError(f"no progress for {now - platform.last_progress:.0f} s; connecting anew")

    def _set(self, state: KeeperState, error: str = "") -> None:
        if error and error != self.error:
            _LOG.warning("%s: %s: %s", self.name, state, error)
        elif not error and state != self.state:
            _LOG.info("%s: %s", self.name, state)
        self.state, self.error, self.since = state, error, time.time()
        self._on_change(self.name)
