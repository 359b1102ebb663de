"""What of a message is searchable, and how text is cut into words.

SQLite's `unicode61` tokenizer takes a run of letters and digits as one word. Scripts that are written
without spaces would become one long word per sentence, so their characters are set apart here, in the
indexed text and in queries alike, and a word of several characters becomes a phrase.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

from hermes_agent.store.rows import calls_of, clean, content_text

INDEX_FORMAT: Final = 1
"""Raise it when this module changes what is indexed: indexes of an older format are built anew."""

_TOOL_OUTPUT_HEAD: Final = 6_000
_TOOL_OUTPUT_TAIL: Final = 2_000
_ARGUMENTS: Final = 2_000
_LONGEST: Final = 200_000

# Thai, Lao, Burmese, Khmer; kana, bopomofo, CJK and its extensions; Hangul (particles stick to words).
_UNSPACED: Final = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u318f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff])"
)

MESSAGE_COLUMNS: Final = "role, content, tool_name, tool_calls"
"""Columns that `searchable` takes."""


def searchable(role: str, content: Any, tool_name: Any, tool_calls: Any) -> str:
    """The text of a message that is indexed and that snippets are cut from.

    Of tool output the beginning and the end; of tool calls the names and the beginning of the arguments.
    """
    text = content_text(content)
    if role == "tool":
        if len(text) > _TOOL_OUTPUT_HEAD + _TOOL_OUTPUT_TAIL:
            text = f"{text[:_TOOL_OUTPUT_HEAD]}\n…\n{text[-_TOOL_OUTPUT_TAIL:]}"
        if isinstance(tool_name, str) and tool_name:
            text = f"{text}\n{tool_name}"
    elif len(text) > _LONGEST:
        text = text[:_LONGEST]
    if tool_calls:
        lines = [f"{call.name} {_readable(call.arguments[:_ARGUMENTS])}" for call in calls_of(tool_calls)]
        text = clean("\n".join([text, *lines] if text else lines))
    return text


def set_apart(text: str) -> str:
    """The text with a space around each character of scripts that have no spaces."""
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)


def fold(text: str) -> str:
    """Lower case without accents, one character for one, so that positions stay."""
    if text.isascii():
        return text.lower()
    return "".join(
        char.lower() if char < "\x80" else unicodedata.normalize("NFD", char)[0].lower()[:1] for char in text
    )


def _readable(arguments: str) -> str:
    """JSON text with its escapes turned into what they stand for, cheaply."""
    if "\\" not in arguments:
        return arguments
    return arguments.replace("\\n", "\n").replace("\\t", " ").replace('\\"', '"').replace("\\\\", "\\")
