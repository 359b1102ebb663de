"""The Client-Server API by way of matrix-nio: typed calls in, plain JSON and our own errors out.

Everything that nio would try again by itself is switched off: the gateway decides about that.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from nio import (  # type: ignore[import-untyped]
    AsyncClient,
    AsyncClientConfig,
    EncryptionError,
    ErrorResponse,
    InviteMemberEvent,
    LocalProtocolError,
    MessageDirection,
    RoomPreset,
    SendRetryError,
)
from nio.crypto import ENCRYPTION_ENABLED, decrypt_attachment  # type: ignore[import-untyped]

from hermes_agent.config.files import replace_atomically
from hermes_agent.core.errors import AuthFailedError, NotReadyError
from hermes_agent.gateway.platforms.matrix.events import Json
from hermes_agent.gateway.platforms.matrix.settings import MatrixAccount
from hermes_agent.gateway.platforms.matrix.wire import (
    MatrixRefusedError,
    MatrixUnreachableError,
    News,
    RoomNews,
)

_LOG = logging.getLogger(__name__)
# It tells on standard error what we tell in our own words.
logging.getLogger("nio").setLevel(logging.CRITICAL)

SYNC_SECONDS = 30.0
_REQUEST_SECONDS = 60.0
_FIRST_SYNC_SECONDS = 180.0
_MOST_OLDER = 2_000
_MOST_PEOPLE_BYTES = 50_000_000
_SMALL_ROOM = 10
"""A larger room does not become a direct chat while we run; it is not counted anew when somebody comes."""
_FILTER = {
    "presence": {"types": []},
    "room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 50, "lazy_load_members": True}},
}


class MatrixConnection:
    """A session on the home server.

    Args:
        account: Where and who.
        directory: Where the session and the keys of encrypted rooms are kept.
    """

    def __init__(self, account: MatrixAccount, directory: Path) -> None:
        self._account = account
        self._directory = directory
        self._client: Any = None
        self._people: dict[str, frozenset[str]] = {}
        self._key_trouble: str | None = ""
        self.reads_encrypted = account.settings.encryption and ENCRYPTION_ENABLED

    @property
    def user_id(self) -> str:
        """Ours."""
        return str(self._client.user_id) if self._client is not None else self._account.user_id

    @property
    def device_id(self) -> str:
        """Of this session."""
        return str(self._client.device_id or "") if self._client is not None else ""

    @property
    def room_count(self) -> int:
        """Rooms we are in."""
        return len(self._client.rooms) if self._client is not None else 0

    async def open(self) -> None:
        """Sign in, with the token or the session kept from last time if there is one.

        Raises:
            MatrixUnreachableError: No answer.
            MatrixRefusedError: Something else than the credential is wrong.
            AuthFailedError: The credential is refused.
        """
        await asyncio.to_thread(self._directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        await self._resume_or_sign_in()
        for path in self._directory.glob("*.db"):
            path.chmod(0o600)  # the keys of encrypted rooms

    async def _resume_or_sign_in(self) -> None:
        if self._account.token:
            await self._resume(self._account.token, "")
            return
        saved = await asyncio.to_thread(self._saved)
        if saved:
            try:
                await self._resume(saved["access_token"], saved["device_id"])
                return
            except MatrixRefusedError as error:
                if not error.is_signed_out:
                    raise
                await self.close()
                if not error.is_soft:
                    saved = {}
        await self._sign_in(saved.get("device_id", ""))

    async def close(self) -> None:
        """Disconnect; the session stays."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(aiohttp.ClientError, OSError):
                await client.close()

    async def sync(self, since: str, *, is_first: bool) -> News:
        """Wait for news.

        Args:
            since: The cursor; empty for the very first time.
            is_first: Of this connection: asks for the state of all rooms.

        Raises:
            MatrixUnreachableError: No answer.
            MatrixRefusedError: The cursor or the token is refused.
        """
        limit = _FIRST_SYNC_SECONDS if is_first else SYNC_SECONDS + _REQUEST_SECONDS
        try:
            async with asyncio.timeout(limit):
                response = await self._call(
                    "sync",
                    timeout=0 if is_first else int(SYNC_SECONDS * 1000),
                    since=since or None,
                    full_state=is_first,
                    sync_filter=_FILTER,
                )
        except TimeoutError as error:
            raise MatrixUnreachableError("The home server does not answer") from error
        if self.reads_encrypted:
            await self._look_after_keys()
        for room_id, room in response.rooms.join.items():
            events = map(_source, [*room.state, *room.timeline.events])
            is_small = len(self._people.get(room_id, ())) <= _SMALL_ROOM
            if is_small and any(event.get("type") == "m.room.member" for event in events):
                self._people.pop(room_id, None)
        return News(
            response.next_batch,
            tuple(
                RoomNews(
                    room_id,
                    tuple(map(_source, room.timeline.events)),
                    (room.timeline.prev_batch or "") if room.timeline.limited else "",
                )
                for room_id, room in response.rooms.join.items()
            ),
            {room_id: self._inviter(room.invite_state) for room_id, room in response.rooms.invite.items()},
        )

    async def older(self, room_id: str, start: str, until: str) -> list[Json]:
        """Events between two cursors that a sync left out, the oldest first.

        Raises:
            MatrixUnreachableError: No answer.
            MatrixRefusedError: We may not see them.
        """
        found: list[Json] = []
        while start and len(found) < _MOST_OLDER:
            response = await self._call(
                "room_messages", room_id, start, end=until, direction=MessageDirection.back, limit=100
            )
            found += map(_source, response.chunk)
            if not response.chunk or not response.end or response.end == start:
                break
            start = response.end
        return found[::-1]

    async def people(self, room_id: str) -> frozenset[str]:
        """Who is in a room, or invited. Raises like `send`.

        Counts that come with a sync are not complete after a restart, so the server is asked.
        """
        known = self._people.get(room_id)
        if known is None:
            path = f"/_matrix/client/v3/rooms/{quote(room_id, safe='')}/members?not_membership=leave"
            response = await self._get(path)
            try:
                if response.status != 200:
                    raise MatrixRefusedError("Nobody says who is in the room", status=response.status)
                found = json.loads(await self._read(response, _MOST_PEOPLE_BYTES))
            except ValueError as error:
                raise MatrixUnreachableError("The home server's answer cannot be read") from error
            finally:
                response.release()
            known = self._people[room_id] = frozenset(
                str(event.get("state_key"))
                for event in found.get("chunk", ())
                if event.get("content", {}).get("membership") in ("join", "invite")
            )
        return known

    def room_name(self, room_id: str) -> str:
        """For people."""
        room = self._client.rooms.get(room_id)
        return str(room.display_name or "")[:100] if room is not None else ""

    def person_name(self, room_id: str, user_id: str) -> str:
        """What somebody calls themselves."""
        room = self._client.rooms.get(room_id)
        return str((room.user_name(user_id) if room is not None else "") or user_id)[:100]

    def is_encrypted(self, room_id: str) -> bool:
        """Whether a room is."""
        room = self._client.rooms.get(room_id)
        return bool(room is not None and room.encrypted)

    async def send(self, room_id: str, content: Mapping[str, Any], transaction: str) -> str:
        """Send a message; the same transaction again gives the same event.

        Raises:
            MatrixUnreachableError: No answer.
            MatrixRefusedError: It was not taken.
        """
        if self.reads_encrypted and self._client is not None and room_id not in self._client.rooms:
            # Whether to encrypt is known with the next sync, if we are in that room at all.
            if room_id not in (await self._call("joined_rooms")).rooms:
                raise MatrixRefusedError(f"We are not in the room {room_id}", code="M_FORBIDDEN", status=403)
            raise MatrixRefusedError(f"The room {room_id} is too new", retry_after_seconds=1.0)
        response = await self._call(
            "room_send",
            room_id,
            "m.room.message",
            dict(content),
            tx_id=transaction,
            ignore_unverified_devices=True,
        )
        return str(response.event_id)

    async def upload(self, data: bytes, name: str, media_type: str, *, encrypt: bool) -> tuple[str, Any]:
        """Upload a file; returns its address and, if encrypted, how to read it. Raises like `send`."""
        response, keys = await self._call_raw(
            "upload",
            lambda *_: data,
            content_type=media_type,
            filename=name,
            encrypt=encrypt,
            filesize=len(data),
        )
        self._check("upload", response)
        return str(response.content_uri), keys

    async def download(self, reference: str, max_bytes: int) -> bytes:
        """Content of an attachment. Raises like `send`; `M_TOO_LARGE` if it is."""
        wanted = json.loads(reference)
        server, _, media_id = str(wanted["url"]).removeprefix("mxc://").partition("/")
        for base in ("/_matrix/client/v1/media/download", "/_matrix/media/v3/download"):
            path = f"{base}/{quote(server, safe='')}/{quote(media_id, safe='')}"
            response = await self._get(path)
            try:
                if response.status == 404 and base.startswith("/_matrix/client"):
                    continue  # an old server
                if response.status != 200:
                    raise MatrixRefusedError("The file cannot be had", status=response.status)
                data = await self._read(response, max_bytes)
            finally:
                response.release()
            if wanted.get("key") is None:
                return data
            try:
                plain: bytes = decrypt_attachment(data, wanted["key"], wanted["hash"], wanted["iv"])
            except (EncryptionError, ValueError, TypeError) as error:
                raise MatrixRefusedError("The file cannot be decrypted", status=400) from error
            return plain
        raise MatrixRefusedError("The file is gone", status=404)

    async def join(self, room_id: str) -> None:
        """Accept an invitation. Raises like `send`."""
        await self._call("join", room_id)

    async def typing(self, room_id: str, seconds: float) -> None:
        """Show that an answer is being written; 0 seconds: no more. Raises like `send`."""
        await self._call("room_typing", room_id, seconds > 0, int(seconds * 1000))

    async def mark_read(self, room_id: str, event_id: str) -> None:
        """Raises like `send`."""
        await self._call("room_read_markers", room_id, event_id, event_id)

    async def event(self, room_id: str, event_id: str) -> Json:
        """One event. Raises like `send`."""
        return _source((await self._call("room_get_event", room_id, event_id)).event)

    async def open_room(self, name: str) -> str:
        """The room of an alias (`#…`), or a new direct room with a person (`@…`).

        Raises:
            MatrixUnreachableError: No answer.
            MatrixRefusedError: There is no such alias, or nobody may be invited.
        """
        if name.startswith("#"):
            return str((await self._call("room_resolve_alias", name)).room_id)
        response = await self._call(
            "room_create", is_direct=True, invite=(name,), preset=RoomPreset.trusted_private_chat
        )
        return str(response.room_id)

    def forget_session(self) -> None:
        """The kept session does not count any more."""
        self._session_file.unlink(missing_ok=True)

    async def _resume(self, token: str, device_id: str) -> None:
        self._client = self._make(device_id)
        self._client.access_token = token
        try:
            found = await self._call("whoami")
        except MatrixRefusedError as error:
            if error.is_signed_out and self._account.token:
                raise AuthFailedError(
                    "The home server refuses the access token",
                    why=error.why,
                    remedy="Put a new one into MATRIX_ACCESS_TOKEN, or use MATRIX_PASSWORD instead.",
                ) from error
            raise
        self._client.user_id = found.user_id
        self._client.restore_login(found.user_id, found.device_id or device_id or "", token)

    async def _sign_in(self, device_id: str) -> None:
        self._client = self._make(device_id)
        try:
            found = await self._call(
                "login", self._account.password, device_name=self._account.settings.device_name
            )
        except MatrixRefusedError as error:
            if error.code in ("M_FORBIDDEN", "M_USER_DEACTIVATED", "M_UNAUTHORIZED"):
                raise AuthFailedError(
                    f"The home server refuses the password of {self._account.user_id}",
                    why=error.why,
                    remedy="Check MATRIX_HOMESERVER, MATRIX_USER_ID and MATRIX_PASSWORD.",
                ) from error
            if not error.code:
                raise NotReadyError(
                    f"{self._account.homeserver} does not answer like a Matrix home server",
                    why=error.why,
                    remedy="Check MATRIX_HOMESERVER; it may differ from what user ids end with.",
                ) from error
            raise
        session = {
            "homeserver": self._account.homeserver,
            "user_id": found.user_id,
            "device_id": found.device_id,
            "access_token": found.access_token,
        }
        await asyncio.to_thread(
            replace_atomically, self._session_file, json.dumps(session).encode(), mode=0o600
        )

    def _make(self, device_id: str) -> Any:
        config = AsyncClientConfig(
            max_limit_exceeded=0,
            max_timeouts=0,
            request_timeout=_REQUEST_SECONDS,
            store_sync_tokens=False,
            encryption_enabled=self.reads_encrypted,
        )
        return AsyncClient(
            self._account.homeserver,
            self._account.user_id,
            device_id=device_id or None,
            store_path=str(self._directory) if self.reads_encrypted else "",
            config=config,
        )

    @property
    def _session_file(self) -> Path:
        return self._directory / "session.json"

    def _saved(self) -> dict[str, str]:
        try:
            found = json.loads(self._session_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        wanted = {"homeserver": self._account.homeserver, "user_id": self._account.user_id}
        is_ours = isinstance(found, dict) and all(found.get(key) == value for key, value in wanted.items())
        return found if is_ours and found.get("access_token") and found.get("device_id") else {}

    async def _look_after_keys(self) -> None:
        client = self._client
        try:
            await self._call_raw("send_to_device_messages")
            if client.should_upload_keys:
                await self._call("keys_upload")
            if client.should_query_keys:
                await self._call("keys_query")
            if client.should_claim_keys:
                await self._call("keys_claim", client.get_users_for_key_claiming())
        except MatrixRefusedError as error:
            if error.is_signed_out:
                raise
            if self._key_trouble != error.why:  # it would be the same with each sync
                self._key_trouble = error.why
                _LOG.warning("matrix: keys of encrypted rooms: %s %s", error, error.why or "")

    def _inviter(self, events: list[Any]) -> str:
        for event in events:
            if isinstance(event, InviteMemberEvent) and event.state_key == self.user_id:
                return str(event.sender)
        return ""

    async def _get(self, path: str) -> aiohttp.ClientResponse:
        if self._client is None:
            raise MatrixUnreachableError("Not connected")
        headers = {"Authorization": f"Bearer {self._client.access_token}"}
        response: aiohttp.ClientResponse = await self._call_raw("send", "GET", path, None, headers)
        return response

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        response = await self._call_raw(name, *arguments, **options)
        self._check(name, response)
        return response

    async def _call_raw(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self._client is None:
            raise MatrixUnreachableError("Not connected")
        try:
            return await getattr(self._client, name)(*arguments, **options)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise MatrixUnreachableError(
                f"The home server {self._account.homeserver} does not answer",
                why=str(error) or type(error).__name__,
            ) from error
        except (LocalProtocolError, SendRetryError, EncryptionError) as error:
            raise MatrixRefusedError(f"{name} is not possible now", why=str(error)) from error

    def _check(self, name: str, response: Any) -> None:
        if not isinstance(response, ErrorResponse):
            return
        transport = getattr(response, "transport_response", None)
        status = int(getattr(transport, "status", 0) or 0)
        wait = response.retry_after_ms / 1000 if response.retry_after_ms else None
        if wait is None and status == 429:
            wait = 5.0
        raise MatrixRefusedError(
            f"The home server refuses {name.removeprefix('room_')}",
            code=str(response.status_code or ""),
            status=status,
            retry_after_seconds=wait,
            is_soft=bool(response.soft_logout),
            why=f"{response.status_code or status or ''} {response.message or ''}".strip()[:300],
        )

    async def _read(self, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
        data = bytearray()
        try:
            async for chunk in response.content.iter_chunked(1 << 16):
                data += chunk
                if len(data) > max_bytes:
                    raise MatrixRefusedError(
                        f"The file is larger than {max_bytes // 1_000_000} MB", code="M_TOO_LARGE", status=413
                    )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise MatrixUnreachableError("The file cannot be downloaded", why=str(error)) from error
        return bytes(data)


def _source(event: Any) -> Json:
    source = getattr(event, "source", None)
    return source if isinstance(source, dict) else {}
