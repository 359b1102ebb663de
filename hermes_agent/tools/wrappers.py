"""What happens to every tool's result, whatever the tool: redaction, a size limit, valid Unicode.

A wrapper is a `Tool` around a `Tool`; the tools themselves know nothing of it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hermes_agent.core.approvals import Verdict
from hermes_agent.core.errors import HermesError
from hermes_agent.core.model import ToolDefinition
from hermes_agent.core.redaction import Redactor, StreamRedactor
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.setup import ToolSetup

LONG_CHARS = 50_000
"""Longer texts are cleaned in a thread."""


class GuardedTool:
    """Redacts what a tool says and keeps it short.

    Text over `tool_output.max_bytes` (UTF-8) goes, redacted, to a file of its own with mode 0600; the
    model reads its head and tail and how to get the rest.
    """

    def __init__(self, inner: Tool, redactor: Redactor, setup: ToolSetup) -> None:
        self.inner = inner
        self._redactor = redactor
        self._directory = setup.home.tool_outputs
        self._max_bytes = setup.output.max_bytes

    @property
    def definition(self) -> ToolDefinition:
        """What the model is told."""
        return self.inner.definition

    @property
    def emoji(self) -> str:
        """One character for progress displays."""
        return self.inner.emoji

    def is_parallel_safe(self, arguments: Mapping[str, Any]) -> bool:
        """May run beside other safe calls."""
        return self.inner.is_parallel_safe(arguments)

    def touched_paths(self, arguments: Mapping[str, Any], context: ToolContext) -> tuple[str, ...] | None:
        """Paths the call reads or writes."""
        return self.inner.touched_paths(arguments, context)

    def preview(self, arguments: Mapping[str, Any]) -> str:
        """One line for people, without secrets."""
        return self._clean(self.inner.preview(arguments))

    def review(self, arguments: Mapping[str, Any], context: ToolContext) -> Verdict:
        """Classify the call."""
        return self.inner.review(arguments, context)

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
        """Run the tool and clean its result, its live output and its errors."""
        live = StreamRedactor(self._redactor)

        def report(text: str) -> None:
            shown = live.feed(without_surrogates(text))
            if shown:
                context.report(shown)

        inner = replace(context, report=report, notify=lambda text: context.notify(self._clean(text)))
        try:
            result = await self.inner.run(arguments, inner)
        except HermesError as error:
            error.message = self._clean(error.message)
            error.args = (error.message,)
            error.why = self._clean(error.why) if error.why else error.why
            error.remedy = self._clean(error.remedy) if error.remedy else error.remedy
            raise
        finally:
            rest = live.flush()
            if rest:
                context.report(rest)
        is_long = len(result.text) > LONG_CHARS
        text = await asyncio.to_thread(self._clean, result.text) if is_long else self._clean(result.text)
        size = len(text.encode())
        if size > self._max_bytes:
            text = await self._spilled(text, size)
        return replace(result, text=text, summary=self._clean(result.summary))

    def _clean(self, text: str) -> str:
        return self._redactor.redact(without_surrogates(text))

    async def _spilled(self, text: str, size: int) -> str:
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self.definition.name}-{secrets.token_hex(4)}.txt"
        path = self._directory / name
        head, tail = preview(text, self._max_bytes)
        try:
            await asyncio.to_thread(_write_private, path, text)
        except OSError as error:
            where = f"It could not be kept: {error.strerror}."
        else:
            where = (
                f"All of it: {path} (on the machine hermes runs on; read on with read_file, or search_files)."
            )
        missing = text.count("\n") - head.count("\n") - tail.count("\n")
        return f"{head}\n\n[... {missing} lines left out of {size} bytes. {where} ...]\n\n{tail}"


def without_surrogates(text: str) -> str:
    """Lone surrogates cannot be sent or stored; each becomes U+FFFD, pairs become their character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def preview(text: str, max_bytes: int) -> tuple[str, str]:
    """The first 40 % and the last 60 % of what fits, cut at line ends where one is near."""
    data = text.encode()
    head_bytes = max_bytes * 2 // 5
    head = data[:head_bytes].decode(errors="ignore")
    tail = data[-(max_bytes - head_bytes) :].decode(errors="ignore")
    cut = head.rfind("\n")
    if cut > len(head) * 3 // 4:
        head = head[:cut]
    cut = tail.find("\n")
    if 0 <= cut < len(tail) // 4:
        tail = tail[cut + 1 :]
    return head, tail


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
