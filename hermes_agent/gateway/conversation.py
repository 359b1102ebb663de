"""One conversation of the gateway: its messages are worked off in order, one run at a time.

Every message is in the inbox already. It is `running` while a run works on it, and done in the same
transaction that puts the answer into the outbox; so a process that is killed at any moment goes on where
it stopped: an answer that exists is sent, a run without effects is made again, a run that has used tools
is gone on with.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from hermes_agent.agent.commands import SlashCommand, is_command, parse
from hermes_agent.agent.run import Run
from hermes_agent.agent.session import NOTE_PREFIX, Session
from hermes_agent.core.approvals import ApprovalRequest, Decision
from hermes_agent.core.errors import (
    HermesError,
    SessionBusyError,
    StoreError,
    UsageError,
)
from hermes_agent.core.events import ApprovalRequested, RunFinished
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.messages import AssistantMessage, Message, UserMessage
from hermes_agent.core.outbox import Kind, Outgoing
from hermes_agent.gateway.chat_commands import Reply, run_command
from hermes_agent.gateway.chat_session import ChatSession
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.delivery import finish_quietly
from hermes_agent.gateway.inputs import build_input
from hermes_agent.gateway.keys import background_task, is_shared
from hermes_agent.gateway.media import take_media
from hermes_agent.gateway.rendering import Look, RunRenderer, Stage

_LOG = logging.getLogger(__name__)

SILENCE_TOKENS = frozenset({"[SILENT]", "SILENT", "NO_REPLY", "NO REPLY"})
_MAX_ATTEMPTS = 10
_BUSY_SECONDS = 5.0
_STEERED = -1
"""Position of messages that were told to a run which was going on."""

_GO_ON = (
    NOTE_PREFIX + "The program was restarted while you were working on the message below. What you did "
    "so far stands above. Go on where you stopped, do not repeat what is done, then answer.\n\n"
)


class Conversation:
    """One session key. Give it entries in order; it works by itself."""

    def __init__(self, key: str, context: GatewayContext) -> None:
        self.key = key
        self.used_at = time.monotonic()
        self.chat = ChatSession(key, context)
        self.context = context
        self.busy_mode = ""
        """Chosen with /busy; empty means the setting."""
        self._queue: deque[InboxEntry] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._aside: set[asyncio.Task[None]] = set()
        self._run: Run | None = None
        self._renderer: RunRenderer | None = None
        self._steered: list[tuple[InboxEntry, str]] = []
        self._is_leaving = False
        self._afterwards: Callable[[], None] | None = None

    # What the router and commands use.

    @property
    def session(self) -> Session | None:
        """The open session."""
        return self.chat.session

    @property
    def is_running(self) -> bool:
        """A run is going on."""
        return self._run is not None and not self._run.is_finished

    @property
    def is_idle(self) -> bool:
        """Nothing to do."""
        return self._worker is None and not self._queue and not self._aside

    @property
    def waiting(self) -> int:
        """Messages that wait for the run to end."""
        return len(self._queue)

    def add(self, entry: InboxEntry, *, is_resumed: bool = False) -> None:
        """Take a stored message."""
        self.used_at = time.monotonic()
        if not is_resumed and not self.context.is_draining and self._handle_at_once(entry):
            return
        self._queue.append(entry)
        self._wake()

    def enqueue(self, entry: InboxEntry) -> None:
        """Let a message wait for the run to end."""
        self._queue.append(entry)
        self._wake()

    def after_finish(self, action: Callable[[], None]) -> None:
        """Do something once the current command is answered."""
        self._afterwards = action

    def replace_text(self, entry: InboxEntry) -> None:
        """A message was edited: use the new text if it still waits, tell a run that works on it."""
        for index, known in enumerate(self._queue):
            if known.id == entry.id:
                self._queue[index] = entry
                return

    def tell_edit(self, text: str) -> None:
        """The person changed a message that the run is working on."""
        if self._run is not None and self.is_running:
            self._run.steer(f"(I changed my message; it should read:) {text}")

    def interrupt(self) -> bool:
        """Stop the run; False if there is none."""
        if not self.is_running or self._run is None:
            return False
        self._run.interrupt()
        return True

    async def steer(self, entry: InboxEntry, text: str) -> bool:
        """Tell the run something; False if there is none (any more)."""
        session = self.session
        if session is None or self._run is None or not self.is_running:
            return False
        self._steered.append((entry, text))
        self._run.steer(text)
        await self.context.ports.inbox.begin([entry.id], session.id, _STEERED)
        return True

    def decide(
        self, decision: Decision, by: str, *, request_id: str | None = None, action: str | None = None
    ) -> ApprovalRequest | None:
        """Answer an approval question that the run waits for; None if there is none such."""
        if self._renderer is None or self._run is None:
            return None
        for request in list(self._renderer.pending.approvals.values()):
            if request_id in (None, request.id) or (action is not None and action == request.action):
                return request if self._run.decide(request.id, decision, by=by) else None
        return None

    @property
    def open_approval(self) -> ApprovalRequest | None:
        """The oldest question of the run about an action."""
        pending = self._renderer.pending.approvals if self._renderer else {}
        return next(iter(pending.values()), None)

    def answer_question(self, text: str, question_id: str | None = None) -> bool:
        """Answer a clarifying question of the run; a number picks one of its choices."""
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

    async def idle(self) -> None:
        """Wait until the current run and its queue's worker have ended."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def leave(self) -> None:
        """Stop for a restart: what is not finished is gone on with by the next process."""
        self._is_leaving = True
        if self._run is not None:
            self._run.interrupt()
        for task in list(self._aside):
            await finish_quietly(task)
        await finish_quietly(self._worker)
        await self.chat.close()

    # Messages that do not wait.

    def _handle_at_once(self, entry: InboxEntry) -> bool:
        message = entry.message
        text = message.text.strip()
        if is_command(text):
            with suppress(UsageError):
                command = parse(text, "gateway")
                if command.spec.while_running and (self.is_running or command.spec.name == "background"):
                    self._beside(self._command(entry, command))
                    return True
            return False
        if not self.is_running:
            return False
        if self._renderer is not None and self._renderer.pending.questions:
            self._beside(self._answer_question(entry, text))
            return True
        mode = self.busy_mode or self.context.ports.settings().display.busy_input_mode
        if background_task(self.key):
            mode = "queue"
        if mode == "steer":
            self._beside(self._steer_or_queue(entry, text))
            return True
        if mode == "interrupt" and self._run is not None:
            self._run.interrupt()
        return False

    def _beside(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self._guarded(work))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except HermesError:
            _LOG.exception("conversation %s", self.key)

    async def _answer_question(self, entry: InboxEntry, text: str) -> None:
        session = self.session
        if session is not None and self.answer_question(text):
            self._steered.append((entry, text))
            await self.context.ports.inbox.begin([entry.id], session.id, _STEERED)
        else:
            self._queue.append(entry)
            self._wake()

    async def _steer_or_queue(self, entry: InboxEntry, text: str) -> None:
        if not await self.steer(entry, text):
            self._queue.append(entry)
            self._wake()

    # The worker.

    def _wake(self) -> None:
        if self._worker is None and self._queue and not self.context.is_draining:
            self._worker = asyncio.create_task(self._work(), name=f"conversation {self.key}")

    async def _work(self) -> None:
        try:
            while self._queue and not self.context.is_draining:
                batch = self._next_batch()
                try:
                    await self._process(batch)
                except SessionBusyError as error:
                    self._queue.extendleft(reversed(batch))
                    await self._tell_busy(batch[0], error)
                    await asyncio.sleep(_BUSY_SECONDS)
                except StoreError as error:
                    _LOG.error("conversation %s: %s", self.key, error)
                    self._queue.extendleft(reversed(batch))
                    await asyncio.sleep(_BUSY_SECONDS)
                except HermesError as error:
                    await self._fail(batch, "\n".join(error.lines))
                except Exception as error:  # noqa: BLE001 - one conversation must not end the others
                    _LOG.exception("conversation %s", self.key)
                    await self._fail(batch, f"Internal error: {type(error).__name__}: {error}")
        finally:
            self._worker = None
            self.used_at = time.monotonic()
            if not self._is_leaving:
                self._wake()
                self.context.on_idle()

    def _next_batch(self) -> list[InboxEntry]:
        """What the next run works on: one command, what was running, or all plain messages that wait."""
        first = self._queue.popleft()
        if first.state == "running":
            batch = [first]
            while self._queue and self._queue[0].state == "running":
                batch.append(self._queue.popleft())
            return batch
        if is_command(first.message.text.strip()) or self._mode() == "queue":
            return [first]
        batch = [first]
        while self._queue and not is_command(self._queue[0].message.text.strip()):
            batch.append(self._queue.popleft())
        return batch

    def _mode(self) -> str:
        return self.busy_mode or self.context.ports.settings().display.busy_input_mode

    async def _process(self, batch: list[InboxEntry]) -> None:
        first = batch[0]
        if first.state == "running":
            await self._resume(batch)
            return
        text = first.message.text.strip()
        if is_command(text):
            try:
                command = parse(text, "gateway")
            except UsageError as error:
                await self._finish(batch, "wrong command", Reply("\n".join(error.lines)))
                return
            await self._command(first, command)
            return
        await self._answer(batch)

    async def _command(self, entry: InboxEntry, command: SlashCommand) -> None:
        reply = await run_command(self, entry, command)
        if reply is None:
            return  # the message became input of a run, which finishes it
        if reply.prompt:
            await self._answer([entry], prompt=reply.prompt)
            return
        await self._finish([entry], f"command {command.spec.name}", reply)
        afterwards, self._afterwards = self._afterwards, None
        if afterwards is not None:
            afterwards()

    async def _answer(self, batch: Sequence[InboxEntry], *, prompt: str = "") -> None:
        """Run the agent on these messages."""
        first = batch[0].message
        session = await self.chat.open(first)
        ports = self.context.ports
        await ports.inbox.begin([entry.id for entry in batch], session.id, len(session.messages))
        if prompt:
            message = UserMessage.of(prompt)
        else:
            message = await build_input(
                [entry.message for entry in batch],
                is_shared=is_shared(first, self.key),
                platform=self.context.platform_of(first.platform),
                directory=ports.attachments,
            )
        await self._run_agent(batch, session, message)

    async def _resume(self, batch: list[InboxEntry]) -> None:
        """Go on with what a killed process left."""
        first = batch[0]
        if first.attempts >= _MAX_ATTEMPTS:
            await self._fail(batch, "I was stopped many times while working on this. /retry tries again.")
            return
        session = await self.chat.reopen(first.session_id, first.message)
        told = [entry for entry in batch if entry.position == _STEERED]
        main = [entry for entry in batch if entry.position != _STEERED] or batch
        start = max(0, main[0].position or 0)
        if session is None or len(session.messages) <= start:
            await self._answer_again(main, told)
            return
        tail = session.messages[start:]
        last = tail[-1]
        if isinstance(last, AssistantMessage) and not last.tool_calls and _is_whole(last):
            _LOG.info("conversation %s: the answer was there already", self.key)
            await self._finish(batch, "completed", Reply(_answer_in(tail), kind=self._kind))
            return
        if not any(isinstance(each, AssistantMessage) and each.tool_calls for each in tail):
            with suppress(UsageError):
                while len(session.messages) > start:
                    await session.undo()  # nothing was done yet: begin anew
            if len(session.messages) <= start:
                await self._answer_again(main, told)
                return
        await self.context.ports.inbox.begin([entry.id for entry in main], session.id, start)
        texts = "\n\n".join(entry.message.text for entry in (*main, *told))
        await self._run_agent(batch, session, UserMessage.of(f"{_GO_ON}{texts}"))

    async def _answer_again(self, main: list[InboxEntry], told: list[InboxEntry]) -> None:
        text = main[0].message.text.strip()
        prompt = ""
        if is_command(text):  # /retry and /queue: the command knows what its prompt was
            with suppress(UsageError):
                prompt = parse(text, "gateway").argument
            if not prompt:
                await self._fail(main, "I was stopped while working on this. Please ask again.")
                return
        await self._answer([*main, *told], prompt=prompt)

    # One run.

    async def _run_agent(self, batch: Sequence[InboxEntry], session: Session, message: UserMessage) -> None:
        entry = batch[0]
        stage = await self._stage(entry)
        self._steered = []
        run = self._run = session.start(message)
        renderer = self._renderer = RunRenderer(stage, run)
        watch = asyncio.create_task(self._watch(run, renderer, stage), name="run watch")
        live_entry = 0
        try:
            async for event in run:
                if isinstance(event, ApprovalRequested):
                    await self._record_approval(event.request, entry)
                try:
                    await renderer.handle(event)
                except HermesError as error:
                    _LOG.warning("conversation %s: not shown: %s", self.key, error)
                if renderer.has_compacted:
                    renderer.has_compacted = False
                    await self.context.ports.inbox.move([each.id for each in batch], session.id, 0)
                    await self.chat.remember(entry.message)
            finished = await run.result()
        finally:
            await finish_quietly(watch)
            with suppress(HermesError):
                live_entry = await renderer.finish()
            self._renderer = None
        late = self._untold(run)
        if self._is_leaving and finished.outcome == "interrupted":
            return  # stays `running`: the next process goes on
        told = [each for each, _text in self._steered if each not in late]
        self._steered = []
        reply = self._reply_of(finished, live_entry)
        if late:
            await self.context.ports.inbox.release([each.id for each in late])
            self._queue.extendleft(reversed(late))
        await self._finish([*batch, *told], finished.outcome, reply)

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

    async def _stage(self, entry: InboxEntry) -> Stage:
        message, ports = entry.message, self.context.ports
        settings = ports.settings()
        own = settings.platforms.get(message.platform)
        mode = own.reply_to_mode if own is not None else "first"
        return Stage(
            key=f"{entry.id}:{entry.attempts}",
            address=message.address,
            delivery=self.context.delivery,
            store=ports.outbox,
            platform=self.context.platform_of(message.platform),
            look=Look(progress="off") if self._kind == "background" else Look.of(settings, message.platform),
            settings=settings,
            session_key=self.key,
            approver_id=message.sender.id,
            reply_to_id=message.message_id if mode != "off" and self._kind == "answer" else "",
            left_over=await ports.outbox.live_of(f"live:{entry.id}:"),
        )

    @property
    def _kind(self) -> Kind:
        return "background" if background_task(self.key) else "answer"

    async def _record_approval(self, request: ApprovalRequest, entry: InboxEntry) -> None:
        """Store the question; a decision made while the gateway was away is used at once."""
        approvals = self.context.ports.approvals
        now = time.time()
        known = await approvals.decided(self.key, request.action, since=now - 86_400)
        if known is not None and self._run is not None:
            self._run.decide(request.id, known, by="user")  # type: ignore[arg-type]
            return
        await approvals.open_approval(
            request.id, self.key, entry.message.sender.id, request.action, now + request.timeout_seconds
        )

    async def _watch(self, run: Run, renderer: RunRenderer, stage: Stage) -> None:
        """Tell when a run takes long, end one that makes no progress."""
        limits = self.context.ports.settings().agent
        began = time.monotonic()
        told_at, is_warned = began, False
        while True:
            await asyncio.sleep(min(10.0, limits.gateway_timeout / 4, limits.gateway_notify_interval / 2))
            now = time.monotonic()
            silent = now - renderer.last_event_at
            if renderer.pending.approvals or renderer.pending.questions:
                continue  # it waits for a person
            if limits.gateway_timeout and silent > limits.gateway_timeout:
                await self._say(stage, "timeout", f"⏹ No progress for {_minutes(silent)}: stopped.")
                run.interrupt()
                return
            if limits.gateway_timeout_warning and silent > limits.gateway_timeout_warning and not is_warned:
                is_warned = True
                await self._say(
                    stage, "warning", f"⏳ No progress for {_minutes(silent)}. /stop ends the run."
                )
            elif limits.gateway_notify_interval and now - told_at > limits.gateway_notify_interval:
                told_at = now
                await self._say(stage, f"working-{now:.0f}", f"⏳ Still working ({_minutes(now - began)}).")

    async def _say(self, stage: Stage, name: str, text: str) -> None:
        with suppress(HermesError):
            await self.context.delivery.put(
                Outgoing(key=f"run:{stage.key}:{name}", address=stage.address, text=text)
            )

    # Ends.

    def _reply_of(self, finished: RunFinished, live_entry: int) -> Reply | None:
        text = finished.text.strip()
        is_silent = text in SILENCE_TOKENS
        if finished.outcome == "interrupted":
            if not (live_entry and text) or is_silent:
                return None
            return Reply(f"{text}\n\n(stopped)", live_entry=live_entry)
        problem = "\n".join(finished.error)
        task = background_task(self.key)
        if task:
            head = (
                "✅ Background task complete" if finished.outcome != "failed" else "❌ Background task failed"
            )
            body = "\n\n".join(part for part in (text, problem) if part)
            return Reply(f"{head}\nTask ID: {task}\n\n{body}", kind="background")
        if is_silent and not problem:
            return None
        if finished.outcome == "failed":
            text = "\n\n".join(part for part in (text, f"❌ {problem}") if part)
        elif problem:
            text = f"{text}\n\n⚠️ {problem}"
        return Reply(text or "(The model gave no answer.)", kind="answer", live_entry=live_entry)

    async def _fail(self, batch: Sequence[InboxEntry], problem: str) -> None:
        head = "❌ Background task failed\n" if background_task(self.key) else "❌ "
        try:
            await self._finish(batch, "failed", Reply(f"{head}{problem}", kind=self._kind))
        except StoreError:
            _LOG.exception("conversation %s: the failure could not be stored", self.key)

    async def _finish(self, batch: Sequence[InboxEntry], outcome: str, reply: Reply | None) -> None:
        """Done; the reply enters the outbox in the same transaction."""
        first = batch[0]
        replies: list[Outgoing] = []
        if reply is not None and reply.text.strip():
            text, files = take_media(reply.text, self.context.ports.home)
            replies.append(
                Outgoing(
                    key=f"answer:{first.id}",
                    address=first.message.address,
                    text=text,
                    files=files,
                    kind=reply.kind,
                    reply_to_id=await self._quoted(first) if reply.kind == "answer" else "",
                    live_entry=reply.live_entry,
                )
            )
        elif reply is None:
            left = await self.context.ports.outbox.live_of(f"live:{first.id}:")
            if left is not None:
                await self.context.ports.outbox.settle(left.id, "cancelled", outcome)
        await self.context.ports.inbox.finish([entry.id for entry in batch], outcome, replies)
        if replies:
            entry = await self.context.ports.outbox.by_key(replies[0].key)
            if entry is not None:
                await self.context.delivery.look(entry.id)

    async def _quoted(self, entry: InboxEntry) -> str:
        own = self.context.ports.settings().platforms.get(entry.message.platform)
        return "" if own is not None and own.reply_to_mode == "off" else entry.message.message_id

    async def _tell_busy(self, entry: InboxEntry, error: SessionBusyError) -> None:
        with suppress(HermesError):
            await self.context.delivery.put(
                Outgoing(
                    key=f"busy:{entry.id}",
                    address=entry.message.address,
                    text=f"⏳ {error.message}. I answer as soon as it is free; /new begins another one.",
                )
            )


def _is_whole(message: AssistantMessage) -> bool:
    return message.finish_reason not in ("interrupted", "error") and bool(message.text.strip())


def _answer_in(tail: Sequence[Message]) -> str:
    """The visible answer at the end of a history: text of the last assistant messages without calls."""
    texts: list[str] = []
    for message in reversed(tail):
        if isinstance(message, AssistantMessage) and not message.tool_calls:
            texts.insert(0, message.text)
        elif not (isinstance(message, UserMessage) and message.text.startswith(NOTE_PREFIX)):
            break
    return "".join(texts).strip()


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
