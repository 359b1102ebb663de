"""A messaging platform on this machine: the HTTP API that the loopback adapter speaks, on its own thread."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "loopback-test-token"


@dataclass
class Shown:
    """A message the bot has sent. `texts` are all versions it had, the newest last."""

    message_id: str
    chat_id: str
    texts: list[str]
    key: str = ""
    thread_id: str = ""
    reply_to_id: str = ""
    buttons: list[dict[str, str]] = field(default_factory=list)
    file: dict[str, str] | None = None

    @property
    def text(self) -> str:
        return self.texts[-1]


class LoopbackServer:
    """Use as a context manager. `say` is what people do, `shown` what they see.

    Attributes:
        failures: Answers for the next sends: (status, Retry-After or None); `0` takes the message and
            drops the connection.
    """

    def __init__(self, *, recognises_resends: bool = True) -> None:
        self.recognises_resends = recognises_resends
        self.shown: list[Shown] = []
        self.requests: deque[tuple[float, str, str]] = deque(maxlen=5000)
        self.failures: deque[tuple[int, str | None]] = deque()
        self.acknowledged = 0
        self.polls = 0
        self.polls_begun = 0
        self.is_deaf = threading.Event()
        self._updates: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._arrived: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ids = 0
        app = Starlette(
            routes=[
                Route("/me", self._me),
                Route("/updates", self._poll),
                Route("/send", self._send, methods=["POST"]),
                Route("/edit", self._edit, methods=["POST"]),
                Route("/typing", self._typing, methods=["POST"]),
                Route("/files/{name}", self._file),
            ]
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> LoopbackServer:
        self._thread.start()
        self.wait_for(lambda: self._server.started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._wake()
        self._thread.join(10)
        self._socket.close()

    # What people do and see.

    def say(self, text: str, *, chat: str = "c1", sender: str = "u1", **more: Any) -> str:
        """Somebody writes; returns the message id."""
        with self._news:
            self._ids += 1
            message_id = str(more.pop("message_id", f"in{self._ids}"))
            self._updates.append(
                {
                    "chat_id": chat,
                    "message_id": message_id,
                    "sender": {"id": sender, "name": f"Name of {sender}"},
                    "text": text,
                    **more,
                }
            )
        self._wake()
        return message_id

    def press(self, value: str, *, chat: str = "c1", sender: str = "u1") -> None:
        self.say("", chat=chat, sender=sender, kind="press", value=value)

    def texts(self, chat: str = "c1") -> list[str]:
        with self._news:
            return [each.text for each in self.shown if each.chat_id == chat]

    def wait_for(self, condition: Any, timeout: float = 60.0) -> None:
        """Wait until a condition holds; it is looked at whenever something is sent."""
        deadline = time.monotonic() + timeout
        with self._news:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"it did not happen; shown: {[each.texts for each in self.shown]}")
                self._news.wait(min(left, 0.05))

    def wait_for_text(self, text: str, *, chat: str = "c1", timeout: float = 60.0) -> str:
        self.wait_for(lambda: any(text in each for each in self.texts(chat)), timeout)
        return next(each for each in self.texts(chat) if text in each)

    # The API.

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._arrived = asyncio.Event()
            await self._server.serve([self._socket])

        asyncio.run(serve())

    def _wake(self) -> None:
        if self._loop is not None and self._arrived is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _refused(self, request: Request) -> Response | None:
        self.requests.append((time.monotonic(), request.method, request.url.path))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": "who are you?"}, 401)
        return None

    async def _me(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse({"name": "loopback bot"})

    async def _poll(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        assert self._arrived is not None
        cursor = int(request.query_params["cursor"])
        self.polls_begun += 1
        deadline = time.monotonic() + float(request.query_params["wait"])
        self.acknowledged = max(self.acknowledged, cursor)
        while self.is_deaf.is_set() or len(self._updates) <= cursor:
            left = deadline - time.monotonic()
            if (left <= 0 and not self.is_deaf.is_set()) or self._server.should_exit:
                break
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), min(max(left, 0.05), 0.5))
            except TimeoutError:
                continue
        with self._news:
            self.polls += 1
            updates = self._updates[cursor : cursor + 100]
            self._news.notify_all()
        return JSONResponse({"updates": updates, "cursor": cursor + len(updates)})

    async def _send(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        failure = self.failures.popleft() if self.failures else None
        if failure is not None and failure[0]:
            headers = {"retry-after": failure[1]} if failure[1] else {}
            return JSONResponse({"error": "not now"}, failure[0], headers=headers)
        with self._news:
            known = next((each for each in self.shown if each.key == body["key"]), None)
            if known is None or not self.recognises_resends:
                known = Shown(
                    f"out{len(self.shown) + 1}",
                    body["chat_id"],
                    [body["text"]],
                    body["key"],
                    body["thread_id"],
                    body["reply_to_id"],
                    body["buttons"],
                    body.get("file"),
                )
                self.shown.append(known)
            self._news.notify_all()
        if failure is not None:
            raise ConnectionResetError  # taken, but nobody is told
        return JSONResponse({"message_id": known.message_id})

    async def _edit(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        with self._news:
            for each in self.shown:
                if each.message_id == body["message_id"]:
                    each.texts.append(body["text"])
                    self._news.notify_all()
                    return JSONResponse({})
        return JSONResponse({"error": "no such message"}, 404)

    async def _typing(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse({})

    async def _file(self, request: Request) -> Response:
        return self._refused(request) or Response(f"content of {request.path_params['name']}".encode())
