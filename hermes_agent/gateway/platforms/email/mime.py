"""From the bytes of a mail to what a person said: headers, text, attachments. Nothing here raises.

Mail is broken in every way there is: unknown charsets, missing boundaries, bytes that are no text. What can
be read is read; what cannot is an attachment, or replacement characters.
"""

from __future__ import annotations

import codecs
import email.policy
import hashlib
import logging
import mimetypes
import re
from dataclasses import dataclass, field
from email.errors import HeaderParseError, MessageError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser
from email.utils import collapse_rfc2231_value, getaddresses, parsedate_to_datetime
from typing import TYPE_CHECKING

from hermes_agent.core.platform import AttachmentKind
from hermes_agent.gateway.platforms.email.markup import html_to_text

if TYPE_CHECKING:
    RawMail = Message[str, str]

_LOG = logging.getLogger(__name__)

MAX_TEXT = 200_000
_LONGEST_HEADER = 30_000
_MOST_TEXT_BYTES = 2_000_000
_MOST_ATTACHMENTS = 20
_MOST_PARTS = 500
_SMALL_INLINE = 4_000
"""Inline images below this many bytes are logos and tracking marks, not what somebody sends."""
_NOISE = frozenset(
    {
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "text/x-amp-html",
    }
)
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,400})>")
_ADDRESS = re.compile(r"^[^\s@<>()\[\],;:\\\"]{1,64}@[^\s@<>()\[\],;:\\\"]{1,255}$")


