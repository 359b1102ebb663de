"""The Slack adapter: Socket Mode in, the Web API out, behind the `Platform` port.

Messages of a channel are taken one after the other, channels side by side. What a restart or a lost
connection missed is read from the history, before the first new event of the channel is taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import DeliveryError, HermesError, SettingError
from hermes_agent.core.platform import (
    Attachment,
    Capabilities,
    ChatAddress,
    OutgoingPart,
    Person,
    Receiver,
)
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.gateway.platforms.downloads import download
from hermes_agent.gateway.platforms.slack.blocks import body, translated
from hermes_agent.gateway.platforms.slack.formatting import MAX_TEXT, measure
from hermes_agent.gateway.platforms.slack.history import History
from hermes_agent.gateway.platforms.slack.interactions import Interactions
from hermes_agent.gateway.platforms.slack.memory import Memory
from hermes_agent.gateway.platforms.slack.messages import (
    NAME,
    Place,
    Reader,
    file_address,
    read_reference,
)
from hermes_agent.gateway.platforms.slack.people import People, mentioned
from hermes_agent.gateway.platforms.slack.settings import API_BASE, SlackSettings, slack_settings
from hermes_agent.gateway.platforms.slack.socket_mode import SocketMode
from hermes_agent.gateway.platforms.slack.web import (
    APP_TOKEN,
    APPS,
    BOT_TOKEN,
    Web,
    start_error,
)
from hermes_agent.gateway.platforms.table import Variable

_LOG = logging.getLogger(__name__)

_BURST = 3
_SAVE_SECONDS = 2.0
_MAX_LOCKS = 500
_LONG_TEXT = 5_000


def make_adapter(settings: PlatformSettings, variable: Variable) -> SlackAdapter:
    """Build it. Raises `SettingError` if a token is missing, or stands in the other's place."""
    own = slack_settings(settings, variable)
    bot_token = (settings.token or variable(BOT_TOKEN) or "").strip()
    app_token = own.app_token.strip()
    for token, name, key, prefix, place in (
        (bot_token, BOT_TOKEN, "platforms.slack.token", "xoxb-", "OAuth & Permissions, Bot User OAuth Token"),
        (
            app_token,
            APP_TOKEN,
            "platforms.slack.extra.app_token",
            "xapp-",
            "Basic Information, App-Level Tokens, with the scope connections:write",
        ),
    ):
        if not token.startswith(prefix):
            problem = f"{name} is not set" if not token else f"{name} does not begin with {prefix}"
            raise SettingError(
                f"Slack needs two tokens: {problem}",
                key=key,
                remedy=f"Open {APPS}, choose the app, {place}; put it into .env as {name}={prefix}…",
            )
    return SlackAdapter(own, bot_token, app_token)


