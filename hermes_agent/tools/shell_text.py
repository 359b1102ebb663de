"""Texts of a shell: where quotes and brackets end, escapes, brace lists, what plain programs write. Pure."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Sequence

MAX_NESTING = 24


def closing(text: str, at: int, opening: str = "(", close: str = ")", nesting: int = 0) -> int:
    """Index of the bracket that closes the one before `at`; the end of the text if there is none."""
    if nesting > MAX_NESTING:
        return len(text)
    depth = 1
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif char == "'" and close == ")":
            end = text.find("'", at + 1)
            at = len(text) if end < 0 else end
        elif char == '"':
            at = quote_end(text, at + 1, nesting)
        elif char == opening:
            depth += 1
        elif char == close:
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return len(text)


def quote_end(text: str, at: int, nesting: int) -> int:
    """Index of the double quote that ends a string which began before `at`."""
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 1
        elif text.startswith("$(", at):
            at = closing(text, at + 2, nesting=nesting + 1)
        at += 1
    return at


def ansi_end(text: str, at: int) -> int:
    """Index of the quote that ends a `$'…'` which began before `at`."""
    while at < len(text) and text[at] != "'":
        at += 2 if text[at] == "\\" else 1
    return min(at, len(text))


def ansi(text: str) -> str:
    r"""Escapes such as `\x72` and `\162`, as in `$'…'`, `printf` and `echo -e`."""
    try:
        return codecs.decode(
            text.replace(r"\e", r"\x1b").encode("latin-1", "backslashreplace"), "unicode_escape"
        )
    except (UnicodeDecodeError, ValueError):
        return text


def brace_list(word: str, limit: int = 64) -> list[str]:
    """`{a,b}c` as `ac`, `bc`."""
    match = re.search(r"\{([^{}]*,[^{}]*)\}", word)
    if match is None or limit <= 1:
        return [word]
    head, tail = word[: match.start()], word[match.end() :]
    parts = match[1].split(",")
    return [found for part in parts for found in brace_list(head + part + tail, limit // len(parts))]


def printf(arguments: Sequence[str]) -> str:
    """What `printf` writes."""
    shape, *values = arguments
    if "%" not in shape:
        return ansi(shape)
    if not values:
        return ansi(re.sub(r"%[sbqd]", "", shape))
    size = max(1, len(re.findall(r"%[sbqdx]", shape)))
    found = []
    for index in range(0, min(len(values), 200), size):
        batch = iter(values[index : index + size])
        found.append(re.sub(r"%[sbqdx]", lambda _match, batch=batch: next(batch, ""), shape))  # type: ignore[misc]
    return ansi("".join(found))


def filtered(name: str, arguments: Sequence[str], text: str | None) -> str | None:
    """What a filter such as `base64 -d` makes of a text; None if that is not plain to see."""
    if text is None:
        return None
    try:
        if name == "rev":
            return "\n".join(line[::-1] for line in text.split("\n"))
        if name in ("base64", "openssl") and any(a in ("-d", "-D", "--decode", "-di") for a in arguments):
            return base64.b64decode("".join(text.split()) + "==").decode("utf-8", "replace")
        if name == "base32" and any(a in ("-d", "--decode") for a in arguments):
            return base64.b32decode("".join(text.split())).decode("utf-8", "replace")
        if name == "xxd" and any("r" in a for a in arguments if a.startswith("-")):
            return bytes.fromhex("".join(text.split())).decode("utf-8", "replace")
    except (ValueError, binascii.Error):
        return None
    return None
