"""`write_file`: create a file or replace its whole content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.diagnostics import diagnose
from hermes_agent.tools.file_ledger import FileLedger, existing_file
from hermes_agent.tools.file_policy import FilePolicy
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.text_file import SNIFF_BYTES, TextFile, change_counts, detect_encoding

MAX_COMPARED_BYTES = 20_000_000


def build(setup: ToolSetup) -> Tool:
    """The tool, with the sensitive files of `setup.home` guarded."""
    policy = FilePolicy(setup.home)

    @tool(
        emoji="✍️",
        toolset="file",
        touched_paths=_touched,
        preview="path",
        review=lambda arguments, context: policy.review_write([arguments["path"]], context),
    )
    async def write_file(
        path: str,
        content: Annotated[str, "The whole new content"],
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Create or overwrite a file and its folders. Read an existing file first; patch changes parts."""
        environment = context.environment
        place = environment.resolve(path)
        old = await _existing(environment, place, context.session.state(FileLedger))
        new = encoded(content, old.file if old else None, place)
        if old and old.data == new:
            return ToolResult(f"{place} already has exactly this content.", summary="unchanged")
        await environment.write_bytes(place, new)
        info = await environment.stat(place)
        if info is not None:
            context.session.state(FileLedger).note(place, info, new)
        before = old.file.text if old and old.file else None
        lines = content.count("\n") + bool(content and not content.endswith("\n"))
        if old is None:
            text, summary = (
                f"Created {place}: {counted(lines)}, {len(new):,} bytes.",
                f"new, {counted(lines)}",
            )
        else:
            added, removed = change_counts(before or "", content)
            text = f"Replaced {place}: {counted(lines)}, {len(new):,} bytes (+{added} -{removed} lines)."
            summary = f"+{added} -{removed}"
        problem = await diagnose(place, content, before)
        return ToolResult(f"{text}\n{problem}" if problem else text, summary=summary)

    return write_file


def counted(lines: int) -> str:
    """`1 line`, `3 lines`."""
    return f"{lines} line{'' if lines == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class _Existing:
    data: bytes
    file: TextFile | None


def _touched(arguments: Arguments, context: ToolContext) -> tuple[str, ...]:
    return (context.environment.resolve(arguments["path"]),)


async def _existing(environment: Environment, path: str, ledger: FileLedger) -> _Existing | None:
    """The file that is about to be replaced.

    Raises:
        ToolError: The session has not read it, or it has changed since.
    """
    info = await existing_file(environment, path)
    if info is None:
        return None
    data = await environment.read_bytes(path, max_bytes=MAX_COMPARED_BYTES)
    knowledge = ledger.knows(path, info, data)
    if data and knowledge == "unseen":
        raise ToolError(
            f"{path} exists ({info.size:,} bytes) and you have not read it. Nothing was written",
            remedy="Read it first, so that nothing is lost; then write again, or change parts with patch.",
        )
    if data and knowledge == "stale":
        raise ToolError(
            f"{path} was changed by somebody else since you last read it. Nothing was written",
            remedy="Read it again, then write a version that keeps those changes.",
        )
    is_text = detect_encoding(data[:SNIFF_BYTES]) is not None
    return _Existing(data, TextFile.parse(data, path) if is_text else None)


def encoded(content: str, old: TextFile | None, path: str) -> bytes:
    """The content as bytes, in the encoding and with the line endings of the file it replaces.

    Raises:
        ToolArgumentsError: The content is not valid Unicode.
    """
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise ToolArgumentsError(
            f"content: half a surrogate pair at character {error.start}; send the whole character"
        ) from error
    if old is None:
        return content.encode()
    text = content.replace("\r\n", "\n") if old.ending == "\r\n" else content
    if text.startswith("\ufeff") and old.encoding.bom:
        text = text[1:]
    try:
        return TextFile(text, old.encoding, old.ending).to_bytes(path)
    except ToolError:
        # a whole new content may well need a wider encoding than the old one had
        return content.encode()
