"""The `Platform` port: one messaging platform, and the values that pass between it and the gateway.

An adapter speaks its platform's protocol and nothing else. It does not decide who may talk, does not
retry, split, rate-limit or remember: the gateway does that for all platforms alike. See docs/platforms.md.

Lifecycle: `start` (connect, check the credential) → `run` (receive until cancelled) with `send` and `edit`
beside it → `stop`. A failed adapter is stopped and started again by the gateway, with growing pauses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

ChatType: TypeAlias = Literal["dm", "group", "channel"]
AttachmentKind: TypeAlias = Literal["image", "voice", "audio", "video", "document"]


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote.

    Attributes:
        id: The platform's stable id. Access is decided by this and nothing else.
        name: For people only; anybody can call themselves anything.
    """

    id: str
    name: str = ""
    is_bot: bool = False


@dataclass(frozen=True, slots=True)
class ChatAddress:
    """Where messages go: `thread_id` is a forum topic or thread, or empty."""

    platform: str
    chat_id: str
    thread_id: str = ""

    def __str__(self) -> str:
        """`platform:chat` or `platform:chat:thread`."""
        return ":".join(part for part in (self.platform, self.chat_id, self.thread_id) if part)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message.

    Attributes:
        reference: The platform's file id or address; `Platform.fetch` turns it into bytes.
        size: Bytes, 0 if unknown.
    """

    kind: AttachmentKind
    reference: str
    file_name: str = ""
    media_type: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message from a person.

    Attributes:
        message_id: Unique within (platform, chat) for ever; redeliveries carry the same one.
        text: Without the mention of the bot.
        is_addressed: In a group: the bot was mentioned, replied to, or the group needs no mention.
        reply_to_id: The message it answers.
        reply_to_text: What that said, if the platform tells.
        is_edit: A new text of an earlier message; `message_id` is that one's id.
        sent_at: Unix time by the platform's clock; 0 if unknown.
        context: What was said in a busy chat before it and was not for the bot, a line each: `name: text`.
    """

    platform: str
    chat_id: str
    message_id: str
    sender: Person
    text: str
    chat_type: ChatType = "dm"
    thread_id: str = ""
    chat_name: str = ""
    is_addressed: bool = True
    reply_to_id: str = ""
    reply_to_text: str = ""
    is_edit: bool = False
    sent_at: float = 0.0
    attachments: tuple[Attachment, ...] = ()
    context: str = ""

    @property
    def address(self) -> ChatAddress:
        """Where an answer goes."""
        return ChatAddress(self.platform, self.chat_id, self.thread_id)


@dataclass(frozen=True, slots=True)
class ButtonPress:
    """Somebody pressed a button of one of our messages. `value` is the `Button.value` we sent."""

    platform: str
    chat_id: str
    message_id: str
    sender: Person
    value: str
    thread_id: str = ""


class PressReply(str):
    """What to show to whoever pressed a button.

    Attributes:
        is_over: The question is settled: its buttons may go, and the others may see what was decided.
    """

    __slots__ = ("is_over",)

    is_over: bool

    def __new__(cls, text: str, *, is_over: bool = False) -> PressReply:
        """A text that knows whether the question is settled."""
        made = super().__new__(cls, text)
        made.is_over = is_over
        return made


