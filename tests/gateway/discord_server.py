"""Discord on this machine: REST v10, the gateway's WebSocket with resume and compression, files."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import zlib
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import WSMsgType, web
from vendor_server import VendorServer, drop

TOKEN = "loopback-discord-token"
BOT, APP, GUILD = 900, 900, 100
GENERAL, FREE, ALICE, BOB, MALLORY = 101, 102, 11, 12, 13
_EPOCH = 1420070400000


@dataclass
class Session:
    """A gateway session: what was sent in it, and the connection it has now."""

    id: str
    events: list[dict[str, Any]] = field(default_factory=list)
    socket: Socket | None = None


@dataclass
class Socket:
    ws: web.WebSocketResponse
    request: web.Request
    packer: Any = None

    async def send(self, frame: dict[str, Any]) -> None:
        text = json.dumps(frame)
        if self.packer is None:
            await self.ws.send_str(text)
        else:
            data = self.packer.compress(text.encode()) + self.packer.flush(zlib.Z_SYNC_FLUSH)
            await self.ws.send_bytes(data)


class DiscordServer(VendorServer):
    """Attributes:
    failures: Answers for the next messages sent: (status, body, headers); status 0 takes the message and
        drops the connection.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[int, list[dict[str, Any]]] = {GENERAL: [], FREE: []}
        self.texts_by_id: dict[str, list[str]] = {}
        self.threads: dict[int, dict[str, Any]] = {}
        self.nonces: dict[tuple[int, str], dict[str, Any]] = {}
        self.sent: list[dict[str, Any]] = []
        self.failures: deque[tuple[int, Any, dict[str, str]]] = deque()
        self.edit_failures: deque[tuple[int, Any, dict[str, str]]] = deque()
        self.forbids_threads = False
        self.refuses_intents = False
        self.seen_as = ""
        self.sessions_left = 999
        self.is_deaf = False
        self.is_down = False
        self.heartbeat_ms = 500
        self.identifies = 0
        self.resumes = 0
        self.invalid_session: bool | None = None
        self.heartbeats = 0
        self.commands: list[dict[str, Any]] = []
        self.callbacks: dict[str, list[dict[str, Any]]] = {}
        self.files: dict[str, bytes] = {}
        self.file_requests: list[dict[str, str]] = []
        self.typing: list[int] = []
        self.sessions: dict[str, Session] = {}
        self._ids = itertools.count(1)  # asked for by two threads

    def routes(self) -> list[web.RouteDef]:
        api = "/api/v10"
        return [
            web.get(f"{api}/users/@me", self._me),
            web.get(f"{api}/oauth2/applications/@me", self._application),
            web.get(f"{api}/gateway/bot", self._gateway_bot),
            web.post(f"{api}/users/@me/channels", self._open_direct),
            web.put(f"{api}/applications/{{app}}/commands", self._put_commands),
            web.get(f"{api}/channels/{{channel}}/messages", self._history),
            web.post(f"{api}/channels/{{channel}}/messages", self._post),
            web.get(f"{api}/channels/{{channel}}/messages/{{message}}", self._get),
            web.patch(f"{api}/channels/{{channel}}/messages/{{message}}", self._patch),
            web.post(f"{api}/channels/{{channel}}/messages/{{message}}/threads", self._thread),
            web.post(f"{api}/channels/{{channel}}/typing", self._type),
            web.post(f"{api}/interactions/{{id}}/{{token}}/callback", self._callback),
            web.patch(f"{api}/webhooks/{{app}}/{{token}}/messages/@original", self._callback_edit),
            web.get("/attachments/{name}", self._file),
            web.get("/gateway/", self._gateway),
        ]

    @property
    def api_base(self) -> str:
        return f"{self.url}/api/v10"

    # What people do and see.

    def say(
        self,
        text: str,
        *,
        channel: int = 0,
        user: int = ALICE,
        mentions: tuple[int, ...] = (),
        announce: bool = True,
        **more: Any,
    ) -> dict[str, Any]:
        """Somebody writes; channel 0 is the direct chat."""
        channel = channel or self.direct(user)
        message = self._message(text, channel, _user(user), mentions=mentions, **more)
        self.messages.setdefault(channel, []).append(message)
        if announce:
            self.do(self._announce("MESSAGE_CREATE", self._as_event(message)))
        return message

    def edit(self, message: dict[str, Any], text: str, *, by_person: bool = True) -> None:
        message["content"] = text
        if by_person:
            message["edited_timestamp"] = datetime.now(UTC).isoformat()
        self.do(self._announce("MESSAGE_UPDATE", self._as_event(message)))

    def press(self, message: dict[str, Any], label: str, *, user: int = ALICE) -> str:
        """Press a button; returns the interaction's token."""
        (value,) = (
            each["custom_id"]
            for row in message["components"]
            for each in row["components"]
            if each["label"] == label
        )
        return self._interact(
            3, {"custom_id": value, "component_type": 2}, int(message["channel_id"]), user, message
        )

    def command(self, name: str, text: str = "", *, channel: int = 0, user: int = ALICE) -> str:
        options = [{"type": 3, "name": "input", "value": text}] if text else []
        data = {"id": str(self._snowflake()), "name": name, "type": 1, "options": options}
        return self._interact(2, data, channel or self.direct(user), user, None)

    def add_file(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        self.files[name] = data
        return {
            "id": str(self._snowflake()),
            "filename": name,
            "size": len(data),
            "url": f"{self.url}/attachments/{name}",
            "proxy_url": f"{self.url}/attachments/{name}",
            "content_type": media_type,
        }

    def direct(self, user: int) -> int:
        return 5000 + user

    def texts(self, channel: int) -> list[str]:
        return [each["content"] for each in self.sent if int(each["channel_id"]) == channel]

    def wait_for_text(
        self, text: str, *, channel: int | None = None, timeout: float = 60.0
    ) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [
                each
                for each in self.sent
                if text in each["content"] and channel in (None, int(each["channel_id"]))
            ]

        self.wait_for(found, timeout)
        return found()[0]

    def cut(self) -> None:
        """Cut all gateway connections without a word."""

        async def abort() -> None:
            for session in self.sessions.values():
                if session.socket is not None:
                    drop(session.socket.request)

        self.do(abort())

    def close(self, code: int) -> None:
        """End all gateway connections with a code."""

        async def close() -> None:
            for session in self.sessions.values():
                if session.socket is not None:
                    await session.socket.ws.close(code=code)

        self.do(close())

    def send_raw(self, text: str) -> None:
        async def send() -> None:
            for session in self.sessions.values():
                if session.socket is not None:
                    session.socket.packer = None
                    await session.socket.ws.send_str(text)

        self.do(send())

    def order(self, frame: dict[str, Any]) -> None:
        async def send() -> None:
            for session in self.sessions.values():
                if session.socket is not None:
                    await session.socket.send(frame)

        self.do(send())

    def summary(self) -> str:
        return f"sent: {[(each['channel_id'], self.texts_by_id[each['id']]) for each in self.sent]}"

    # REST.

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.is_down:
            return _json({"message": "upstream"}, status=503)
        if request.headers.get("Authorization") != f"Bot {TOKEN}":
            return _json({"message": "401: Unauthorized", "code": 0}, status=401)
        return None

    def _ok(self, body: Any, status: int = 200) -> web.Response:
        headers = {
            "X-RateLimit-Limit": "50",
            "X-RateLimit-Remaining": "49",
            "X-RateLimit-Reset": str(time.time() + 1),
            "X-RateLimit-Reset-After": "1",
            "X-RateLimit-Bucket": "loopback",
            "Via": "1.1 loopback",
        }
        if status == 204:
            return web.Response(status=204, headers=headers)
        return _json(body, status=status, headers=headers)

    async def _failed(self, request: web.Request, failure: tuple[int, Any, dict[str, str]]) -> web.Response:
        status, body, headers = failure
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return _json(body, status=status, headers={"Via": "1.1 loopback", **headers})

    async def _me(self, request: web.Request) -> web.Response:
        return self._refused(request) or self._ok({**_user(BOT), "bot": True, "mfa_enabled": False})

    async def _application(self, request: web.Request) -> web.Response:
        return self._refused(request) or self._ok(
            {
                "id": str(APP),
                "name": "Hermes",
                "icon": None,
                "description": "",
                "bot_public": True,
                "bot_require_code_grant": False,
                "verify_key": "00",
                "owner": _user(ALICE),
                "flags": 1 << 19,
                "team": None,
            }
        )

    async def _gateway_bot(self, request: web.Request) -> web.Response:
        return self._refused(request) or self._ok(
            {
                "url": self.gateway_url,
                "shards": 1,
                "session_start_limit": {
                    "total": 1000,
                    "remaining": self.sessions_left,
                    "reset_after": 700,
                    "max_concurrency": 1,
                },
            }
        )

    @property
    def gateway_url(self) -> str:
        return f"{(self.seen_as or self.url).replace('http', 'ws', 1)}/gateway/"

    async def _put_commands(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        self.commands = await request.json()
        for each in self.commands:
            assert 1 <= len(each["description"]) <= 100
            assert each["name"] == each["name"].lower() and len(each["name"]) <= 32
        return self._ok([])

    async def _history(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        channel = int(request.match_info["channel"])
        if channel not in self.messages:
            return self._ok({"message": "Unknown Channel", "code": 10003}, 404)
        found = self.messages[channel]
        limit = int(request.query.get("limit", "50"))
        if "after" in request.query:
            found = [each for each in found if int(each["id"]) > int(request.query["after"])][:limit]
        elif "before" in request.query:
            found = [each for each in found if int(each["id"]) < int(request.query["before"])][-limit:]
        else:
            found = found[-limit:]
        return self._ok(list(reversed(found)))

    async def _get(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        found = self._find(request)
        return self._ok(found) if found else self._ok({"message": "Unknown Message", "code": 10008}, 404)

    async def _post(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        channel = int(request.match_info["channel"])
        failure = self.failures.popleft() if self.failures else None
        if failure is not None and failure[0]:
            return await self._failed(request, failure)
        if channel not in self.messages and not 5000 <= channel < 6000:
            return self._ok({"message": "Unknown Channel", "code": 10003}, 404)
        files: list[dict[str, Any]] = []
        if request.content_type.startswith("multipart/"):
            form = await request.post()
            body = json.loads(form["payload_json"])  # type: ignore[arg-type]
            upload = form["files[0]"]
            data = upload.file.read()  # type: ignore[union-attr]
            files = [self.add_file(body["attachments"][0]["filename"], data, "text/plain")]
        else:
            body = await request.json()
        if len(body.get("content") or "") > 2000:
            return self._ok({"message": "Invalid Form Body", "code": 50035}, 400)
        if not (body.get("content") or files):
            return self._ok({"message": "Cannot send an empty message", "code": 50006}, 400)
        known = self.nonces.get((channel, body.get("nonce", "")))
        if known is None:
            known = self._message(
                body["content"],
                channel,
                {**_user(BOT), "bot": True},
                components=body.get("components", []),
                attachments=files,
            )
            known["request"] = body
            if body.get("enforce_nonce"):
                self.nonces[channel, body["nonce"]] = known
            self.messages.setdefault(channel, []).append(known)
            self.sent.append(known)
            self.texts_by_id[known["id"]] = [body["content"]]
            await self._announce("MESSAGE_CREATE", self._as_event(known))
        self.tell()
        if failure is not None:
            drop(request)
        return self._ok({**known, "nonce": body.get("nonce")})

    async def _patch(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        if self.edit_failures:
            return await self._failed(request, self.edit_failures.popleft())
        body = await request.json()
        found = self._find(request)
        if found is None:
            return self._ok({"message": "Unknown Message", "code": 10008}, 404)
        if len(body["content"]) > 2000:
            return self._ok({"message": "Invalid Form Body", "code": 50035}, 400)
        found["content"] = body["content"]
        found["components"] = body.get("components", found["components"])
        self.texts_by_id[found["id"]].append(body["content"])
        return self._ok(found)

    async def _thread(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        found = self._find(request)
        if self.forbids_threads:
            return self._ok({"message": "Missing Permissions", "code": 50013}, 403)
        if found is None:
            return self._ok({"message": "Unknown Message", "code": 10008}, 404)
        if int(found["id"]) in self.threads:
            return self._ok({"message": "A thread has already been created", "code": 160004}, 400)
        thread = {
            "id": found["id"],
            "type": 11,
            "guild_id": str(GUILD),
            "parent_id": found["channel_id"],
            "owner_id": str(BOT),
            "name": (await request.json())["name"],
            "message_count": 0,
            "member_count": 1,
            "rate_limit_per_user": 0,
            "last_message_id": None,
            "flags": 0,
            "thread_metadata": {
                "archived": False,
                "auto_archive_duration": 1440,
                "archive_timestamp": datetime.now(UTC).isoformat(),
                "locked": False,
            },
        }
        self.threads[int(found["id"])] = thread
        self.messages[int(found["id"])] = []
        await self._announce("THREAD_CREATE", {**thread, "newly_created": True})
        return self._ok(thread, 201)

    async def _open_direct(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        user = int((await request.json())["recipient_id"])
        if user not in (ALICE, BOB, MALLORY):
            return self._ok({"message": "Invalid Recipient(s)", "code": 50033}, 400)
        return self._ok({"id": str(self.direct(user)), "type": 1, "recipients": [_user(user)]})

    async def _type(self, request: web.Request) -> web.Response:
        if refused := self._refused(request):
            return refused
        self.typing.append(int(request.match_info["channel"]))
        return self._ok(None, 204)

    async def _callback(self, request: web.Request) -> web.Response:
        self.callbacks.setdefault(request.match_info["token"], []).append(await request.json())
        return self._ok(None, 204)

    async def _callback_edit(self, request: web.Request) -> web.Response:
        self.callbacks.setdefault(request.match_info["token"], []).append(await request.json())
        return self._ok({})

    async def _file(self, request: web.Request) -> web.Response:
        self.file_requests.append(dict(request.headers))
        data = self.files.get(request.match_info["name"])
        return web.Response(body=data) if data is not None else web.Response(status=404)

    def _find(self, request: web.Request) -> dict[str, Any] | None:
        channel, message = int(request.match_info["channel"]), request.match_info["message"]
        return next((each for each in self.messages.get(channel, ()) if each["id"] == message), None)

    # The gateway.

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        if self.is_down:
            raise web.HTTPServiceUnavailable
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        is_packed = request.query.get("compress") == "zlib-stream"
        socket = Socket(ws, request, zlib.compressobj() if is_packed else None)
        await socket.send({"op": 10, "d": {"heartbeat_interval": self.heartbeat_ms}, "s": None, "t": None})
        session: Session | None = None
        async for frame in ws:
            if frame.type is not WSMsgType.TEXT:
                break
            order = json.loads(frame.data)
            if order["op"] == 1:
                self.heartbeats += 1
                if not self.is_deaf:
                    await socket.send({"op": 11, "d": None, "s": None, "t": None})
            elif order["op"] == 2:
                session = await self._identify(socket, order["d"])
            elif order["op"] == 6:
                session = await self._resume(socket, order["d"])
            self.tell()
        if session is not None and session.socket is socket:
            session.socket = None
        return ws

    async def _identify(self, socket: Socket, order: dict[str, Any]) -> Session | None:
        self.identifies += 1
        if order["token"] != TOKEN:
            await socket.ws.close(code=4004, message=b"Authentication failed.")
            return None
        if self.refuses_intents and order["intents"] & 1 << 15:
            await socket.ws.close(code=4014, message=b"Disallowed intent(s).")
            return None
        session = Session(f"s{len(self.sessions) + 1}", socket=socket)
        self.sessions[session.id] = session
        ready = {
            "v": 10,
            "user": {**_user(BOT), "bot": True},
            "guilds": [{"id": str(GUILD), "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": self.gateway_url,
            "application": {"id": str(APP), "flags": 1 << 19},
        }
        await self._dispatch(session, "READY", ready)
        await self._dispatch(session, "GUILD_CREATE", self._guild())
        return session

    async def _resume(self, socket: Socket, order: dict[str, Any]) -> Session | None:
        self.resumes += 1
        session = self.sessions.get(order["session_id"])
        if session is None or self.invalid_session is not None:
            is_resumable, self.invalid_session = bool(self.invalid_session), None
            await socket.send({"op": 9, "d": is_resumable, "s": None, "t": None})
            return None
        session.socket = socket
        for event in session.events:
            if event["s"] > order["seq"]:
                await socket.send(event)
        await self._dispatch(session, "RESUMED", {})
        return session

    async def _announce(self, name: str, data: dict[str, Any]) -> None:
        for session in self.sessions.values():
            await self._dispatch(session, name, data)

    async def _dispatch(self, session: Session, name: str, data: dict[str, Any]) -> None:
        event = {"op": 0, "t": name, "s": len(session.events) + 1, "d": json.loads(json.dumps(data))}
        session.events.append(event)
        socket = session.socket
        if socket is not None and not socket.ws.closed:
            try:
                await socket.send(event)
            except (ConnectionError, asyncio.CancelledError):
                session.socket = None

    def forget_sessions(self) -> None:
        """As after minutes without a connection: nothing can be resumed."""
        self.cut()
        self.sessions.clear()

    # Shapes.

    def _snowflake(self) -> int:
        return (int(time.time() * 1000) - _EPOCH << 22) + next(self._ids) % (1 << 22)

    def _message(
        self,
        text: str,
        channel: int,
        author: dict[str, Any],
        *,
        mentions: tuple[int, ...] = (),
        **more: Any,
    ) -> dict[str, Any]:
        head = " ".join(f"<@{each}>" for each in mentions)
        return {
            "id": str(self._snowflake()),
            "channel_id": str(channel),
            "author": author,
            "content": f"{head} {text}".strip(),
            "timestamp": datetime.now(UTC).isoformat(),
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [_user(each) for each in mentions],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
            "flags": 0,
            "components": [],
            **more,
        }

    def _as_event(self, message: dict[str, Any]) -> dict[str, Any]:
        event = {key: value for key, value in message.items() if key != "request"}
        if self._is_in_guild(int(message["channel_id"])):
            event["guild_id"] = str(GUILD)
            event["member"] = _member()
        return event

    def _is_in_guild(self, channel: int) -> bool:
        return channel in (GENERAL, FREE) or channel in self.threads

    def _guild(self) -> dict[str, Any]:
        channels = [
            {
                "id": str(each),
                "type": 0,
                "guild_id": str(GUILD),
                "name": name,
                "position": position,
                "permission_overwrites": [],
                "nsfw": False,
                "parent_id": None,
                "topic": None,
                "rate_limit_per_user": 0,
                "last_message_id": self.messages[each][-1]["id"] if self.messages[each] else None,
            }
            for position, (each, name) in enumerate(((GENERAL, "general"), (FREE, "free")))
        ]
        threads = [
            {**each, "last_message_id": self.messages[key][-1]["id"] if self.messages[key] else None}
            for key, each in self.threads.items()
        ]
        return {
            "id": str(GUILD),
            "name": "Workshop",
            "icon": None,
            "owner_id": str(ALICE),
            "afk_timeout": 60,
            "afk_channel_id": None,
            "verification_level": 0,
            "default_message_notifications": 0,
            "explicit_content_filter": 0,
            "roles": [
                {
                    "id": str(GUILD),
                    "name": "@everyone",
                    "color": 0,
                    "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
                    "hoist": False,
                    "position": 0,
                    "permissions": "2147483647",
                    "managed": False,
                    "mentionable": False,
                    "flags": 0,
                }
            ],
            "emojis": [],
            "stickers": [],
            "features": [],
            "mfa_level": 0,
            "system_channel_id": None,
            "system_channel_flags": 0,
            "premium_tier": 0,
            "preferred_locale": "en-US",
            "nsfw_level": 0,
            "premium_progress_bar_enabled": False,
            "safety_alerts_channel_id": None,
            "joined_at": datetime.now(UTC).isoformat(),
            "large": False,
            "unavailable": False,
            "member_count": 3,
            "members": [{**_member(), "user": {**_user(BOT), "bot": True}}],
            "channels": channels,
            "threads": threads,
            "presences": [],
            "voice_states": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }

    def _interact(
        self, kind: int, data: dict[str, Any], channel: int, user: int, message: dict[str, Any] | None
    ) -> str:
        number = self._snowflake()
        token = f"interaction-{number}"
        event: dict[str, Any] = {
            "id": str(number),
            "application_id": str(APP),
            "type": kind,
            "data": data,
            "channel_id": str(channel),
            "token": token,
            "version": 1,
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {"0": str(GUILD)},
            "attachment_size_limit": 10485760,
            "app_permissions": "2147483647",
        }
        if message is not None:
            event["message"] = {key: value for key, value in message.items() if key != "request"}
        if self._is_in_guild(channel):
            event |= {"guild_id": str(GUILD), "context": 0, "guild_locale": "en-US"}
            event["member"] = {**_member(), "user": _user(user), "permissions": "2147483647"}
            kind_of_channel = 11 if channel in self.threads else 0
            event["channel"] = {"id": str(channel), "type": kind_of_channel}
        else:
            event |= {"user": _user(user), "context": 1}
            event["channel"] = {"id": str(channel), "type": 1}
        self.do(self._announce("INTERACTION_CREATE", event))
        return token


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    # Discord names no character set, and discord.py wants it so.
    data = json.dumps(body).encode()
    return web.Response(body=data, status=status, headers=headers, content_type="application/json")


def _user(number: int) -> dict[str, Any]:
    names = {BOT: "hermes", ALICE: "alice", BOB: "bob", MALLORY: "mallory"}
    name = names.get(number, f"user{number}")
    return {
        "id": str(number),
        "username": name,
        "discriminator": "0",
        "global_name": name.capitalize(),
        "avatar": None,
        "bot": False,
        "public_flags": 0,
    }


def _member() -> dict[str, Any]:
    return {
        "roles": [],
        "joined_at": datetime(2025, 1, 1, tzinfo=UTC).isoformat(),
        "deaf": False,
        "mute": False,
        "flags": 0,
        "nick": None,
        "avatar": None,
    }
