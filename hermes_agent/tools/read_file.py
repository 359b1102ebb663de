"""`read_file`: one page of a text file, or a picture."""

from __future__ import annotations

import base64
import codecs
import difflib
import posixpath
import shlex
from dataclasses import dataclass, field
from typing import Annotated

from hermes_agent.core.environment import Command, Environment, FileInfo
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.messages import ImagePart
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.file_ledger import FileLedger, existing_file
from hermes_agent.tools.file_policy import FilePolicy
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.setup import ToolSetup
from hermes_agent.tools.text_file import SNIFF_BYTES, Encoding, binary_kind, detect_encoding, image_type

CHUNK_BYTES = 1_000_000
MAX_IMAGE_BYTES = 5_000_000
COUNT_LINES_UP_TO_BYTES = 8_000_000


def build(setup: ToolSetup) -> Tool:
    """The tool, with the page limits of `setup.output` and the secrets of `setup.home` guarded."""
    policy = FilePolicy(setup.home)
    limits = setup.output

    @tool(
        emoji="📖",
        toolset="file",
        touched_paths=_touched,
        preview=_preview,
        review=lambda arguments, context: policy.review_read(arguments["path"], context),
    )
    async def read_file(
        path: str,
        offset: Annotated[int, "First line, from 1"] = 1,
        limit: Annotated[int, "Lines"] = 500,
        *,
        context: ToolContext,
    ) -> ToolResult:
        """Read a text file, a page of lines as `number|text`, or look at a picture."""
        if offset < 0 or limit < 1:
            raise ToolArgumentsError("offset counts from 1, limit is at least 1")
        first, count = max(offset, 1), min(limit, limits.max_lines)
        environment = context.environment
        place = environment.resolve(path)
        info = await existing_file(environment, place)
        if info is None:
            raise await missing_file(environment, place)
        ledger = context.session.state(FileLedger)
        if ledger.is_page_known((place, first, count), info, context):
            return ToolResult(
                f"{place} is unchanged since you read these lines; they are above. Ask again to see them.",
                summary="unchanged",
            )
        head = await environment.read_bytes(place, max_bytes=SNIFF_BYTES)
        if image_type(head):
            return await _picture(environment, place, info, head)
        encoding = detect_encoding(head)
        if encoding is None:
            raise ToolError(
                f"{place} is not text: {binary_kind(head)}, {info.size:,} bytes",
                remedy="Look at it with terminal: file, strings, xxd, or the program it belongs to.",
            )
        page = Page(first, count, max_bytes=limits.max_bytes - 500, max_line_chars=limits.max_line_length)
        await page.fill(environment, place, encoding, info.size)
        ledger.note(place, info)
        ledger.note_page((place, first, count), info, context.tool_call_id)
        return ToolResult(page.render(place, encoding), summary=page.summary)

    return read_file


def _touched(arguments: Arguments, context: ToolContext) -> tuple[str, ...]:
    return (context.environment.resolve(arguments["path"]),)


def _preview(arguments: Arguments) -> str:
    first = f" from line {arguments['offset']}" if arguments["offset"] > 1 else ""
    count = f", {arguments['limit']} lines" if arguments["limit"] != 500 else ""
    return f"{arguments['path']}{first}{count}"


async def _picture(environment: Environment, path: str, info: FileInfo, head: bytes) -> ToolResult:
    media_type = image_type(head) or "image/png"
    if info.size > MAX_IMAGE_BYTES:
        raise ToolError(
            f"{path} is a picture of {info.size:,} bytes; at most {MAX_IMAGE_BYTES:,} can be shown",
            remedy="Make a smaller copy first.",
        )
    data = await environment.read_bytes(path, max_bytes=MAX_IMAGE_BYTES)
    part = ImagePart(media_type, base64.b64encode(data).decode())
    text = f"{path}: {media_type}, {len(data):,} bytes. The picture is attached if you can see pictures."
    return ToolResult(text, images=(part,), summary=media_type)


async def missing_file(environment: Environment, path: str) -> ToolError:
    """The error for a path where nothing is: names its nearest neighbours, or the folder that is missing."""
    parent = posixpath.dirname(path)
    while parent != "/" and await environment.stat(parent) is None:
        path, parent = parent, posixpath.dirname(parent)
    listing = await environment.execute(
        Command(
            f"ls -1a {shlex.quote(parent)} 2>/dev/null | head -n 5000",
            cwd="/",
            timeout_seconds=10,
            persistent=False,
        )
    )
    names = [name for name in listing.output.splitlines() if name not in {"", ".", ".."}]
    wanted = posixpath.basename(path)
    by_folded = {name.casefold(): name for name in names}
    near = [
        by_folded[name] for name in difflib.get_close_matches(wanted.casefold(), by_folded, n=4, cutoff=0.5)
    ]
    if near:
        remedy = "Near it: " + ", ".join(posixpath.join(parent, name) for name in near)
    elif names:
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        remedy = f"{parent} has: {', '.join(names[:10])}{more}"
    else:
        remedy = f"{parent} is empty, or cannot be listed."
    return ToolError(f"{path} does not exist", remedy=remedy)


