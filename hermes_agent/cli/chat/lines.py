"""The conversation on a terminal without cursor movement (`TERM=dumb`): one line in, plain text out."""

from __future__ import annotations

import asyncio
import os
import sys

from hermes_agent.agent import session_commands as shared
from hermes_agent.agent.commands import is_command, parse
from hermes_agent.agent.run import Run
from hermes_agent.agent.session import Session
from hermes_agent.agent.skill_commands import expand
from hermes_agent.app.container import App
from hermes_agent.cli.chat.oneshot import interrupting
from hermes_agent.cli.chat.plain import PlainRenderer, clean
from hermes_agent.cli.chat.setup import load_app, open_session
from hermes_agent.cli.chat.start import Plan
from hermes_agent.cli.options import Invocation
from hermes_agent.cli.output import write_all
from hermes_agent.core.approvals import ApprovalRequest, Decision, Question
from hermes_agent.core.errors import HermesError
from hermes_agent.core.events import ApprovalRequested, QuestionAsked

_DECISIONS: dict[str, Decision] = {
    "o": "once",
    "once": "once",
    "y": "once",
    "yes": "once",
    "s": "session",
    "session": "session",
    "a": "always",
    "always": "always",
}
_ELSEWHERE = "is not available on this terminal (TERM=dumb); /help lists what is."
AVAILABLE = (
    "/status",
    "/usage",
    "/model",
    "/reasoning",
    "/personality",
    "/title",
    "/yolo",
    "/undo",
    "/help",
    "/quit",
)


def main(invocation: Invocation, _plan: Plan) -> int:
    """Hold the conversation; returns the exit code."""
    return asyncio.run(_chat(invocation))


async def _chat(invocation: Invocation) -> int:
    options = invocation.options
    app = load_app(options)
    try:
        session = await open_session(app, options)
        write_all(f"Hermes, {session.model.info.label}, session {session.id}. /help, /quit.\n")
        while (line := await _read("> ")) is not None:
            text = line.strip()
            if not text:
                continue
            if is_command(text) and (message := await expand(app.learning.skills, text)) is not None:
                await _run(session, message, PlainRenderer(verbose=options.verbose))
            elif is_command(text):
                if not await _command(app, session, text):
                    break
            else:
                await _run(session, text, PlainRenderer(verbose=options.verbose))
        if session.messages:
            write_all(f"Go on with: hermes -r {session.id}\n")
    finally:
        await app.aclose()
    return 0


async def _run(session: Session, text: str, renderer: PlainRenderer) -> None:
    run = session.start(text)
    with interrupting(run):
        async for event in run:
            renderer.handle(event)
            if isinstance(event, ApprovalRequested):
                await _approve(run, event.request)
            elif isinstance(event, QuestionAsked):
                await _answer(run, event.question)


async def _approve(run: Run, request: ApprovalRequest) -> None:
    write_all(f"Run this? {clean(request.action)}\n  Because: {'; '.join(request.reasons)}\n")
    answer = await _read("[o]nce, [s]ession, [a]lways, [d]eny: ")
    run.decide(request.id, _DECISIONS.get((answer or "").strip().lower(), "deny"))


async def _answer(run: Run, question: Question) -> None:
    choices = "".join(f"\n  {number} {choice}" for number, choice in enumerate(question.choices, 1))
    write_all(f"? {clean(question.text)}{clean(choices)}\n")
    answer = (await _read("Answer: ") or "").strip()
    if answer.isdecimal() and 1 <= int(answer) <= len(question.choices):
        answer = question.choices[int(answer) - 1]
    run.answer(question.id, answer)


async def _command(app: App, session: Session, text: str) -> bool:
    """Do a slash command; False to leave."""
    try:
        command = parse(text)
        argument = command.argument
        match command.spec.name:
            case "quit":
                return False
            case "help":
                reply = shared.help_text(argument) if argument else f"Available here: {', '.join(AVAILABLE)}"
            case "status":
                reply = shared.status_text(session)
            case "usage":
                reply = shared.usage_text(session)
            case "title":
                reply = await shared.title(session, argument)
            case "yolo":
                reply = shared.yolo(session, argument)
            case "reasoning":
                reply = shared.reasoning(session, argument)
            case "personality":
                reply = shared.personality(session, argument, app.settings.agent.personalities)
            case "undo":
                _, done = await shared.undo(session, argument)
                reply = f"Took back {done}."
            case "model" if argument:
                reply = await shared.switch_model(session, argument, app.make_model)
            case "model":
                reply = session.model.info.label
            case _:
                reply = f"/{command.spec.name} {_ELSEWHERE}"
    except HermesError as error:
        reply = "\n".join(error.lines)
    write_all(f"{reply}\n")
    return True


async def _read(prompt: str) -> str | None:
    """One line from the person; None at the end of input."""
    write_all(prompt)
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sys.stdin.fileno()

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, on_ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
    try:
        data = os.read(descriptor, 65_536)
    except OSError:
        return None
    return data.decode("utf-8", errors="replace") if data else None