class SlackAdapter(BaseAdapter):
    """See the module."""

    def __init__(self, settings: SlackSettings, bot_token: str, app_token: str) -> None:
        super().__init__(
            NAME,
            Capabilities(
                max_text=MAX_TEXT,
                can_edit=True,
                has_buttons=True,
                can_send_files=True,
                messages_per_second=settings.messages_per_second,
                burst=max(_BURST, int(settings.messages_per_second)),
                max_silence_seconds=settings.max_silence_seconds,
            ),
        )
        self._settings = settings
        self._tokens = bot_token, app_token
        self._session: aiohttp.ClientSession | None = None
        self._web: Web | None = None
        self._socket: SocketMode | None = None
        self._memory = Memory()
        self._saved = ""
        self._news = asyncio.Event()
        self._people: People | None = None
        self._reader = Reader(settings, "", "", lambda user: user)
        self._history: History | None = None
        self._locks: OrderedDict[str, asyncio.Lock] = OrderedDict()
        self._channels: dict[str, str] = {}
        self._missed: dict[str, str] = {}
        self._strange: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._gap = asyncio.Event()
        self._interactions: Interactions | None = None
        self._team = ""

    # Lifecycle.

    async def start(self, receiver: Receiver) -> None:
        """Check both tokens and open the socket."""
        self.receiver = receiver
        self._memory = Memory.load(await receiver.load_cursor(NAME))
        settings = self._settings
        bot_token, app_token = self._tokens
        session = self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        try:
            web = self._web = Web(bot_token, settings.api_base, session, settings.proxy)
            try:
                who = await web.call("auth.test")
            except DeliveryError as error:
                raise start_error(error, BOT_TOKEN) from error
            self._team = str(who.get("team") or "")
            people = self._people = People(web)
            self._interactions = Interactions(web, receiver)
            self._reader = Reader(
                settings, str(who.get("user_id") or ""), str(who.get("bot_id") or ""), people.name
            )
            self._history = History(
                web, self._memory, people, count=settings.history_messages, hours=settings.catch_up_hours
            )
            self._socket = SocketMode(
                Web(app_token, settings.api_base, session, settings.proxy),
                session,
                self._handle,
                on_progress=self.progressed,
                on_gap=self._remember_gap,
                ping_seconds=settings.ping_seconds,
                proxy=settings.proxy,
            )
            await self._socket.connect()
        except BaseException:
            await self.stop()
            raise
        self.progressed()

    async def run(self) -> None:
        """Take events until the connection is lost for good."""
        assert self._socket is not None and self._history is not None
        if self._settings.catch_up_hours:
            self._channels = await self._history.channels()
            self._remember_gap()
        tasks = [
            asyncio.create_task(self._socket.run(), name="slack socket"),
            asyncio.create_task(self._catch_up(), name="slack history"),
            asyncio.create_task(self._save_now_and_then(), name="slack cursor"),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(HermesError):
                await self._save()

    async def stop(self) -> None:
        """Close the connection."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()
        if self._interactions is not None:
            await self._interactions.finish()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # Sending.

    async def send(self, part: OutgoingPart) -> str:
        """Post one message, or share one file."""
        web, address = self._connected(), part.address
        if part.file is not None:
            return await web.upload(
                part.file,
                channel=address.chat_id,
                thread=address.thread_id,
                comment=translated(part.file.caption),
            )
        answer = await web.call(
            "chat.postMessage",
            channel=address.chat_id,
            thread_ts=address.thread_id,
            unfurl_links=False,
            unfurl_media=False,
            **(await _body(part, is_edit=False) or {}),
        )
        return str(answer.get("ts") or "")

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:
        """Replace text and buttons; what is too long for an edit is deleted, to be sent anew."""
        web = self._connected()
        made = await _body(part, is_edit=True)
        if made is None:
            await web.call("chat.delete", channel=address.chat_id, ts=message_id)
            raise DeliveryError("The text is too long for an edit", is_permanent=True)
        await web.call(
            "chat.update",
            channel=address.chat_id,
            ts=message_id,
            **made,
        )

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """Download a file with the bot's token, which goes to Slack's own hosts only."""
        web = self._connected()
        try:
            file_id, url = read_reference(attachment.reference)
        except (ValueError, TypeError) as error:
            raise DeliveryError("The file's address cannot be read", is_permanent=True) from error
        if not url:  # of another organisation: Slack tells the address only when asked
            url = file_address((await web.ask("files.info", file=file_id)).get("file") or {})
        hosts = set(self._settings.file_hosts)
        if self._settings.api_base != API_BASE:
            hosts.add(urlsplit(self._settings.api_base).netloc)
        headers = {"Authorization": f"Bearer {self._tokens[0]}"}
        return await download(url, hosts, max_bytes, headers=headers, proxy=self._settings.proxy)

    def measure(self, text: str) -> int:
        """Characters after translation."""
        return measure(text)

    def facts(self) -> Mapping[str, str]:
        """Who we are there."""
        socket = self._socket
        is_connected = socket is not None and socket.is_connected
        return {"team": self._team, "socket": "connected" if is_connected else "reconnecting"}

    # Receiving.

    async def _handle(self, envelope: dict[str, Any]) -> dict[str, Any] | None:
        """One envelope. Raises `StoreError`; everything else it raises means that it cannot be read."""
        assert self._interactions is not None
        payload = envelope.get("payload") or {}
        kind = envelope.get("type")
        if kind == "events_api":
            event = payload["event"]
            if event.get("type") in ("message", "app_mention"):
                channel = str(event.get("channel", ""))
                async with self._lock(channel):
                    await self._take_missed(channel)
                    if channel_type := event.get("channel_type"):
                        self._channels[channel] = str(channel_type)
                    await self._take(event)
        elif kind == "slash_commands":
            return await self._interactions.command(payload)
        elif kind == "interactive" and payload.get("type") == "block_actions":
            await self._interactions.press(payload)
        return None

    async def _take(self, event: Mapping[str, Any]) -> None:
        assert self.receiver is not None and self._people is not None and self._history is not None
        is_edit = event.get("subtype") == "message_changed"
        if is_edit:
            changed = _changed(event)
            if changed is None:
                return
            event = changed
        reader = self._reader
        if not reader.is_for_people(event):
            return
        place = reader.place(event)
        if reader.is_ignored(place):
            return
        is_known = self._memory.is_known(place.channel, place.thread)
        may_talk = self.receiver.may_talk(NAME, Person(str(event.get("user") or event.get("bot_id"))))
        is_addressed = await self._is_addressed(event, place, may_talk=may_talk)
        context = ""
        if is_addressed:  # strangers are looked up too: the owner is to know who asks to be let in
            await self._people.learn([str(event.get("user") or ""), *mentioned(str(event.get("text") or ""))])
            is_new = not reader.is_free(place) and not (place.thread and is_known)
            if may_talk and is_new and not is_edit:
                context = await self._history.context(place, reader, in_thread=bool(place.thread))
        message = reader.read(event, place, is_addressed=is_addressed, is_edit=is_edit, context=context)
        await self.receiver.receive(message)
        if is_edit:
            return
        if is_addressed and may_talk and message.thread_id:
            self._memory.takes_part(place.channel, message.thread_id, place.ts)
        self._memory.received(place.channel, place.ts, place.thread)
        self._news.set()

    async def _is_addressed(self, event: Mapping[str, Any], place: Place, *, may_talk: bool) -> bool:
        reader = self._reader
        if place.is_direct or reader.is_mentioned(event):
            return True
        if reader.speaks_to_others(event):
            return False
        if reader.is_free(place):
            return True
        if not place.thread or self._settings.threads_need_mention or not may_talk:
            return False
        return await self._takes_part(place)

    async def _takes_part(self, place: Place) -> bool:
        if self._memory.is_known(place.channel, place.thread):
            return True
        key = (place.channel, place.thread)
        if key in self._strange:
            return False
        assert self._history is not None
        if await self._history.takes_part(place, self._reader):
            self._memory.takes_part(place.channel, place.thread, place.ts)
            return True
        self._strange[key] = None
        if len(self._strange) > _MAX_LOCKS:
            self._strange.popitem(last=False)
        return False

    # What was missed.

    def _remember_gap(self) -> None:
        """Everything may have been missed: from now on no channel goes on before it was read."""
        if self._settings.catch_up_hours:
            self._missed = dict(self._channels)
            self._gap.set()

    async def _catch_up(self) -> None:
        assert self._history is not None
        is_fresh = True
        while True:
            await self._gap.wait()
            self._gap.clear()
            await self._take_all_missed()
            if is_fresh:  # the list of channels is new
                is_fresh = False
                continue
            # Direct chats that somebody has begun meanwhile.
            found = await self._history.channels()
            self._missed |= {key: kind for key, kind in found.items() if key not in self._channels}
            self._channels |= found
            await self._take_all_missed()

    async def _take_all_missed(self) -> None:
        while self._missed:
            channel = next(iter(self._missed))
            async with self._lock(channel):
                await self._take_missed(channel)

    async def _take_missed(self, channel: str) -> None:
        """Read what a channel missed, if it was not done yet. Raises `StoreError`."""
        kind = self._missed.pop(channel, None)
        if kind is None or self._history is None:
            return
        try:
            async for event in self._history.missed(channel, kind):
                try:
                    await self._take(event)
                except (KeyError, TypeError, ValueError, AttributeError):
                    _LOG.exception("slack: a message of %s cannot be read", channel)
        except HermesError:
            self._missed[channel] = kind
            raise

    # The rest.

    def _connected(self) -> Web:
        if self._web is None or self._session is None:
            raise DeliveryError("Slack is not connected")
        return self._web

    def _lock(self, channel: str) -> asyncio.Lock:
        found = self._locks.get(channel)
        if found is None:
            found = self._locks[channel] = asyncio.Lock()
            for old in list(self._locks)[:-_MAX_LOCKS]:
                if not self._locks[old].locked():
                    del self._locks[old]
        self._locks.move_to_end(channel)
        return found

    async def _save_now_and_then(self) -> None:
        while True:
            await self._save()
            await asyncio.sleep(_SAVE_SECONDS)
            await self._news.wait()
            self._news.clear()

    async def _save(self) -> None:
        cursor = self._memory.dump()
        if cursor != self._saved and self.receiver is not None:
            await self.receiver.save_cursor(NAME, cursor)
            self._saved = cursor


async def _body(part: OutgoingPart, *, is_edit: bool) -> dict[str, Any] | None:
    """Long texts are translated beside the loop."""
    if len(part.text) < _LONG_TEXT:
        return body(part.text, part.buttons, is_edit=is_edit)
    return await asyncio.to_thread(body, part.text, part.buttons, is_edit=is_edit)


def _changed(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The new text of a message that a person edited; None for previews of links and the like."""
    message, before = event.get("message") or {}, event.get("previous_message") or {}
    if not message.get("edited") or message.get("text") == before.get("text"):
        return None
    return {
        **message,
        "type": "message",
        "channel": event.get("channel"),
        "channel_type": event.get("channel_type"),
    }