@dataclass(frozen=True, slots=True)
class MailFile:
    """One attachment."""

    kind: AttachmentKind
    name: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """What was read from a mail.

    Attributes:
        sender: Address of `From`, lower case; empty if there is not exactly one.
        message_id: Without brackets; empty if missing.
        references: Ids of the thread, the oldest first, without brackets.
        text: All its text; quotes and signature are still in it.
        headers: Every header in order, names in lower case.
        sent_at: Unix time of `Date`; 0 if missing.
    """

    sender: str
    sender_name: str
    subject: str
    message_id: str
    references: tuple[str, ...]
    text: str
    files: tuple[MailFile, ...]
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    sent_at: float = 0.0

    def all(self, name: str) -> list[str]:
        """Values of a header, the topmost first."""
        return [value for key, value in self.headers if key == name]

    def first(self, name: str) -> str:
        """The topmost value of a header; empty without one."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def digest(self) -> str:
        """Of what it says: the same for every copy of a mail, whatever way it took."""
        parts = (
            self.first("date"),
            self.subject,
            self.text,
            *(f"{file.name} {len(file.data)}" for file in self.files),
        )
        return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:12]


def read_mail(data: bytes) -> Mail:
    """Read a mail."""
    raw: RawMail = BytesParser(policy=email.policy.compat32).parsebytes(data)
    headers = tuple((name.lower(), _unfold(value)) for name, value in raw.raw_items())
    by_name: dict[str, list[str]] = {}
    for name, value in headers:
        by_name.setdefault(name, []).append(value)
    sender, name = _sender(by_name.get("from", []))
    text, files = _content(raw)
    answered = _ids(by_name.get("in-reply-to", []))
    references = _ids(by_name.get("references", []))
    own_id = _ids(by_name.get("message-id", [])[:1])
    return Mail(
        sender=sender,
        sender_name=name,
        subject=" ".join(decode_text(next(iter(by_name.get("subject", [])), "")).split())[:500],
        message_id=own_id[0] if own_id else "",
        references=references + tuple(each for each in answered[:1] if each not in references),
        text=text,
        files=files,
        headers=headers,
        sent_at=_sent_at(next(iter(by_name.get("date", [])), "")),
    )


def read_anyhow(data: bytes) -> Mail:
    """Read a mail; of one that defeats `read_mail` its headers. It must not stop those behind it."""
    try:
        return read_mail(data)
    except Exception:  # noqa: BLE001 - whatever it is, it would come back with each look
        _LOG.exception("a mail cannot be read; only its headers are")
    head = re.split(rb"\r?\n\r?\n", data[:_MOST_TEXT_BYTES], maxsplit=1)[0]
    kept = [line for line in re.split(rb"\r?\n(?![ \t])", head) if not line.lower().startswith(b"content-")]
    try:
        return read_mail(b"\r\n".join(kept) + b"\r\n\r\n[The text of this mail could not be read.]\r\n")
    except Exception:  # noqa: BLE001 - as above
        _LOG.exception("its headers cannot be read either")
        return read_mail(b"")


def decode_text(value: str) -> str:
    """A header with encoded words (`=?utf-8?q?…?=`) as text."""
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError, LookupError):
        return value
    return "".join(
        piece if isinstance(piece, str) else _decode(piece, charset or "utf-8") for piece, charset in pieces
    )


def is_address(text: str) -> bool:
    """Whether a text is one plain address."""
    return bool(_ADDRESS.match(text))


def _unfold(value: object) -> str:
    text = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return re.sub(r"\r?\n[ \t]*", " ", text[:_LONGEST_HEADER])


def _sender(values: list[str]) -> tuple[str, str]:
    """Address and name; nothing if there is not exactly one sender: then nobody knows who it is."""
    if len(values) != 1:
        return "", ""
    # Names are decoded after the addresses are taken: an encoded word must not become an address.
    found = [(name, address) for name, address in getaddresses([values[0]]) if name or address]
    if len(found) != 1 or not is_address(found[0][1]):
        return "", ""
    return found[0][1].lower(), " ".join(decode_text(found[0][0]).split())[:100]


def _ids(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_MESSAGE_ID.findall(" ".join(values))))[:100]


def _sent_at(value: str) -> float:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0


def _content(raw: RawMail) -> tuple[str, tuple[MailFile, ...]]:
    texts: list[str] = []
    files: list[MailFile] = []
    for part, is_related in _leaves(raw):
        media_type = part.get_content_type()
        if media_type in _NOISE:
            continue
        is_attached = part.get_content_disposition() == "attachment" or bool(_file_name(part))
        if media_type in ("text/plain", "text/html") and not is_attached:
            text = _text(part)
            texts.append(html_to_text(text) if media_type == "text/html" else text)
            continue
        data = _bytes(part)
        if is_related and media_type.startswith("image/") and len(data) < _SMALL_INLINE:
            continue
        if len(files) < _MOST_ATTACHMENTS:
            files.append(MailFile(_kind(media_type), _name_of(part, media_type), media_type, data))
    text = "\n\n".join(part.strip("\r\n") for part in texts if part.strip())
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}\n[… {len(text) - MAX_TEXT:,} more characters]"
    return text, tuple(files)


def _leaves(raw: RawMail) -> list[tuple[RawMail, bool]]:
    """Parts in order; of alternatives the plain text if it says anything, otherwise the richest."""
    found: list[tuple[RawMail, bool]] = []
    waiting: list[tuple[RawMail, bool]] = [(raw, False)]
    seen = 0
    while waiting and seen < _MOST_PARTS:
        part, is_related = waiting.pop()
        seen += 1
        payload = part.get_payload()
        if part.get_content_type() == "message/rfc822" or not isinstance(payload, list):
            found.append((part, is_related))
            continue
        children = [child for child in payload if isinstance(child, Message)]
        if part.get_content_type() == "multipart/alternative":
            children = [_best(children)] if children else []
        related = is_related or part.get_content_type() == "multipart/related"
        waiting.extend((child, related) for child in reversed(children))
    return found


def _best(children: list[RawMail]) -> RawMail:
    for wanted in ("text/plain", "multipart/", "text/html"):
        for child in children:
            if not child.get_content_type().startswith(wanted):
                continue
            if wanted != "text/plain" or _text(child).strip():
                return child
    return children[-1]


def _text(part: RawMail) -> str:
    text = _decode(_bytes(part)[:_MOST_TEXT_BYTES], part.get_content_charset() or "utf-8")
    if str(part.get_param("format", "")).lower() == "flowed":
        text = _unflow(text)
    return text.replace("\r\n", "\n").replace("\0", "")


def _unflow(text: str) -> str:
    """Format=flowed: a space at the end of a line means that the paragraph goes on."""
    pieces: list[str] = []
    goes_on = False
    for index, line in enumerate(text.replace("\r\n", "\n").split("\n")):
        is_quote = line.startswith(">")
        if index and (not goes_on or is_quote):
            pieces.append("\n")
        pieces.append(line if is_quote else line.removeprefix(" "))
        goes_on = line.endswith(" ") and line != "-- " and not is_quote
    return "".join(pieces)


def _decode(data: bytes, charset: str) -> str:
    for name in (charset, "utf-8"):
        try:
            codecs.lookup(name)
            return data.decode(name)
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
    return data.decode("cp1252", "replace")


def _bytes(part: RawMail) -> bytes:
    if part.get_content_type() == "message/rfc822":
        children = part.get_payload()
        inner = children[0] if isinstance(children, list) and children else None
        try:
            return inner.as_bytes() if isinstance(inner, Message) else b""
        except (MessageError, LookupError, UnicodeError, ValueError, AttributeError, TypeError):
            return b""
    try:
        data = part.get_payload(decode=True)
    except (ValueError, LookupError, AttributeError, MessageError):
        data = None
    if isinstance(data, bytes):
        return data
    payload = part.get_payload()
    return payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else b""


def _file_name(part: RawMail) -> str:
    try:
        name = part.get_param("filename", None, "content-disposition") or part.get_param("name", None)
        return decode_text(collapse_rfc2231_value(name)) if name else ""
    except (LookupError, ValueError, TypeError, AttributeError):
        return ""


def _name_of(part: RawMail, media_type: str) -> str:
    name = re.sub(r"[\x00-\x1f/\\]+", "_", _file_name(part)).strip(". ")[-120:]
    if name:
        return name
    if media_type == "message/rfc822":
        return "message.eml"
    return f"attachment{mimetypes.guess_extension(media_type) or '.bin'}"


def _kind(media_type: str) -> AttachmentKind:
    for prefix, kind in (("image/", "image"), ("audio/", "audio"), ("video/", "video")):
        if media_type.startswith(prefix):
            return kind  # type: ignore[return-value]
    return "document"
