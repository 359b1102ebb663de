"""The Telegram adapter: polls or is called, sends, edits; its own cursor, so that nothing is lost.

See docs/decisions/0008-telegram-bot-api.md for why there is no library in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hermes_agent.agent.commands import commands_for
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import DeliveryError, NotReadyError, SettingError
from hermes_agent.core.platform import (
    Attachment,
    Capabilities,
    ChatAddress,
    OutgoingPart,
    PressReply,
    Receiver,
)
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.gateway.platforms.table import Variable
from hermes_agent.gateway.platforms.telegram import formatting, sending
from hermes_agent.gateway.platforms.telegram.api import (
    TOKEN_FORM,
    ApiError,
    BotApi,
    NoAnswerError,
    delivery,
    readiness,
)
from hermes_agent.gateway.platforms.telegram.settings import (
    OFFICIAL_SERVER,
    TelegramSettings,
    telegram_settings,
)
from hermes_agent.gateway.platforms.telegram.updates import (
    KINDS,
    NAME,
    Bot,
    Press,
    Written,
    join,
    may_go_on,
    read_update,
)
from hermes_agent.gateway.platforms.telegram.webhook import WebhookListener

_LOG = logging.getLogger(__name__)

MAX_DOWNLOAD_BYTES = 20_000_000
"""What Telegram's own server lets bots download."""

_BATCH = 100
_MORE_SECONDS = 0.7
"""How long the rest of an album, or of a text that was cut, is waited for."""
_MORE_POLLS = 4
_POLL_PAUSES = (0.5, 2.0, 5.0)
_CURSOR_SECONDS = 6 * 86_400.0
"""After a week without updates Telegram begins at a random number: an older offset is worth nothing."""
_HEARTBEAT_SECONDS = 60.0


def make_adapter(settings: PlatformSettings, variable: Variable) -> TelegramAdapter:
    """Build it.

    Raises:
        SettingError: The token is missing or no token, or the settings cannot be used.
    """
    own = telegram_settings(settings, variable)
    token = (variable("TELEGRAM_BOT_TOKEN") or settings.token).strip()
    if not TOKEN_FORM.fullmatch(token):
        raise SettingError(
            "Telegram needs a bot token" if not token else "TELEGRAM_BOT_TOKEN is not a bot token",
            key="platforms.telegram.token",
            why=None if not token else "A token looks like 123456789:AAE… (digits, a colon, letters).",
            remedy="Write /newbot to @BotFather in Telegram; put the token into .env: TELEGRAM_BOT_TOKEN=…",
        )
    return TelegramAdapter(own, token)


