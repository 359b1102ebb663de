"""The loopback adapter: long polling with a cursor, sends with keys, like the real platforms.

The server's API (JSON; `Authorization: Bearer TOKEN`; errors have `{"error": TEXT}`):

- `GET /me` → `{"name"}`
- `GET /updates?cursor=N&wait=SECONDS` → `{"updates": […], "cursor": M}`. Asking with `cursor=M`
  acknowledges everything before M. An update has `kind` (`message`, `edit` or `press`), `chat_id`,
  `message_id`, `sender` `{id, name}`, `text` (`value` of a press), and may have `chat_type`, `thread_id`,
  `chat_name`, `is_addressed`, `attachments`.
- `POST /send` `{chat_id, thread_id, text, key, reply_to_id, buttons, file}` → `{"message_id"}`
- `POST /edit` `{chat_id, message_id, text, buttons}`; `POST /typing` `{chat_id}`; `GET /files/ID`
- 401 refuses the token, 429 with `Retry-After` asks for patience, 403 and 404 are for ever.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import AuthFailedError, DeliveryError, NotReadyError, SettingError
from hermes_agent.core.platform import (
    Attachment,
    ButtonPress,
    Capabilities,
    ChatAddress,
    InboundMessage,
    OutgoingFile,
    OutgoingPart,
    Person,
    Receiver,
)
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.gateway.platforms.loopback.formatting import to_platform
from hermes_agent.gateway.platforms.loopback.settings import LoopbackSettings
from hermes_agent.gateway.platforms.steady_client import SteadyClient
from hermes_agent.gateway.platforms.table import Variable

NAME = "loopback"
_REQUEST_SECONDS = 20.0


def make_adapter(settings: PlatformSettings, variable: Variable) -> LoopbackAdapter:
    """Build it. Raises `SettingError` without an address."""
    own = LoopbackSettings.model_validate(settings.extra)
    if not own.url.startswith(("http://", "https://")):
        raise SettingError(
            "The loopback platform needs the address of its server",
            key="platforms.loopback.extra.url",
            remedy="hermes config set platforms.loopback.extra.url http://127.0.0.1:PORT",
        )
    return LoopbackAdapter(own, settings.token or variable("LOOPBACK_TOKEN") or "")


class LoopbackAdapter(BaseAdapter):
    """See the module."""

    def __init__(self, settings: LoopbackSettings, token: str) -> None:
        super().__init__(
            NAME,
            Capabilities(
                max_text=settings.max_text,
                can_edit=settings.can_edit,
                has_buttons=True,
                can_send_files=True,
                has_typing=True,
                recognises_resends=settings.recognises_resends,
                messages_per_second=settings.messages_per_second,
                burst=max(3, int(settings.messages_per_second)),
                max_silence_seconds=settings.max_silence_seconds,
            ),
        )
        self._settings = settings
        self._headers = {"Authorization": f"Bearer {token}"}
        self._client: SteadyClient | None = None
        self._bot = ""

    async def start(self, receiver: Receiver) -> None:
        """Connect and check the token."""
        self.receiver = receiver
        self._client = SteadyClient(
            base_url=self._settings.url,
            headers=self._headers,
            timeout=_REQUEST_SECONDS,
            trust_env=False,
        )
        try:
            response = await self._client.get("/me")
            _check_readiness(response)
            self._bot = str(response.json().get("name", ""))
        except httpx.HTTPError as error:
            await self.stop()
            raise NotReadyError("The loopback server cannot be reached", why=str(error)) from error
        except BaseException:
            await self.stop()
            raise
        self.progressed()

    async def run(self) -> None:
        """Poll for ever. The cursor is stored when everything before it is in the inbox."""
        assert self._client is not None and self.receiver is not None
        cursor = await self.receiver.load_cursor(NAME) or "0"
        wait = self._settings.poll_seconds
        while True:
            try:
                response = await self._client.get(
                    "/updates", params={"cursor": cursor, "wait": wait}, timeout=wait + _REQUEST_SECONDS
                )
            except httpx.HTTPError as error:
                raise NotReadyError("The connection is lost", why=str(error) or repr(error)) from error
            _check_readiness(response)
            found = response.json()
            updates = found["updates"]
            # All are stored in one go; order within a chat is that of the list.
            await asyncio.gather(*(self._take(update) for update in updates))
            if updates:
                cursor = str(found["cursor"])
                await self.receiver.save_cursor(NAME, cursor)
            self.progressed()

    async def stop(self) -> None:
        """Close the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    async def send(self, part: OutgoingPart) -> str:
        """Send one message."""
        body: dict[str, Any] = {
            "chat_id": part.address.chat_id,
            "thread_id": part.address.thread_id,
            "text": to_platform(part.text),
            "key": part.key,
            "reply_to_id": part.reply_to_id,
            "buttons": [asdict(button) for button in part.buttons],
        }
        if part.file is not None:
            body["file"] = await asyncio.to_thread(_file_json, part.file)
        return str((await self._post("/send", body))["message_id"])

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:
        """Replace a text."""
        buttons = [asdict(button) for button in part.buttons]
        body = {"chat_id": address.chat_id, "message_id": message_id, "text": to_platform(part.text)}
        await self._post("/edit", {**body, "buttons": buttons})

    async def typing(self, address: ChatAddress) -> None:
        """Show that an answer is being written."""
        await self._post("/typing", {"chat_id": address.chat_id})

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """Download a file."""
        if self._client is None:
            raise DeliveryError("Not connected")
        try:
            response = await self._client.get(f"/files/{attachment.reference}")
        except httpx.HTTPError as error:
            raise DeliveryError("The file cannot be downloaded", why=str(error)) from error
        if response.status_code != 200 or len(response.content) > max_bytes:
            raise DeliveryError("The file is gone, or too large", is_permanent=True)
        return response.content

    def facts(self) -> Mapping[str, str]:
        """Who we are there."""
        return {"bot": self._bot, "server": self._settings.url}

    async def _take(self, update: Mapping[str, Any]) -> None:
        assert self.receiver is not None
        sender = Person(str(update["sender"]["id"]), str(update["sender"].get("name", "")))
        chat_id, message_id = str(update["chat_id"]), str(update["message_id"])
        thread_id = str(update.get("thread_id", ""))
        if update.get("kind") == "press":
            press = ButtonPress(NAME, chat_id, message_id, sender, str(update["value"]), thread_id)
            await self.receiver.pressed(press)
            return
        await self.receiver.receive(
            InboundMessage(
                platform=NAME,
                chat_id=chat_id,
                message_id=message_id,
                sender=sender,
                text=str(update.get("text", "")),
                chat_type=update.get("chat_type", "dm"),
                thread_id=thread_id,
                chat_name=str(update.get("chat_name", "")),
                is_addressed=bool(update.get("is_addressed", True)),
                is_edit=update.get("kind") == "edit",
                attachments=tuple(Attachment(**each) for each in update.get("attachments", ())),
            )
        )

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self._client is None:
            raise DeliveryError("Not connected")
        try:
            response = await self._client.post(path, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise DeliveryError("The loopback server cannot be reached", why=str(error)) from error
        except httpx.HTTPError as error:  # the request had left
            raise DeliveryError(
                "No answer from the loopback server", why=str(error), is_unknown=True
            ) from error
        if response.status_code == 200:
            answer: dict[str, Any] = response.json()
            return answer
        raise _delivery_error(response)


def _check_readiness(response: httpx.Response) -> None:
    if response.status_code in (401, 403):
        raise AuthFailedError(
            "The loopback server refuses the token", remedy="Check platforms.loopback.token"
        )
    if response.status_code != 200:
        raise NotReadyError(
            f"The loopback server answers {response.status_code}", retry_after_seconds=_retry_after(response)
        )


def _delivery_error(response: httpx.Response) -> DeliveryError:
    return DeliveryError(
        f"The loopback server answers {response.status_code}",
        why=response.text[:200],
        is_permanent=response.status_code in (400, 403, 404),
        is_unknown=response.status_code in (500, 502, 504),  # it may have been taken all the same
        retry_after_seconds=_retry_after(response),
    )


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return float(response.headers.get("retry-after", ""))
    except ValueError:
        return None


def _file_json(file: OutgoingFile) -> dict[str, str]:
    try:
        data = file.data or Path(file.path).read_bytes()
    except OSError as error:
        raise DeliveryError("The file cannot be read", why=error.strerror, is_permanent=True) from error
    name = file.name or Path(file.path).name
    return {"name": name, "kind": file.kind, "data": base64.b64encode(data).decode("ascii")}
