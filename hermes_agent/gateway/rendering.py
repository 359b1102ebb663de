"""One run, as a chat sees it: streamed text, tool progress, questions, approvals, notices."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from hermes_agent.agent.run import Run
from hermes_agent.config.settings import Settings
from hermes_agent.core.approvals import ApprovalRequest, Question
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import (
    ApprovalRequested,
    ApprovalResolved,
    CompactionFinished,
    Notice,
    QuestionAsked,
    ReasoningDelta,
    RunEvent,
    TextDelta,
    ToolCallStarted,
    TurnRestarted,
    TurnStarted,
)
from hermes_agent.core.outbox import OutboxEntry, OutboxStore, Outgoing
from hermes_agent.core.platform import Button, ChatAddress, OutgoingFile, Platform
from hermes_agent.gateway.delivery import Delivery, finish_quietly
from hermes_agent.gateway.live import LiveMessage
from hermes_agent.gateway.replies import is_silent, may_become_silent

_LOG = logging.getLogger(__name__)

_TYPING_SECONDS = 4.0
_PREVIEW = 60
_REASONING = 1_500
_PROGRESS_LINES = 20


@dataclass(frozen=True, slots=True)
class Look:
    """How much of the work a chat is shown."""

    progress: str = "all"
    preview_length: int = _PREVIEW
    is_streaming: bool = False
    shows_interim: bool = True
    shows_reasoning: bool = False
    is_asked_for: bool = False

    @classmethod
    def of(cls, settings: Settings, platform: str) -> Look:
        """From `display` and `streaming`, with the platform's own values."""
        own = settings.display.platforms.get(platform)
        progress, preview, streaming = settings.display.tool_progress, 0, settings.streaming.enabled
        preview = settings.display.tool_preview_length
        reasoning = settings.display.show_reasoning
        if own is not None:
            reasoning = reasoning if own.show_reasoning is None else own.show_reasoning
            progress = own.tool_progress or progress
            preview = preview if own.tool_preview_length is None else own.tool_preview_length
            streaming = streaming if own.streaming is None else own.streaming
        interim, is_asked_for = settings.display.interim_assistant_messages, bool(own and own.tool_progress)
        return cls(progress, preview or _PREVIEW, streaming, interim, reasoning, is_asked_for)

    def with_choices(self, progress: str, reasoning: str) -> Look:
        """With what somebody chose for the chat (`/verbose`, `/reasoning show`); empty changes nothing."""
        look = replace(self, progress=progress, is_asked_for=True) if progress else self
        return replace(look, shows_reasoning=reasoning == "show") if reasoning else look

    def on(self, platform: Platform | None) -> Look:
        """Where each message is a letter, without what nobody asked for."""
        if platform is None or platform.capabilities.shows_progress or self.is_asked_for:
            return self
        return replace(self, progress="off", shows_interim=False, shows_reasoning=False)


async def _no_media(text: str) -> tuple[str, tuple[OutgoingFile, ...]]:
    return text, ()


@dataclass
class Stage:
    """Where a run is shown.

    Attributes:
        key: Distinguishes this run's messages in the outbox: `17` (an inbox id), with the attempt.
        approver_id: Whose decisions count.
        take_media: Takes the files out of a text that is to be sent.
    """

    key: str
    address: ChatAddress
    delivery: Delivery
    store: OutboxStore
    platform: Platform | None
    look: Look
    settings: Settings
    session_key: str
    approver_id: str
    reply_to_id: str = ""
    left_over: OutboxEntry | None = None
    take_media: Callable[[str], Awaitable[tuple[str, tuple[OutgoingFile, ...]]]] = _no_media


@dataclass
class Pending:
    """Questions of a run that wait for a person."""

    approvals: dict[str, ApprovalRequest] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)


