"""`hermes chat` on a terminal: opens the session, shows the screen, leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

from hermes_agent.agent.session import Session
from hermes_agent.app.container import App
from hermes_agent.cli.chat.banner import banner, farewell
from hermes_agent.cli.chat.completion import ChatCompleter
from hermes_agent.cli.chat.completion_values import completion_values
from hermes_agent.cli.chat.conversation import Conversation
from hermes_agent.cli.chat.first_run import choose_model
from hermes_agent.cli.chat.history import open_history
from hermes_agent.cli.chat.painter import Painter
from hermes_agent.cli.chat.screen import Screen
from hermes_agent.cli.chat.setup import build_message, flags_of, load_app, load_settings, open_session
from hermes_agent.cli.chat.slash import discard_if_empty
from hermes_agent.cli.chat.start import Plan
from hermes_agent.cli.chat.transcript import View
from hermes_agent.cli.options import ChatOptions, Invocation
from hermes_agent.core.errors import HermesError, ProviderSetupError
from hermes_agent.core.loading import load

logger = logging.getLogger(__name__)
_ENDING_SIGNALS = (signal.SIGHUP, signal.SIGTERM)


def main(invocation: Invocation, plan: Plan) -> int:
    """Hold the conversation; returns the exit code."""
    return asyncio.run(_chat(invocation, plan))


async def _chat(invocation: Invocation, plan: Plan) -> int:
    options = invocation.options
    app = load_app(options)
    _warm_up(app, options)
    try:
        painter = Painter(color=invocation.terminal.color_stdout, environ=invocation.environ)
        session, flags = await _open(app, options, painter, is_asking=plan.mode == "chat")
        conversation = Conversation(app, session, options, make_view(app, options), flags)
        screen = Screen(
            conversation,
            history=open_history(app.home.history_file),
            completer=ChatCompleter(lambda: _local_directory(conversation), completion_values(conversation)),
            color=invocation.terminal.color_stdout,
            term=invocation.environ.get("TERM"),
            accepts_input=plan.mode == "chat",
        )
        conversation.attach(screen, painter)
        with _signals(conversation) as received:
            await _hold(conversation, plan)
        return 128 + received[0] if received else conversation.exit_code
    finally:
        await app.aclose()


async def _hold(conversation: Conversation, plan: Plan) -> None:
    """Greet, talk, say goodbye. A terminal that goes away ends the talk quietly."""
    app, options, screen = conversation.app, conversation.options, conversation.screen
    is_chat = plan.mode == "chat"
    first = build_message(plan.text, options.images) if not is_chat else None
    try:
        is_resumed = options.resume is not None or options.continue_latest is not None
        if is_chat and not options.is_quiet and not app.settings.display.compact:
            conversation.transcript.raw(
                banner(conversation.painter, conversation.session, screen.width, is_resumed=is_resumed)
            )
        for warning in app.config.warnings:
            conversation.transcript.note(warning, "warning")
        for warning in conversation.session.take_warnings():
            conversation.transcript.note(warning, "warning")
        if is_resumed and is_chat:
            conversation.show_past()
        await conversation.run_chat(first, is_once=not is_chat)
        await _close(conversation)
        if not conversation.deletes_session:
            screen.commit(farewell(conversation.painter, conversation.session, screen.width))
    except (EOFError, OSError) as error:
        # The terminal was closed. What was said is stored already; there is nobody left to tell.
        logger.info("the terminal went away: %r", error)
        conversation.exit_code = 128 + signal.SIGHUP
        _leave_streams()
        await conversation.session.aclose()


async def _close(conversation: Conversation) -> None:
    session = conversation.session
    await session.aclose()
    if conversation.deletes_session:
        store = await conversation.app.store()
        await store.delete(session.id)
        conversation.screen.commit(f"Deleted {session.id}\n")
    else:
        await discard_if_empty(conversation, session)


async def _open(
    app: App, options: ChatOptions, painter: Painter, *, is_asking: bool
) -> tuple[Session, dict[str, object]]:
    """Open the session; without a usable model, offer what there is.

    Returns:
        The session, and the flags that hold for this chat.
    """
    flags = flags_of(options)
    try:
        return await open_session(app, options), flags
    except ProviderSetupError as error:
        if not is_asking or options.provider or options.model:
            raise
        chosen = await choose_model(painter, error)
        if chosen is None:
            raise
        flags |= chosen
        app.adopt(load_settings(app.home, options, flags))
        return await open_session(app, options), flags


def make_view(app: App, options: ChatOptions) -> View:
    """What is shown, from settings and options."""
    display = app.settings.display
    verbosity = display.tool_progress
    if options.verbose:
        verbosity = "verbose"
    if options.is_quiet:
        verbosity = "off"
    return View(
        shows_reasoning=display.show_reasoning,
        verbosity=verbosity,
        shows_footer=not options.is_quiet,
        shows_cost=display.show_cost,
    )


def _local_directory(conversation: Conversation) -> str:
    environment = conversation.session.scope.environment
    return environment.cwd if environment.name == "local" else os.curdir


def _warm_up(app: App, options: ChatOptions) -> None:
    """Import the vendor SDK while the person types; a daemon thread, so that leaving never waits for it."""

    def work() -> None:
        # What is wrong with the model or its SDK is said when it is used.
        with contextlib.suppress(ImportError, HermesError):
            info = load("hermes_agent.models.resolve:describe")(
                app.settings, app.environ, provider=options.provider, model=options.model, home=app.home
            )
            load("hermes_agent.models.resolve:warm_up")(info)

    threading.Thread(target=work, name="warm-up", daemon=True).start()


@contextlib.contextmanager
def _signals(conversation: Conversation) -> Iterator[list[int]]:
    """SIGINT is Ctrl+C; SIGTERM and SIGHUP end the chat.

    Yields:
        The signals that ended it.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        if number == signal.SIGHUP:
            _leave_streams()
        conversation.leave(128 + number)

    loop.add_signal_handler(signal.SIGINT, conversation.on_interrupt)
    for number in _ENDING_SIGNALS:
        loop.add_signal_handler(number, end, number)
    loop.set_exception_handler(lambda _loop, context: _on_loop_error(conversation, context))
    try:
        yield received
    finally:
        for number in (signal.SIGINT, *_ENDING_SIGNALS):
            loop.remove_signal_handler(number)
        loop.set_exception_handler(None)


def _on_loop_error(conversation: Conversation, context: dict[str, object]) -> None:
    error = context.get("exception")
    if isinstance(error, OSError):
        _leave_streams()
        conversation.leave(128 + signal.SIGHUP)
        return
    logger.error("%s", context.get("message"), exc_info=error if isinstance(error, BaseException) else None)


def _leave_streams() -> None:
    """The terminal is gone: writing to it must not fail any more."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(devnull, stream.fileno())
    os.close(devnull)