@dataclass(slots=True)
class Page:
    """Some lines of a file, collected from a stream of bytes in constant memory.

    Attributes:
        first: Number of the first line wanted, from 1.
        count: Lines wanted.
        max_bytes: Of the rendered page (UTF-8), which ends early rather than be longer.
        max_line_chars: The rest of a longer line is dropped and counted.
    """

    first: int
    count: int
    max_bytes: int
    max_line_chars: int
    lines: list[str] = field(default_factory=list)
    number: int = 1
    is_full: bool = False
    total: int | None = None
    long_lines: int = 0
    _size: int = 0
    _line: str = ""
    _dropped: int = 0
    _has_open_line: bool = False

    async def fill(self, environment: Environment, path: str, encoding: Encoding, size: int) -> None:
        """Read the file until the page is full; smaller files to their end, to count their lines."""
        decoder = codecs.getincrementaldecoder(encoding.name)("replace")
        position = len(encoding.bom)
        while data := await environment.read_bytes(path, offset=position, max_bytes=CHUNK_BYTES):
            position += len(data)
            self._feed(decoder.decode(data))
            if self.is_full and size > COUNT_LINES_UP_TO_BYTES:
                return
        self._feed(decoder.decode(b"", final=True))
        if self._has_open_line:
            self._end_line()
            self.number += 1
        self.total = self.number - 1

    def _feed(self, text: str) -> None:
        if not text:
            return
        newlines = text.count("\n")
        if self.is_full or self.number + newlines < self.first:
            self.number += newlines
            self._has_open_line = not text.endswith("\n")
            return
        *closed, rest = text.split("\n")
        for piece in closed:
            self._add(piece)
            self._end_line()
            self.number += 1
            self._has_open_line = False
        if rest:
            self._add(rest)
            self._has_open_line = True

    def _add(self, piece: str) -> None:
        if self.is_full or self.number < self.first:
            return
        if self.number >= self.first + self.count:
            self.is_full = True
            return
        space = self.max_line_chars - len(self._line)
        self._line += piece[:space]
        self._dropped += max(0, len(piece) - space)

    def _end_line(self) -> None:
        if self.is_full or self.number < self.first:
            return
        if self.number >= self.first + self.count:
            self.is_full = True
            return
        line = self._line if self._dropped else self._line.removesuffix("\r")
        if self._dropped:
            self.long_lines += 1
            line += f" [... {self._dropped} more characters]"
        line = f"{self.number}|{line}"
        self._line, self._dropped = "", 0
        self._size += len(line.encode(errors="replace")) + 1
        if self._size > self.max_bytes and self.lines:
            self.is_full = True
        else:
            self.lines.append(line)

    @property
    def last(self) -> int:
        """Number of the last line on the page."""
        return self.first + len(self.lines) - 1

    @property
    def summary(self) -> str:
        """One line for people."""
        if not self.lines:
            return "empty"
        whole = self.first == 1 and self.last == self.total
        lines = "1 line" if len(self.lines) == 1 else f"{len(self.lines)} lines"
        return (
            lines
            if whole
            else f"lines {self.first}-{self.last}" + (f" of {self.total}" if self.total else "")
        )

    def render(self, path: str, encoding: Encoding) -> str:
        """What the model reads.

        Raises:
            ToolError: The page begins behind the end of the file.
        """
        if not self.lines:
            if self.total == 0:
                return f"{path} is empty."
            lines = "1 line" if self.total == 1 else f"{self.total} lines"
            raise ToolError(f"{path} has only {lines}; offset {self.first} is behind its end")
        notes = []
        if self.last != self.total:
            of = f" of {self.total}" if self.total else ""
            notes.append(f"lines {self.first}-{self.last}{of}; go on with offset={self.last + 1}")
        elif self.first > 1:
            notes.append(f"lines {self.first}-{self.last} of {self.total}, the end")
        if encoding.name != "utf-8":
            notes.append(f"encoding {encoding.label}")
        if self.long_lines:
            notes.append(f"lines longer than {self.max_line_chars} characters are cut")
        return "\n".join([*self.lines, *(f"[{note}]" for note in notes)])
