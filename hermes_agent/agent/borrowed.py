"""What a subagent borrows from its caller: the model, and a container or host. Neither is closed with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from hermes_agent.core.environment import (
    BackgroundProcess,
    Command,
    CommandResult,
    Environment,
    FileInfo,
    OutputSink,
)
from hermes_agent.core.model import Model, ModelEvent, ModelInfo, ModelRequest


class BorrowedModel:
    """The caller's model, which a child does not close."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def info(self) -> ModelInfo:
        """Who answers."""
        return self._model.info

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        """Answer."""
        stream = self._model.stream(request)
        try:
            async for event in stream:
                yield event
        finally:
            # Whoever stops listening wants the connection closed at once.
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def aclose(self) -> None:
        """It belongs to the caller."""


class BorrowedPlace:
    """The caller's container or host. Commands start where the caller was and leave its shell alone."""

    def __init__(self, inner: Environment) -> None:
        self._inner = inner
        self._cwd = inner.cwd
        self._jobs: list[BackgroundProcess] = []

    @property
    def name(self) -> str:
        """Of the caller's place."""
        return self._inner.name

    @property
    def is_isolated(self) -> bool:
        """Whether damage stays there."""
        return self._inner.is_isolated

    @property
    def cwd(self) -> str:
        """Where the caller was."""
        return self._cwd

    def _apart(self, command: Command) -> Command:
        return replace(command, cwd=command.cwd or self._cwd, persistent=False)

    async def execute(self, command: Command, on_output: OutputSink | None = None) -> CommandResult:
        """Run a command to its end."""
        return await self._inner.execute(self._apart(command), on_output)

    async def spawn(self, command: Command, on_output: OutputSink | None = None) -> BackgroundProcess:
        """Start a command in the background."""
        process = await self._inner.spawn(self._apart(command), on_output)
        self._jobs.append(process)
        return process

    def resolve(self, path: str) -> str:
        """Make a path absolute."""
        return self._inner.resolve(path)

    async def stat(self, path: str) -> FileInfo | None:
        """Describe a path."""
        return await self._inner.stat(path)

    async def read_bytes(self, path: str, *, offset: int = 0, max_bytes: int | None = None) -> bytes:
        """Read a file or a slice of it."""
        return await self._inner.read_bytes(path, offset=offset, max_bytes=max_bytes)

    async def write_bytes(self, path: str, data: bytes) -> None:
        """Replace a file."""
        await self._inner.write_bytes(path, data)

    async def remove(self, path: str) -> None:
        """Remove one file."""
        await self._inner.remove(path)

    async def aclose(self) -> None:
        """End what was started here; the place stays the caller's."""
        for process in self._jobs:
            if process.exit_code is None:
                await process.kill()