@dataclass(frozen=True, slots=True)
class Button:
    """A button under a message; `value` is at most 60 ASCII characters."""

    label: str
    value: str
    style: Literal["plain", "good", "bad"] = "plain"


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """A file to send.

    Attributes:
        path: On this machine, or empty if `data` has the bytes.
        kind: `voice` is shown as a voice message where the platform has them.
    """

    path: str = ""
    kind: AttachmentKind = "document"
    name: str = ""
    caption: str = ""
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class OutgoingPart:
    """What an adapter sends with one call: a text within the platform's limit, or one file.

    Attributes:
        text: Markdown as the agent writes it; the adapter translates it.
        reply_to_id: Quote this message, where the platform can.
        key: The same for every try of the same part and different for any other (at most 64 characters);
            platforms that recognise repeated sends get it (`Capabilities.recognises_resends`).
        is_silent: No sound.
        kind: Why it is sent: an `outbox.Kind`, or empty for a piece of an answer that is being written.
    """

    address: ChatAddress
    text: str = ""
    file: OutgoingFile | None = None
    reply_to_id: str = ""
    buttons: tuple[Button, ...] = ()
    key: str = ""
    is_silent: bool = False
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a platform can do.

    Attributes:
        max_text: Most units (`Platform.measure`) of one message.
        can_edit: `edit` works; needed for streamed answers.
        has_buttons: `OutgoingPart.buttons` are shown; otherwise people type /approve and /deny.
        can_send_files: `OutgoingPart.file` works.
        has_typing: `typing` shows something.
        recognises_resends: A part sent twice with the same `key` appears once. Then a send of unknown
            outcome may be repeated; otherwise it is not.
        messages_per_second: Sends and edits to one chat, on average.
        burst: As many may follow each other at once.
        max_silence_seconds: A healthy connection has completed a poll or heartbeat within this time.
        shows_progress: False where each message is a letter: tool progress and what the model says between
            tools are not sent unless `display.platforms.<name>` asks for it.
    """

    max_text: int = 4096
    can_edit: bool = False
    has_buttons: bool = False
    can_send_files: bool = False
    has_typing: bool = False
    recognises_resends: bool = False
    messages_per_second: float = 1.0
    burst: int = 3
    max_silence_seconds: float = 120.0
    shows_progress: bool = True


class Receiver(Protocol):
    """The gateway, as adapters see it."""

    async def receive(self, message: InboundMessage) -> None:
        """Take a message. When this returns it is on disk: only now acknowledge it to the platform.

        Redeliveries are recognised; hand over every message the platform gives.

        Raises:
            StoreError: It was not stored: do not acknowledge, let the platform deliver it again.
        """
        ...

    async def pressed(self, press: ButtonPress) -> str:
        """Take a press of a button; returns a short text (a `PressReply`) to show to whoever pressed it."""
        ...

    def may_talk(self, platform: str, person: Person) -> bool:
        """Whether a rule lets somebody in. For invitations; messages are judged by `receive`."""
        ...

    async def load_cursor(self, platform: str) -> str:
        """The cursor stored last (Telegram's offset, Matrix' sync token); empty at first."""
        ...

    async def save_cursor(self, platform: str, cursor: str) -> None:
        """Remember where to go on receiving. Call it after `receive` of everything before it returned."""
        ...

    async def forward(
        self,
        key: str,
        address: ChatAddress,
        text: str,
        files: Sequence[OutgoingFile] = (),
        *,
        wait_seconds: float = 0.0,
    ) -> str:
        """Send something to a chat of any platform, through the outbox; returns its `OutboxState`.

        Args:
            key: The same message forwarded twice under one key is sent once.
            address: An empty `chat_id` is the platform's home channel.
            text: Markdown.
            files: Further parts.
            wait_seconds: How long to wait for it to be sent.

        Raises:
            DeliveryError: The platform has no home channel.
            StoreError: It was not stored.
        """
        ...


class Platform(Protocol):
    """An adapter. Built from its own settings section; no I/O before `start`."""

    @property
    def name(self) -> str:
        """`telegram`, `discord` …; constant."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; may become more exact after `start`."""
        ...

    @property
    def last_progress(self) -> float:
        """`time.monotonic()` of the last completed poll or heartbeat; sends do not count."""
        ...

    async def start(self, receiver: Receiver) -> None:
        """Connect and check the credential. What a failed start has opened, it closes.

        Raises:
            NotReadyError: The platform cannot be reached now; tried again later.
            AuthFailedError: The credential is refused; not tried again before a reload.
            MissingExtraError: Its library is not installed.
        """
        ...

    async def run(self) -> None:
        """Receive until cancelled. Returns or raises if the connection is lost for good.

        Raises:
            NotReadyError: The connection is lost.
            AuthFailedError: The credential was revoked.
        """
        ...

    async def stop(self) -> None:
        """Disconnect. Safe to call twice, and without `start`."""
        ...

    async def send(self, part: OutgoingPart) -> str:
        """Send one message; returns its id.

        Raises:
            DeliveryError: It was not sent, or (`is_unknown`) nobody knows.
        """
        ...

    async def edit(self, address: ChatAddress, message_id: str, part: OutgoingPart) -> None:
        """Replace text and buttons of a message we sent. The same text again is not an error.

        Raises:
            DeliveryError: It was not changed.
        """
        ...

    async def typing(self, address: ChatAddress) -> None:
        """Show that an answer is being written, for about five seconds. Failures are ignored."""
        ...

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """Download an attachment.

        Raises:
            DeliveryError: It is gone, too large, or cannot be had.
        """
        ...

    def measure(self, text: str) -> int:
        """Length of a Markdown text in the platform's units, after translation."""
        ...

    def facts(self) -> Mapping[str, str]:
        """For `hermes gateway status`: the bot's name, the server. No secrets."""
        ...
