"""The Matrix adapter: receives by /sync with a cursor, sends with transaction ids that the server recognises.

A room of two is a direct chat; in others the agent answers what mentions or answers it. Threads are threads.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hermes_agent.config.extras import missing_extra
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import (
    AuthFailedError,
    DeliveryError,
    NotReadyError,
    PlatformError,
    StoreError,
)
from hermes_agent.core.loading import load
from hermes_agent.core.platform import (
    Attachment,
    Capabilities,
    ChatAddress,
    InboundMessage,
    OutgoingFile,
    OutgoingPart,
    Person,
    Receiver,
)
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.gateway.platforms.matrix.events import (
    Json,
    Said,
    happened_at,
    read_anyhow,
    since_invitation,
    without_mention,
)
from hermes_agent.gateway.platforms.matrix.formatting import (
    Content,
    edit_content,
    encodable,
    file_content,
    relation,
    text_content,
)
from hermes_agent.gateway.platforms.matrix.memory import Memory
from hermes_agent.gateway.platforms.matrix.settings import MatrixAccount, make_account
from hermes_agent.gateway.platforms.matrix.wire import MatrixRefusedError, News, RoomNews
from hermes_agent.gateway.platforms.table import Variable

if TYPE_CHECKING:
    from hermes_agent.gateway.platforms.matrix.connection import MatrixConnection

_LOG = logging.getLogger(__name__)

NAME = "matrix"
MAX_TEXT = 8_000
"""Bytes of Markdown. With its HTML, twice in an edit, encrypted, it must fit into 65,536."""
_TYPING_SECONDS = 8.0
_REMEMBERED = 2_000
_MARGIN_SECONDS = 300.0
_CONNECTION = "hermes_agent.gateway.platforms.matrix.connection"
_UNREADABLE = (
    "🔒 I cannot read this room, because it is encrypted and I was set up without encryption. "
    "Write to me in a room that is not encrypted, or let the owner of this bot switch encryption on."
)
_NO_KEY = (
    "🔒 I could not decrypt your last message: your app has not given me its key. Please send it again; "
    "if that does not help, leave this room and start a new chat with me."
)


def make_adapter(settings: PlatformSettings, variable: Variable) -> MatrixAdapter:
    """Build it. Raises `SettingError` if the home server, the user or a credential is missing."""
    return MatrixAdapter(make_account(settings, variable), Home.from_environment())


class MatrixAdapter(BaseAdapter):
    """See the module."""

    def __init__(self, account: MatrixAccount, home: Home) -> None:
        own = account.settings
        super().__init__(
            NAME,
            Capabilities(
                max_text=MAX_TEXT,
                can_edit=True,
                can_send_files=True,
                has_typing=True,
                recognises_resends=True,
                messages_per_second=own.messages_per_second,
                burst=own.burst,
                max_silence_seconds=150.0,
            ),
        )
        self._account = account
        self._home = home
        self._opened: MatrixConnection | None = None
        self._kept: Memory | None = None
        self._first: News | None = None
        self._own_events: OrderedDict[str, None] = OrderedDict()
        self._aliases: dict[str, str] = {}
        self._typing: set[str] = set()
        self._beside: set[asyncio.Task[None]] = set()

    async def start(self, receiver: Receiver) -> None:
        """Sign in and learn which rooms there are."""
        self.receiver = receiver
        try:
            # The library takes a second to load: the gateway goes on meanwhile.
            make = cast(
                "type[MatrixConnection]", await asyncio.to_thread(load, f"{_CONNECTION}:MatrixConnection")
            )
        except ModuleNotFoundError as error:
            raise missing_extra(self._home, NAME, "Matrix") from error
        self._opened = make(self._account, self._home.platform_state(NAME))
        try:
            await self._connection.open()
            self._kept = await Memory.load(receiver, self._connection.user_id)
            self._first = await self._first_sync()
        except PlatformError as error:
            await self.stop()
            raise self._lost(error) from error
        except BaseException:
            await self.stop()
            raise
        self.progressed()

    async def run(self) -> None:
        """Take what came, wait for more."""
        assert self.receiver is not None
        try:
            news, self._first = self._first, None
            while True:
                if news is not None:
                    await self._take(news)
                self.progressed()
                news = await self._connection.sync(self._memory.token, is_first=False)
        except PlatformError as error:
            raise self._lost(error) from error

    async def stop(self) -> None:
        """Disconnect; the session stays."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        if self._opened is not None:
            await self._opened.close()

    async def send(self, part: OutgoingPart) -> str:
        """Send one event; the server shows it once however often it is sent."""
        try:
            room_id = await self._room(part.address.chat_id)
            if part.file is not None:
                content = await self._file_content(room_id, part.file)
            else:
                content = text_content(part.text, is_notice=part.is_silent)
            related = relation(part.address.thread_id, part.reply_to_id)
            if related:
                content["m.relates_to"] = dict(related)
            event_id = await self._connection.send(room_id, content, f"hermes.{self._memory.salt}.{part.key}")
        except PlatformError as error:
            raise self._not_sent(error) from error
        if part.address.thread_id:  # what is said there is for us from now on
            with suppress(StoreError):  # it is sent all the same
                await self._memory.put("threads", part.address.thread_id, room_id)
        if room_id in self._typing:  # the server would go on showing it
            self._typing.discard(room_id)
            self._soon(self._connection.typing(room_id, 0))
        self._own_events[event_id] = None
        while len(self._own_events) > _REMEMBERED:
            self._own_events.popitem(last=False)
        return event_id

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:
        """Replace a text."""
        try:
            room_id = await self._room(address.chat_id)
            content = edit_content(message_id, part.text, is_notice=part.is_silent)
            await self._connection.send(room_id, content, f"hermes.{secrets.token_hex(12)}")
        except PlatformError as error:
            raise self._not_sent(error) from error

    async def typing(self, address: ChatAddress) -> None:
        """Show that an answer is being written."""
        with suppress(PlatformError):
            await self._connection.typing(address.chat_id, _TYPING_SECONDS)
            self._typing.add(address.chat_id)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """Download a file, with the token that authenticated media needs."""
        try:
            return await self._connection.download(attachment.reference, max_bytes)
        except PlatformError as error:
            raise self._not_sent(error) from error

    def measure(self, text: str) -> int:
        """Bytes."""
        return len(text.encode("utf-8", "replace"))

    def facts(self) -> Mapping[str, str]:
        """Who we are there."""
        if self._opened is None:
            return {"server": self._account.homeserver}
        facts = {
            "user": self._connection.user_id,
            "server": self._account.homeserver,
            "device": self._connection.device_id,
            "rooms": str(self._connection.room_count),
            "encryption": "on" if self._connection.reads_encrypted else "off",
        }
        if self._kept is not None and self._kept.invitations:
            newest = list(self._kept.invitations.items())[-3:]
            waiting = ", ".join(f"{who} ({room})" for room, who in newest)
            facts["invitations_of_strangers"] = waiting
        return facts

    @property
    def _connection(self) -> MatrixConnection:
        if self._opened is None:
            raise NotReadyError("Not connected")
        return self._opened

    @property
    def _memory(self) -> Memory:
        if self._kept is None:
            raise NotReadyError("Not connected")
        return self._kept

    # Receiving.

    async def _first_sync(self) -> News:
        """From the cursor, or from nothing if the server does not know it any more."""
        try:
            return await self._connection.sync(self._memory.token, is_first=True)
        except MatrixRefusedError as error:
            if not self._memory.token or error.is_signed_out or error.status != 400:
                raise
            _LOG.warning(
                "matrix: the server does not know how far we were (%s); looking at what is there", error
            )
            self._memory.token = ""
            return await self._connection.sync("", is_first=True)

    async def _take(self, news: News) -> None:
        """Everything of one sync; the cursor is stored when all of it is."""
        memory = self._memory
        # Without a cursor everything is news: then the server's clock decides, the first time nothing counts.
        since = (
            0.0 if memory.token else (memory.synced_at - _MARGIN_SECONDS if memory.synced_at else math.inf)
        )
        for room in news.rooms if since < math.inf else ():
            await self._take_room(room, since)
        await self._take_invitations(news.invitations)
        await memory.synced(news.next_batch)

    async def _take_room(self, room: RoomNews, since: float) -> None:
        events: Sequence[Json] = [event for event in room.events if happened_at(event) >= since]
        if room.gap_from and self._memory.token:
            try:
                missed = await self._connection.older(room.room_id, room.gap_from, self._memory.token)
                events = [*missed, *events]
            except MatrixRefusedError as error:
                if not error.is_final:
                    raise
                _LOG.warning("matrix: what was said in %s meanwhile cannot be read: %s", room.room_id, error)
        events = since_invitation(events, self._connection.user_id)
        last = ""
        for event in events:
            if event.get("sender") == self._connection.user_id:
                continue
            if event.get("type") == "m.room.encrypted":
                await self._tell_unreadable(room.room_id, event)
                continue
            said = read_anyhow(event)
            if said is not None:
                await self._hand_over(room.room_id, said)
                if self._memory.notices.get(room.room_id) == "key":
                    await self._memory.drop("notices", room.room_id)  # the next trouble is told anew
                last = str(event.get("event_id") or "")
        if last and self._account.settings.read_markers:
            self._soon(self._connection.mark_read(room.room_id, last))

    async def _hand_over(self, room_id: str, said: Said) -> None:
        assert self.receiver is not None
        own = self._account.settings
        connection = self._connection
        is_direct = await self._is_direct(room_id, said.sender)
        name = connection.person_name(room_id, connection.user_id)
        text, is_called = without_mention(said.text, (connection.user_id, name))
        is_addressed = (
            is_direct
            or is_called
            or not own.require_mention
            or room_id in own.free_response_rooms
            or connection.user_id in said.mentions
            or await self._is_ours(room_id, said.reply_to_id)
            or said.thread_id in self._memory.threads
            or await self._is_ours(room_id, said.thread_id)
        )
        thread_id = said.thread_id
        if own.auto_thread and not is_direct and not thread_id:
            thread_id = said.event_id
        await self.receiver.receive(
            InboundMessage(
                platform=NAME,
                chat_id=room_id,
                message_id=said.event_id,
                sender=Person(said.sender, connection.person_name(room_id, said.sender)),
                text=text,
                chat_type="dm" if is_direct else "group",
                thread_id=thread_id,
                chat_name=connection.room_name(room_id),
                is_addressed=is_addressed,
                reply_to_id=said.reply_to_id,
                reply_to_text=said.reply_to_text,
                is_edit=said.is_edit,
                sent_at=said.sent_at,
                attachments=said.attachments,
            )
        )

    async def _is_direct(self, room_id: str, sender: str) -> bool:
        """Whether nobody else is there; remembered, for messages to the person."""
        try:
            is_direct = await self._connection.people(room_id) == {sender, self._connection.user_id}
        except MatrixRefusedError as error:
            if not error.is_final:
                raise  # it comes again with the next sync
            return False
        if is_direct:
            await self._memory.put("direct", sender, room_id)
        return is_direct

    async def _is_ours(self, room_id: str, event_id: str) -> bool:
        """Whether we sent an event; asked of the server if we do not remember."""
        if not event_id or event_id in self._own_events:
            return bool(event_id)
        try:
            event = await self._connection.event(room_id, event_id)
        except MatrixRefusedError as error:
            if not error.is_final:
                raise
            return False
        return event.get("sender") == self._connection.user_id

    async def _take_invitations(self, fresh: Mapping[str, str]) -> None:
        """Join where somebody invites who may talk; others wait, and are looked at again with each sync."""
        assert self.receiver is not None
        for room_id, inviter in list({**self._memory.invitations, **fresh}.items()):
            if not inviter or not self.receiver.may_talk(NAME, Person(inviter)):
                if room_id in fresh:
                    _LOG.warning(
                        "matrix: %s invites to %s and may not talk; let them in with MATRIX_ALLOWED_USERS",
                        inviter or "somebody",
                        room_id,
                    )
                await self._memory.put("invitations", room_id, inviter)
            elif await self._join(room_id, inviter):
                await self._memory.drop("invitations", room_id)
            else:
                await self._memory.put("invitations", room_id, inviter)

    async def _join(self, room_id: str, inviter: str) -> bool:
        """Accept an invitation; False if that may work later."""
        try:
            await self._connection.join(room_id)
        except MatrixRefusedError as error:
            if error.is_signed_out:
                raise
            _LOG.warning("matrix: cannot join %s: %s", room_id, error)
            return error.is_final
        _LOG.info("matrix: joined %s, invited by %s", room_id, inviter)
        if inviter not in self._memory.direct:  # if it is one; that is looked at before it is used
            await self._memory.put("direct", inviter, room_id)
        return True

    async def _tell_unreadable(self, room_id: str, event: Json) -> None:
        """Say once in each room why nothing comes back."""
        assert self.receiver is not None
        sender = str(event.get("sender") or "")
        reason = "key" if self._connection.reads_encrypted else "off"
        _LOG.warning("matrix: a message of %s in %s cannot be decrypted", sender, room_id)
        if self._memory.notices.get(room_id) == reason or not self.receiver.may_talk(NAME, Person(sender)):
            return
        text = _NO_KEY if reason == "key" else _UNREADABLE
        with suppress(PlatformError):
            transaction = f"hermes.{self._memory.salt}.{reason}.{event.get('event_id')}"
            await self._connection.send(room_id, text_content(text, is_notice=True), transaction)
            await self._memory.put("notices", room_id, reason)

    def _soon(self, call: Coroutine[Any, Any, None]) -> None:
        """Do something beside that nobody waits for and that may fail."""

        async def quietly() -> None:
            with suppress(PlatformError):
                await call

        task = asyncio.create_task(quietly(), name="matrix courtesy")
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    # Sending.

    async def _room(self, chat_id: str) -> str:
        if chat_id.startswith("!"):
            return chat_id
        if not chat_id.startswith(("#", "@")) or ":" not in chat_id:
            raise DeliveryError(
                f"{chat_id!r} is no room",
                why="It looks like !room:server, #alias:server or @person:server",
                is_permanent=True,
            )
        known = self._memory.direct.get(chat_id) or self._aliases.get(chat_id)
        if known and (chat_id[0] == "#" or await self._is_direct(known, chat_id)):
            return known
        room_id = await self._connection.open_room(chat_id)
        if chat_id[0] == "#":
            self._aliases[chat_id] = room_id
        else:
            await self._memory.put("direct", chat_id, room_id)
        return room_id

    async def _file_content(self, room_id: str, file: OutgoingFile) -> Content:
        try:
            data = file.data or await asyncio.to_thread(Path(file.path).read_bytes)
        except OSError as error:
            raise DeliveryError("The file cannot be read", why=error.strerror, is_permanent=True) from error
        name = encodable(file.name or Path(file.path).name) or "file"
        media_type = guess_type(name)[0] or "application/octet-stream"
        encrypt = self._connection.reads_encrypted and self._connection.is_encrypted(room_id)
        url, keys = await self._connection.upload(data, name, media_type, encrypt=encrypt)
        return file_content(file, name, media_type, len(data), url, keys)

    # Errors.

    def _lost(self, error: PlatformError) -> PlatformError:
        """For `start` and `run`."""
        if isinstance(error, NotReadyError | AuthFailedError):
            return error
        if not isinstance(error, MatrixRefusedError):
            return NotReadyError(error.message, why=error.why)
        if not error.is_signed_out:
            return NotReadyError(error.message, why=error.why, retry_after_seconds=error.retry_after_seconds)
        if self._account.token:
            return AuthFailedError(
                "The home server has signed the agent out",
                why=error.why,
                remedy="Put a new token into MATRIX_ACCESS_TOKEN, or use MATRIX_PASSWORD instead.",
            )
        if not error.is_soft:
            self._connection.forget_session()
        return NotReadyError("Signed out; signing in again", why=error.why, retry_after_seconds=1.0)

    def _not_sent(self, error: PlatformError) -> DeliveryError:
        if isinstance(error, DeliveryError):
            return error
        if not isinstance(error, MatrixRefusedError):
            return DeliveryError(error.message, why=error.why)
        return DeliveryError(
            error.message,
            why=error.why,
            is_permanent=error.is_final,
            retry_after_seconds=error.retry_after_seconds,
        )
