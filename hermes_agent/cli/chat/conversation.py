"""The interactive conversation: what a typed line does, and what a run shows.

It joins a `Session` (what the agent does), a `Screen` (what the person does) and a `Transcript` (what is
seen). Only one run goes on at a time; lines typed meanwhile interrupt it, wait, or guide it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field

from prompt_toolkit.formatted_text import StyleAndTextTuples

from hermes_agent.agent.commands import is_command, parse
from hermes_agent.agent.run import Run
from hermes_agent.agent.session import Session
from hermes_agent.agent.skill_commands import expand
from hermes_agent.app.container import App
from hermes_agent.cli.chat.asking import ask_approval, question_text
from hermes_agent.cli.chat.history_view import history_rows
from hermes_agent.cli.chat.painter import Painter
from hermes_agent.cli.chat.screen import Screen
from hermes_agent.cli.chat.setup import load_settings
from hermes_agent.cli.chat.slash import SlashCommands
from hermes_agent.cli.chat.toolbar import toolbar
from hermes_agent.cli.chat.transcript import Transcript, View
from hermes_agent.cli.chat.wording import shown_output
from hermes_agent.cli.options import ChatOptions
from hermes_agent.core.approvals import ApprovalRequest, Decision, Question
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import (
    ApprovalRequested,
    ApprovalResolved,
    QuestionAsked,
    RunFinished,
)
from hermes_agent.core.messages import ImagePart, TextPart, UserMessage

REFRESH_SECONDS = 0.07
IDLE_REFRESH_SECONDS = 0.5
LEAVE_SECONDS = 2.0
MAX_PAST_MESSAGES = 40
"""Of a resumed conversation, shown again at the start."""


@dataclass
class _State:
    """What happens at the moment."""

    run: Run | None = None
    question: Question | None = None
    waiting: deque[str] = field(default_factory=deque)
    redirecting: list[str] = field(default_factory=list)
    images: list[ImagePart] = field(default_factory=list)
    interrupted_at: float = 0.0
    was_interrupted: bool = False
    approvals: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class Conversation:
    """See the module. `screen` is set by the caller before `start`."""

    screen: Screen

    def __init__(
        self, app: App, session: Session, options: ChatOptions, view: View, flags: Mapping[str, object]
    ) -> None:
        self.app = app
        self.session = session
        self.options = options
        self.view = view
        self.flags = flags
        self.busy_mode = app.settings.display.busy_input_mode
        self.shows_toolbar = True
        self.exit_code = 0
        self.is_leaving = False
        self.deletes_session = False
        self.transcript: Transcript
        self.painter: Painter
        self._state = _State()
        self._slash = SlashCommands(self)
        self._asking = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._side_tasks: set[asyncio.Task[None]] = set()
        self._is_once = False
        session.on_news = self._news

    def attach(self, screen: Screen, painter: Painter) -> None:
        """Connect the screen."""
        self.screen = screen
        self.painter = painter
        self.transcript = Transcript(screen, painter, self.view)

    # -- Listener

    @property
    def is_busy(self) -> bool:
        """The agent works, or a command does."""
        return self._state.run is not None or bool(self._tasks)

    def on_line(self, text: str) -> None:
        """A message, a command or an answer was sent."""
        state = self._state
        state.was_interrupted = False
        if is_command(text):
            self._command(text)
        elif state.question is not None and state.run is not None:
            self._answer(state.run, state.question, text)
        elif state.run is not None:
            self._message_while_running(state.run, text)
        elif self.is_busy:
            state.waiting.append(text)
        else:
            self.ask(text)

    def on_interrupt(self) -> None:
        """Ctrl+C: interrupt the run; again, or twice at the prompt: leave."""
        state = self._state
        now = time.monotonic()
        is_again = now - state.interrupted_at <= LEAVE_SECONDS
        state.interrupted_at = now
        if state.run is not None and not is_again:
            state.was_interrupted = True
            state.run.interrupt()
            self.screen.show_hint("Interrupting … Ctrl+C again leaves", LEAVE_SECONDS)
            return
        if is_again or state.was_interrupted:
            self.leave(130 if state.run is not None else 0)
            return
        self.screen.show_hint("Ctrl+C again leaves (Ctrl+D too)", LEAVE_SECONDS)

    def on_leave(self) -> None:
        """Ctrl+D."""
        self.leave(0)

    def on_expand(self) -> None:
        """Ctrl+O: the last tool output, whole."""
        last = self.transcript.last_output
        if last is None:
            self.screen.show_hint("No tool output yet")
            return
        body = self.painter.text(shown_output(last.text) or "(empty)", self.screen.width, "dim", indent=2)
        self.transcript.raw(
            self.painter.text(f"{last.name}, the whole output:", self.screen.width, "bold") + body
        )

    def placeholder(self) -> str:
        """What stands in the empty input line."""
        state = self._state
        if state.question is not None:
            return "Type the answer, or the number of a choice"
        if state.run is not None:
            words = {
                "interrupt": "A message interrupts",
                "queue": "A message waits",
                "steer": "A message steers",
            }
            return f"{words[self.busy_mode]} · Ctrl+C stops"
        if state.was_interrupted:
            return "What should it do instead?"
        return "" if self.session.messages else "Ask something, or /help"

    def toolbar(self, width: int) -> StyleAndTextTuples:
        """The line at the bottom."""
        if not self.shows_toolbar or self._is_once:
            return []
        return toolbar(
            self.session,
            width,
            context_tokens=self.transcript.context_tokens,
            waiting=len(self._state.waiting),
        )

    # -- what the commands use

    @property
    def run(self) -> Run | None:
        """The run that goes on."""
        return self._state.run

    @property
    def images(self) -> list[ImagePart]:
        """Attached to the next message."""
        return self._state.images

    def enqueue(self, text: str) -> None:
        """Ask this when the agent is done."""
        if self.is_busy:
            self._state.waiting.append(text)
        else:
            self.ask(text)

    def ask(self, text: str, message: UserMessage | None = None) -> None:
        """Show a message and start a run with it."""
        self.transcript.user(text)
        images, self._state.images = tuple(self._state.images), []
        self._spawn(self._work(message or UserMessage((TextPart(text), *images))))

    def leave(self, exit_code: int = 0) -> None:
        """End the chat; a run that goes on is interrupted, what it did is stored."""
        self.exit_code = exit_code
        self.is_leaving = True
        self.screen.stop()

    async def switch_session(self, session: Session) -> None:
        """Go on with another session; the old one is closed."""
        old, self.session = self.session, session
        old.on_news, session.on_news = None, self._news
        await old.aclose()
        self.transcript = Transcript(self.screen, self.painter, self.view)

    def show_past(self) -> None:
        """Show the resumed conversation again, as `display.resume_display` says."""
        how = self.app.settings.display.resume_display
        messages = list(self.session.messages)
        if how == "off" or not messages:
            return
        hidden = max(0, len(messages) - MAX_PAST_MESSAGES) if how == "full" else max(0, len(messages) - 2)
        if hidden:
            self.transcript.note(f"{hidden} earlier messages; /history shows all")
        rows = history_rows(self.painter, messages[hidden:], self.screen.width)
        self.transcript.raw("".join(rows))

    async def reload(self) -> None:
        """Read `.env` and config.yaml again; the model is built anew with them.

        Raises:
            ConfigError: They cannot be used; everything stays as it was.
        """
        app = self.app
        old = app.environ
        app.adopt(await asyncio.to_thread(load_settings, app.home, self.options, self.flags))
        names = {*old.names(), *app.environ.names()}
        changed = sum(1 for name in names if old.get(name) != app.environ.get(name))
        info = self.session.model.info
        await self.session.switch_model(app.make_model(info.provider, info.model))
        self.transcript.note(f"Reloaded .env ({changed} var(s) updated)")

    async def confirm(self, question: str) -> bool:
        """Ask yes or no."""

        def paint(width: int) -> str:
            return self.painter.text(f"\n{question}  [y] yes  [n] no", width, "yellow")

        answer = await self.screen.ask_key(paint, {"y": "yes", "n": "no", "\x1b": "no"})
        return answer == "yes"

    # -- the life of the chat

    async def run_chat(self, first: UserMessage | None = None, *, is_once: bool = False) -> None:
        """Show the screen until the person leaves (or, `is_once`, the first run ends).

        Raises:
            EOFError: The terminal was closed.
        """
        self._is_once = is_once
        ticker = asyncio.create_task(self._tick())
        try:
            if first is not None:
                self._spawn(self._work(first))
            await self.screen.run()
        finally:
            ticker.cancel()
            run = self._state.run
            if run is not None:
                run.interrupt()
                await run.result()
            await self._slash.background.aclose()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tick(self) -> None:
        while True:
            if self._state.run is not None:
                self.transcript.refresh()
                self.screen.redraw()
                await asyncio.sleep(REFRESH_SECONDS)
            else:
                if self.screen.panel is not None:
                    self.screen.redraw()
                await asyncio.sleep(REFRESH_SECONDS if self._tasks else IDLE_REFRESH_SECONDS / 4)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except HermesError as error:
                self.transcript.note("\n".join(error.lines), "error")
            finally:
                self._tasks.discard(task)
                self._next()

        task = asyncio.create_task(guarded())
        self._tasks.add(task)

    def _next(self) -> None:
        """Start what was typed meanwhile."""
        if self.is_leaving or self.is_busy:
            return
        if self._is_once:
            self.leave(self.exit_code)
            return
        state = self._state
        if state.redirecting:
            text = "\n\n".join(state.redirecting)
            state.redirecting.clear()
            self.ask(text)
        elif state.waiting:
            text = state.waiting.popleft()
            if is_command(text):
                self._command(text)
            else:
                self.ask(text)
        self.screen.redraw()

    def _news(self, line: str) -> None:
        if not self.is_leaving:
            self.transcript.note(line)

    def _command(self, text: str) -> None:
        try:
            command = parse(text)
        except HermesError as error:
            if self.is_busy:
                self._state.waiting.append(text)
            else:
                self._spawn(self._skill(text, error))
            return
        if self.is_busy and not command.spec.while_running:
            self.screen.show_hint(
                f"/{command.spec.name} has to wait until the agent is done; /stop ends it now"
            )
            self._state.waiting.append(text)
            return
        if command.spec.while_running and self.is_busy:
            self._quick(self._slash.run(command, text))
        else:
            self._spawn(self._slash.run(command, text))

    async def _skill(self, text: str, problem: HermesError) -> None:
        """Use the skill that an unknown command names; without one say what the problem is."""
        message = await expand(self.app.learning.skills, text, session_id=self.session.id)
        self.transcript.user(text)
        if message is None:
            self.transcript.note("\n".join(problem.lines), "error")
        else:
            await self._work(UserMessage.of(message))

    def _quick(self, work: Awaitable[None]) -> None:
        """Do a command beside the run, without becoming what keeps the chat busy."""

        async def guarded() -> None:
            try:
                await work
            except HermesError as error:
                self.transcript.note("\n".join(error.lines), "error")

        task = asyncio.create_task(guarded())
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)

    def _message_while_running(self, run: Run, text: str) -> None:
        state = self._state
        if self.busy_mode == "queue":
            state.waiting.append(text)
            self.screen.show_hint("Waits until the agent is done")
        elif self.busy_mode == "steer":
            run.steer(text)
            self.transcript.note(f"Told the agent: {text}")
        else:
            state.redirecting.append(text)
            run.interrupt()

    def _answer(self, run: Run, question: Question, text: str) -> None:
        word = text.strip()
        if word.isdecimal() and 1 <= int(word) <= len(question.choices):
            text = question.choices[int(word) - 1]
        self._state.question = None
        self.transcript.user(text)
        if not run.answer(question.id, text):
            self.transcript.note("The question is no longer open.", "warning")

    async def _work(self, message: UserMessage) -> None:
        state = self._state
        run = self.session.start(message)
        state.run = run
        try:
            async for event in run:
                match event:
                    case ApprovalRequested():
                        self.transcript.refresh()
                        self._approve(run, event.request)
                    case ApprovalResolved():
                        self._settle(event.request_id)
                    case QuestionAsked():
                        self._question(event.question)
                    case RunFinished():
                        self.exit_code = event.exit_code if self._is_once else 0
                    case _:
                        pass
                self.transcript.handle(event)
        finally:
            if not run.is_finished:
                run.interrupt()
            state.run = None
            state.question = None
            for request_id in list(state.approvals):
                self._settle(request_id)
            self.screen.set_live("")
        if self.app.settings.display.bell_on_complete:
            self.screen.send_to_terminal("\a")

    def _approve(self, run: Run, request: ApprovalRequest) -> None:
        deadline = time.monotonic() + request.timeout_seconds

        async def decide() -> None:
            async with self._asking:
                decision: Decision = await ask_approval(self.screen, self.painter, request, deadline)
            run.decide(request.id, decision, by="user")

        self._state.approvals[request.id] = asyncio.create_task(decide())

    async def ask_about(self, request: ApprovalRequest) -> Decision:
        """Ask the person to approve what is done beside the conversation; no answer in time is no."""
        deadline = time.monotonic() + request.timeout_seconds
        try:
            async with asyncio.timeout(request.timeout_seconds), self._asking:
                return await ask_approval(self.screen, self.painter, request, deadline)
        except TimeoutError:
            return "deny"

    def _settle(self, request_id: str) -> None:
        task = self._state.approvals.pop(request_id, None)
        if task is not None:
            task.cancel()

    def _question(self, question: Question) -> None:
        self._state.question = question
        self.transcript.refresh()
        self.transcript.raw(question_text(self.painter, question, self.screen.width))