class TelegramAdapter(BaseAdapter):
    """One connection to the Bot API."""

    def __init__(self, settings: TelegramSettings, token: str) -> None:
        is_polling = settings.mode == "polling"
        super().__init__(
            NAME,
            Capabilities(
                max_text=formatting.MAX_UNITS,
                can_edit=True,
                has_buttons=True,
                can_send_files=True,
                has_typing=True,
                messages_per_second=settings.messages_per_second,
                burst=max(4, int(settings.messages_per_second)),
                max_silence_seconds=settings.poll_seconds * 2 + 30 if is_polling else 3 * _HEARTBEAT_SECONDS,
            ),
        )
        self._settings = settings
        self._token = token
        self._api: BotApi | None = None
        self._sender: sending.Sender | None = None
        self._listener: WebhookListener | None = None
        self._bot = Bot(0, "")
        self._aside: set[asyncio.Task[None]] = set()

    # Life.

    async def start(self, receiver: Receiver) -> None:
        """Connect and check the token."""
        self.receiver = receiver
        settings = self._settings
        self._api = BotApi(self._token, settings.base_url, settings.proxy)
        try:
            self._bot = self._who(await self._api.call("getMe"))
            self._sender = sending.Sender(
                self._api, is_rich=settings.rich_text, has_previews=settings.link_previews
            )
            if settings.mode == "webhook":
                self._listener = WebhookListener(
                    settings.webhook_host, settings.webhook_port, settings.webhook_secret, self._take
                )
                await self._listener.start()
        except (ApiError, NoAnswerError) as error:
            await self.stop()
            raise readiness(error) from error
        except BaseException:
            await self.stop()
            raise
        self.progressed()

    async def run(self) -> None:
        """Receive for ever."""
        self._beside(self._show_commands())
        try:
            if self._settings.mode == "webhook":
                await self._be_called()
            else:
                await self._poll()
        except (ApiError, NoAnswerError) as error:
            raise readiness(error) from error

    async def stop(self) -> None:
        """Close the connections."""
        for task in list(self._aside):
            task.cancel()
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()
        self._sender = None
        api, self._api = self._api, None
        if api is not None:
            await api.aclose()

    # Sending.

    async def send(self, part: OutgoingPart) -> str:
        """Send one message; returns its id."""
        try:
            return await self._connected().send(part)
        except (ApiError, NoAnswerError) as error:
            raise delivery(error) from error

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:
        """Replace text and buttons."""
        try:
            await self._connected().edit(address, message_id, part)
        except (ApiError, NoAnswerError) as error:
            raise delivery(error) from error

    async def typing(self, address: ChatAddress) -> None:
        """Show "typing"."""
        try:
            await self._connected().typing(address)
        except (ApiError, NoAnswerError) as error:
            raise delivery(error) from error

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """Download a file."""
        if self._api is None:
            raise DeliveryError("Not connected")
        is_official = self._settings.base_url == OFFICIAL_SERVER
        limit = min(max_bytes, MAX_DOWNLOAD_BYTES) if is_official else max_bytes
        if attachment.size > limit:
            raise DeliveryError(
                f"it has {attachment.size / 1e6:.0f} MB; bots can download up to {limit / 1e6:.0f} MB",
                is_permanent=True,
            )
        try:
            file = await self._api.call("getFile", {"file_id": attachment.reference})
            path = str(file.get("file_path") or "") if isinstance(file, Mapping) else ""
            if not path:
                raise DeliveryError("Telegram does not say where the file is", is_permanent=True)
            if (
                path.startswith("/") and not is_official
            ):  # a server in --local mode keeps files on this machine
                return await asyncio.to_thread(_read, Path(path), limit)
            return await self._api.download(path, max_bytes=limit)
        except (ApiError, NoAnswerError) as error:
            raise delivery(error) from error

    def measure(self, text: str) -> int:
        """UTF-16 units."""
        return formatting.measure(text)

    def facts(self) -> Mapping[str, str]:
        """Who we are there."""
        facts = {"bot": f"@{self._bot.username}", "mode": self._settings.mode}
        return facts if self._settings.base_url == OFFICIAL_SERVER else {**facts, "server": self._server}

    # Receiving.

    async def _poll(self) -> None:
        """Poll; the offset, which acknowledges, is moved when everything before it is in the inbox."""
        assert self._api is not None and self.receiver is not None
        await self._api.call("deleteWebhook", {"drop_pending_updates": False})
        offset, wait = await self._load_offset(), self._settings.poll_seconds
        moved_at = time.monotonic()
        while True:
            updates = await self._poll_once(offset, wait)
            for _ in range(_MORE_POLLS):
                if not may_go_on(self._read(updates)):
                    break
                known = len(updates)
                await asyncio.sleep(_MORE_SECONDS)
                updates = await self._get_updates(offset, 0)  # the same ones, and what has come since
                if len(updates) <= known:
                    break
            if updates:
                await self._take(updates)
                offset = max((_id_of(update) for update in updates), default=offset or 1) + 1
                await self.receiver.save_cursor(NAME, f"{self._bot.id}:{offset}:{time.time():.0f}")
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _CURSOR_SECONDS:
                offset = None
            self.progressed()

    async def _poll_once(self, offset: int | None, wait: float) -> list[Mapping[str, Any]]:
        """Poll; a connection that breaks is nothing unusual, and no reason to begin anew."""
        for pause in _POLL_PAUSES:
            try:
                return await self._get_updates(offset, wait)
            except (ApiError, NoAnswerError) as error:
                silence = time.monotonic() - self.last_progress
                is_refused = isinstance(error, ApiError) and error.code < 500
                if is_refused or silence > self.capabilities.max_silence_seconds / 2:
                    raise
                _LOG.info("a poll failed: %s", " ".join(error.lines))
            await asyncio.sleep(pause)
        return await self._get_updates(offset, wait)

    async def _get_updates(self, offset: int | None, wait: float) -> list[Mapping[str, Any]]:
        assert self._api is not None
        parameters = {"offset": offset, "timeout": int(wait), "limit": _BATCH, "allowed_updates": KINDS}
        found = await self._api.call("getUpdates", parameters, timeout_seconds=wait + 15)
        if not isinstance(found, list):
            raise NotReadyError("What came is no answer of the Bot API")
        return [each for each in found if isinstance(each, Mapping) and _id_of(each) >= 0]

    async def _load_offset(self) -> int | None:
        """Where the last process stopped, if it was the same bot and not too long ago."""
        assert self.receiver is not None
        bot_id, _, rest = (await self.receiver.load_cursor(NAME)).partition(":")
        offset, _, moment = rest.partition(":")
        if bot_id != str(self._bot.id) or not (offset.isdecimal() and moment.isdecimal()):
            return None
        return int(offset) if time.time() - int(moment) < _CURSOR_SECONDS else None

    async def _be_called(self) -> None:
        """Webhook mode: tell Telegram where to deliver, and see to it that it goes on doing so."""
        assert self._api is not None
        settings = self._settings
        wanted = {
            "url": settings.webhook_url,
            "secret_token": settings.webhook_secret,
            "allowed_updates": KINDS,
            "max_connections": 10,
        }
        await self._api.call("setWebhook", wanted)
        while True:
            self.progressed()
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            info = await self._api.call("getWebhookInfo")
            if isinstance(info, Mapping) and info.get("url") != settings.webhook_url:
                _LOG.warning("the webhook was changed by somebody else (%s); set again", info.get("url"))
                await self._api.call("setWebhook", wanted)
            if isinstance(info, Mapping) and info.get("last_error_message"):
                _LOG.warning("Telegram cannot deliver: %s", info["last_error_message"])

    def _read(self, updates: list[Mapping[str, Any]]) -> list[Written | Press]:
        found = []
        for update in updates:
            read = read_update(update, self._bot)
            if read is not None:
                found.append(read)
        return found

    async def _take(self, updates: list[Mapping[str, Any]]) -> None:
        """Hand over updates; when this returns they are on disk."""
        assert self.receiver is not None
        # All are stored in one go; order within a chat is that of the list.
        results = await asyncio.gather(
            *(
                self._pressed(each) if isinstance(each, Press) else self.receiver.receive(each)
                for each in join(self._read(updates))
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _pressed(self, pressed: Press) -> None:
        assert self.receiver is not None
        text = await self.receiver.pressed(pressed.press)
        self._beside(self._answer_press(pressed, text))

    async def _answer_press(self, pressed: Press, reply: str) -> None:
        """Show the reply to whoever pressed; a settled question loses its buttons and says how it ended."""
        if self._api is None:
            return
        query = {"callback_query_id": pressed.query_id, "text": reply[:200]}
        try:
            await self._api.call("answerCallbackQuery", query)
        except ApiError as error:  # it was pressed long ago, while nobody listened
            _LOG.info("%s", error)
        if isinstance(reply, PressReply) and reply.is_over and self._sender is not None:
            await self._sender.settle(pressed.press, pressed.shown, reply)

    async def _show_commands(self) -> None:
        """The command menu, from the table of slash commands."""
        if not self._settings.command_menu or self._api is None:
            return
        commands = [
            {"command": spec.name.replace("-", "_"), "description": spec.summary[:256]}
            for spec in commands_for("gateway")
        ]
        await self._api.call("setMyCommands", {"commands": commands[:100]})

    # Small things.

    def _who(self, me: object) -> Bot:
        if not isinstance(me, Mapping) or not isinstance(me.get("id"), int):
            raise NotReadyError("What answers is not Telegram", why=f"getMe gives no bot: {self._server}")
        settings = self._settings
        return Bot(
            me["id"],
            str(me.get("username") or ""),
            not settings.require_mention,
            frozenset(settings.free_response_chats),
            frozenset(settings.allowed_chats),
        )

    @property
    def _server(self) -> str:
        return self._api.base_url if self._api is not None else self._settings.base_url

    def _connected(self) -> sending.Sender:
        if self._sender is None:
            raise DeliveryError("Not connected")
        return self._sender

    def _beside(self, work: Any) -> None:
        """Do something whose failure does not matter."""

        async def do() -> None:
            try:
                with contextlib.suppress(NoAnswerError):
                    await work
            except ApiError as error:
                _LOG.info("%s", error)

        task: asyncio.Task[None] = asyncio.create_task(do())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)


def _id_of(update: Mapping[str, Any]) -> int:
    value = update.get("update_id")
    return value if isinstance(value, int) else -1


def _read(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise DeliveryError(f"it is larger than {limit / 1e6:.0f} MB", is_permanent=True)
        return path.read_bytes()
    except OSError as error:
        raise DeliveryError("The file cannot be read", why=error.strerror, is_permanent=True) from error
