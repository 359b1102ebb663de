"""Event hooks: `hooks/<name>/HOOK.yaml` and `handler.py`, told what happens in the gateway.

Each hook runs in a process of its own that is started with its first event. Nothing waits for it: a hook
that fails, hangs, or takes the processor for itself is named in the log and hurts no run. See docs/hooks.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import yaml

from hermes_agent.core.errors import GatewayError
from hermes_agent.gateway.delivery import finish_quietly

_LOG = logging.getLogger(__name__)

EVENTS = (
    "gateway:startup",
    "session:start",
    "session:end",
    "session:reset",
    "agent:start",
    "agent:step",
    "agent:end",
    "command:*",
)
HOOK_SECONDS = 30.0
MAX_WAITING = 500
"""Events that wait for one hook; beyond it new ones are dropped."""
MAX_HANGS = 3
"""So many time-outs in a row switch a hook off until its files change."""
_LOOK_SECONDS = 1.0
_MAX_LINE = 1_000_000
_WORKER = Path(__file__).with_name("hook_worker.py")


class HookError(GatewayError):
    """The code of a hook failed. `has_hung`: it took too long and was ended."""

    def __init__(self, message: str, *, has_hung: bool = False) -> None:
        super().__init__(message)
        self.has_hung = has_hung


class Hooks(Protocol):
    """Whom the gateway tells what happens."""

    def emit(self, event: str, context: Mapping[str, object]) -> None:
        """Tell all hooks that want to know. Returns at once and never raises."""
        ...


class NoHooks:
    """Tells nobody."""

    def emit(self, event: str, context: Mapping[str, object]) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class HookSpec:
    """One hook, as its folder says.

    Attributes:
        events: Patterns: `agent:end`, `command:*`.
        problem: Why it cannot be used; empty if it can.
        timeout_seconds: For one event.
    """

    name: str
    directory: Path
    description: str = ""
    events: tuple[str, ...] = ()
    problem: str = ""
    timeout_seconds: float = HOOK_SECONDS

    @property
    def handler(self) -> Path:
        """Its code."""
        return self.directory / "handler.py"

    def wants(self, event: str) -> bool:
        """Whether it is to be told."""
        return not self.problem and any(fnmatchcase(event, pattern) for pattern in self.events)


def read_hooks(directory: Path) -> list[HookSpec]:
    """Every hook, by name; those that cannot be used say why."""
    return [read_hook(folder) for folder in hook_folders(directory)]


def hook_folders(directory: Path) -> list[Path]:
    """Folders with a `HOOK.yaml`, by name."""
    try:
        folders = sorted(
            each for each in directory.iterdir() if each.is_dir() and not each.name.startswith(".")
        )
    except OSError:
        return []
    return [folder for folder in folders if (folder / "HOOK.yaml").is_file()]


def read_hook(folder: Path) -> HookSpec:
    """One hook; if it cannot be used, it says why."""
    name = folder.name
    try:
        found = yaml.safe_load((folder / "HOOK.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        return HookSpec(name, folder, problem=f"HOOK.yaml cannot be read: {' '.join(str(error).split())}")
    if not isinstance(found, dict):
        return HookSpec(name, folder, problem="HOOK.yaml is no map of name, description and events")
    listed = found.get("events")
    events = [listed] if isinstance(listed, str) else listed
    if not isinstance(events, list) or not events or not all(isinstance(each, str) for each in events):
        return HookSpec(name, folder, problem="HOOK.yaml names no events")
    unknown = [each for each in events if not _is_known(each)]
    timeout = found.get("timeout", HOOK_SECONDS)
    problem = ""
    if unknown:
        problem = f"there is no event {', '.join(unknown)} (there are: {', '.join(EVENTS)})"
    elif not isinstance(timeout, int | float) or not 0 < timeout <= 600:
        problem = "timeout is not between 0 and 600 seconds"
    elif not (folder / "handler.py").is_file():
        problem = "there is no handler.py"
    return HookSpec(
        name,
        folder,
        str(found.get("description") or ""),
        tuple(events),
        problem,
        HOOK_SECONDS if problem else float(timeout),
    )


def _is_known(pattern: str) -> bool:
    if pattern.startswith("command:"):
        return True
    return any(fnmatchcase(event, pattern) for event in EVENTS)


class HookProcess:
    """The process of one hook. One event at a time.

    Args:
        spec: Which.
        environment: Variables for its code.
    """

    def __init__(self, spec: HookSpec, environment: Mapping[str, str]) -> None:
        self._spec = spec
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._number = 0

    async def call(self, event: str, context: Mapping[str, object]) -> None:
        """Let it handle an event.

        Raises:
            HookError: It failed, or took too long (then its process is ended).
        """
        try:
            async with asyncio.timeout(self._spec.timeout_seconds):
                error = await self._ask(event, context)
        except TimeoutError:
            await self.aclose()
            raise HookError(f"it took longer than {self._spec.timeout_seconds:g} s", has_hung=True) from None
        except (OSError, ValueError) as problem:
            await self.aclose()
            raise HookError(f"its process ended: {problem}") from problem
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if error:
            raise HookError(error)

    async def _ask(self, event: str, context: Mapping[str, object]) -> str:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(_WORKER),
                str(self._spec.handler),
                cwd=self._spec.directory,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=_MAX_LINE,
            )
        assert process.stdin is not None and process.stdout is not None
        self._number += 1
        request = {"id": self._number, "event": event, "context": dict(context)}
        process.stdin.write(json.dumps(request, default=str).encode() + b"\n")
        await process.stdin.drain()
        while line := await process.stdout.readline():
            answer = json.loads(line)
            if answer["id"] == self._number:
                return str(answer["error"])
        raise OSError(f"exit code {await process.wait()}")

    async def aclose(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()


class _Running:
    """A hook with the events that wait for it."""

    def __init__(self, spec: HookSpec, stamp: tuple[int, ...], environment: Mapping[str, str]) -> None:
        self.spec = spec
        self.stamp = stamp
        self._process = HookProcess(spec, environment)
        self._waiting: asyncio.Queue[tuple[str, Mapping[str, object]]] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None
        self._hangs = 0
        self._is_dropping = False

    def take(self, event: str, context: Mapping[str, object]) -> None:
        if self._hangs >= MAX_HANGS:
            return
        try:
            self._waiting.put_nowait((event, context))
        except asyncio.QueueFull:
            if not self._is_dropping:
                _LOG.warning("hook %s: too slow, events are dropped", self.spec.name)
            self._is_dropping = True
            return
        self._is_dropping = False
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name=f"hook {self.spec.name}")

    async def _work(self) -> None:
        while not self._waiting.empty() and self._hangs < MAX_HANGS:
            event, context = self._waiting.get_nowait()
            try:
                await self._process.call(event, context)
            except HookError as error:
                _LOG.error("hook %s: %s: %s", self.spec.name, event, error.message)
                self._hangs = self._hangs + 1 if error.has_hung else 0
            else:
                self._hangs = 0
        if self._hangs >= MAX_HANGS:
            _LOG.error("hook %s: switched off until its files change", self.spec.name)

    async def aclose(self, patience_seconds: float = 0.0) -> None:
        if self._task is not None and patience_seconds:
            await asyncio.wait([self._task], timeout=patience_seconds)
        await finish_quietly(self._task)
        await self._process.aclose()


class FileHooks:
    """The hooks of a state directory; changed, new and removed ones are noticed by themselves.

    Args:
        directory: `$HERMES_HOME/hooks`.
        environment: Variables for their code, asked when one starts.
    """

    def __init__(self, directory: Path, environment: Callable[[], Mapping[str, str]]) -> None:
        self._directory = directory
        self._environment = environment
        self._running: dict[str, _Running] = {}
        self._looked_at = float("-inf")
        self._stamps: dict[Path, tuple[int, ...]] = {}
        self._problems: dict[str, str] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def emit(self, event: str, context: Mapping[str, object]) -> None:
        """Tell all hooks that want to know."""
        try:
            self._look()
        except OSError as error:
            _LOG.warning("hooks cannot be read: %s", error)
        for each in self._running.values():
            if each.spec.wants(event):
                each.take(event, context)

    async def aclose(self, patience_seconds: float = 2.0) -> None:
        """Let them finish what they have, for a moment, and end their processes."""
        self._looked_at, self._stamps = float("-inf"), {}
        running = list(self._running.values())
        self._running.clear()
        await asyncio.gather(*(each.aclose(patience_seconds) for each in running), *self._ending)

    def _look(self) -> None:
        """Take changes of the files, at most once a second."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        folders = hook_folders(self._directory) if self._directory.is_dir() else []
        stamps = {folder: _stamp(folder) for folder in folders}
        if stamps == self._stamps:
            return
        self._stamps = stamps
        found: set[str] = set()
        for folder, stamp in stamps.items():
            spec = read_hook(folder)
            if spec.problem:
                self._tell_problem(spec)
                continue
            self._problems.pop(spec.name, None)
            found.add(spec.name)
            known = self._running.get(spec.name)
            if known is None or known.stamp != stamp:
                self._end(spec.name)
                self._running[spec.name] = _Running(spec, stamp, self._environment())
        for name in [name for name in self._running if name not in found]:
            self._end(name)

    def _tell_problem(self, spec: HookSpec) -> None:
        if self._problems.get(spec.name) != spec.problem:
            _LOG.error("hook %s: %s", spec.name, spec.problem)
        self._problems[spec.name] = spec.problem

    def _end(self, name: str) -> None:
        known = self._running.pop(name, None)
        if known is not None:
            task = asyncio.create_task(known.aclose(), name=f"end hook {name}")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes whenever a file of the hook does."""
    stamps: list[int] = []
    for path in sorted(each for each in folder.glob("*") if each.suffix in (".py", ".yaml")):
        with suppress(OSError):
            found = path.stat()
            stamps += [found.st_mtime_ns, found.st_size, found.st_ino]
    return tuple(stamps)


async def try_hook(
    spec: HookSpec, event: str, context: Mapping[str, object], environment: Mapping[str, str]
) -> float:
    """Let one hook handle one event; returns the seconds it took. Raises `HookError`."""
    process = HookProcess(spec, environment)
    began = time.monotonic()
    try:
        await process.call(event, context)
        return time.monotonic() - began
    finally:
        await process.aclose()


def example_context(event: str) -> dict[str, Any]:
    """What an event of this kind carries, with made-up values (`hermes hooks test`)."""
    if event == "gateway:startup":
        return {"platforms": ["telegram"]}
    context: dict[str, Any] = {
        "platform": "telegram",
        "chat_id": "1000",
        "chat_type": "dm",
        "thread_id": "",
        "user_id": "1000",
        "user_name": "Somebody",
        "session_key": "agent:main:telegram:dm:1000",
        "session_id": "telegram-0000",
    }
    kind, _, name = event.partition(":")
    carried: dict[str, dict[str, Any]] = {
        "agent:start": {"message": "What can you do?"},
        "agent:step": {"iteration": 1, "tool_names": ["terminal"]},
        "agent:end": {"outcome": "completed", "response": "A lot."},
        "session:end": {"reason": "new"},
        "session:reset": {"reason": "new"},
    }
    if kind == "command":
        return {**context, "command": name, "args": ""}
    return {**context, **carried.get(event, {})}


def names(specs: Sequence[HookSpec]) -> str:
    """Their names, for messages."""
    return ", ".join(spec.name for spec in specs) or "none"
