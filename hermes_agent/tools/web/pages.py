"""From the bytes of a page to readable text. What counts is what the bytes are, not what they claim."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from hermes_agent.core.egress import EgressError, Fetched
from hermes_agent.core.loading import load

Kind: TypeAlias = Literal["html", "text", "binary"]

MAX_HTML_BYTES: Final = 10_000_000
MIN_ARTICLE_CHARS: Final = 200
READ_SECONDS: Final = 30.0

_MAGIC: Final = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP or office file"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"RIFF", "an image or sound"),
    (b"\x1f\x8b", "a compressed file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\x00\x00\x00", "a video"),
    (b"ID3", "sound"),
    (b"OggS", "sound"),
)
_HTML: Final = re.compile(
    rb"^(?:\s|<!--.*?-->|<\?xml[^>]*>)*"
    rb"<(?:!doctype html|html|head|body|div|p|title|meta|script|article|main|h1)\b",
    re.IGNORECASE | re.DOTALL,
)
_META_CHARSET: Final = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """Readable text of a page."""

    url: str
    title: str
    text: str


async def read_page(found: Fetched) -> Page:
    """Make a page readable.

    Raises:
        EgressError: It is not text, or there is nothing in it.
    """
    kind, what = sniff(found)
    if kind == "binary":
        claim = f"The server calls it {found.media_type}." if found.media_type else None
        raise EgressError(
            f"{found.url} is {what}, not a page",
            why=claim,
            remedy="Download it with terminal if it is needed.",
        )
    text = decode(found)
    if kind == "text":
        return Page(found.url, "", _pretty(text, found.media_type))
    try:
        title, body = await asyncio.wait_for(asyncio.to_thread(_readable, text, found.url), READ_SECONDS)
    except TimeoutError as error:
        raise EgressError(f"{found.url} is too complicated to be read in time") from error
    if not body.strip():
        raise EgressError(
            f"{found.url} has no readable text",
            why="It is probably built by scripts in the browser, or empty.",
        )
    return Page(found.url, title, body)


def sniff(found: Fetched) -> tuple[Kind, str]:
    """What the bytes are: the kind, and in words what it is if it is binary."""
    head = found.body[:4096]
    for start, what in _MAGIC:
        if head.startswith(start):
            return "binary", what
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head.decode("utf-16", "ignore").encode()
    elif b"\x00" in head:
        return "binary", "binary data"
    if _HTML.match(head.removeprefix(codecs.BOM_UTF8)):
        return "html", ""
    odd = sum(byte < 9 or 13 < byte < 27 or byte == 127 for byte in head)
    if odd * 20 > len(head) and head:
        return "binary", "binary data"
    is_said_html = found.media_type in ("text/html", "application/xhtml+xml")
    return ("html" if is_said_html and b"<" in head else "text"), ""


def decode(found: Fetched) -> str:
    """The text: by mark, by the server's word, by the page's own, as UTF-8, and at last by Windows-1252."""
    data = found.body
    if data.startswith(codecs.BOM_UTF8):
        return data[3:].decode("utf-8", "replace")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    meta = _META_CHARSET.search(data[:4096])
    for name in (found.charset, meta[1].decode("ascii", "ignore") if meta else "", "utf-8"):
        try:
            return data.decode(name) if name else data.decode("utf-8")
        except (LookupError, UnicodeDecodeError, ValueError):
            continue
    # Cut in the middle of a character, or really something else.
    text = data.decode("utf-8", "replace")
    return text if text.count("\ufffd") <= max(3, len(text) // 200) else data.decode("cp1252", "replace")


def _pretty(text: str, media_type: str) -> str:
    if media_type.endswith("json") and len(text) < 200_000:
        try:
            return json.dumps(json.loads(text), indent=1, ensure_ascii=False)
        except ValueError:
            return text
    return text


def _readable(text: str, url: str) -> tuple[str, str]:
    """Title and Markdown of a page; runs in a thread."""
    tree = load("trafilatura:load_html")(text[:MAX_HTML_BYTES])
    if tree is None:
        return "", ""
    titles = tree.xpath("//title")
    title = " ".join((titles[0].text_content() if titles else "").split())[:300]
    extract = load("trafilatura:extract")
    body = extract(
        tree, url=url, output_format="markdown", include_links=True, include_tables=True, favor_recall=True
    )
    if body is None or len(body) < MIN_ARTICLE_CHARS:
        # A page that is no article (a list, a form): all of its text is better than a piece.
        whole = load("trafilatura:html2txt")(text[:MAX_HTML_BYTES])
        if len(whole or "") > 2 * len(body or ""):
            body = whole
    return title, body or ""
