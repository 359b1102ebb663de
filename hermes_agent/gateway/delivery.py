"""Sends what is in the outbox: in order for each chat, at the platform's pace, each state recorded first.

A part is marked as leaving before it leaves. If the process is killed or the connection breaks in between,
nobody knows whether it arrived: platforms that recognise repeated sends get it again, on others it is
marked `unknown` and the next one follows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from hermes_agent.core.errors import DeliveryError, HermesError, StoreError
from hermes_agent.core.outbox import OutboxEntry, OutboxState, OutboxStore, Outgoing
from hermes_agent.core.platform import ChatAddress, OutgoingPart, Platform
from hermes_agent.gateway.parts import plan_parts

_LOG = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
CLOSING_SECONDS = 5.0
MAX_PARALLEL_SENDS = 16
"""Requests to one platform at the same time."""


class _ClosedError(HermesError):
    """The delivery is ending; the entry waits for the next start."""


@dataclass
class Pace:
    """A token bucket: how often something may be sent to one chat."""

    per_second: float
    burst: int
    tokens: float = 0.0
    at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.tokens = float(self.burst)

    def _refill(self) -> None:
        now = time.monotonic()
        self.tokens = min(float(self.burst), self.tokens + (now - self.at) * self.per_second)
        self.at = now

    def take(self) -> float:
        """Take one; returns the seconds to wait before acting."""
        self._refill()
        self.tokens -= 1
        return max(0.0, -self.tokens / self.per_second)

    def try_take(self) -> bool:
        """Take one if it is there now."""
        self._refill()
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def hold(self, seconds: float) -> None:
        """The platform wants silence for so long."""
        self._refill()
        self.tokens = min(self.tokens, 1 - seconds * self.per_second)


@dataclass
class _Lane:
    waiting: deque[OutboxEntry] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Delivery:
    """The `Outbox` of the gateway process: stores, then sends.

    Args:
        store: Where entries are kept.
        platform_of: The connected adapter of a platform, None while it is not connected.
        max_parts: A text of more parts is sent as a file, where the platform takes files.
    """

    def __init__(
        self, store: OutboxStore, platform_of: Callable[[str], Platform | None], *, max_parts: int = 5
    ) -> None:
        self._store = store
        self._platform_of = platform_of
        self._max_parts = max_parts
        self._lanes: dict[ChatAddress, _Lane] = {}
        self._paces: dict[tuple[str, str], Pace] = {}
        self._queued: set[int] = set()
        self._is_open = False
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._closing = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._waiters: dict[int, list[asyncio.Future[None]]] = {}

    # The port.

    async def put(self, message: Outgoing) -> int:
        """Queue a message and send it soon."""
        entry_id = await self._store.put(message)
        await self.look(entry_id)
        return entry_id

    async def entry(self, entry_id: int) -> OutboxEntry | None:
        """How far it got."""
        return await self._store.entry(entry_id)

    # Beyond it.

    async def open(self) -> None:
        """Take up what an earlier process left. Before adapters connect."""
        self._is_open = True
        self._closing.clear()
        self._store.subscribe(self._look_soon)
        left = await self._store.live_of("progress:")  # closes all but the newest
        if left is not None:
            await self._store.settle(left.id, "cancelled", "cut off")
        self._enqueue(await self._store.pending())

    async def flush(self, timeout_seconds: float) -> None:
        """Wait until everything that can be sent now is sent."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_seconds)

    async def aclose(self) -> None:
        """Stop sending; a part that is on its way is waited for, the rest waits for the next start."""
        if self._is_open:
            self._store.unsubscribe()
        self._is_open = False
        self._closing.set()
        await finish_quietly(self._looking)
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSING_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()
        self._queued.clear()

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not longer than this is open. Raises `_ClosedError`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)
        self._check_open()

    def _check_open(self) -> None:
        if not self._is_open:
            raise _ClosedError("The delivery is closed")

    async def look(self, *entry_ids: int) -> None:
        """Send entries that somebody else stored (in a transaction of theirs)."""
        found = [await self._store.entry(each) for each in entry_ids]
        self._enqueue(each for each in found if each is not None and each.state in ("waiting", "sending"))

    async def look_around(self, platform: str | None = None) -> None:
        """Send everything that waits (a platform has connected, another process queued something)."""
        self._enqueue(await self._store.pending(platform))
        for address, lane in self._lanes.items():
            if platform in (None, address.platform):
                self._wake(address, lane)

    async def settled(self, entry_id: int) -> OutboxEntry | None:
        """Wait until an entry is neither waiting nor being sent."""
        while True:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(entry_id, []).append(waiter)
            entry = await self._store.entry(entry_id)
            if entry is None or entry.state not in ("waiting", "sending", "live"):
                return entry
            await waiter

    @property
    def max_parts(self) -> int:
        """A text of more parts is sent as a file."""
        return self._max_parts

    def pace(self, address: ChatAddress, platform: Platform) -> Pace:
        """The pace of a chat; edits and live messages take from it too."""
        key = (address.platform, address.chat_id)
        found = self._paces.get(key)
        if found is None:
            capabilities = platform.capabilities
            found = self._paces[key] = Pace(capabilities.messages_per_second, capabilities.burst)
        return found

    def has_waiting(self, address: ChatAddress) -> bool:
        """Whether something for a chat is still to be sent."""
        lane = self._lanes.get(address)
        return lane is not None and bool(lane.waiting)

    def _look_soon(self) -> None:
        self._look_again = True
        if self._is_open and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_until_done(), name="outbox")

    async def _look_until_done(self) -> None:
        while self._look_again:
            self._look_again = False
            await self.look_around()

    def _enqueue(self, entries: Iterable[OutboxEntry]) -> None:
        for entry in entries:
            if not self._is_open or entry.id in self._queued:
                continue
            self._queued.add(entry.id)
            lane = self._lanes.setdefault(entry.message.address, _Lane())
            lane.waiting.append(entry)
            self._wake(entry.message.address, lane)

    def _wake(self, address: ChatAddress, lane: _Lane) -> None:
        if not self._is_open or lane.task is not None or not lane.waiting:
            return
        if self._platform_of(address.platform) is not None or _is_over(lane.waiting[0]):
            lane.task = asyncio.create_task(self._work(address, lane), name=f"delivery {address}")

    async def _work(self, address: ChatAddress, lane: _Lane) -> None:
        try:
            while lane.waiting:
                entry = lane.waiting[0]
                platform = self._platform_of(address.platform)
                if platform is None and not _is_over(entry):
                    return  # woken when it connects
                try:
                    await self._deliver(entry, platform)
                except _ClosedError:
                    return
                except StoreError as error:
                    _LOG.error("outbox: %s", error)
                    try:
                        await self._pause(FIRST_PAUSE_SECONDS)
                        lane.waiting[0] = await self._store.entry(entry.id) or entry
                    except HermesError:
                        if not self._is_open:
                            return
                    continue
                lane.waiting.popleft()
                self._queued.discard(entry.id)
                for waiter in self._waiters.pop(entry.id, ()):
                    if not waiter.done():
                        waiter.set_result(None)
        finally:
            lane.task = None
            if lane.waiting:
                self._wake(address, lane)
            else:
                self._lanes.pop(address, None)

    async def _deliver(self, entry: OutboxEntry, platform: Platform | None) -> None:
        """Send one entry to its end."""
        if entry.state == "sending":
            entry = await self._after_a_cut(entry, platform)
        attempts = 0
        while True:
            if _is_over(entry):
                await self._settle(entry, "expired", entry.error or "not sent in time")
                return
            platform = self._platform_of(entry.message.address.platform)
            if platform is None:
                await self._pause(FIRST_PAUSE_SECONDS)
                continue
            pause = entry.not_before - time.time()
            if pause > 0:
                await self._pause(min(pause, entry.expires_at - time.time()))
            try:
                await self._send_parts(entry, platform)
                return
            except DeliveryError as error:
                refreshed = await self._store.entry(entry.id)
                entry = refreshed or entry
                if error.is_permanent:
                    await self._settle(entry, "failed", " ".join(error.lines))
                    return
                wait = error.retry_after_seconds
                if wait is None:
                    wait = min(FIRST_PAUSE_SECONDS * 2**attempts, LONGEST_PAUSE_SECONDS)
                else:
                    self.pace(entry.message.address, platform).hold(wait)
                attempts += 1
                _LOG.info("outbox %s to %s: %s; next try in %.0f s", entry.id, platform.name, error, wait)
                entry = replace(entry, not_before=time.time() + wait, error=error.message, state="waiting")
                await self._store.retry(entry.id, entry.not_before, error.message)

    async def _after_a_cut(self, entry: OutboxEntry, platform: Platform | None) -> OutboxEntry:
        """A part was leaving when the process ended."""
        if platform is not None and platform.capabilities.recognises_resends:
            return replace(entry, state="waiting")
        if entry.parts_sent < len(entry.message_ids):  # it was an edit: doing it again changes nothing
            return replace(entry, state="waiting")
        _LOG.warning("outbox %s: part %s may or may not have arrived", entry.id, entry.parts_sent + 1)
        await self._store.part_sent(entry.id, entry.parts_sent, "")
        return await self._store.entry(entry.id) or entry

    async def _send_parts(self, entry: OutboxEntry, platform: Platform) -> None:
        limit = entry.part_limit or platform.capabilities.max_text
        parts = plan_parts(entry, platform, limit, max_parts=self._max_parts)
        shown = list(entry.message_ids)
        pace = self.pace(entry.message.address, platform)
        for index in range(entry.parts_sent, len(parts)):
            part = parts[index]
            if pause := pace.take():
                await self._pause(pause)
            self._check_open()
            async with self._slots.setdefault(platform.name, asyncio.Semaphore(MAX_PARALLEL_SENDS)):
                message_id = await self._put_part(entry, platform, index, part, limit, shown)
            shown[index : index + 1] = [message_id]
        is_known = all(shown[: len(parts)])
        await self._settle(
            entry, "sent" if is_known else "unknown", "" if is_known else "a part may not have arrived"
        )

    async def _put_part(
        self,
        entry: OutboxEntry,
        platform: Platform,
        index: int,
        part: OutgoingPart,
        limit: int,
        shown: Sequence[str],
    ) -> str:
        """Send or edit one part; recorded before and after."""
        await self._store.sending(entry.id, part_limit=limit)
        if index < len(shown) and shown[index] and part.file is None:
            message_id = await self._edit(entry, platform, shown[index], part)
        else:
            message_id = await self._send(entry, platform, part)
            if entry.message.live_entry and platform.capabilities.recognises_resends and message_id:
                # The platform may have known the part from a piece shown while it was written.
                await self._edit(entry, platform, message_id, part)
        await self._store.part_sent(entry.id, index, message_id)
        return message_id

    async def _send(self, entry: OutboxEntry, platform: Platform, part: OutgoingPart) -> str:
        try:
            return await platform.send(part)
        except DeliveryError as error:
            if error.is_unknown and not platform.capabilities.recognises_resends:
                _LOG.warning("outbox %s: nobody knows whether it arrived: %s", entry.id, error)
                return ""
            raise
        except HermesError as error:
            raise DeliveryError(error.message, why=error.why) from error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _LOG.exception("the adapter %s failed to send", platform.name)
            raise DeliveryError(f"{type(error).__name__}: {error}") from error

    async def _edit(self, entry: OutboxEntry, platform: Platform, message_id: str, part: OutgoingPart) -> str:
        try:
            await platform.edit(part.address, message_id, part)
        except DeliveryError as error:
            if not error.is_permanent:
                raise
            _LOG.info("outbox %s: cannot edit (%s); sent as a new message", entry.id, error)
            return await self._send(entry, platform, part)
        return message_id

    async def _settle(self, entry: OutboxEntry, state: OutboxState, error: str = "") -> None:
        if error:
            _LOG.warning("outbox %s to %s: %s: %s", entry.id, entry.message.address, state, error)
        await self._store.settle(entry.id, state, error)


def _is_over(entry: OutboxEntry) -> bool:
    return time.time() > entry.expires_at


async def finish_quietly(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait for its end; being cancelled oneself is not swallowed."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.warning("%s ended with %r", task.get_name(), error)