class RunRenderer:
    """Shows one run. `handle` takes its events; `finish` gives what the final answer replaces."""

    def __init__(self, stage: Stage, run: Run) -> None:
        self.pending = Pending()
        self.last_event_at = time.monotonic()
        self.has_compacted = False
        self._stage = replace(stage, look=stage.look.on(stage.platform))
        self._run = run
        self._text = ""
        self._reasoning = ""
        self._number = 0
        self._live: LiveMessage | None = None
        self._progress: LiveMessage | None = None
        self._lines: list[str] = []
        self._last_tool = ""
        self._typing: asyncio.Task[None] | None = None
        platform = stage.platform
        if platform is not None and platform.capabilities.has_typing:
            self._typing = asyncio.create_task(self._show_typing(platform), name="typing")

    async def handle(self, event: RunEvent) -> None:
        """Show one event."""
        self.last_event_at = time.monotonic()
        if isinstance(event, ReasoningDelta):
            self._reasoning += event.text
        elif isinstance(event, TextDelta):
            await self._show_reasoning()
            self._text += event.text
            self._stream()
        elif isinstance(event, TurnStarted | TurnRestarted):
            self._text = self._reasoning = ""
        elif isinstance(event, ToolCallStarted):
            await self._show_reasoning()
            await self._end_interim_text()
            await self._show_tool(event)
        elif isinstance(event, ApprovalRequested):
            await self._ask_approval(event.request)
        elif isinstance(event, ApprovalResolved):
            self.pending.approvals.pop(event.request_id, None)
            if event.by == "time-out":
                await self._say("⌛ Nobody approved it in time: it was not run.", f"late-{event.request_id}")
        elif isinstance(event, QuestionAsked):
            await self._ask_question(event.question)
        elif isinstance(event, CompactionFinished) and event.error is None:
            self.has_compacted = True
        elif isinstance(event, Notice) and event.level != "info":
            await self._say(f"⚠️ {event.text}", "notice")

    async def finish(self) -> int:
        """End streaming; returns the live entry that the final answer completes, or 0."""
        await finish_quietly(self._typing)
        self._typing = None
        if self._progress is not None:
            await self._progress.flush()
            await self._progress.discard()
        if self._live is not None:
            await self._live.close()
            return self._live.entry_id
        return self._stage.left_over.id if self._stage.left_over else 0

    def _stream(self) -> None:
        stage = self._stage
        if not stage.look.is_streaming or stage.platform is None or may_become_silent(self._text):
            return
        if not stage.platform.capabilities.can_edit:
            return
        if self._live is None:
            streaming = stage.settings.streaming
            self._live = LiveMessage(
                Outgoing(
                    key=f"live:{stage.key}:{self._number}",
                    address=stage.address,
                    text="",
                    kind="answer",
                    reply_to_id=stage.reply_to_id,
                ),
                stage.store,
                stage.delivery,
                stage.platform,
                entry=stage.left_over,
                interval_seconds=streaming.edit_interval,
                least_growth=streaming.buffer_threshold,
                cursor=streaming.cursor,
            )
            stage.left_over = None
        self._live.update(self._text)

    async def _show_reasoning(self) -> None:
        """What the model thought before it spoke or acted, as a quotation."""
        text, self._reasoning = self._reasoning.strip(), ""
        if not text or not self._stage.look.shows_reasoning:
            return
        shown = text if len(text) <= _REASONING else f"{text[:_REASONING]} …"
        quoted = "\n".join(f"> {line}" for line in shown.splitlines())
        await self._say(f"💭\n{quoted}", "reasoning", kind="progress")

    async def _end_interim_text(self) -> None:
        """What the model said before a tool call becomes a message of its own."""
        text, self._text = self._text.strip(), ""
        if not text or is_silent(text):
            return
        live, self._live = self._live, None
        if live is not None:
            await live.close()
        elif not self._stage.look.shows_interim:
            return
        if self._progress is not None:  # what follows belongs below this text
            await self._progress.flush()
            await self._progress.discard()
            self._progress, self._lines = None, []
        self._number += 1
        text, files = await self._stage.take_media(text)
        await self._stage.delivery.put(
            Outgoing(
                key=f"interim:{self._stage.key}:{self._number}",
                address=self._stage.address,
                text=text,
                files=files,
                kind="answer",
                live_entry=live.entry_id if live else 0,
            )
        )

    async def _show_tool(self, event: ToolCallStarted) -> None:
        look, platform = self._stage.look, self._stage.platform
        if look.progress == "off" or platform is None:
            return
        if look.progress == "new" and event.name == self._last_tool:
            return
        self._last_tool = event.name
        self._lines.append(_tool_line(event, look))
        if not platform.capabilities.can_edit:
            self._number += 1
            await self._say(self._lines[-1], f"tool-{self._number}", kind="progress")
            return
        if self._progress is None:
            self._number += 1
            self._progress = LiveMessage(
                Outgoing(
                    key=f"progress:{self._stage.key}:{self._number}",
                    address=self._stage.address,
                    text="",
                    kind="progress",
                    is_silent=True,
                ),
                self._stage.store,
                self._stage.delivery,
                platform,
                interval_seconds=max(1.0, self._stage.settings.streaming.edit_interval),
                least_growth=1,
            )
        self._progress.update("\n".join(self._lines[-_PROGRESS_LINES:]))

    async def _ask_approval(self, request: ApprovalRequest) -> None:
        self.pending.approvals[request.id] = request
        reasons = "; ".join(request.reasons)
        seconds = round(request.timeout_seconds)
        text = (
            f"⚠️ **May I run this?** ({reasons})\n```\n{request.action}\n```\n"
            f"Answer /approve, /approve session, /approve always or /deny within {seconds} s."
        )
        buttons = (
            Button("Once", f"approve:{request.id}:once", "good"),
            Button("This session", f"approve:{request.id}:session"),
            Button("Always", f"approve:{request.id}:always"),
            Button("Deny", f"approve:{request.id}:deny", "bad"),
        )
        await self._say(text, request.id, kind="approval", buttons=buttons)

    async def _ask_question(self, question: Question) -> None:
        self.pending.questions[question.id] = question
        lines = [f"❓ {question.text}"]
        lines += [f"{number}. {choice}" for number, choice in enumerate(question.choices, 1)]
        buttons = tuple(
            Button(choice[:40], f"answer:{question.id}:{number}")
            for number, choice in enumerate(question.choices)
        )
        await self._say("\n".join(lines), question.id, kind="approval", buttons=buttons)

    async def _say(
        self, text: str, name: str, *, kind: str = "notice", buttons: tuple[Button, ...] = ()
    ) -> None:
        self._number += 1
        await self._stage.delivery.put(
            Outgoing(
                key=f"run:{self._stage.key}:{self._number}:{name}",
                address=self._stage.address,
                text=text,
                kind=kind,  # type: ignore[arg-type]
                buttons=buttons,
                is_silent=kind == "progress",
            )
        )

    async def _show_typing(self, platform: Platform) -> None:
        while True:
            with suppress(HermesError):
                await platform.typing(self._stage.address)
            await asyncio.sleep(_TYPING_SECONDS)


def _tool_line(event: ToolCallStarted, look: Look) -> str:
    text = event.preview or event.name
    if look.progress == "verbose":
        with suppress(ValueError):
            text = f"{event.name} {json.dumps(json.loads(event.arguments), ensure_ascii=False)}"
        return f"{event.emoji or '🔧'} {text[:1000]}"
    line = " ".join(text.split())
    if len(line) > look.preview_length:
        line = line[: look.preview_length - 1] + "…"
    return f"{event.emoji or '🔧'} {event.name}: `{line}`" if line != event.name else f"🔧 {line}"
