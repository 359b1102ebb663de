"""One conversation of the gateway: its messages are worked off in order, one run at a time.

Every message is in the inbox already. It is `running` while a run works on it, and done in the same
transaction that puts the answer into the outbox; so a process that is killed at any moment goes on where
it stopped: an answer that exists is sent, a run without effects is made again, a run that has used tools
is gone on with (`gateway.recovery`). The run itself is a `gateway.chat_run.ChatRun`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from hermes_agent.agent.commands import SlashCommand, is_command, parse
from hermes_agent.agent.session import NOTE_PREFIX, Session
from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import HermesError, SessionBusyError, StoreError, UsageError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.messages import UserMessage
from hermes_agent.core.outbox import Outgoing
from hermes_agent.gateway.chat_run import STEERED, ChatRun
from hermes_agent.gateway.chat_session import ChatSession
from hermes_agent.gateway.commands.dispatch import run_command, unknown_command
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.delivery import finish_quietly
from hermes_agent.gateway.endings import Endings
from hermes_agent.gateway.inputs import build_input
from hermes_agent.gateway.keys import background_task, is_own, is_passing, is_shared, own_message_id
from hermes_agent.gateway.recovery import GO_ON, MAX_ATTEMPTS, plan_recovery
from hermes_agent.gateway.replies import Reply, reply_of, reply_of_history

_LOG = logging.getLogger(__name__)

_BUSY_SECONDS = 5.0
_DRAIN_LOOK_SECONDS = 0.5
_ELSEWHERE = frozenset(
    {"new", "resume", "sessions", "help", "version", "whoami", "platform", "restart", "reload", "stop"}
)
"""Commands that can be done while another process has the session open."""
_FOLLOW_UP = (
    NOTE_PREFIX + "You asked to be told this. Go on with what you were asked for, or tell the person what "
    "matters; answer [SILENT] if nothing does."
)


class Conversation:
    """One session key. Give it entries in order; it works by itself."""

    def __init__(self, key: str, context: GatewayContext) -> None:
        self.key = key
        self.used_at = time.monotonic()
        self.chat = ChatSession(key, context)
        self.context = context
        self._ends = Endings(self.chat, context)
        self.run: ChatRun | None = None
        """The newest run, going on or ended."""
        self._queue: deque[InboxEntry] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._aside: set[asyncio.Task[None]] = set()
        self._is_leaving = False
        self._is_outdated = False
        self._wants_follow_up = False
        self.chat.on_news = self._show_news
        self.chat.on_notify = self._follow_up_soon
        self._afterwards: Callable[[], None] | None = None

    # What the router and commands use.

    @property
    def session(self) -> Session | None:
        """The open session."""
        return self.chat.session

    @property
    def is_running(self) -> bool:
        """A run is going on."""
        return self.run is not None and self.run.is_going

    @property
    def is_idle(self) -> bool:
        """Nothing to do."""
        return self._worker is None and not self._queue and not self._aside

    @property
    def waiting(self) -> int:
        """Messages that wait for the run to end."""
        return len(self._queue)

    @property
    def _settings(self) -> Settings:
        return self.context.ports.settings()

    @property
    def busy_mode(self) -> str:
        """What a message does that arrives during a run."""
        if background_task(self.key):
            return "queue"
        return self.chat.choices.busy or self._settings.display.busy_input_mode

    def add(self, entry: InboxEntry, *, is_resumed: bool = False) -> None:
        """Take a stored message."""
        self.used_at = time.monotonic()
        if not is_resumed and not self.context.is_draining and self._handle_at_once(entry):
            return
        self.enqueue(entry)

    def enqueue(self, entry: InboxEntry) -> None:
        """Let a message wait for the run to end."""
        self._queue.append(entry)
        self._arrived.set()
        self._wake()

    def after_finish(self, action: Callable[[], None]) -> None:
        """Do something once the current command is answered."""
        self._afterwards = action

    def replace_text(self, entry: InboxEntry) -> None:
        """A message that waits was edited: use the new text."""
        for index, known in enumerate(self._queue):
            if known.id == entry.id:
                self._queue[index] = entry
                return

    def tell_edit(self, text: str) -> None:
        """The person changed a message that the run is working on."""
        if self.run is not None:
            self.run.tell(f"(I changed my message; it should read:) {text}")

    def interrupt(self) -> bool:
        """Stop the run; False if there is none."""
        return self.run is not None and self.run.interrupt()

    async def steer(self, entry: InboxEntry, text: str) -> bool:
        """Tell the run something; False if there is none (any more)."""
        if self.session is None or self.run is None:
            return False
        return await self.run.steer(entry, self.session, text)

    def outdate(self) -> None:
        """Settings have changed: open the session anew as soon as nothing is going on in it."""
        self._is_outdated = True
        if self.is_idle:
            self._beside(self._renew())

    async def give_up(self) -> bool:
        """Close the session, for somebody else to go on with it; False if something is going on in it."""
        if not self.is_idle or self.chat.has_processes:
            return False
        await self.chat.close()
        return True

    async def drain(self) -> None:
        """Let the run end; one that waits for a person is gone on with by the next process."""
        while self._worker is not None:
            await asyncio.wait([self._worker], timeout=_DRAIN_LOOK_SECONDS)
            if self.run is not None and self.run.waits_for_person:
                self._is_leaving = True
                self.run.interrupt()

    async def leave(self) -> None:
        """Stop for a restart: what is not finished is gone on with by the next process."""
        self._is_leaving = True
        self.interrupt()
        for task in list(self._aside):
            await finish_quietly(task)
        await finish_quietly(self._worker)
        await self.chat.close()

    # What comes without a message.

    def _show_news(self, line: str) -> None:
        """A line for people about the work, between runs."""
        if not self._is_leaving:
            self._beside(self._say(f"news:{self.key}:{time.time_ns():x}", f"💾 {line}"))

    def _follow_up_soon(self) -> None:
        """The agent was told what it had asked for (a process has ended): it takes it up by itself."""
        if self._is_leaving or self.context.is_draining:
            return
        if self.is_running:
            self._wants_follow_up = True  # unless the run reads it
        else:
            self._beside(self._follow_up())

    async def _follow_up(self) -> None:
        """Put what the agent was told into the conversation, as a message of its own."""
        self._wants_follow_up = False
        session, message = self.session, self.chat.last_message
        if session is None or message is None or not session.has_notes:
            return
        own = replace(
            message,
            message_id=own_message_id(f"{session.id}:{time.time_ns():x}"),
            text=f"{session.take_notes()}\n{_FOLLOW_UP}",
            attachments=(),
            reply_to_id="",
            reply_to_text="",
            is_edit=False,
        )
        _arrival, entry = await self.context.ports.inbox.add(own, self.key)
        if entry is not None:
            self.enqueue(entry)

    async def _say(self, key: str, text: str) -> None:
        message = self.chat.last_message
        platform = self.context.platform_of(message.platform) if message is not None else None
        if message is None or (platform is not None and not platform.capabilities.shows_progress):
            return  # not worth a letter
        with suppress(HermesError):
            await self.context.delivery.put(
                Outgoing(key=key, address=message.address, text=text, is_silent=True)
            )

    # Messages that do not wait.

    def _handle_at_once(self, entry: InboxEntry) -> bool:
        text = entry.message.text.strip()
        command = self._command_in(text)
        if command is not None:
            if command.spec.while_running and (self.is_running or command.spec.name == "background"):
                self._beside(self._command(entry, command, is_beside=True), entry)
                return True
            return False
        if is_command(text):
            if self.is_running:
                self._beside(self._unknown_while_running(entry, text), entry)
            return self.is_running
        return self._handle_while_running(entry, text)

    def _handle_while_running(self, entry: InboxEntry, text: str) -> bool:
        """What the busy mode says about a message; False if it is to wait."""
        if self.run is None or not self.run.is_going or is_own(entry.message):
            return False
        if self.run.has_questions and text:
            self._beside(self._answer_question(entry, text), entry)
            return True
        if self.busy_mode == "steer":
            if entry.message.attachments:  # a run that is going on takes words only
                return False
            self._beside(self._steer_or_queue(entry, text), entry)
            return True
        if self.busy_mode == "interrupt":
            self.run.interrupt()
        return False

    def _beside(self, work: Awaitable[None], entry: InboxEntry | None = None) -> None:
        """Do something beside the worker; `entry` is the message it is about."""
        task: asyncio.Task[None] = asyncio.create_task(self._guarded(work, entry))
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _guarded(self, work: Awaitable[None], entry: InboxEntry | None) -> None:
        try:
            await work
        except StoreError as error:
            _LOG.error("conversation %s: %s", self.key, error)
            if entry is not None:
                self.enqueue(entry)  # the worker tries again
        except Exception as error:  # noqa: BLE001 - one message must not end the others
            _LOG.exception("conversation %s", self.key)
            if entry is not None:
                await self._ends.fail([entry], f"Internal error: {type(error).__name__}: {error}")

    async def _unknown_while_running(self, entry: InboxEntry, text: str) -> None:
        """`/name` of a skill counts as a message; anything else is answered with what is wrong."""
        try:
            prompt = await self.context.ports.expand(text, self.session.id if self.session else "")
        except HermesError as error:
            await self._ends.finish([entry], "command", Reply("\n".join(error.lines)))
            return
        if prompt is None:
            await self._ends.finish([entry], "wrong command", unknown_command(text))
        elif not self._handle_while_running(entry, prompt):
            self.enqueue(entry)

    async def _answer_question(self, entry: InboxEntry, text: str) -> None:
        session, run = self.session, self.run
        if session is None or run is None or not await run.take_answer(entry, session, text):
            self.enqueue(entry)

    async def _steer_or_queue(self, entry: InboxEntry, text: str) -> None:
        if not await self.steer(entry, text):
            self.enqueue(entry)

    # The worker.

    def _wake(self) -> None:
        if self._worker is None and self._queue and not self.context.is_draining:
            self._worker = asyncio.create_task(self._work(), name=f"conversation {self.key}")

    async def _work(self) -> None:
        try:
            while self._queue and not self.context.is_draining:
                with suppress(StoreError):
                    await self.chat.load_choices(self._queue[0].message)
                batch = self._next_batch()
                try:
                    await self._process(batch)
                except SessionBusyError as error:
                    self._queue.extendleft(reversed(batch))
                    await self._ends.tell_busy(batch[0], error)
                    await self._wait_for_the_session()
                except StoreError as error:
                    _LOG.error("conversation %s: %s", self.key, error)
                    self._queue.extendleft(reversed(batch))
                    await asyncio.sleep(_BUSY_SECONDS)
                except HermesError as error:
                    await self._ends.fail(batch, "\n".join(error.lines))
                except Exception as error:  # noqa: BLE001 - one conversation must not end the others
                    _LOG.exception("conversation %s", self.key)
                    await self._ends.fail(batch, f"Internal error: {type(error).__name__}: {error}")
            if not self._is_leaving:
                await self._renew()
        finally:
            self._worker = None
            self.used_at = time.monotonic()
            if not self._is_leaving:
                self._wake()
                self.context.on_idle()

    async def _wait_for_the_session(self) -> None:
        """Another process has it open; meanwhile commands that lead elsewhere are done first."""
        until = time.monotonic() + _BUSY_SECONDS
        while not self._may_go_elsewhere() and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    def _may_go_elsewhere(self) -> bool:
        """Put the first command that needs no session to the front; False if there is none."""
        for index, entry in enumerate(self._queue):
            command = self._command_in(entry.message.text.strip())
            if entry.state == "waiting" and command is not None and command.spec.name in _ELSEWHERE:
                del self._queue[index]
                self._queue.appendleft(entry)
                return True
        return False

    async def _renew(self) -> None:
        """Close a session that is not used again, or has settings of before; not while its processes run."""
        is_done = self._is_outdated or (is_passing(self.key) and not self._queue)
        if is_done and not self.is_running and not self.chat.has_processes:
            self._is_outdated = False
            with suppress(HermesError):
                await self.chat.close()

    def _next_batch(self) -> list[InboxEntry]:
        """What the next run works on: one command, what was running, or all plain messages that wait."""
        first = self._queue.popleft()
        if first.state == "running":
            batch = [first]
            while self._queue and self._queue[0].state == "running":
                batch.append(self._queue.popleft())
            return batch
        if not self._may_be_joined(first) or self.busy_mode == "queue":
            return [first]
        batch = [first]
        while self._queue and self._may_be_joined(self._queue[0]):
            batch.append(self._queue.popleft())
        return batch

    def _may_be_joined(self, entry: InboxEntry) -> bool:
        text = entry.message.text.strip()
        return not is_command(text) and self._command_in(text) is None and not is_own(entry.message)

    async def _process(self, batch: list[InboxEntry]) -> None:
        first = batch[0]
        if first.state == "running":
            await self._resume(batch)
            return
        text = first.message.text.strip()
        command = self._command_in(text)
        if command is not None:
            await self._command(first, command)
            return
        prompt = await self._skill(text) if is_command(text) else ""
        if prompt is None and not background_task(self.key):
            await self._ends.finish(batch, "wrong command", unknown_command(text))
            return
        await self._answer(batch, prompt=prompt or "")

    def _command_in(self, text: str) -> SlashCommand | None:
        """The command that a message is; a background task is work to do, whatever it begins with."""
        if background_task(self.key):
            return None
        if text.casefold() in {each.casefold() for each in self._settings.session_reset.triggers}:
            return parse("/new", "gateway")
        if not is_command(text):
            return None
        try:
            return parse(text, "gateway")
        except UsageError:
            return None

    async def _skill(self, text: str) -> str | None:
        """The prompt that `/name` of a skill stands for. Raises `ToolError`."""
        return await self.context.ports.expand(text, self.session.id if self.session else "")

    async def _command(self, entry: InboxEntry, command: SlashCommand, *, is_beside: bool = False) -> None:
        self.context.ports.hooks.emit(
            f"command:{command.spec.name}",
            {**self.chat.facts(entry.message), "command": command.spec.name, "args": command.argument},
        )
        reply = await run_command(self, entry, command)
        if reply is None:
            return  # the message became input of a run, which finishes it
        if reply.prompt and is_beside:  # the run has just ended; only the worker begins another one
            self.enqueue(entry)
            return
        if reply.prompt:
            await self._answer([entry], prompt=reply.prompt)
            return
        await self._ends.finish([entry], f"command {command.spec.name}", reply)
        afterwards, self._afterwards = self._afterwards, None
        if afterwards is not None:
            afterwards()

    async def _answer(self, batch: Sequence[InboxEntry], *, prompt: str = "") -> None:
        """Run the agent on these messages; `prompt` replaces the text of the first."""
        first = batch[0].message
        session = await self.chat.open(first)
        ports = self.context.ports
        await ports.inbox.begin([entry.id for entry in batch], session.id, len(session.messages))
        messages = [entry.message for entry in batch]
        if prompt:
            messages[0] = replace(first, text=prompt)
        message = await build_input(
            messages,
            is_shared=is_shared(first, self.key) and not prompt and not is_own(first),
            sees_images=session.model.info.supports_images,
            platform=self.context.platform_of(first.platform),
            files=ports.files,
            environment=session.scope.environment,
        )
        await self._run_agent(batch, session, message)

    async def _resume(self, batch: list[InboxEntry]) -> None:
        """Go on with what a killed process left."""
        first = batch[0]
        if first.attempts >= MAX_ATTEMPTS:
            await self._ends.fail(
                batch, "I was stopped many times while working on this. /retry tries again."
            )
            return
        session = await self.chat.reopen(first.session_id, first.message)
        told = [entry for entry in batch if entry.position == STEERED]
        main = [entry for entry in batch if entry.position != STEERED] or batch
        start = max(0, main[0].position or 0)
        recovery = await plan_recovery(session, start)
        if recovery.step == "again" or session is None:
            await self._answer_again(main, told)
            return
        if recovery.step == "answered":
            _LOG.info("conversation %s: the answer was there already", self.key)
            reply = reply_of_history(recovery.tail, background_task(self.key))
            await self._ends.finish(batch, "completed", reply)
            return
        await self.context.ports.inbox.begin([entry.id for entry in main], session.id, start)
        texts = "\n\n".join(entry.message.text for entry in (*main, *told))
        await self._run_agent(batch, session, UserMessage.of(f"{GO_ON}{texts}"))

    async def _answer_again(self, main: list[InboxEntry], told: list[InboxEntry]) -> None:
        text = main[0].message.text.strip()
        prompt = ""
        if is_command(text):  # /retry and /queue: the command knows what its prompt was
            try:
                prompt = parse(text, "gateway").argument
            except UsageError:
                prompt = await self._skill(text) or ""
            if not prompt:
                await self._ends.fail(main, "I was stopped while working on this. Please ask again.")
                return
        await self._answer([*main, *told], prompt=prompt)

    async def _run_agent(self, batch: Sequence[InboxEntry], session: Session, message: UserMessage) -> None:
        run = self.run = ChatRun(self.key, batch, self.chat, self.context)
        await run.start(session, message)
        end = await run.work(session)
        if self._is_leaving and end.finished.outcome == "interrupted":
            return  # stays `running`: the next process goes on
        reply = reply_of(end.finished, end.live_entry, background_task(self.key))
        if end.late:
            await self.context.ports.inbox.release([each.id for each in end.late])
            self._queue.extendleft(reversed(end.late))
        await self._ends.finish([*batch, *end.told], end.finished.outcome, reply)
        if self._wants_follow_up:
            await self._follow_up()
