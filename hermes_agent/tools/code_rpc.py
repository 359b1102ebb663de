"""The socket over which a script calls tools.

One line of JSON in (`{"tool", "arguments"}`), one out (`{"result"}` or `{"error"}`), one call per
connection, one at a time. It lives in a private directory, as long as its script.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from hermes_agent.core.errors import HermesError
from hermes_agent.core.tool import ToolResult

REQUEST_BYTES: Final = 8_000_000
READ_SECONDS: Final = 30.0

Invoke = Callable[[str, Mapping[str, Any]], Awaitable[ToolResult]]


class ToolServer:
    """Answers the calls of one script.

    Args:
        allowed: Names of the tools it may call.
        invoke: Calls one, past the approval gate.
        max_calls: Further calls get an error.
        report: Told about every call, for people.
    """

    def __init__(
        self, allowed: frozenset[str], invoke: Invoke, *, max_calls: int, report: Callable[[str], None]
    ) -> None:
        self._allowed = allowed
        self._invoke = invoke
        self._max_calls = max_calls
        self._report = report
        self._turn = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.calls = 0
        """How many were wanted."""

    async def start(self, path: Path) -> None:
        """Listen at this path (at most about 100 characters long)."""
        self._server = await asyncio.start_unix_server(self._accept, path=str(path), limit=REQUEST_BYTES)

    async def aclose(self) -> None:
        """Stop listening and drop calls that are going on."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            answer = await self._answer(reader)
            writer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
            await writer.drain()
        except asyncio.CancelledError:
            pass  # the script has ended; nobody reads this answer
        except OSError:
            pass  # likewise
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            line = await asyncio.wait_for(reader.readline(), READ_SECONDS)
            request = json.loads(line)
            name, arguments = request["tool"], dict(request["arguments"])
        except (TimeoutError, ValueError, KeyError, TypeError):
            return {"error": "this is not a call of hermes_tools, or it is too long"}
        self.calls += 1
        if self.calls > self._max_calls:
            return {"error": f"the limit of {self._max_calls} tool calls per script is reached"}
        if name not in self._allowed:
            return {"error": f"scripts cannot call {name!r}; they have: {', '.join(sorted(self._allowed))}"}
        async with self._turn:
            self._report(f"→ {name} {_short(arguments)}\n")
            try:
                result = await self._invoke(name, arguments)
            except HermesError as error:
                return {"error": "\n".join(error.lines)}
        return {"result": _value(result.text)}


def _value(text: str) -> Any:
    """JSON objects as such (`terminal` answers with one), everything else as text."""
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text


def _short(arguments: Mapping[str, Any]) -> str:
    first = next((str(value) for value in arguments.values()), "")
    line = " ".join(first[:400].split())
    return line if len(line) <= 80 else line[:79] + "…"
