"""A small IMAP4rev1 client: what reading one folder takes, and nothing else.

One command at a time. Literals are read by their length, so that no content of a mail can be taken for
protocol.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from hermes_agent.core.errors import PlatformError

Value: TypeAlias = "bytes | list[Value]"
"""A parsed item of a response: an atom, string or literal; or a parenthesised list."""

_LINE_LIMIT = 1_000_000
_LARGEST_LITERAL = 200_000_000
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n$")
_TOKEN = re.compile(rb'\(|\)|"(?:\\.|[^"\\])*"|\{\d+\}|[^\s()"]+')


class ImapClosedError(PlatformError):
    """The connection cannot be made, is lost, or takes too long to answer."""


class ImapRefusedError(PlatformError):
    """The server answers NO or BAD. `code` is its response code, such as `AUTHENTICATIONFAILED`."""

    def __init__(self, message: str, *, why: str | None = None, code: str = "") -> None:
        super().__init__(message, why=why)
        self.code = code


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the server: its text with `{N}` where a literal stood, and the literals."""

    text: bytes
    literals: tuple[bytes, ...] = ()


@dataclass
class Folder:
    """What SELECT tells. `uid_next` is 0 if the server does not."""

    uid_validity: int = 0
    uid_next: int = 0


@dataclass
class Fetched:
    """One message of a FETCH. `body` is the part that was asked for."""

    uid: int
    size: int = 0
    body: bytes = field(default=b"", repr=False)


