"""Slack on this machine: the Web API, Socket Mode with redelivery, files."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import deque
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web
from vendor_server import VendorServer, drop

BOT_TOKEN, APP_TOKEN = "xoxb-loopback-bot", "xapp-loopback-app"
BOT, BOT_ID, ALICE, BOB, MALLORY = "U0BOT", "B0BOT", "U1ALICE", "U2BOB", "U3MALLORY"
GENERAL, FREE = "C1GENERAL", "C2FREE"
_NAMES = {BOT: "hermes", ALICE: "Alice", BOB: "Bob", MALLORY: "Mallory"}


class SlackServer(VendorServer):
    """Attributes:
    failures: Answers for the next `chat.postMessage`: (status, body, headers); status 0 takes the message
        and drops the connection.
    redelivers: Events that were not acknowledged are sent again when a socket opens, as Slack does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, list[dict[str, Any]]] = {GENERAL: [], FREE: []}
        self.sent: list[dict[str, Any]] = []
        self.texts_by_ts: dict[str, list[str]] = {}
        self.failures: deque[tuple[int, Any, dict[str, str]]] = deque()
        self.errors: dict[str, dict[str, Any]] = {}
        self.ephemeral: list[dict[str, Any]] = []
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.unacknowledged: dict[str, dict[str, Any]] = {}
        self.redelivers = True
        self.opened = 0
        self.sockets: list[tuple[web.WebSocketResponse, web.Request]] = []
        self.seen_as = ""
        self.is_deaf = False
        self.is_down = False
        self.files: dict[str, bytes] = {}
        self.file_requests: list[tuple[str, str]] = []
        self.shared: list[dict[str, Any]] = []
        self.forms: list[tuple[str, str]] = []
        self._numbers = itertools.count(1)  # asked for by two threads

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/api/{method}", self._api),
            web.get("/link", self._link),
            web.post("/upload/{id}", self._upload),
            web.get("/files/{name}", self._file),
        ]

    @property
    def api_base(self) -> str:
        return f"{self.url}/api/"

    # What people do and see.

    def say(
        self,
        text: str,
        *,
        channel: str = "",
        user: str = ALICE,
        thread: str = "",
        twice: bool = False,
        announce: bool = True,
        **more: Any,
    ) -> str:
        """Somebody writes; without a channel to the bot alone. Returns the ts."""
        channel = channel or self.direct(user)
        message: dict[str, Any] = {"type": "message", "user": user, "text": text, "ts": self._ts(), **more}
        message["client_msg_id"] = f"client-{message['ts']}"
        if thread:
            message["thread_ts"] = thread
        self.messages.setdefault(channel, []).append(message)
        if announce:
            event = {**message, "channel": channel, "channel_type": self._kind(channel)}
            self.announce(event)
            if f"<@{BOT}>" in text and channel[0] == "C":
                mention = {key: value for key, value in event.items() if key != "channel_type"}
                self.announce({**mention, "type": "app_mention"})
            if twice:
                self.announce(event)
        return str(message["ts"])

    def edit(self, ts: str, text: str, *, channel: str = "", by_person: bool = True) -> None:
        channel = channel or self.direct(ALICE)
        (message,) = (each for each in self.messages[channel] if each["ts"] == ts)
        before = dict(message)
        message["text"] = text
        if by_person:
            message["edited"] = {"user": message["user"], "ts": self._ts()}
        self.announce(
            {
                "type": "message",
                "subtype": "message_changed",
                "channel": channel,
                "channel_type": self._kind(channel),
                "ts": self._ts(),
                "message": dict(message),
                "previous_message": before,
            }
        )

    def announce(self, event: dict[str, Any]) -> None:
        payload = {
            "token": "verification",
            "team_id": "T1",
            "api_app_id": "A1",
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{self._next()}",
            "event_time": int(time.time()),
            "authorizations": [{"team_id": "T1", "user_id": BOT, "is_bot": True}],
        }
        self.deliver("events_api", payload, accepts=False)

    def command(self, text: str, *, channel: str = "", user: str = ALICE) -> str:
        payload = {
            "command": "/hermes",
            "text": text,
            "user_id": user,
            "user_name": _NAMES[user].lower(),
            "channel_id": channel or self.direct(user),
            "team_id": "T1",
            "trigger_id": f"trigger.{self._next()}",
            "response_url": f"{self.url}/response",
        }
        return self.deliver("slash_commands", payload, accepts=True)

    def press(self, message: dict[str, Any], label: str, *, user: str = ALICE) -> str:
        (actions,) = (each for each in message["blocks"] if each["type"] == "actions")
        (button,) = (each for each in actions["elements"] if each["text"]["text"] == label)
        payload = {
            "type": "block_actions",
            "user": {"id": user, "username": _NAMES[user].lower(), "team_id": "T1"},
            "channel": {"id": message["channel"], "name": "general"},
            "container": {
                "type": "message",
                "message_ts": message["ts"],
                "channel_id": message["channel"],
                "is_ephemeral": False,
            },
            "message": message,
            "trigger_id": f"trigger.{self._next()}",
            "response_url": f"{self.url}/response",
            "actions": [{**button, "block_id": "b", "action_ts": self._ts()}],
        }
        return self.deliver("interactive", payload, accepts=False)

    def deliver(self, kind: str, payload: dict[str, Any], *, accepts: bool) -> str:
        envelope = {
            "envelope_id": f"envelope-{self._next()}",
            "type": kind,
            "accepts_response_payload": accepts,
            "payload": payload,
        }
        if kind == "events_api":
            envelope |= {"retry_attempt": 0, "retry_reason": ""}
        self.unacknowledged[envelope["envelope_id"]] = envelope
        self.frame(envelope)
        return str(envelope["envelope_id"])

    def frame(self, frame: Any) -> None:
        """Send something on the newest socket."""

        async def send() -> None:
            if self.sockets:
                text = frame if isinstance(frame, str) else json.dumps(frame)
                with suppress(ConnectionError):
                    await self.sockets[-1][0].send_str(text)

        self.do(send())

    def cut(self) -> None:
        async def abort() -> None:
            for _ws, request in self.sockets:
                drop(request)
            self.sockets.clear()

        self.do(abort())

    def add_file(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        self.files[name] = data
        return {
            "id": f"F{self._next()}",
            "name": name,
            "mimetype": media_type,
            "size": len(data),
            "mode": "hosted",
            "url_private": f"{self.url}/files/{name}",
            "url_private_download": f"{self.url}/files/{name}",
        }

    def direct(self, user: str) -> str:
        return f"D{user[1:]}"

    def texts(self, channel: str) -> list[str]:
        return [each["text"] for each in self.sent if each["channel"] == channel]

    def wait_for_text(self, text: str, *, channel: str | None = None) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [
                each
                for each in self.sent
                if text in json.dumps(each, ensure_ascii=False) and channel in (None, each["channel"])
            ]

        self.wait_for(found)
        return found()[0]

    def summary(self) -> str:
        return f"sent: {[(each['channel'], self.texts_by_ts[each['ts']]) for each in self.sent]}"

    # The Web API.

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        if self.is_down:
            return web.Response(status=503, text="<html>down</html>", content_type="text/html")
        if request.content_type == "application/json":
            values = await request.json()
        else:
            values = {**request.query, **dict(await request.post())}
            self.forms.append((method, json.dumps(sorted(map(str, values)))))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        wanted = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
        if token != wanted:
            return self._error("invalid_auth")
        if method in self.errors:
            return web.json_response(self.errors[method])
        handler = getattr(self, "_do_" + method.replace(".", "_"), None)
        if handler is None:
            return self._error("unknown_method")
        answer: web.StreamResponse = await handler(values, request)
        return answer

    def _error(self, code: str) -> web.Response:
        return web.json_response({"ok": False, "error": code})

    def _ok(self, **values: Any) -> web.Response:
        return web.json_response({"ok": True, **values})

    async def _do_auth_test(self, _values: dict[str, Any], _request: web.Request) -> web.Response:
        return self._ok(team="Workshop", team_id="T1", user="hermes", user_id=BOT, bot_id=BOT_ID)

    async def _do_apps_connections_open(self, _v: dict[str, Any], _request: web.Request) -> web.Response:
        address = (self.seen_as or self.url).replace("http", "ws", 1)
        return self._ok(url=f"{address}/link?ticket={self._next()}")

    async def _do_users_info(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        name = _NAMES.get(values["user"])
        if name is None:
            return self._error("user_not_found")
        return self._ok(user={"id": values["user"], "name": name.lower(), "profile": {"display_name": name}})

    async def _do_users_conversations(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        kinds = {"im": "D", "public_channel": "C", "mpim": "G", "private_channel": "P"}
        found = [{"id": each} for each in self.messages if each[0] == kinds[values["types"]]]
        start = int(values.get("cursor") or 0)  # pages of one, to see that they are followed
        cursor = str(start + 1) if start + 1 < len(found) else ""
        return self._ok(channels=found[start : start + 1], response_metadata={"next_cursor": cursor})

    async def _do_conversations_history(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        roots = [
            each
            for each in self.messages.get(values["channel"], ())
            if each.get("thread_ts", each["ts"]) == each["ts"]
        ]
        return self._messages(roots, values)

    async def _do_conversations_replies(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        thread = values["ts"]
        found = [
            each
            for each in self.messages.get(values["channel"], ())
            if thread in (each["ts"], each.get("thread_ts"))
        ]
        if not found:
            return self._error("thread_not_found")
        replies = [each for each in found[1:] if each["ts"] > values.get("oldest", "0")]
        return self._messages([found[0], *replies], {**values, "oldest": "0"})

    def _messages(self, found: list[dict[str, Any]], values: dict[str, Any]) -> web.Response:
        oldest, latest = values.get("oldest", "0"), values.get("latest", "9999999999.999999")
        kept = [each for each in found if oldest < each["ts"] < latest]
        return self._ok(messages=list(reversed(kept[-int(values.get("limit", 100)) :])), has_more=False)

    async def _do_chat_postMessage(self, values: dict[str, Any], request: web.Request) -> web.Response:
        failure = self.failures.popleft() if self.failures else None
        if failure is not None and failure[0]:
            status, body, headers = failure
            if isinstance(body, str):
                return web.Response(text=body, status=status, headers=headers, content_type="text/html")
            return web.json_response(body, status=status, headers=headers)
        if values["channel"] not in self.messages:
            return self._error("channel_not_found")
        if not values.get("text"):
            return self._error("no_text")
        if len(values["text"]) > 40_000 or self._blocks_are_bad(values):
            return self._error("msg_too_long")
        message = {"type": "message", "ts": self._ts(), "user": BOT, "bot_id": BOT_ID, **values}
        self.messages[values["channel"]].append(message)
        self.sent.append(message)
        self.texts_by_ts[message["ts"]] = [values["text"]]
        self.tell()
        if failure is not None:
            drop(request)
        return self._ok(ts=message["ts"], channel=values["channel"], message=message)

    async def _do_chat_update(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        found = next((each for each in self.sent if each["ts"] == values["ts"]), None)
        if found is None:
            return self._error("message_not_found")
        if len(values["text"].encode()) > 4000 or self._blocks_are_bad(values):
            return self._error("msg_too_long")
        found["text"], found["blocks"] = values["text"], values.get("blocks", found.get("blocks"))
        self.texts_by_ts[found["ts"]].append(values["text"])
        return self._ok(ts=found["ts"], channel=values["channel"], text=values["text"])

    async def _do_chat_delete(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        self.sent = [each for each in self.sent if each["ts"] != values["ts"]]
        return self._ok()

    async def _do_chat_postEphemeral(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        self.ephemeral.append(values)
        return self._ok(message_ts=self._ts())

    async def _do_files_getUploadURLExternal(
        self, values: dict[str, Any], _request: web.Request
    ) -> web.Response:
        assert int(values["length"]) > 0 and values["filename"]
        number = f"F{self._next()}"
        return self._ok(upload_url=f"{self.url}/upload/{number}", file_id=number)

    async def _do_files_completeUploadExternal(
        self, values: dict[str, Any], _request: web.Request
    ) -> web.Response:
        assert all(each["id"] in self.files for each in values["files"])
        self.shared.append(values)
        return self._ok(files=values["files"])

    async def _do_files_info(self, values: dict[str, Any], _request: web.Request) -> web.Response:
        return self._ok(file={"id": values["file"], "url_private": f"{self.url}/files/{values['file']}"})

    async def _upload(self, request: web.Request) -> web.Response:
        self.files[request.match_info["id"]] = await request.read()
        return web.Response(text="OK")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.file_requests.append((name, request.headers.get("Authorization", "")))
        if name not in self.files:
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        return web.Response(body=self.files[name])

    def _blocks_are_bad(self, values: dict[str, Any]) -> bool:
        blocks = values.get("blocks") or []
        texts = [each["text"]["text"] for each in blocks if each["type"] == "section"]
        return any(not 0 < len(text) <= 3000 for text in texts) or sum(map(len, texts)) > 13_000

    # Socket Mode.

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        if self.is_down:
            raise web.HTTPServiceUnavailable
        ws = web.WebSocketResponse(autoping=not self.is_deaf)
        await ws.prepare(request)
        self.opened += 1
        self.sockets.append((ws, request))
        hello = {
            "type": "hello",
            "num_connections": len(self.sockets),
            "debug_info": {"host": "loopback", "approximate_connection_time": 18060},
            "connection_info": {"app_id": "A1"},
        }
        await ws.send_str(json.dumps(hello))
        if self.redelivers:
            for envelope in list(self.unacknowledged.values()):
                if "retry_attempt" in envelope:
                    envelope["retry_attempt"] += 1
                    envelope["retry_reason"] = "timeout"
                await ws.send_str(json.dumps(envelope))
        with suppress(ConnectionError, asyncio.CancelledError):
            async for frame in ws:
                if frame.type is WSMsgType.TEXT:
                    answer = json.loads(frame.data)
                    self.acknowledged[answer["envelope_id"]] = answer
                    self.unacknowledged.pop(answer["envelope_id"], None)
                    self.tell()
        self.sockets = [each for each in self.sockets if each[0] is not ws]
        return ws

    # Shapes.

    def _kind(self, channel: str) -> str:
        return {"D": "im", "G": "mpim", "P": "group"}.get(channel[0], "channel")

    def _next(self) -> int:
        return next(self._numbers)

    def _ts(self) -> str:
        return f"{int(time.time())}.{self._next():06}"
