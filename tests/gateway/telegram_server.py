"""Telegram's Bot API on this machine, on a thread: wire format, limits and errors of the real one."""

from __future__ import annotations

import asyncio
import html
import json
import random
import re
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Any

import uvicorn
import yaml
from gateway_process import Gateway
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "7000001:AAE-loopback_token_for_tests_0123456789"
BOT = {"id": 7000001, "is_bot": True, "first_name": "Hermes", "username": "hermes_test_bot"}
OWNER = 4711
"""The person who is let in; `say` speaks as them."""

_TAGS = {"b", "i", "u", "s", "a", "code", "pre", "blockquote", "tg-spoiler"}
_ENTITY = re.compile(r"(?P<mention>@\w{3,})|(?P<bot_command>(?<!\S)/\w+(?:@\w+)?)")


def lasting_port() -> int:
    """A free port that the system gives to nobody else while a gateway is down."""
    while True:
        port = random.randint(20_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


class _Entities(HTMLParser):
    """Parses like Telegram: unknown or unbalanced tags are errors."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.visible = ""
        self.open: list[str] = []
        self.found: list[tuple[str, str]] = []
        self.problem = ""
        self._start: list[int] = []
        self.feed(text)
        self.close()
        if self.open:
            self.problem = self.problem or f'Can\'t find end tag corresponding to start tag "{self.open[-1]}"'

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            self.problem = f'Unsupported start tag "{tag}" at byte offset {len(self.visible)}'
        if tag == "blockquote" and tag in self.open:
            self.problem = "blockquotes can't be nested"
        self.open.append(tag)
        self._start.append(len(self.visible))
        for _name, value in attrs:
            self.found.append((f"{tag} attribute", value or ""))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problem = f'Unmatched end tag "{tag}"'
            return
        self.found.append((tag, self.visible[self._start.pop() :]))

    def handle_data(self, data: str) -> None:
        self.visible += data


@dataclass
class Sent:
    """What the bot has sent. `texts` are all versions it had, as people read them."""

    message_id: int
    chat_id: int
    method: str
    texts: list[str]
    raw: list[str]
    body: dict[str, Any]
    entities: list[tuple[str, str]] = field(default_factory=list)
    keyboard: list[list[dict[str, str]]] = field(default_factory=list)
    file: tuple[str, bytes] | None = None

    @property
    def text(self) -> str:
        return self.texts[-1]

    @property
    def buttons(self) -> dict[str, str]:
        return {cell["text"]: cell["callback_data"] for row in self.keyboard for cell in row}


@dataclass
class Failure:
    """What goes wrong with the next call of a method.

    Attributes:
        status: 0 does what was asked and cuts the connection; -1 cuts it at once.
        garbage: The answer is no JSON.
        having: Only calls with this parameter.
    """

    method: str
    status: int = 400
    description: str = "Bad Request"
    parameters: dict[str, Any] = field(default_factory=dict)
    garbage: bool = False
    having: str = ""


class TelegramServer:
    """Use as a context manager. `say` is what people do, `sent` what they see."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.calls: deque[tuple[float, str, dict[str, Any]]] = deque(maxlen=5000)
        self.failures: list[Failure] = []
        self.files: dict[str, bytes] = {}
        self.commands: list[dict[str, str]] = []
        self.answered_queries: dict[str, str] = {}
        self.webhook: dict[str, Any] = {}
        self.topics: set[tuple[int, int]] = set()
        self.is_revoked = False
        self.deliveries = 0
        self.offset = 0
        self._updates: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived: asyncio.Event | None = None
        self._next_update = 500_000
        self._ids: dict[int, int] = {}
        self._poll = 0
        app = Starlette(
            routes=[
                Route("/bot{token}/{method}", self._call, methods=["GET", "POST"]),
                Route("/file/bot{token}/{path:path}", self._download),
            ]
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> TelegramServer:
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

    # What people do.

    def message(self, text: str = "", *, chat: int = OWNER, user: int = OWNER, **more: Any) -> dict[str, Any]:
        """A `Message` object as Telegram would send it."""
        with self._news:
            message_id = self._ids[chat] = self._ids.get(chat, 10) + 1
        kind = "private" if chat > 0 else more.pop("chat_type", "supergroup")
        message: dict[str, Any] = {
            "message_id": message_id,
            "from": {"id": user, "is_bot": False, "first_name": "Ada", "last_name": f"No {user}"},
            "chat": {
                "id": chat,
                "type": kind,
                **({"title": "A group"} if chat < 0 else {"first_name": "Ada"}),
            },
            "date": int(time.time()),
        }
        if text:
            message["text"] = text
            found = [
                {
                    "type": match.lastgroup,
                    "offset": units(text[: match.start()]),
                    "length": units(match[0]),
                }
                for match in _ENTITY.finditer(text)
            ]
            if found:
                message["entities"] = found
        return {**message, **more}

    def update(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        with self._news:
            self._next_update += 1
            return {"update_id": self._next_update, kind: content}

    def push(self, *updates: dict[str, Any]) -> None:
        with self._news:
            self._updates += updates
        self._wake()

    def say(self, text: str = "", **more: Any) -> dict[str, Any]:
        """Somebody writes; returns the `Message`."""
        kind = more.pop("kind", "message")
        message = self.message(text, **more)
        self.push(self.update(kind, message))
        return message

    def press(self, message: Sent, value: str, *, user: int = OWNER) -> str:
        """Somebody presses a button; returns the id of the query."""
        query_id = f"q{self._next_update}"
        shown = {
            "message_id": message.message_id,
            "from": BOT,
            "chat": {"id": message.chat_id, "type": "private" if message.chat_id > 0 else "supergroup"},
            "date": 1,
            "text": message.text,
            "entities": [
                {"type": tag, "offset": units(message.text.split(text)[0]), "length": units(text)}
                for tag, text in message.entities
                if tag in ("b", "pre")
            ],
        }
        person = {"id": user, "is_bot": False, "first_name": "Ada"}
        content = {"id": query_id, "from": person, "message": shown, "chat_instance": "1", "data": value}
        self.push(self.update("callback_query", content))
        return query_id

    # What people see.

    def texts(self, chat: int = OWNER) -> list[str]:
        with self._news:
            return [each.text for each in self.sent if each.chat_id == chat]

    def wait_for(self, condition: Any, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        with self._news:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"it did not happen; sent: {[each.texts for each in self.sent]}")
                self._news.wait(min(left, 0.05))

    def wait_for_text(self, text: str, *, chat: int = OWNER, timeout: float = 60.0) -> Sent:
        self.wait_for(lambda: any(text in each for each in self.texts(chat)), timeout)
        return next(each for each in self.sent if each.chat_id == chat and text in each.text)

    def called(self, method: str) -> list[dict[str, Any]]:
        return [body for _, name, body in list(self.calls) if name == method]

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

    async def _call(self, request: Request) -> Response:
        method = request.path_params["method"]
        if request.path_params["token"] != TOKEN or self.is_revoked:
            return _error(401, "Unauthorized")
        body = await _body(request)
        with self._news:
            self.calls.append((time.monotonic(), method, body))
            failure = next(
                (
                    each
                    for each in self.failures
                    if each.method == method and (not each.having or each.having in body)
                ),
                None,
            )
            if failure is not None:
                self.failures.remove(failure)
        if failure is not None and failure.status == -1:
            raise ConnectionResetError
        if failure is not None and failure.garbage:
            return Response("<html>Welcome to the hotel Wi-Fi", failure.status)
        if failure is not None and failure.status:
            return _error(failure.status, failure.description, failure.parameters)
        answer = await self._answer(method, body)
        with self._news:
            self._news.notify_all()
        if failure is not None:
            raise ConnectionResetError  # done, but nobody is told
        return answer

    async def _answer(self, method: str, body: dict[str, Any]) -> Response:
        if method == "getMe":
            return _ok(BOT)
        if method == "getUpdates":
            return await self._get_updates(body)
        if method in ("setWebhook", "deleteWebhook"):
            self.webhook = dict(body) if method == "setWebhook" else {}
            return _ok(True)
        if method == "getWebhookInfo":
            return _ok({"url": self.webhook.get("url", ""), "pending_update_count": 0})
        if method == "setMyCommands":
            return self._set_commands(body)
        if method == "answerCallbackQuery":
            self.answered_queries[body["callback_query_id"]] = body.get("text", "")
            return _ok(True)
        if method in ("sendChatAction", "editMessageReplyMarkup"):
            return _ok(True)
        if method == "getFile":
            if body["file_id"] not in self.files:
                return _error(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
            return _ok({"file_id": body["file_id"], "file_path": f"documents/{body['file_id']}"})
        if method == "editMessageText":
            return self._edit(body)
        if method.startswith("send"):
            return self._send(method, body)
        return _error(404, "Not Found: method not found")

    async def _get_updates(self, body: dict[str, Any]) -> Response:
        assert self._arrived is not None
        if self.webhook:
            return _error(409, "Conflict: can't use getUpdates method while webhook is active")
        self._poll += 1
        mine = self._poll
        self._arrived.set()
        offset = int(body.get("offset") or 0)
        with self._news:
            if offset:
                self._updates = [each for each in self._updates if each["update_id"] >= offset]
                self.offset = max(self.offset, offset)
                self._news.notify_all()
        deadline = time.monotonic() + float(body.get("timeout") or 0)
        while not self._updates and time.monotonic() < deadline and not self._server.should_exit:
            if mine != self._poll:
                return _error(409, "Conflict: terminated by other getUpdates request")
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), 0.3)
            except TimeoutError:
                continue
        with self._news:
            allowed = body.get("allowed_updates")
            found = [each for each in self._updates if any(kind in each for kind in allowed)]
            self.deliveries += bool(found)
            return _ok(found[: int(body.get("limit") or 100)])

    def _set_commands(self, body: dict[str, Any]) -> Response:
        for each in body["commands"]:
            if (
                not re.fullmatch(r"[a-z0-9_]{1,32}", each["command"])
                or not 1 <= len(each["description"]) <= 256
            ):
                return _error(400, "Bad Request: BOT_COMMAND_INVALID")
        self.commands = body["commands"]
        return _ok(True)

    def _send(self, method: str, body: dict[str, Any]) -> Response:
        chat_id = int(body["chat_id"])
        thread = body.get("message_thread_id")
        if thread is not None and (chat_id, int(thread)) not in self.topics:
            return _error(400, "Bad Request: message thread not found")
        file = next((value for value in body.values() if isinstance(value, tuple)), None)
        field_name = "text" if method == "sendMessage" else "caption"
        if method != "sendMessage" and file is None:
            return _error(400, "Bad Request: there is no file in the request")
        visible, entities, problem = self._parsed(str(body.get(field_name, "")), body.get("parse_mode"))
        if problem:
            return _error(400, problem)
        if method == "sendMessage" and not visible.strip():
            return _error(400, "Bad Request: message text is empty")
        keyboard = (body.get("reply_markup") or {}).get("inline_keyboard", [])
        if any(not 1 <= len(cell["callback_data"].encode()) <= 64 for row in keyboard for cell in row):
            return _error(400, "Bad Request: BUTTON_DATA_INVALID")
        with self._news:
            message_id = self._ids[chat_id] = self._ids.get(chat_id, 10) + 1
            raw = str(body.get(field_name, ""))
            shown = Sent(message_id, chat_id, method, [visible], [raw], body, entities, keyboard, file)
            self.sent.append(shown)
        return _ok({"message_id": message_id, "date": 1, "chat": {"id": chat_id}, "text": visible})

    def _edit(self, body: dict[str, Any]) -> Response:
        visible, entities, problem = self._parsed(body["text"], body.get("parse_mode"))
        if problem:
            return _error(400, problem)
        for each in body.get("entities", ()):
            data = visible.encode("utf-16-le")[2 * each["offset"] : 2 * (each["offset"] + each["length"])]
            entities.append((each["type"], data.decode("utf-16-le")))
        keyboard = (body.get("reply_markup") or {}).get("inline_keyboard", [])
        for each in self.sent:
            if (each.chat_id, each.message_id) == (int(body["chat_id"]), body["message_id"]):
                if each.text == visible and each.entities == entities and each.keyboard == keyboard:
                    return _error(
                        400, "Bad Request: message is not modified: specified new message content is the same"
                    )
                each.texts.append(visible)
                each.raw.append(body["text"])
                each.entities, each.keyboard = entities, keyboard
                return _ok({"message_id": each.message_id})
        return _error(400, "Bad Request: message to edit not found")

    def _parsed(self, text: str, mode: str | None) -> tuple[str, list[tuple[str, str]], str]:
        visible, entities = text, list[tuple[str, str]]()
        if mode == "HTML":
            parsed = _Entities(text)
            if parsed.problem:
                return "", [], f"Bad Request: can't parse entities: {parsed.problem}"
            visible, entities = parsed.visible, parsed.found
            assert html.unescape(visible) is not None
        if units(visible) > 4096:
            return "", [], "Bad Request: message is too long"
        return visible, entities, ""

    async def _download(self, request: Request) -> Response:
        if request.path_params["token"] != TOKEN:
            return Response("Not Found", 404)
        data = self.files.get(request.path_params["path"].removeprefix("documents/"))
        return Response(data) if data is not None else Response("Not Found", 404)


class Proxy(threading.Thread):
    """An HTTP proxy that leads every request to one server, whatever host it names."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        self.asked: list[str] = []
        self._target = target.removeprefix("http://").split(":")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection((self._target[0], int(self._target[1]))) as server:
            head = client.recv(65536)
            method, address, rest = head.split(b" ", 2)
            self.asked.append(address.decode())
            path = b"/" + address.split(b"/", 3)[3]
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            server.sendall(b" ".join([method, path, rest]).replace(b"keep-alive", b"close"))
            back.start()
            _pump(client, server)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


class TelegramGateway(Gateway):
    """The real gateway, with Telegram (`extra` is `platforms.telegram.extra`); the token is in `.env`."""

    server: TelegramServer  # type: ignore[assignment]

    def configure(self) -> None:
        extra = {"base_url": self.server.url, "messages_per_second": 50, **self.extra}
        config = {
            "model": {"provider": "demo", "default": "demo"},
            "platforms": {"telegram": {"extra": extra}},
            **self.settings,
        }
        self.home.config_file.write_text(yaml.safe_dump(config))
        lines = {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_ALLOWED_USERS": str(OWNER), **self.env}
        self.home.env_file.write_text("".join(f"{name}={value}\n" for name, value in lines.items() if value))
        for path in (self.home.config_file, self.home.env_file):
            path.chmod(0o600)


async def _body(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").startswith("multipart/"):
        form = await request.form(max_part_size=60_000_000)
        found: dict[str, Any] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                found[name] = (value.filename, await value.read())
            else:
                found[name] = (
                    json.loads(value) if value[:1] in '{["tf-0123456789' and _is_json(value) else value
                )
        await form.close()
        return found
    data = await request.body()
    body = json.loads(data) if data else {}
    assert isinstance(body, dict)
    return body


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _ok(result: Any) -> Response:
    return JSONResponse({"ok": True, "result": result})


def _error(code: int, description: str, parameters: dict[str, Any] | None = None) -> Response:
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    if parameters:
        body["parameters"] = parameters
    return JSONResponse(body, code)
