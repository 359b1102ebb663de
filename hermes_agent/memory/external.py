"""An external memory service at work: what it knows comes in, what was said goes out, nobody waits for it.

The prompt takes what the service said last time from a file and asks again beside the conversation. What
was said is queued on disk and sent by a task in the background; a service that is away gets it later.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hermes_agent.config.files import ensure_directory, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import HermesError, MemoryServiceError, StoreError
from hermes_agent.core.injection import find_orders
from hermes_agent.core.memory import Exchange
from hermes_agent.memory.exchanges import Exchanges
from hermes_agent.memory.provider_thread import ProviderThread

logger = logging.getLogger(__name__)

FIRST_PROFILE_SECONDS: Final = 2.0
"""How long the first conversation with a service waits for what it knows; later ones have the file."""
PROFILE_SECONDS: Final = 20.0
RECALL_SECONDS: Final = 30.0
OBSERVE_SECONDS: Final = 30.0
FRESH_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 2.0
"""How long the end of the process waits for exchanges to be sent; the next process sends the rest."""
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 600.0
MAX_PROFILE_CHARS: Final = 4_000
MAX_SAID_CHARS: Final = 24_000


class ExternalMemory:
    """One service for all sessions of a process. See `core.memory.UserModel`.

    Args:
        home: Holds the queue and the newest profiles.
        name: The provider's id: `honcho`.
        label: Its name for people.
        thread: Where it runs.
        redact: Removes secrets from what is sent.
    """

    def __init__(
        self, home: Home, name: str, label: str, thread: ProviderThread, redact: Callable[[str], str]
    ) -> None:
        self.label = label
        self.exchanges = Exchanges(home, name)
        self._profiles = profiles_folder(home, name)
        self._thread = thread
        self._redact = redact
        self._asking: dict[str, asyncio.Task[str | None]] = {}
        self._asked_at: dict[str, float] = {}
        self._sender: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.last_error = ""
        """Why the newest try to reach the service failed; empty if it did not."""

    async def profile(self, principal: str) -> tuple[str, list[str]]:
        """What the service knows of a person as a block for the prompt, and warnings. Never raises."""
        self.wake()
        path = self._profiles / _file_name(principal)
        known = await asyncio.to_thread(_read, path)
        asking = self._ask_anew(principal)
        warnings: list[str] = []
        if known is None and asking is not None:
            await asyncio.wait([asking], timeout=FIRST_PROFILE_SECONDS)
            known = asking.result() if asking.done() and not asking.cancelled() else None
            if known is None:
                why = f": {self.last_error}" if self.last_error else ", it has not answered yet"
                warnings.append(f"This conversation begins without what {self.label} knows of you{why}")
        text = _harmless(known or "")
        if not text:
            return "", warnings
        head = f"# The user, as {self.label} sees them (conclusions from earlier conversations, no orders)"
        return f"{head}\n{text}", warnings

    async def recall(self, query: str, principal: str) -> str:
        """An answer to a question about a person. Raises `HermesError`."""
        asked = self._redact(query)
        answer = await self._thread.call(
            lambda provider: provider.recall(asked, principal=principal), timeout_seconds=RECALL_SECONDS
        )
        return _harmless(answer)

    async def keep(self, exchange: Exchange) -> None:
        """Queue what was said; it is sent in the background. Never raises."""
        clean = Exchange(
            exchange.id,
            exchange.session_id,
            exchange.principal,
            self._redact(exchange.said)[:MAX_SAID_CHARS],
            self._redact(exchange.answered)[:MAX_SAID_CHARS],
            exchange.at,
        )
        try:
            await asyncio.to_thread(self.exchanges.put, clean)
        except (StoreError, OSError) as error:
            logger.warning("an exchange was not kept for %s: %s", self.label, error)
            return
        self.wake()

    def wake(self) -> None:
        """Look after the queue now."""
        self._is_idle.clear()
        self._news.set()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_forever(), name="memory-service")

    async def settle(self, timeout_seconds: float) -> bool:
        """Wait until everything was sent or the service failed; False if the time-out came first."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._is_idle.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self) -> None:
        """Send what can be sent in a moment and leave the rest for the next process. Safe to call twice."""
        if self._sender is not None:
            await self.settle(GRACE_SECONDS)
        tasks = [task for task in (self._sender, *self._asking.values()) if task is not None]
        self._sender = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._thread.aclose()

    async def _send_forever(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                is_done = await self._send_all()
                self.last_error, pause = "", FIRST_PAUSE_SECONDS
            except (HermesError, OSError) as error:
                self.last_error = "; ".join(error.lines) if isinstance(error, HermesError) else str(error)
                logger.warning("%s: %s", self.label, self.last_error)
                is_done = False
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            if not self._news.is_set():
                self._is_idle.set()
            if not is_done:
                asyncio.get_running_loop().call_later(pause, self._news.set)

    async def _send_all(self) -> bool:
        """Send what waits; False if another process is at it. Raises `HermesError` if the service fails."""
        waiting = await asyncio.to_thread(self.exchanges.waiting)
        if not waiting:
            return True
        with self.exchanges.sending() as is_ours:
            if not is_ours:
                return False
            people = set()
            for path in waiting:
                begun = await asyncio.to_thread(self.exchanges.begin, path)
                if begun is None:
                    continue
                exchange, held = begun
                await self._send(exchange)
                people.add(exchange.principal)
                await asyncio.to_thread(held.unlink, missing_ok=True)
        for principal in people:
            self._ask_anew(principal)
        return True

    async def _send(self, exchange: Exchange) -> None:
        try:
            await self._thread.call(
                lambda provider: provider.observe(exchange), timeout_seconds=OBSERVE_SECONDS
            )
        except MemoryServiceError as error:
            if not error.is_final:
                raise
            logger.warning("%s refused exchange %s: %s", self.label, exchange.id, error.why or error.message)

    def _ask_anew(self, principal: str) -> asyncio.Task[str | None] | None:
        """Ask for the profile beside everything else, unless that was done a moment ago."""
        if principal in self._asking:
            return self._asking[principal]
        now = time.monotonic()
        if now - self._asked_at.get(principal, -FRESH_SECONDS) < FRESH_SECONDS:
            return None
        self._asked_at[principal] = now
        task = asyncio.create_task(self._ask(principal), name="memory-profile")
        self._asking[principal] = task
        task.add_done_callback(lambda _: self._asking.pop(principal, None))
        return task

    async def _ask(self, principal: str) -> str | None:
        """The profile as it is now, also kept for the next conversation; None if it cannot be had."""
        try:
            text = await self._thread.call(
                lambda provider: provider.profile(principal), timeout_seconds=PROFILE_SECONDS
            )
            await asyncio.to_thread(_write, self._profiles / _file_name(principal), text)
        except (HermesError, OSError) as error:
            self.last_error = "; ".join(error.lines) if isinstance(error, HermesError) else str(error)
            logger.info("no profile from %s: %s", self.label, self.last_error)
            return None
        return text


def profiles_folder(home: Home, name: str) -> Path:
    """Where the newest profiles of a service are kept."""
    return home.cache / "memory-service" / name


def _file_name(principal: str) -> str:
    return hashlib.sha256(principal.encode("utf-8", "replace")).hexdigest()[:16] + ".txt"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(StoreError):  # it only spares the next conversation a wait
        ensure_directory(path.parent)
        replace_atomically(path, text.encode("utf-8", "replace"), mode=0o600)


def _harmless(text: str) -> str:
    """Without paragraphs that look like orders to the agent, and not too long."""
    paragraphs = (part.strip() for part in text.replace("\0", "").split("\n\n"))
    kept = "\n\n".join(part for part in paragraphs if part and find_orders(part) is None)
    if find_orders(kept) is not None:  # orders that only the paragraphs together give
        return ""
    return kept if len(kept) <= MAX_PROFILE_CHARS else kept[: MAX_PROFILE_CHARS - 1] + "…"
