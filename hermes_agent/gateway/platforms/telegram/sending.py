"""Messages and files to Telegram, with a second way for what it refuses for a reason one can mend."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hermes_agent.core.errors import DeliveryError
from hermes_agent.core.platform import Button, ButtonPress, ChatAddress, OutgoingFile, OutgoingPart
from hermes_agent.gateway.platforms.telegram.api import ApiError, BotApi, Upload
from hermes_agent.gateway.platforms.telegram.formatting import MAX_UNITS, measure, to_html

MAX_UPLOAD_BYTES = 50_000_000
_MAX_PHOTO_BYTES = 10_000_000
_MAX_CAPTION = 1024
_WAYS = 4
"""Most requests for one part."""

_PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_METHODS = {
    "image": ("sendPhoto", "photo"),
    "voice": ("sendVoice", "voice"),
    "audio": ("sendAudio", "audio"),
    "video": ("sendVideo", "video"),
    "document": ("sendDocument", "document"),
}
_SIGNS = {"good": "✅ ", "bad": "❌ ", "plain": ""}
_BUTTONS_IN_A_ROW = 2
_MEDIA_TROUBLE = ("PHOTO_", "IMAGE_PROCESS_FAILED", "VOICE_MESSAGES_FORBIDDEN", "wrong file")


@dataclass
class _Request:
    """A call that may have to be made in another way.

    Attributes:
        plain: The text without markup, for when Telegram refuses the markup.
    """

    method: str
    parameters: dict[str, Any]
    plain: str = ""
    upload: tuple[str, Upload] | None = None


@dataclass
class Sender:
    """Sends parts.

    Attributes:
        moved: Groups that became supergroups, and where they are now.
    """

    api: BotApi
    is_rich: bool = True
    has_previews: bool = True
    moved: dict[str, str] = field(default_factory=dict)

    async def send(self, part: OutgoingPart) -> str:
        """Send one message; returns its id. Raises `ApiError`, `NoAnswerError`, `DeliveryError`."""
        where: dict[str, Any] = self._where(part.address)
        if part.reply_to_id.isdecimal():
            where["reply_parameters"] = {
                "message_id": int(part.reply_to_id),
                "allow_sending_without_reply": True,
            }
        if part.is_silent:
            where["disable_notification"] = True
        if part.file is not None:
            request = await self._file(part.file, where)
        else:
            request = self._text("sendMessage", part, where)
        sent = await self._do(request)
        if not isinstance(sent, Mapping) or "message_id" not in sent:
            raise DeliveryError("Telegram does not name the message it has sent", is_unknown=True)
        return str(sent["message_id"])

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:
        """Replace a text. Raises `ApiError`, `NoAnswerError`, `DeliveryError`."""
        if not message_id.isdecimal():
            raise DeliveryError(f"{message_id!r} is no message of Telegram's", is_permanent=True)
        where = {"chat_id": self._chat(address), "message_id": int(message_id)}
        try:
            await self._do(self._text("editMessageText", part, where))
        except ApiError as error:
            if not error.says("message is not modified"):
                raise

    async def settle(self, press: ButtonPress, shown: Mapping[str, Any], reply: str) -> None:
        """Take the buttons from a message and write below it how the question ended, and who said so."""
        where = {"chat_id": self._number(press.chat_id), "message_id": int(press.message_id)}
        text = shown.get("text")
        if not isinstance(text, str):
            await self.api.call("editMessageReplyMarkup", where)
            return
        line = f"\n\n→ {reply} ({press.sender.name or press.sender.id})"
        if measure(text + line) > MAX_UNITS:
            await self.api.call("editMessageReplyMarkup", where)
            return
        await self.api.call(
            "editMessageText", {**where, "text": text + line, "entities": shown.get("entities")}
        )

    async def typing(self, address: ChatAddress) -> None:
        """Show "typing"."""
        await self.api.call("sendChatAction", {**self._where(address), "action": "typing"}, timeout_seconds=5)

    def _text(self, method: str, part: OutgoingPart, where: Mapping[str, Any]) -> _Request:
        parameters = dict(where)
        rich = to_html(part.text) if self.is_rich else None
        parameters["text"] = part.text if rich is None else rich
        if rich is not None:
            parameters["parse_mode"] = "HTML"
        if not self.has_previews:
            parameters["link_preview_options"] = {"is_disabled": True}
        if part.buttons:
            parameters["reply_markup"] = _keyboard(part.buttons)
        return _Request(method, parameters, part.text)

    async def _file(self, file: OutgoingFile, where: Mapping[str, Any]) -> _Request:
        name, data = await asyncio.to_thread(_content, file)
        if len(data) > MAX_UPLOAD_BYTES:
            raise DeliveryError(
                f"{name} has {len(data) / 1e6:.0f} MB; Telegram takes files of up to 50 MB from bots",
                is_permanent=True,
            )
        kind = file.kind
        if kind == "image" and (len(data) > _MAX_PHOTO_BYTES or Path(name).suffix.lower() not in _PHOTOS):
            kind = "document"
        method, field_name = _METHODS[kind]
        parameters = dict(where)
        if file.caption:
            parameters["caption"] = file.caption[:_MAX_CAPTION]
        return _Request(method, parameters, upload=(field_name, (name, data)))

    async def _do(self, request: _Request) -> Any:
        """Make the call; what Telegram refuses for a reason that can be mended is asked in another way."""
        for left in reversed(range(_WAYS)):
            try:
                return await self.api.call(request.method, request.parameters, upload=request.upload)
            except ApiError as error:
                other = self._other_way(request, error) if left else None
                if other is None:
                    raise
                request = other
        raise AssertionError  # the last way raises or returns

    def _other_way(self, request: _Request, error: ApiError) -> _Request | None:
        parameters = dict(request.parameters)
        new_chat = error.parameters.get("migrate_to_chat_id")
        if isinstance(new_chat, int):
            self.moved[str(parameters["chat_id"])] = str(new_chat)
            return replace(request, parameters={**parameters, "chat_id": new_chat})
        if error.code != 400:
            return None
        if "message_thread_id" in parameters and error.says(
            "thread not found", "TOPIC_CLOSED", "TOPIC_DELETED"
        ):
            del parameters["message_thread_id"]  # the topic is gone: better in the group than nowhere
            return replace(request, parameters=parameters)
        if "parse_mode" in parameters and error.says("parse entities", "ENTITY", "message text is empty"):
            del parameters["parse_mode"]
            return replace(request, parameters={**parameters, "text": request.plain})
        if "reply_markup" in parameters and error.says("BUTTON", "keyboard", "reply markup"):
            del parameters["reply_markup"]  # the question says what can be typed instead
            return replace(request, parameters=parameters)
        is_media = request.upload is not None and request.method != "sendDocument"
        if is_media and error.says(
            "PHOTO_", "IMAGE_PROCESS_FAILED", "VOICE_MESSAGES_FORBIDDEN", "wrong file"
        ):
            assert request.upload is not None
            return replace(request, method="sendDocument", upload=("document", request.upload[1]))
        return None

    def _chat(self, address: ChatAddress) -> int | str:
        return self._number(address.chat_id)

    def _number(self, chat_id: str) -> int | str:
        chat_id = self.moved.get(chat_id, chat_id)
        return int(chat_id) if chat_id.lstrip("-").isdecimal() else chat_id

    def _where(self, address: ChatAddress) -> dict[str, Any]:
        where: dict[str, Any] = {"chat_id": self._chat(address)}
        if address.thread_id.isdecimal():
            where["message_thread_id"] = int(address.thread_id)
        return where


def _keyboard(buttons: tuple[Button, ...]) -> dict[str, Any]:
    cells = [{"text": f"{_SIGNS[each.style]}{each.label}", "callback_data": each.value} for each in buttons]
    longest = max(len(each.label) for each in buttons)
    width = _BUTTONS_IN_A_ROW if longest <= 16 else 1
    return {"inline_keyboard": [cells[at : at + width] for at in range(0, len(cells), width)]}


def _content(file: OutgoingFile) -> Upload:
    try:
        data = file.data or Path(file.path).read_bytes()
    except OSError as error:
        raise DeliveryError("The file cannot be read", why=error.strerror, is_permanent=True) from error
    if not data:
        raise DeliveryError("The file is empty; Telegram takes none such", is_permanent=True)
    return file.name or Path(file.path).name or "file", data
