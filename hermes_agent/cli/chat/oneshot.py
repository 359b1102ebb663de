"""One question, one answer: `-q`, `-z`, `--json` and piped input."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hermes_agent.agent.run import Run
from hermes_agent.cli.chat.plain import FinalRenderer, JsonRenderer, PlainRenderer, Renderer, to_stderr
from hermes_agent.cli.chat.setup import build_message, load_app, open_session
from hermes_agent.cli.chat.start import Mode, Plan
from hermes_agent.cli.options import Invocation

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(invocation: Invocation, plan: Plan) -> int:
    """Ask and print; returns the exit code."""
    return asyncio.run(_ask(invocation, plan))


def make_renderer(mode: Mode, *, verbose: bool) -> Renderer:
    """What shows the run."""
    if mode == "json":
        return JsonRenderer()
    if mode in ("final", "quiet"):
        return FinalRenderer()
    return PlainRenderer(verbose=verbose)


async def _ask(invocation: Invocation, plan: Plan) -> int:
    options = invocation.options
    message = build_message(plan.text, options.images)
    app = load_app(options)
    try:
        for warning in app.config.warnings:
            to_stderr(warning, "Warning: ")
        session = await open_session(app, options)
        if plan.mode == "plain":
            session.on_news = to_stderr
        renderer = make_renderer(plan.mode, verbose=options.verbose)
        run = session.start(message, is_interactive=False)
        with interrupting(run) as received:
            async for event in run:
                renderer.handle(event)
            result = await run.result()
        if plan.mode == "plain":
            to_stderr(f"Session {session.id}; to go on: hermes -r {session.id}")
        return 128 + received[0] if received else result.exit_code
    finally:
        await app.aclose()


@contextmanager
def interrupting(run: Run) -> Iterator[list[int]]:
    """Let Ctrl+C, SIGTERM and SIGHUP interrupt the run; a second signal has its usual effect.

    Yields:
        The signals received so far.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def on_signal(number: int) -> None:
        received.append(number)
        run.interrupt()
        for each in _SIGNALS:
            loop.remove_signal_handler(each)

    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield received
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
