"""Where a script that calls tools runs: a private directory, a way for its calls, and an end to all of it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Final

from hermes_agent.core.environment import Command, Environment
from hermes_agent.core.errors import HermesError, ToolError
from hermes_agent.tools import code_relay, code_runner, code_sweep
from hermes_agent.tools.code_rpc import RelayServer, SocketServer, ToolCalls
from hermes_agent.tools.code_sweep import MARK, sweep

HELPER_SECONDS: Final = 20.0
"""For each of our own short commands in a container or on another host."""

_PREPARE: Final = (
    'umask 077; directory=$(mktemp -d /tmp/hermes-code-XXXXXX) && mkdir "$directory/work" && '
    'printf "%s\\n%s\\n" "$directory" "$(command -v python3)"'
)


@dataclass(frozen=True, slots=True)
class Place:
    """A private directory with the files of a script; its calls are answered while it is there.

    Attributes:
        directory: Absolute path, as the environment sees it.
        python: The interpreter for our own helpers there.
        read_errors: Gives at most so many bytes of what the runner kept of standard error.
    """

    directory: str
    python: str
    read_errors: Callable[[int], Awaitable[bytes]]


def open_place(
    environment: Environment, files: Mapping[str, bytes], calls: ToolCalls
) -> AbstractAsyncContextManager[Place]:
    """The place for a script in this environment. At the end every process of the script is ended.

    Args:
        environment: Where scripts run.
        files: What the directory holds, by name; `runner.py` is added.
        calls: Answers tool calls.

    Raises:
        ToolError: There is no Python there.
        ExecutionError: The environment is unavailable, or calls cannot be carried out of it.
    """
    whole = {**files, "runner.py": _source(code_runner)}
    return _here(whole, calls) if environment.name == "local" else _elsewhere(environment, whole, calls)


@asynccontextmanager
async def _here(files: Mapping[str, bytes], calls: ToolCalls) -> AsyncIterator[Place]:
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="hermes-code-"))
    server = SocketServer(calls)

    async def read_errors(limit: int) -> bytes:
        return await asyncio.to_thread(_beginning, directory / "stderr", limit)

    try:
        await asyncio.to_thread(_write, directory, files)
        await server.start(directory / "rpc")
        try:
            yield Place(str(directory), sys.executable, read_errors)
        finally:
            # Also those that left the process group. Shielded: an interrupt must not spare them.
            await asyncio.shield(asyncio.to_thread(sweep, str(directory)))
    finally:
        await server.aclose()
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


@asynccontextmanager
async def _elsewhere(
    environment: Environment, files: Mapping[str, bytes], calls: ToolCalls
) -> AsyncIterator[Place]:
    prepared = await environment.execute(
        Command(_PREPARE, cwd="/", timeout_seconds=HELPER_SECONDS, persistent=False)
    )
    lines = prepared.output.splitlines()
    if prepared.exit_code or len(lines) < 2:
        raise ToolError(
            f"Scripts cannot be run in the {environment.name} environment",
            why=prepared.output.strip()[-300:] or f"Preparing a directory ended with {prepared.exit_code}.",
            remedy="It needs mktemp and a writable /tmp.",
        )
    directory, python = lines[-2:]
    server = RelayServer(environment, calls)

    async def read_errors(limit: int) -> bytes:
        with contextlib.suppress(ToolError):
            return await environment.read_bytes(f"{directory}/stderr", max_bytes=limit)
        return b""

    async def leave() -> None:
        text = f"rm -rf {quote(directory)}"
        if python:
            text = f"{quote(python)} -I -S {quote(directory)}/sweep.py {quote(directory)}; {text}"
        with contextlib.suppress(HermesError):  # the place is gone, with all that ran there
            await server.aclose()
            await environment.execute(
                Command(text, cwd="/", timeout_seconds=HELPER_SECONDS, persistent=False)
            )

    try:
        if not python:
            raise ToolError(
                f"There is no python3 in the {environment.name} environment",
                why="Scripts that call tools run where commands run, and need Python there.",
                remedy="Use terminal, or install python3 there (or choose an image that has it).",
            )
        programs = {"relay.py": _source(code_relay), "sweep.py": _source(code_sweep)}
        await asyncio.gather(
            *(
                environment.write_bytes(f"{directory}/{name}", data)
                for name, data in {**files, **programs}.items()
            )
        )
        await server.start(python, f"{directory}/relay.py", f"{directory}/rpc")
        yield Place(directory, python, read_errors)
    finally:
        await asyncio.shield(asyncio.create_task(leave()))


def _source(module: object) -> bytes:
    path = getattr(module, "__file__", None)
    assert isinstance(path, str)
    return Path(path).read_bytes()


def _write(directory: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (directory / name).write_bytes(data)
    (directory / "work").mkdir()


def _beginning(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError:
        return b""


__all__ = ["MARK", "Place", "open_place"]
