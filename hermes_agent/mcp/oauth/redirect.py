"""Where the browser is sent back to: a listener on the loopback interface, or a pasted address."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

HOST = "127.0.0.1"
PATH = "/callback"

_MAX_LINE = 16_384
_SECONDS = 10.0

Parameters: TypeAlias = Mapping[str, str]

_PAGE = (
    "<!doctype html><meta charset=utf-8><title>Hermes Agent</title>"
    "<body style='font-family:sans-serif;margin:4rem'><p>{text}</p>"
)


def parse_redirect(text: str) -> dict[str, str]:
    """The parameters of an address that somebody pasted; empty if it is none.

    Spaces and line breaks that a terminal or a chat put in are taken out.
    """
    text = "".join(text.split()).strip("<>`'\"")
    try:
        query = urlsplit(text).query or (text.lstrip("?") if "code=" in text or "error=" in text else "")
        pairs = parse_qsl(query, max_num_fields=50)
    except ValueError:
        return {}
    return dict(pairs) if len(dict(pairs)) == len(pairs) else {}


class RedirectListener:
    """Waits for the browser.

    Args:
        accept: Given the parameters; returns the sentence to show. Called for every request, because
            anything on this machine can call the listener: what it does not take changes nothing.
    """

    def __init__(self, accept: Callable[[Parameters], Awaitable[str]]) -> None:
        self._accept = accept
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def uri(self) -> str:
        """The redirect address."""
        return f"http://{HOST}:{self.port}{PATH}"

    async def open(self, *ports: int) -> None:
        """Listen on the first of these ports that is free; 0 is any. Raises `OSError`."""
        for index, port in enumerate(ports):
            try:
                self._server = await asyncio.start_server(self._serve, HOST, port, limit=_MAX_LINE)
            except OSError:
                if index + 1 == len(ports):
                    raise
            else:
                self.port = self._server.sockets[0].getsockname()[1]
                return

    async def aclose(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                request = (await reader.readline()).decode("latin-1").split()
                while (await reader.readline()).strip():
                    pass
            status, text = "404 Not Found", "There is nothing here."
            if len(request) >= 2 and request[0] == "GET" and urlsplit(request[1]).path == PATH:
                status, text = "200 OK", await self._accept(parse_redirect(request[1]))
            page = _PAGE.format(text=text.replace("&", "&amp;").replace("<", "&lt;")).encode()
            head = (
                f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n"
                f"Content-Length: {len(page)}\r\n"
                "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + page)
            await writer.drain()
        except (TimeoutError, ValueError, OSError):
            pass  # Not a browser, or one that went away.
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
