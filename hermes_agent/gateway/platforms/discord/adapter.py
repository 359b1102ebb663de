"""The Discord adapter: discord.py's gateway session and REST client behind the `Platform` port.

Events are taken one after the other. What a restart or a lost session missed is fetched over REST before
the first event of the new session is taken, so that the order within a channel is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import discord
from discord.http import Route

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import (
    DeliveryError,
    HermesError,
    NotReadyError,
    SettingError,
)
from hermes_agent.core.platform import Attachment, Capabilities, ChatAddress, OutgoingPart, Person, Receiver
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.gateway.platforms.discord.catchup import missed
from hermes_agent.gateway.platforms.discord.commands import command_payloads, digest
from hermes_agent.gateway.platforms.discord.connection import PORTAL, BotClient, Connection, refused_token
from hermes_agent.gateway.platforms.discord.formatting import MAX_TEXT, measure
from hermes_agent.gateway.platforms.discord.history import ChannelHistory
from hermes_agent.gateway.platforms.discord.interactions import Interactions
from hermes_agent.gateway.platforms.discord.memory import Memory
from hermes_agent.gateway.platforms.discord.messages import NAME, Place, Reader, read_reference
from hermes_agent.gateway.platforms.discord.rest import (
    UNKNOWN_CHANNEL,
    Rest,
    code_of,
    failures_mapped,
)
from hermes_agent.gateway.platforms.discord.settings import API_BASE, DiscordSettings, discord_settings
from hermes_agent.gateway.platforms.discord.threads import Threads
from hermes_agent.gateway.platforms.downloads import download
from hermes_agent.gateway.platforms.table import Variable

_LOG = logging.getLogger(__name__)

TOKEN = "DISCORD_BOT_TOKEN"  # noqa: S105 - the variable's name
_BURST = 5
_LOGIN_SECONDS = 20.0
_READY_SECONDS = 30.0
_SAVE_SECONDS = 2.0


def make_adapter(settings: PlatformSettings, variable: Variable) -> DiscordAdapter:
    """Build it. Raises `SettingError` without a token."""
    token = (settings.token or variable(TOKEN) or "").strip()
    if not token:
        raise SettingError(
            "Discord needs the token of a bot",
            key="platforms.discord.token",
            remedy=f"Make one at {PORTAL} and put it into .env as {TOKEN}=…",
        )
    return DiscordAdapter(discord_settings(settings, variable), token.removeprefix("Bot ").strip())


class DiscordAdapter(BaseAdapter):
    """See the module."""

    def __init__(self, settings: DiscordSettings, token: str) -> None:
        super().__init__(
            NAME,
            Capabilities(
                max_text=MAX_TEXT,
                can_edit=True,
                has_buttons=True,
                can_send_files=True,
                has_typing=True,
                recognises_resends=True,
                messages_per_second=settings.messages_per_second,
                burst=max(_BURST, int(settings.messages_per_second)),
                max_silence_seconds=settings.max_silence_seconds,
            ),
        )
        self._settings = settings
        self._token = token
        self._client: BotClient | None = None
        self._rest: Rest | None = None
        self._connection: Connection | None = None
        self._session: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._ready = asyncio.Event()
        self._known = asyncio.Event()
        self._memory = Memory()
        self._saved = ""
        self._news = asyncio.Event()
        self._reader = Reader(settings, 0)
        self._history = ChannelHistory(0, self._reader.text, 0)
        self._interactions: Interactions | None = None
        self._threads = Threads()
        self._beside: set[asyncio.Task[None]] = set()
        self._bot = ""

    # Lifecycle.

    async def start(self, receiver: Receiver) -> None:
        """Log in, connect, wait until Discord says who we are."""
        self.receiver = receiver
        self._memory = Memory.load(await receiver.load_cursor(NAME))
        Route.BASE = self._settings.api_base.rstrip("/")  # discord.py has it in one place only
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # no voice channels here
        try:
            client = self._client = _make_client(self._take_event, self._settings.proxy)
            await self._log_in(client)
            rest = self._rest = Rest(client.http)
            self._interactions = Interactions(NAME, rest, receiver)
            url = await rest.gateway_url()
            self._connection = Connection(client, url)
            self._session = asyncio.create_task(self._connection.run(), name="discord session")
            await self._until_ready(self._session)
        except DeliveryError as error:
            await self.stop()
            raise NotReadyError(
                error.message, why=error.why, retry_after_seconds=error.retry_after_seconds
            ) from error
        except BaseException:
            await self.stop()
            raise
        self.progressed()

    async def run(self) -> None:
        """Take events until the session ends."""
        assert self._session is not None
        tasks = [
            self._session,
            asyncio.create_task(self._work(), name="discord events"),
            asyncio.create_task(self._save_now_and_then(), name="discord cursor"),
        ]
        if self._settings.sync_commands:
            self._aside(self._sync_commands())
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks[1:]:
                task.cancel()
            await asyncio.gather(*tasks[1:], return_exceptions=True)
            with suppress(HermesError):
                await self._save()

    async def stop(self) -> None:
        """Close the connection."""
        tasks = [*self._beside, *([self._session] if self._session else [])]
        self._session = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, aiohttp.ClientError, TimeoutError):
                async with asyncio.timeout(3):
                    await client.http.close()

    # Sending.

    async def send(self, part: OutgoingPart) -> str:
        """Send one message; opens the thread it belongs to, if it is the first one there."""
        rest = self._connected()
        channel_id = await self._threads.open(rest, part.address)
        nonce = self._memory.nonce(channel_id, part.key)
        reply_to_id = int(part.reply_to_id) if part.reply_to_id.isdecimal() else 0
        if str(reply_to_id) == part.address.thread_id and str(channel_id) == part.address.thread_id:
            reply_to_id = 0  # the thread hangs on that message already
        try:
            return str(await rest.send(channel_id, part, nonce=nonce, reply_to_id=reply_to_id))
        except DeliveryError as error:
            if code_of(error) != UNKNOWN_CHANNEL or not await self._threads.find(rest, part.address):
                raise
        channel_id = await self._threads.open(rest, part.address)
        return str(await rest.send(channel_id, part, nonce=self._memory.nonce(channel_id, part.key)))

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:
        """Replace text and buttons."""
        await self._connected().edit(self._threads.channel(address), int(message_id), part)

    async def typing(self, address: ChatAddress) -> None:
        """Show that an answer is being written."""
        rest = self._connected()
        await rest.typing(await self._threads.open(rest, address))

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """Download a file from Discord's own hosts; an expired address is renewed."""
        rest = self._connected()
        try:
            url, channel_id, message_id, attachment_id = read_reference(attachment.reference)
        except (ValueError, TypeError) as error:
            raise DeliveryError("The file's address cannot be read", is_permanent=True) from error
        hosts = {*self._settings.file_hosts}
        if self._settings.api_base != API_BASE:
            hosts.add(urlsplit(self._settings.api_base).netloc)
        try:
            return await download(url, hosts, max_bytes, proxy=self._settings.proxy)
        except DeliveryError:
            message = await rest.message(channel_id, message_id)
        fresh = [each["url"] for each in message.get("attachments", ()) if int(each["id"]) == attachment_id]
        if not fresh or fresh[0] == url:
            raise DeliveryError("The file is gone", is_permanent=True)
        return await download(str(fresh[0]), hosts, max_bytes, proxy=self._settings.proxy)

    def measure(self, text: str) -> int:
        """Characters after translation."""
        return measure(text)

    def facts(self) -> Mapping[str, str]:
        """Who we are there."""
        connection = self._connection
        state = "connected" if connection is not None and connection.is_connected else "reconnecting"
        servers = len(self._client.guilds) if self._client is not None else 0
        return {"bot": self._bot, "gateway": state, "servers": str(servers)}

    # Events.

    def _take_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by discord.py for each event, in order."""
        if event == "heartbeat":
            self.progressed()
        elif event == "connect":  # a new session: what came since the last one was missed
            self._known.clear()
            self._events.put_nowait(("connect", None))
            self._ready.set()
        elif event in ("guild_available", "ready"):
            guilds = self._client.guilds if self._client is not None else []
            if event == "ready" or not any(guild.unavailable for guild in guilds):
                self._known.set()  # all servers and their channels
        elif event == "message":
            self._events.put_nowait(("message", arguments[0]))
        elif event == "raw_message_edit":
            payload = arguments[0]
            cached = payload.cached_message
            # Discord sends the same event when it adds a preview of a link.
            if payload.data.get("edited_timestamp") and (
                cached is None or cached.content != payload.message.content
            ):
                self._events.put_nowait(("edit", payload.message))
        elif event == "interaction" and self._interactions is not None:
            self._aside(self._interactions.take(arguments[0]))

    async def _work(self) -> None:
        """Take events for ever. Raises `StoreError`: the messages are fetched again after a new start."""
        while True:
            event, message = await self._events.get()
            if event == "connect":
                await self._catch_up()
            else:
                await self._take(message, is_edit=event == "edit")

    async def _catch_up(self) -> None:
        self._history.forget()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), _READY_SECONDS)
        if self._client is None or not self._settings.catch_up_hours:
            return
        async for message in missed(self._client, self._memory, self._settings.catch_up_hours):
            await self._take(message)

    async def _take(self, message: discord.Message, *, is_edit: bool = False) -> None:
        assert self.receiver is not None
        try:
            place = self._reader.place(message)
            if self._reader.is_ignored(place):
                return
            if self._reader.is_for_people(message):
                context = ""
                if not is_edit and self._wants_context(message, place):
                    context = await self._history.before(message)
                inbound = self._reader.read(message, place, is_edit=is_edit, context=context)
            else:
                inbound = None
            if not is_edit and not place.is_direct:
                self._history.add(message)
        except (AttributeError, KeyError, TypeError, ValueError):
            _LOG.exception("discord: message %s cannot be read", message.id)
            return
        if inbound is not None:
            if inbound.thread_id and not place.thread_id:
                self._threads.announce(message.id, inbound.text)
            await self.receiver.receive(inbound)
        if not is_edit:
            channel_id = place.thread_id or place.chat_id
            self._memory.received(channel_id, message.id, is_direct=place.is_direct)
            self._news.set()

    def _wants_context(self, message: discord.Message, place: Place) -> bool:
        """A mention in a channel whose messages are not all for the bot, by somebody who may talk."""
        assert self.receiver is not None
        if self._reader.is_free(place) or not self._reader.is_addressed(message, place):
            return False
        return self.receiver.may_talk(NAME, Person(str(message.author.id)))

    # The rest.

    def _connected(self) -> Rest:
        if self._rest is None or self._client is None:
            raise DeliveryError("Discord is not connected")
        return self._rest

    async def _log_in(self, client: BotClient) -> None:
        try:
            async with asyncio.timeout(_LOGIN_SECONDS), failures_mapped():
                try:
                    await client.login(self._token)
                except discord.LoginFailure as error:
                    raise refused_token() from error
                except (TypeError, ValueError, KeyError, AttributeError) as error:
                    raise NotReadyError("Discord answered something unreadable", why=str(error)) from error
        except TimeoutError as error:
            raise NotReadyError("Discord does not answer") from error
        assert client.user is not None
        self._bot = client.user.name
        self._reader = Reader(self._settings, client.user.id)
        self._history = ChannelHistory(self._settings.history_messages, self._reader.text, client.user.id)

    async def _until_ready(self, session: asyncio.Task[None]) -> None:
        ready = asyncio.create_task(self._ready.wait())
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await asyncio.wait((ready, session), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError as error:
            raise NotReadyError("Discord does not begin the session") from error
        finally:
            ready.cancel()
        if session.done():
            session.result()

    async def _sync_commands(self) -> None:
        payloads = command_payloads()
        current = digest(payloads)
        if current == self._memory.commands or self._client is None:
            return
        application_id = self._client.application_id
        try:
            assert application_id is not None
            await self._connected().register_commands(application_id, payloads)
        except DeliveryError as error:
            _LOG.warning("discord: the slash commands could not be registered: %s", error)
            return
        self._memory.commands = current
        await self._save()

    def _aside(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(_quietly(work))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

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


async def _quietly(work: Any) -> None:
    try:
        await work
    except HermesError as error:
        _LOG.warning("discord: %s", error)


def _make_client(on_event: Any, proxy: str) -> BotClient:
    client = BotClient(
        intents=discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=True),
        max_messages=500,
        chunk_guilds_at_startup=False,
        member_cache_flags=discord.MemberCacheFlags.none(),
        allowed_mentions=discord.AllowedMentions.none(),
        guild_ready_timeout=1.0,
        proxy=proxy or None,
    )
    client.on_event = on_event
    return client
