"""What the slash commands do in the interactive chat."""

from __future__ import annotations

import asyncio
import base64
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from hermes_agent import __version__
from hermes_agent.agent import session_commands as shared
from hermes_agent.agent.budgets import insights
from hermes_agent.agent.checkpoints import rollback
from hermes_agent.agent.commands import SlashCommand
from hermes_agent.agent.delegation import agents
from hermes_agent.agent.service import SessionOptions
from hermes_agent.agent.session import Session
from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.app.learning_commands import memory_command, skills_command
from hermes_agent.app.mcp_command import mcp_command
from hermes_agent.cli.chat.background import BackgroundTasks
from hermes_agent.cli.chat.export import save_session
from hermes_agent.cli.chat.history_view import history_rows
from hermes_agent.cli.chat.setup import load_image
from hermes_agent.cli.chat.transcript import Verbosity
from hermes_agent.cli.chat.wording import count
from hermes_agent.core.errors import HermesError, SessionNotFoundError, UsageError
from hermes_agent.core.loading import load

if TYPE_CHECKING:
    from hermes_agent.cli.chat.conversation import Conversation

Handler = Callable[[str], Awaitable[None]]
_PICK_KEYS = "123456789"
_MARKS = re.compile(">>>|<<<")
"""Around the words found in a hit's snippet."""