class ImapConnection:
    """One connection.

    Args:
        timeout_seconds: For each answer, and for each piece of a long one.

    Attributes:
        has_news: The folder has grown since `noop`: servers tell this once, with whatever they answer next.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, timeout_seconds: float = 30.0
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout = timeout_seconds
        self._tag = 0
        self._busy = asyncio.Lock()
        self.capabilities: frozenset[str] = frozenset()
        self.has_news = False

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        context: ssl.SSLContext | None,
        starttls: bool = False,
        timeout_seconds: float = 30.0,
    ) -> ImapConnection:
        """Connect and read the greeting.

        Args:
            host: Name or address of the server; its certificate must be for this name.
            port: Its port.
            context: For TLS; None means a plain connection.
            starttls: Begin in the clear and switch before anything is said.
            timeout_seconds: As in the class.

        Raises:
            ImapClosedError: It cannot be had.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                direct = None if starttls else context
                reader, writer = await asyncio.open_connection(host, port, ssl=direct, limit=_LINE_LIMIT)
        except (OSError, TimeoutError) as error:
            raise ImapClosedError(
                f"The IMAP server {host}:{port} cannot be reached", why=str(error) or "no answer in time"
            ) from error
        connection = cls(reader, writer, timeout_seconds=timeout_seconds)
        try:
            await connection._greet()
            if starttls and context is not None:
                await connection._start_tls(context, host)
            await connection._ask_capabilities()
        except BaseException:
            await connection.close()
            raise
        return connection

    async def login(self, user: str, password: str) -> None:
        """Sign in. Raises `ImapRefusedError`, `ImapClosedError`."""
        if "AUTH=PLAIN" in self.capabilities:
            secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode("ascii")
            await self.command("AUTHENTICATE PLAIN", continuation=secret.encode())
        else:
            await self.command(f"LOGIN {quoted(user)} {quoted(password)}")
        await self._ask_capabilities()

    async def select(self, folder: str, *, read_only: bool = False) -> Folder:
        """Open a folder. Raises `ImapRefusedError`, `ImapClosedError`."""
        name = quoted(mailbox_name(folder))
        lines = await self.command(f"{'EXAMINE' if read_only else 'SELECT'} {name}")
        found = Folder()
        for line in lines:
            if match := re.search(rb"\[UIDVALIDITY (\d+)\]", line.text, re.IGNORECASE):
                found.uid_validity = int(match[1])
            elif match := re.search(rb"\[UIDNEXT (\d+)\]", line.text, re.IGNORECASE):
                found.uid_next = int(match[1])
        return found

    async def search(self, criteria: str) -> list[int]:
        """UIDs that fit, ascending. Raises `ImapRefusedError`, `ImapClosedError`."""
        lines = await self.command(f"UID SEARCH {criteria}")
        numbers: set[int] = set()
        for line in lines:
            if line.text.upper().startswith(b"* SEARCH"):
                numbers.update(int(each) for each in line.text.split()[2:] if each.isdigit())
        return sorted(numbers)

    async def sizes(self, uids: Sequence[int]) -> dict[int, int]:
        """Bytes of each message that still exists. Raises `ImapRefusedError`, `ImapClosedError`."""
        if not uids:
            return {}
        wanted = ",".join(str(each) for each in uids)
        lines = await self.command(f"UID FETCH {wanted} (UID RFC822.SIZE)")
        return {each.uid: each.size for each in map(_fetched, lines) if each is not None}

    async def body(self, uid: int, *, limit: int | None = None) -> bytes | None:
        """A whole message, or its first `limit` bytes; None if it is gone.

        Raises:
            ImapRefusedError: The server cannot read it.
            ImapClosedError: The connection is lost.
        """
        part = "BODY.PEEK[]" if limit is None else f"BODY.PEEK[]<0.{limit}>"
        lines = await self.command(f"UID FETCH {uid} (UID {part})")
        found = [each for each in map(_fetched, lines) if each is not None and each.uid == uid and each.body]
        return found[0].body if found else None

    async def mark_seen(self, uid: int) -> None:
        """Set the mark for people. Raises `ImapRefusedError`, `ImapClosedError`."""
        await self.command(f"UID STORE {uid} +FLAGS.SILENT (\\Seen)")

    async def noop(self) -> None:
        """Let the server tell its news, which count as seen. Raises `ImapRefusedError`, `ImapClosedError`."""
        await self.command("NOOP")
        self.has_news = False

    async def idle(self, seconds: float) -> None:
        """Return when the folder has grown since `noop`, or after `seconds`.

        Raises:
            ImapRefusedError: The server does not want to.
            ImapClosedError: The connection is lost.
        """
        async with self._busy:
            if self.has_news:
                return
            tag = await self._send("IDLE")
            line = await self._read()
            while not line.text.startswith(b"+"):
                if line.text.startswith(tag):
                    self._check(line, tag, "IDLE")
                self._note(line)
                line = await self._read()
            news = asyncio.ensure_future(self._read_news())
            try:
                await asyncio.wait([news], timeout=seconds)
            finally:
                # A read that is cut off between two lines loses nothing: the reader keeps what it has.
                if not news.done():
                    news.cancel()
                    await asyncio.wait([news])
            if not news.cancelled():
                news.result()
            self._writer.write(b"DONE\r\n")
            await self._finish(tag, "IDLE")

    async def command(self, text: str, *, continuation: bytes = b"") -> list[Line]:
        """Send a command; returns the untagged lines of the answer.

        Args:
            text: Without tag and line end.
            continuation: Sent when the server asks for more.

        Raises:
            ImapRefusedError: NO or BAD.
            ImapClosedError: The connection is lost, or the answer does not come.
        """
        name = text.split(" ", 1)[0]
        async with self._busy:
            tag = await self._send(text)
            return await self._finish(tag, name, continuation)

    async def close(self) -> None:
        """Leave politely if possible."""
        with suppress(OSError, RuntimeError):
            if not self._writer.is_closing() and not self._busy.locked():
                self._writer.write(b"z LOGOUT\r\n")
            self._writer.close()
        with suppress(OSError, TimeoutError, ssl.SSLError):
            async with asyncio.timeout(2):
                await self._writer.wait_closed()

    async def _greet(self) -> None:
        greeting = await self._read()
        if not greeting.text.upper().startswith((b"* OK", b"* PREAUTH")):
            raise ImapClosedError("The IMAP server is not ready", why=_shown(greeting.text))

    async def _send(self, text: str) -> bytes:
        self._tag += 1
        tag = f"h{self._tag} "
        try:
            self._writer.write(f"{tag}{text}\r\n".encode())
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise ImapClosedError("The connection to the IMAP server is lost", why=str(error)) from error
        return tag.encode()

    async def _finish(self, tag: bytes, name: str, continuation: bytes = b"") -> list[Line]:
        lines: list[Line] = []
        while True:
            line = await self._read()
            if line.text.startswith(tag):
                self._check(line, tag, name)
                return lines
            if line.text.startswith(b"+"):
                self._writer.write((continuation or b"*") + b"\r\n")
                continuation = b""
            else:
                self._note(line)
                lines.append(line)

    async def _read_news(self) -> None:
        while not self.has_news:
            self._note(await self._read(timeout=None))

    def _note(self, line: Line) -> None:
        """Take what the server says by itself. Raises `ImapClosedError` if it says good-bye."""
        words = line.text.upper().split(None, 3)
        if words[:2] == [b"*", b"BYE"]:
            raise ImapClosedError("The IMAP server closes the connection", why=_shown(line.text[6:]))
        if words[:1] == [b"*"] and words[2:3] == [b"EXISTS"]:
            self.has_news = True

    async def _read(self, timeout: float | None = -1) -> Line:
        """One line with its literals; each piece must come within the time limit."""
        limit = self._timeout if timeout == -1 else timeout
        text = b""
        literals: list[bytes] = []
        try:
            while True:
                async with asyncio.timeout(limit):
                    piece = await self._reader.readuntil(b"\r\n")
                match = _LITERAL.search(piece)
                if match is None:
                    return Line(text + piece[:-2], tuple(literals))
                text += piece[:-2]
                if int(match[1]) > _LARGEST_LITERAL or len(text) > _LINE_LIMIT:
                    raise ImapClosedError("The IMAP server sends more than was asked for")
                literals.append(await self._read_exactly(int(match[1])))
        except asyncio.IncompleteReadError as error:
            raise ImapClosedError("The IMAP server has closed the connection") from error
        except TimeoutError as error:
            raise ImapClosedError("The IMAP server does not answer") from error
        except (OSError, asyncio.LimitOverrunError) as error:
            raise ImapClosedError("The connection to the IMAP server is lost", why=str(error)) from error

    async def _read_exactly(self, count: int) -> bytes:
        pieces: list[bytes] = []
        while count > 0:
            async with asyncio.timeout(self._timeout):
                piece = await self._reader.read(min(count, 1 << 16))
            if not piece:
                raise asyncio.IncompleteReadError(b"", count)
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _check(self, line: Line, tag: bytes, name: str) -> None:
        status, _, text = line.text.removeprefix(tag).partition(b" ")
        if status.upper() == b"OK":
            return
        match = re.match(rb"\[([A-Z-]+)", text)
        raise ImapRefusedError(
            f"The IMAP server refuses {name}", why=_shown(text), code=match[1].decode() if match else ""
        )

    async def _start_tls(self, context: ssl.SSLContext, host: str) -> None:
        await self.command("STARTTLS")
        # Whatever came in the clear behind the answer could have been put there by anybody.
        if getattr(self._reader, "_buffer", b""):
            raise ImapClosedError("The IMAP server talks on before TLS has begun")
        try:
            await self._writer.start_tls(context, server_hostname=host, ssl_handshake_timeout=self._timeout)
        except (OSError, ssl.SSLError) as error:
            raise ImapClosedError("TLS with the IMAP server fails", why=str(error)) from error

    async def _ask_capabilities(self) -> None:
        for line in await self.command("CAPABILITY"):
            if line.text.upper().startswith(b"* CAPABILITY"):
                self.capabilities = frozenset(line.text.decode("ascii", "replace").upper().split()[2:])


