"""Tells chats about background processes that the agent started there: what they print, how they end.

`display.background_process_notifications`: `all` (output now and then, and the end), `result` (the end),
`error` (an end with a failure), `off`. A process does not outlive its gateway; the next one says which
were cut off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from hermes_agent.config.settings import Settings
from hermes_agent.core.environment import BackgroundProcess, OutputSink
from hermes_agent.core.errors import HermesError
from hermes_agent.core.inbox import ChatDirectory
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import ChatAddress
from hermes_agent.gateway.delivery import Delivery, finish_quietly

_LOG = logging.getLogger(__name__)

FIRST_OUTPUT_SECONDS = 10.0
LONGEST_OUTPUT_SECONDS = 600.0
_KEPT_BYTES = 8_000
_SHOWN_LINES = 12
_SHOWN_CHARS = 1_200
_COMMAND_CHARS = 120
_SCOPE, _FACT = "gateway", "processes"

Follower = Callable[[BackgroundProcess], "OutputSink | None"]


@dataclass(frozen=True, slots=True)
class _Known:
    """A process that runs, as it is remembered for the next start."""

    platform: str
    chat_id: str
    thread_id: str
    command: str
    started_at: float


class ProcessNotices:
    """One for the gateway process.

    Args:
        settings: `display.background_process_notifications`, read anew each time.
        redact: Takes secrets out of what processes print.
        shows_progress: Whether a platform (by name) is one for messages that come and go.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        chats: ChatDirectory,
        delivery: Delivery,
        redact: Callable[[str], str] = str,
        shows_progress: Callable[[str], bool] = bool,
    ) -> None:
        self._settings = settings
        self._chats = chats
        self._delivery = delivery
        self._redact = redact
        self._shows_progress = shows_progress
        self._known: dict[str, _Known] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()
        self._is_leaving = False

    @property
    def mode(self) -> str:
        """The setting as it is now."""
        return self._settings().display.background_process_notifications

    def follower(self, address: ChatAddress) -> Follower:
        """What the session of this chat calls for each process it starts."""

        def follow(process: BackgroundProcess) -> OutputSink | None:
            if self._is_leaving:
                return None
            output = _Output()
            self._known[process.id] = _Known(
                address.platform,
                address.chat_id,
                address.thread_id,
                _short(process.command),
                process.started_at,
            )
            task = asyncio.create_task(self._follow(process, address, output), name=f"watch {process.id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return output.feed

        return follow

    async def tell_lost(self) -> None:
        """Begin: say which processes ended with the gateway that ran before."""
        self._is_leaving = False
        text = await self._chats.get_fact(_SCOPE, _FACT)
        if not text:
            return
        try:
            lost = {key: _Known(**value) for key, value in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError):
            lost = {}
        for key, known in lost.items():
            if self.mode != "off":
                await self._put(
                    f"process:{key}:lost",
                    ChatAddress(known.platform, known.chat_id, known.thread_id),
                    f"⚠️ The background process `{known.command}` ended when I was restarted.",
                )
        await self._chats.put_fact(_SCOPE, _FACT, "")

    def leave(self) -> None:
        """The gateway stops: ends of processes from now on are its doing, and told after the next start."""
        self._is_leaving = True

    async def aclose(self) -> None:
        """Follow none any longer."""
        self.leave()
        for task in list(self._tasks):
            await finish_quietly(task)

    async def _follow(self, process: BackgroundProcess, address: ChatAddress, output: _Output) -> None:
        await self._remember()
        pause, number = FIRST_OUTPUT_SECONDS, 0
        while not await process.wait(pause if self.mode == "all" else LONGEST_OUTPUT_SECONDS):
            if self.mode == "all" and self._shows_progress(address.platform) and (text := output.take()):
                number += 1
                await self._tell_output(process, address, number, text)
                pause = min(2 * pause, LONGEST_OUTPUT_SECONDS)
        if self._is_leaving:
            return
        await asyncio.sleep(0)  # the last output arrives with the end
        del self._known[process.id]
        await self._tell_end(process, address)
        await self._remember()

    async def _tell_output(
        self, process: BackgroundProcess, address: ChatAddress, number: int, text: str
    ) -> None:
        head = f"⚙️ `{_short(process.command)}` runs ({_age(process)}):"
        await self._put(
            f"process:{process.id}:{number}", address, f"{head}\n{self._block(text)}", is_silent=True
        )

    async def _tell_end(self, process: BackgroundProcess, address: ChatAddress) -> None:
        mode, code = self.mode, process.exit_code
        if mode == "off" or (mode == "error" and code == 0):
            return
        sign = "✅" if code == 0 else "❌"
        head = f"{sign} `{_short(process.command)}` ended with exit code {code} after {_age(process)}."
        tail = process.output()[-_KEPT_BYTES:]
        body = f"\n{self._block(tail)}" if tail.strip() else ""
        await self._put(f"process:{process.id}:end", address, f"{head}{body}")

    def _block(self, text: str) -> str:
        """The last lines as a code block."""
        plain = "".join(char for char in text.replace("\r\n", "\n") if char == "\n" or char.isprintable())
        lines = self._redact(plain).strip("\n").split("\n")[-_SHOWN_LINES:]
        shown = "\n".join(lines)[-_SHOWN_CHARS:].replace("```", "'''")
        return f"```\n{shown}\n```"

    async def _put(self, key: str, address: ChatAddress, text: str, *, is_silent: bool = False) -> None:
        with suppress(HermesError):
            await self._delivery.put(Outgoing(key=key, address=address, text=text, is_silent=is_silent))

    async def _remember(self) -> None:
        """Store which processes run."""
        async with self._writing:
            known = {key: asdict(value) for key, value in self._known.items()}
            try:
                await self._chats.put_fact(_SCOPE, _FACT, json.dumps(known) if known else "")
            except HermesError as error:
                _LOG.warning("running processes are not noted: %s", error)


class _Output:
    """What a process printed since somebody looked."""

    def __init__(self) -> None:
        self._new = bytearray()

    def feed(self, data: bytes) -> None:
        self._new += data[-_KEPT_BYTES:]
        del self._new[: max(0, len(self._new) - _KEPT_BYTES)]

    def take(self) -> str:
        text = self._new.decode("utf-8", "replace")
        self._new.clear()
        return text if text.strip() else ""


def _short(command: str) -> str:
    line = " ".join(command.split()).replace("`", "'")
    return line if len(line) <= _COMMAND_CHARS else f"{line[: _COMMAND_CHARS - 1]}…"


def _age(process: BackgroundProcess) -> str:
    seconds = max(0.0, time.time() - process.started_at)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