class SlashCommands:
    """Runs parsed commands for one conversation."""

    def __init__(self, conversation: Conversation) -> None:
        self._chat = conversation
        self.background = BackgroundTasks(conversation, self._open_like_this)
        self._handlers: dict[str, Handler] = {
            "new": self._new,
            "clear": self._clear,
            "retry": self._retry,
            "undo": self._undo,
            "history": self._history,
            "save": self._save,
            "title": self._title,
            "resume": self._resume,
            "sessions": self._sessions,
            "branch": self._branch,
            "compress": self._compress,
            "rollback": self._rollback,
            "model": self._model,
            "reasoning": self._reasoning,
            "personality": self._personality,
            "tools": self._tools,
            "toolsets": self._toolsets,
            "yolo": self._yolo,
            "reload": self._reload,
            "mcp": self._mcp,
            "reload-mcp": self._reload_mcp,
            "memory": self._memory,
            "skills": self._skills,
            "config": self._config,
            "stop": self._stop,
            "background": self._background,
            "steer": self._steer,
            "queue": self._queue,
            "busy": self._busy,
            "agents": self._agents,
            "copy": self._copy,
            "image": self._image,
            "verbose": self._verbose,
            "statusbar": self._statusbar,
            "redraw": self._redraw,
            "usage": self._usage,
            "insights": self._insights,
            "status": self._status,
            "help": self._help,
            "version": self._version,
            "handoff": self._handoff,
            "quit": self._quit,
        }

    @property
    def names(self) -> frozenset[str]:
        """The commands that can be run."""
        return frozenset(self._handlers)

    async def run(self, command: SlashCommand, text: str) -> None:
        """Do it.

        Raises:
            HermesError: It cannot be done; shown by the caller.
        """
        self._chat.transcript.user(text.strip())
        if self._must_confirm(command):
            question = f"{command.spec.usage}: {command.spec.summary}?"
            if not await self._chat.confirm(question):
                self._chat.transcript.note("Not done.")
                return
        await self._handlers[command.spec.name](command.argument)

    def _must_confirm(self, command: SlashCommand) -> bool:
        deletes = command.spec.name == "quit" and "--delete" in command.argument.split()
        if command.is_confirmed or not (command.spec.is_destructive or deletes):
            return False
        return bool(self._chat.session.messages)

    def _say(self, text: str) -> None:
        width = self._chat.screen.width
        self._chat.transcript.raw(self._chat.painter.text(text, width))

    # -- conversation

    async def _new(self, argument: str) -> None:
        session = await self._open_like_this(title=argument or None)
        await self._switch(session)
        self._chat.transcript.note(f"New conversation {session.id}")

    async def _clear(self, _argument: str) -> None:
        session = await self._open_like_this()
        await self._switch(session)
        self._chat.screen.clear()
        self._chat.transcript.note(f"New conversation {session.id}")

    async def _open_like_this(self, title: str | None = None) -> Session:
        chat = self._chat
        info = chat.session.model.info
        toolsets = chat.session.record.model_config.get("toolsets")
        session = await chat.app.open_session(
            options=SessionOptions(
                source=chat.session.record.source,
                provider=info.provider,
                model=info.model,
                toolsets=[str(name) for name in toolsets] if isinstance(toolsets, list) else None,
                max_turns=chat.session.max_turns,
                is_yolo=chat.session.gate.is_yolo,
                ignores_rules=chat.options.ignore_rules or chat.options.safe_mode,
                title=title,
            )
        )
        session.reasoning_effort = chat.session.reasoning_effort
        return session

    async def _switch(self, session: Session) -> None:
        old = self._chat.session
        await self._chat.switch_session(session)
        await discard_if_empty(self._chat, old)

    async def _retry(self, _argument: str) -> None:
        text = await self._chat.session.undo()
        self._chat.enqueue(text)

    async def _undo(self, argument: str) -> None:
        text, done = await shared.undo(self._chat.session, argument)
        self._chat.transcript.note(
            f"Took back {count(done, 'exchange')}; what you had said is in the input line."
        )
        if not self._chat.screen.buffer.text:
            self._chat.screen.buffer.insert_text(text)

    async def _history(self, argument: str) -> None:
        if argument and not argument.isdecimal():
            raise UsageError(f"/history takes a number of messages, not {argument!r}")
        messages = list(self._chat.session.messages)
        shown = messages[-int(argument) :] if argument and int(argument) else messages
        if not shown:
            self._say("Nothing has been said yet.")
            return
        width = self._chat.screen.width
        self._chat.transcript.raw("".join(history_rows(self._chat.painter, shown, width)))

    async def _save(self, argument: str) -> None:
        chat = self._chat
        target = self._save_target(argument)
        if await asyncio.to_thread(target.exists) and not await chat.confirm(f"{target} exists. Replace it?"):
            chat.transcript.note("Not saved.")
            return
        await asyncio.to_thread(save_session, chat.session, target)
        self._say(f"Saved to {target}")

    def _save_target(self, argument: str) -> Path:
        chat = self._chat
        if not argument:
            return chat.app.home.sessions / f"{chat.session.id}.md"
        environment = chat.session.scope.environment
        base = Path(environment.cwd) if environment.name == "local" else Path.cwd()
        return base / Path(argument).expanduser()

    async def _title(self, argument: str) -> None:
        self._say(await shared.title(self._chat.session, argument))

    async def _sessions(self, argument: str) -> None:
        store = await self._chat.app.store()
        if not argument:
            records = await store.list(limit=15)
            self._say(shared.sessions_text(records, self._chat.session.id))
            return
        hits = await store.search(argument, limit=15)
        if not hits:
            self._say(f"Nothing found for {argument!r}.")
            return
        lines = [
            f"{hit.session_id}  {hit.session_title or ''}".rstrip()
            + f"\n    {' '.join(_MARKS.sub('', hit.snippet).split())}"
            for hit in hits
        ]
        self._say("\n".join(lines))

    async def _resume(self, argument: str) -> None:
        chat = self._chat
        reference = argument or await self._pick_session()
        if not reference:
            return
        store = await chat.app.store()
        record = await store.resolve(reference)
        if record.id == chat.session.id:
            raise UsageError("That is this conversation")
        session = await chat.app.open_session(resume=record.id, options=SessionOptions(source=record.source))
        await self._switch(session)
        chat.show_past()

    async def _pick_session(self) -> str | None:
        chat = self._chat
        store = await chat.app.store()
        records = [record for record in await store.list(limit=10) if record.id != chat.session.id]
        records = [record for record in records if record.message_count][: len(_PICK_KEYS)]
        if not records:
            raise SessionNotFoundError("There is no other conversation yet")
        now = time.time()
        lines = [
            f"[{key}] {shared.session_line(record, now)}"
            for key, record in zip(_PICK_KEYS, records, strict=False)
        ]

        def paint(width: int) -> str:
            return chat.painter.text("\n" + "\n".join([*lines, "Which one? [n] none"]), width)

        keys = {key: record.id for key, record in zip(_PICK_KEYS, records, strict=False)}
        picked = await chat.screen.ask_key(paint, {**keys, "n": "", "\x1b": "", "q": ""})
        return picked or None

    async def _branch(self, argument: str) -> None:
        chat = self._chat
        old = chat.session
        if not old.messages:
            raise UsageError("There is nothing to branch from yet")
        store = await chat.app.store()
        record = await store.create(
            source=old.record.source,
            model=old.model.info.label,
            cwd=old.record.cwd,
            title=argument or None,
            parent_session_id=old.id,
            model_config=dict(old.record.model_config),
        )
        await store.append(record.id, list(old.messages))
        if old.system_prompt:
            await store.update(record.id, system_prompt=old.system_prompt)
        session = await chat.app.open_session(
            resume=record.id, options=SessionOptions(source=record.source, is_yolo=old.gate.is_yolo)
        )
        await self._switch(session)
        chat.transcript.note(f"A copy goes on here as {session.id}; the original stays as it is ({old.id})")

    async def _compress(self, argument: str) -> None:
        self._say(await shared.compress(self._chat.session, argument.strip()))

    async def _rollback(self, argument: str) -> None:
        self._say(await rollback(self._chat.session, argument.strip()))

    # -- model and tools

    async def _model(self, argument: str) -> None:
        chat = self._chat
        words = [word for word in argument.split() if word != "--global"]
        if not words:
            info = chat.session.model.info
            demo = " (offline demo; connect a real one with: hermes setup)" if info.is_demo else ""
            self._say(f"Model: {info.label}{demo}\n/model PROVIDER:MODEL switches, --global also saves it.")
            return
        name = " ".join(words)
        self._say(await shared.switch_model(chat.session, name, chat.app.make_model))
        if "--global" in argument.split():
            info = chat.session.model.info
            save = load("hermes_agent.config.editor:set_value")
            await asyncio.to_thread(save, chat.app.home, "model.default", info.model)
            await asyncio.to_thread(save, chat.app.home, "model.provider", info.provider)
            chat.transcript.note(f"Saved in {chat.app.home.config_file}")

    async def _reasoning(self, argument: str) -> None:
        word = argument.strip().lower()
        view = self._chat.view
        if word in ("show", "hide"):
            view.shows_reasoning = word == "show"
            self._say("Reasoning is shown." if view.shows_reasoning else "Reasoning is hidden.")
            return
        text = shared.reasoning(self._chat.session, word)
        self._say(text if word else f"{text}; {'shown' if view.shows_reasoning else 'hidden'}")

    async def _personality(self, argument: str) -> None:
        own = self._chat.app.settings.agent.personalities
        self._say(shared.personality(self._chat.session, argument, own))

    async def _tools(self, _argument: str) -> None:
        tools = self._chat.session.tool_definitions
        if not tools:
            self._say("This conversation has no tools.")
            return
        widest = max(len(tool.name) for tool in tools)
        room = max(20, self._chat.screen.width - widest - 4)
        lines = []
        for tool in tools:
            first = " ".join(tool.description.strip().split("\n")[0].split())
            lines.append(f"{tool.name:<{widest}}  {first if len(first) <= room else first[: room - 1] + '…'}")
        self._say("\n".join(lines))

    async def _toolsets(self, _argument: str) -> None:
        known: dict[str, object] = load("hermes_agent.tools.toolsets:TOOLSETS")
        used = self._chat.session.record.model_config.get("toolsets")
        names = [str(name) for name in used] if isinstance(used, list) else []
        lines = [f"Used here: {', '.join(names) or '(none)'}", f"Known: {', '.join(sorted(known))}"]
        self._say(
            "\n".join([*lines, "hermes -t NAME,NAME chooses for a conversation, hermes tools for good."])
        )

    async def _yolo(self, argument: str) -> None:
        text = shared.yolo(self._chat.session, argument)
        self._chat.transcript.note(text, "warning" if self._chat.session.gate.is_yolo else "info")

    async def _reload(self, _argument: str) -> None:
        await self._chat.reload()

    async def _reload_mcp(self, _argument: str) -> None:
        self._chat.transcript.note("Connecting to the MCP servers …")
        self._say(await shared.reload_mcp(self._chat.session))

    async def _mcp(self, argument: str) -> None:
        self._say(await mcp_command(self._chat.app, argument))

    async def _memory(self, argument: str) -> None:
        self._say(await memory_command(self._chat.app.learning, argument))

    async def _skills(self, argument: str) -> None:
        self._say(await skills_command(self._chat.app.learning, argument))

    async def _config(self, _argument: str) -> None:
        chat = self._chat
        settings = chat.app.settings
        rows = [
            f"File: {chat.app.home.config_file}",
            f"Model: {chat.session.model.info.label}",
            f"Turn limit: {chat.session.max_turns}",
            f"Approvals: {settings.approvals.mode}, {settings.approvals.timeout:g} s to answer",
            f"Commands run: {settings.terminal.backend}",
            f"While it works, a message: {chat.busy_mode}s",
            f"Tool calls shown: {chat.view.verbosity}",
            "hermes config shows everything.",
        ]
        self._say("\n".join(rows))

    # -- while it works

    async def _background(self, argument: str) -> None:
        identifier = await self.background.start(argument)
        self._chat.transcript.note(f"Background task {identifier} has begun; /stop {identifier} ends it.")

    async def _stop(self, argument: str) -> None:
        if argument:
            self.background.stop(argument)
            return
        run = self._chat.run
        if run is None:
            self._say("Nothing is running.")
        else:
            run.interrupt()

    async def _steer(self, argument: str) -> None:
        if not argument:
            raise UsageError("/steer needs the text for the agent")
        run = self._chat.run
        if run is None:
            self._chat.enqueue(argument)
            return
        run.steer(argument)
        self._chat.transcript.note("The agent reads this with its next step.")

    async def _queue(self, argument: str) -> None:
        if not argument:
            raise UsageError("/queue needs the text to ask later")
        self._chat.enqueue(argument)

    async def _agents(self, argument: str) -> None:
        self._say(agents(self._chat.session, argument))

    async def _busy(self, argument: str) -> None:
        modes = ("interrupt", "queue", "steer")
        word = argument.strip().lower()
        if word in modes:
            self._chat.busy_mode = word  # type: ignore[assignment]
        elif word:
            raise UsageError(f"/busy takes {', '.join(modes)}, not {word!r}")
        self._say(f"A message while the agent works: {self._chat.busy_mode}s it")

    # -- display

    async def _copy(self, _argument: str) -> None:
        text = self._chat.session.last_answer()
        if not text:
            raise UsageError("There is no answer to copy yet")
        data = base64.b64encode(text.encode("utf-8", errors="replace")).decode("ascii")
        self._chat.screen.send_to_terminal(f"\x1b]52;c;{data}\x07")
        self._say("Copied, if your terminal allows programs to write its clipboard (OSC 52).")

    async def _image(self, argument: str) -> None:
        if not argument:
            raise UsageError("/image needs a file")
        path = argument.strip("'\"")
        image = await asyncio.to_thread(load_image, path)
        self._chat.images.append(image)
        self._say(f"{path} goes with your next message.")

    async def _verbose(self, argument: str) -> None:
        levels: tuple[Verbosity, ...] = get_args(Verbosity)
        view = self._chat.view
        word = argument.strip().lower()
        if word and word not in levels:
            raise UsageError(f"/verbose takes {', '.join(levels)}, not {word!r}")
        view.verbosity = (
            next(level for level in levels if level == word)
            if word
            else levels[(levels.index(view.verbosity) + 1) % len(levels)]
        )
        meaning = {
            "off": "not shown",
            "new": "shown when the tool changes",
            "all": "shown in one line each",
            "verbose": "shown with their whole output",
        }
        self._say(
            f"Tool calls: {view.verbosity} ({meaning[view.verbosity]}). Ctrl+O shows the last output whole."
        )

    async def _statusbar(self, _argument: str) -> None:
        self._chat.shows_toolbar = not self._chat.shows_toolbar

    async def _redraw(self, _argument: str) -> None:
        self._chat.screen.clear()

    # -- other

    async def _usage(self, _argument: str) -> None:
        self._say(shared.usage_text(self._chat.session))

    async def _insights(self, argument: str) -> None:
        self._say(await insights(await self._chat.app.usage_store(), argument))

    async def _status(self, _argument: str) -> None:
        tasks = [f"Background task {line}" for line in self.background.lines]
        self._say("\n".join([shared.status_text(self._chat.session), *tasks]))

    async def _help(self, argument: str) -> None:
        self._chat.transcript.markdown(shared.help_text(argument))
        if not argument:
            self._chat.transcript.markdown(
                "**Keys**\n\n"
                "- `Enter` sends; `Alt+Enter`, `Ctrl+J` or a `\\` at the end of the line starts a new line\n"
                "- `Ctrl+C` interrupts the agent, twice leaves; `Ctrl+D` leaves; `Ctrl+L` clears the screen\n"
                "- `Ctrl+O` shows the last tool output whole; `Tab` completes; `@` completes a path"
            )

    async def _version(self, _argument: str) -> None:
        python = ".".join(str(part) for part in sys.version_info[:3])
        self._say(f"hermes-agent {__version__}, Python {python}")

    async def _handoff(self, argument: str) -> None:
        platform, chat = argument.strip().lower(), self._chat
        if not platform:
            raise UsageError("/handoff needs the name of a platform", remedy="/handoff telegram")
        if not chat.session.messages:
            raise UsageError("There is nothing to hand over yet")
        answer = await asyncio.to_thread(
            ask_gateway, chat.app.home, "session.handoff", platform=platform, session_id=chat.session.id
        )
        self._say(f"It goes on in {answer['address']}.")
        chat.leave(0)

    async def _quit(self, argument: str) -> None:
        self._chat.deletes_session = "--delete" in argument.split()
        self._chat.leave(0)


async def discard_if_empty(chat: Conversation, session: Session) -> None:
    """Forget a closed session in which nothing was said."""
    if session.messages or session.record.title:
        return
    try:
        store = await chat.app.store()
        await store.delete(session.id)
    except HermesError:
        return  # It only saves a line in the list of sessions.
