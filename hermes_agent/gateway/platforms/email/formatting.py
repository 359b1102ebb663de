"""From an answer to a mail: the Markdown as text, and the same as HTML."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import formatdate
from functools import cache

from markdown_it import MarkdownIt

from hermes_agent.core.platform import OutgoingPart
from hermes_agent.gateway.platforms.email.threads import Thread, own_id

_MOST_SUBJECT = 70
# Lines are long: shorter ones would encode ids that do not fit. Bodies of 7 bits pass every server.
_POLICY = EmailPolicy(linesep="\r\n", max_line_length=990, cte_type="7bit")
_STYLE = (
    "body{font-family:sans-serif;line-height:1.45}pre,code{font-family:monospace;background:#f4f4f4}"
    "pre{padding:.6em;overflow:auto}table{border-collapse:collapse}"
    "td,th{border:1px solid #bbb;padding:.2em .5em}"
    "blockquote{border-left:3px solid #bbb;margin-left:0;padding-left:.8em}"
)


@dataclass(frozen=True, slots=True)
class Letter:
    """Who writes to whom, and in which thread. `file` is the content of an attached file."""

    sender: str
    sender_name: str
    part: OutgoingPart
    thread: Thread
    file: bytes = b""


def compose(letter: Letter) -> EmailMessage:
    """The mail of one part. Its Message-ID is the same for every try of the same part."""
    part, thread = letter.part, letter.thread
    is_plain = letter.sender.isascii() and part.address.chat_id.isascii()
    message = EmailMessage(policy=_POLICY.clone(utf8=not is_plain))
    message["From"] = (
        f"{_quoted(letter.sender_name)} <{letter.sender}>" if letter.sender_name else letter.sender
    )
    message["To"] = part.address.chat_id
    message["Subject"] = _subject(part, thread)
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = f"<{message_id(letter)}>"
    answered = part.reply_to_id.rpartition("#")[0] or (thread.ids[-1] if thread.ids else "")
    if answered:
        ids = (*(each for each in thread.ids if each != answered), answered)
        message["In-Reply-To"] = f"<{_clean(answered)}>"
        message["References"] = " ".join(f"<{_clean(each)}>" for each in ids)
    # So that other machines do not answer (RFC 3834).
    message["Auto-Submitted"] = "auto-replied" if answered else "auto-generated"
    _fill(message, letter)
    return message


def message_id(letter: Letter) -> str:
    """Made of the part's key and what it says: a key alone begins again with a new database."""
    part = letter.part
    name = part.file.name or part.file.path if part.file is not None else ""
    digest = hashlib.sha256(
        "\0".join((part.key, str(part.address), part.text, name)).encode("utf-8", "replace") + letter.file
    ).hexdigest()
    return own_id(part.address.thread_id, digest, letter.sender.rpartition("@")[2])


def to_html(markdown: str) -> str:
    """The HTML alternative; raw HTML of the answer is shown, not obeyed."""
    body = _renderer().render(markdown)
    head = f'<head><meta charset="utf-8"><style>{_STYLE}</style></head>'
    return f"<!DOCTYPE html><html>{head}<body>{body}</body></html>"


@cache
def _renderer() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"])
    # Nothing is loaded from elsewhere when a mail is read.
    made.disable("image")
    return made


def _fill(message: EmailMessage, letter: Letter) -> None:
    part = letter.part
    text = _encodable(part.text)
    if part.file is None:
        message.set_content(text)
        message.add_alternative(to_html(text), subtype="html")
        return
    name = _clean(part.file.name or part.file.path.rpartition("/")[2] or "file")
    message.set_content(_encodable(text or part.file.caption or f"{name} is attached."))
    kind, _, subtype = (mimetypes.guess_type(name)[0] or "application/octet-stream").partition("/")
    params = {"charset": "utf-8"} if kind == "text" and _is_utf8(letter.file) else None
    message.add_attachment(letter.file, maintype=kind, subtype=subtype, filename=name, params=params)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _subject(part: OutgoingPart, thread: Thread) -> str:
    if subject := _clean(thread.subject):
        return subject if re.match(r"(re|aw|sv|antw)\s*:", subject, re.IGNORECASE) else f"Re: {subject}"
    if thread.ids:
        return "Re: your mail"
    lines = (re.sub(r"[*_`#>\[\]]", "", line).strip() for line in part.text.splitlines())
    first = _clean(next((line for line in lines if line), "")) or "A message for you"
    return first if len(first) <= _MOST_SUBJECT else f"{first[: _MOST_SUBJECT - 1]}…"


def _quoted(name: str) -> str:
    return '"' + _clean(name).replace("\\", "").replace('"', "") + '"'


def _clean(text: str) -> str:
    """For a header: one line, no control characters."""
    return _encodable(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text)).strip()


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
