"""A job's script: a program under `HERMES_HOME/scripts`; its output goes into the prompt or is delivered."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.core.errors import HermesError

MAX_OUTPUT_BYTES = 200_000


class ScriptError(HermesError):
    """A job's script failed."""


@dataclass(frozen=True, slots=True)
class ScriptOutput:
    """What a script printed; `wakes_agent` is False if its last line says `{"wakeAgent": false}`."""

    text: str
    wakes_agent: bool = True


async def run_script(
    name: str, folder: Path, *, env: Mapping[str, str], timeout_seconds: float, cwd: Path | None = None
) -> ScriptOutput:
    """Run a script to its end.

    Raises:
        ScriptError: It is missing, outside the folder, fails, or takes too long (its group is killed).
    """
    command = _locate(name, folder)
    # Shielded: a cancellation while a process is being made would wait for its pipes for ever.
    making = asyncio.ensure_future(_start(command, env, cwd))
    try:
        process = await asyncio.shield(making)
    except OSError as error:
        raise ScriptError(f"The script {name!r} cannot be started", why=error.strerror) from error
    except asyncio.CancelledError:
        with suppress(OSError):
            await _end(await making)
        raise
    try:
        async with asyncio.timeout(timeout_seconds):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise ScriptError(f"The script {name!r} took longer than {timeout_seconds:g} s") from error
    finally:
        await _end(process)
    if process.returncode != 0:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ScriptError(f"The script {name!r} ended with {process.returncode}", why="".join(last) or None)
    return _read(output[:MAX_OUTPUT_BYTES].decode("utf-8", "replace").strip())


async def _start(command: Sequence[str], env: Mapping[str, str], cwd: Path | None) -> Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # also what it left running
    if process.returncode is None:
        await process.communicate()  # reads the pipes to their end, which `wait` would leave open


def _locate(name: str, folder: Path) -> list[str]:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ScriptError(f"The script {name!r} is not inside {folder}")
    if not path.is_file():
        raise ScriptError(f"There is no script {path}")
    return [str(path)] if os.access(path, os.X_OK) else _interpreter(path)


def _interpreter(path: Path) -> list[str]:
    return {".py": ["python3", str(path)], ".sh": ["bash", str(path)]}.get(path.suffix, ["sh", str(path)])


def _read(text: str) -> ScriptOutput:
    head, _, last = text.rpartition("\n")
    try:
        value = json.loads(last)
    except ValueError:
        return ScriptOutput(text)
    if isinstance(value, dict) and "wakeAgent" in value:
        return ScriptOutput(head.strip(), wakes_agent=bool(value["wakeAgent"]))
    return ScriptOutput(text)