def mailbox_name(name: str) -> str:
    """A folder's name as IMAP spells it (RFC 3501, modified UTF-7). Raises `ImapRefusedError`."""
    if any(character in name for character in "\r\n\0"):
        raise ImapRefusedError("A line break or a zero byte in the name of a folder")
    pieces = re.split(r"([^\x20-\x7e]+)", name.replace("&", "&-"))
    for index in range(1, len(pieces), 2):
        encoded = base64.b64encode(pieces[index].encode("utf-16-be", "replace")).decode("ascii")
        pieces[index] = f"&{encoded.rstrip('=').replace('/', ',')}-"
    return "".join(pieces)


def quoted(text: str) -> str:
    """A quoted string of IMAP. Raises `ImapRefusedError` for what cannot be one."""
    if any(character in text for character in "\r\n\0"):
        raise ImapRefusedError("A line break or a zero byte in a name or password")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def parse(line: Line) -> list[Value]:
    """The items of a line."""
    literals = iter(line.literals)
    stack: list[list[Value]] = [[]]
    for token in _TOKEN.findall(line.text):
        if token == b"(":
            stack.append([])
        elif token == b")":
            if len(stack) > 1:
                done = stack.pop()
                stack[-1].append(done)
        elif token[:1] == b"{" and token[-1:] == b"}" and token[1:-1].isdigit():
            stack[-1].append(next(literals, b""))
        elif token[:1] == b'"':
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", token[1:-1]))
        else:
            stack[-1].append(token)
    return stack[0]


def _fetched(line: Line) -> Fetched | None:
    """`* N FETCH (UID n …)`; None for any other line, and for news about flags only."""
    items = parse(line)
    if len(items) < 4 or items[2] != b"FETCH" or not isinstance(items[3], list):
        return None
    values = items[3]
    found = Fetched(0)
    for name, value in zip(values[::2], values[1::2], strict=False):
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            continue
        if name == b"UID" and value.isdigit():
            found.uid = int(value)
        elif name == b"RFC822.SIZE" and value.isdigit():
            found.size = int(value)
        elif name.startswith(b"BODY["):
            found.body = value
    return found if found.uid else None


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "replace").strip()[:300]
