"""One run of the agent for messages of a chat: shown, watched, guided, and its questions answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hermes_agent.agent.run import Run
from hermes_agent.agent.session import Session
from hermes_agent.core.approvals import ApprovalRequest, Decision
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import ApprovalRequested, RunEvent, RunFinished, ToolCallStarted, TurnStarted
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.messages import UserMessage
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import ChatAddress
from hermes_agent.gateway.chat_session import ChatSession
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.delivery import finish_quietly
from hermes_agent.gateway.keys import background_task, is_own, is_shared
from hermes_agent.gateway.media import take_media
from hermes_agent.gateway.platforms.table import has_chats
from hermes_agent.gateway.rendering import Look, RunRenderer, Stage

_LOG = logging.getLogger(__name__)

STEERED = -1
"""Position of messages that were told to a run which was going on."""

_DECISION_SECONDS = 86_400
"""A decision made while the gateway was away counts this long."""
_LONGEST_LOOK_SECONDS = 10.0
_SHOWN_TO_HOOKS = 500


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended.

    Attributes:
        live_entry: The streamed message that the answer completes; 0 if it was not streamed.
        told: Messages that it read beside those it was started with.
        late: Messages for it that came after its last look.
    """

    finished: RunFinished
    live_entry: int
    told: Sequence[InboxEntry]
    late: Sequence[InboxEntry]


class ChatRun:
    """A run that is going on. `start` begins it, `work` sees it through."""

    def __init__(
        self, key: str, batch: Sequence[InboxEntry], chat: ChatSession, context: GatewayContext
    ) -> None:
        self._key = key
        self._batch = list(batch)
        self._chat = chat
        self._context = context
        self._run: Run | None = None
        self._renderer: RunRenderer | None = None
        self._steered: list[tuple[InboxEntry, str]] = []
        self._tools: list[str] = []

    # What conversations and commands use.

    @property
    def is_going(self) -> bool:
        """It has begun and not ended."""
        return self._run is not None and not self._run.is_finished

    @property
    def address(self) -> ChatAddress:
        """Where it is shown."""
        return self._batch[0].message.address

    @property
    def approver_id(self) -> str:
        """Who decides on what it asks for: the person whose message led to it."""
        return self._batch[0].message.sender.id

    def may_answer(self, person_id: str) -> bool:
        """Whether somebody may answer its questions: who asked, and all who share the conversation."""
        return person_id == self.approver_id or is_shared(self._batch[0].message, self._key)

    @property
    def open_approval(self) -> ApprovalRequest | None:
        """The oldest action it waits to be allowed."""
        pending = self._renderer.pending.approvals if self._renderer else {}
        return next(iter(pending.values()), None)

    @property
    def has_questions(self) -> bool:
        """It waits for an answer of the person."""
        return self._renderer is not None and bool(self._renderer.pending.questions)

    @property
    def waits_for_person(self) -> bool:
        """Nothing happens until somebody decides or answers."""
        return self.is_going and (self.open_approval is not None or self.has_questions)

    def interrupt(self) -> bool:
        """Stop it; False if it is not going on."""
        if self._run is None or not self.is_going:
            return False
        self._run.interrupt()
        return True

    async def steer(self, entry: InboxEntry, session: Session, text: str) -> bool:
        """Tell it something; False if it is not going on any more."""
        if self._run is None or not self.is_going:
            return False
        self._steered.append((entry, text))
        self._run.steer(text)
        await self._context.ports.inbox.begin([entry.id], session.id, STEERED)
        return True

    def tell(self, text: str) -> None:
        """Tell it something that belongs to no message of its own."""
        if self._run is not None and self.is_going:
            self._run.steer(text)

    def decide(
        self, decision: Decision, by: str, *, request_id: str | None = None, action: str | None = None
    ) -> ApprovalRequest | None:
        """Answer what it waits for, by id or by the exact action; None if there is none such."""
        if self._renderer is None or self._run is None:
            return None
        for request in list(self._renderer.pending.approvals.values()):
            if request_id in (None, request.id) or (action is not None and action == request.action):
                return request if self._run.decide(request.id, decision, by=by) else None
        return None

    async def take_answer(self, entry: InboxEntry, session: Session, text: str) -> bool:
        """Take a message as the answer to its question; False if it has none."""
        if not self.answer_question(text):
            return False
        self._steered.append((entry, text))
        await self._context.ports.inbox.begin([entry.id], session.id, STEERED)
        return True

    def asks(self, question_id: str) -> bool:
        """Whether a question of it is open."""
        return self._renderer is not None and question_id in self._renderer.pending.questions

    def answer_question(self, text: str, question_id: str | None = None) -> bool:
        """Answer a clarifying question; a number picks one of its choices."""
        if self._renderer is None or self._run is None:
            return False
        for question in list(self._renderer.pending.questions.values()):
            if question_id not in (None, question.id):
                continue
            chosen = text.strip()
            if chosen.isdecimal() and 1 <= int(chosen) <= len(question.choices):
                chosen = question.choices[int(chosen) - 1]
            self._renderer.pending.questions.pop(question.id, None)
            return self._run.answer(question.id, chosen)
        return False

    # Its course.

    async def start(self, session: Session, message: UserMessage) -> None:
        """Begin."""
        stage = await self._stage(session)
        self._run = session.start(message, is_interactive=has_chats(self._batch[0].message.platform))
        self._renderer = RunRenderer(stage, self._run)
        self._emit("agent:start", session, message=message.text[:_SHOWN_TO_HOOKS])

    async def work(self, session: Session) -> RunEnd:
        """See it through to its end."""
        run, renderer = self._run, self._renderer
        assert run is not None and renderer is not None
        watch = asyncio.create_task(self._watch(run, renderer), name="run watch")
        live_entry = 0
        try:
            async for event in run:
                await self._take(event, run, renderer, session)
            finished = await run.result()
        finally:
            await finish_quietly(watch)
            with suppress(HermesError):
                live_entry = await renderer.finish()
            self._renderer = None
        late = self._untold(run)
        told = [each for each, _text in self._steered if each not in late]
        self._emit("agent:end", session, outcome=finished.outcome, response=finished.text[:_SHOWN_TO_HOOKS])
        return RunEnd(finished, live_entry, told, late)

    async def _take(self, event: RunEvent, run: Run, renderer: RunRenderer, session: Session) -> None:
        first = self._batch[0]
        if isinstance(event, ApprovalRequested):
            if await self._is_decided(event.request, run):
                return
        elif isinstance(event, ToolCallStarted):
            self._tools.append(event.name)
        elif isinstance(event, TurnStarted):
            self._emit("agent:step", session, iteration=event.number, tool_names=self._tools)
            self._tools = []
        try:
            await renderer.handle(event)
        except HermesError as error:
            _LOG.warning("conversation %s: not shown: %s", self._key, error)
        if renderer.has_compacted:
            renderer.has_compacted = False
            await self._context.ports.inbox.move([each.id for each in self._batch], session.id, 0)
            await self._chat.remember(first.message)

    def _emit(self, event: str, session: Session, **more: object) -> None:
        self._context.ports.hooks.emit(
            event, {**self._chat.facts(self._batch[0].message), "session_id": session.id, **more}
        )

    def _untold(self, run: Run) -> list[InboxEntry]:
        """Messages for the run that came after its last look."""
        rest = run.take_steering()
        if not rest:
            return []
        late: list[InboxEntry] = []
        for each, text in reversed(self._steered):
            if not rest.endswith(text):
                break
            late.insert(0, each)
            rest = rest.removesuffix(text).rstrip("\n")
            if not rest:
                break
        return late

    async def _stage(self, session: Session) -> Stage:
        entry = self._batch[0]
        message, ports = entry.message, self._context.ports
        settings = ports.settings()
        own = settings.platforms.get(message.platform)
        mode = own.reply_to_mode if own is not None else "first"
        is_background = bool(background_task(self._key))
        quotes = mode != "off" and not is_background and not is_own(message)
        look = Look(progress="off") if is_background else Look.of(settings, message.platform)
        return Stage(
            key=f"{entry.id}:{entry.attempts}",
            address=message.address,
            delivery=self._context.delivery,
            store=ports.outbox,
            platform=self._context.platform_of(message.platform),
            look=look.with_choices(self._chat.choices.progress, self._chat.choices.reasoning),
            settings=settings,
            session_key=self._key,
            approver_id=message.sender.id,
            reply_to_id=message.message_id if quotes else "",
            take_media=lambda text: take_media(text, ports.files, session.scope.environment),
            left_over=await ports.outbox.live_of(f"live:{entry.id}:"),
        )

    async def _is_decided(self, request: ApprovalRequest, run: Run) -> bool:
        """Store the question; a decision made while the gateway was away is used at once."""
        approvals = self._context.ports.approvals
        now = time.time()
        known = await approvals.decided(self._key, request.action, since=now - _DECISION_SECONDS)
        if known is not None:
            return run.decide(request.id, known, by="user")  # type: ignore[arg-type]
        await approvals.open_approval(
            request.id, self._key, self.approver_id, request.action, now + request.timeout_seconds
        )
        return False

    async def _watch(self, run: Run, renderer: RunRenderer) -> None:
        """Tell when a run takes long, end one that makes no progress. A limit of 0 is none."""
        limits = self._context.ports.settings().agent
        timeout, warning = limits.gateway_timeout, limits.gateway_timeout_warning
        interval = limits.gateway_notify_interval
        looks = [_LONGEST_LOOK_SECONDS, timeout / 4, warning / 4, interval / 2]
        pause = min(each for each in looks if each > 0)
        began = time.monotonic()
        told_at, is_warned = began, False
        while True:
            await asyncio.sleep(pause)
            now = time.monotonic()
            silent = now - renderer.last_event_at
            if renderer.pending.approvals or renderer.pending.questions:
                continue  # it waits for a person
            if 0 < timeout < silent:
                await self._say("timeout", f"⏹ No progress for {_minutes(silent)}: stopped.")
                run.interrupt()
                return
            if 0 < warning < silent and not is_warned:
                is_warned = True
                await self._say("warning", f"⏳ No progress for {_minutes(silent)}. /stop ends the run.")
            elif 0 < interval < now - told_at:
                told_at = now
                await self._say(f"working-{now:.0f}", f"⏳ Still working ({_minutes(now - began)}).")

    async def _say(self, name: str, text: str) -> None:
        entry = self._batch[0]
        with suppress(HermesError):
            await self._context.delivery.put(
                Outgoing(key=f"run:{entry.id}:{entry.attempts}:{name}", address=self.address, text=text)
            )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
