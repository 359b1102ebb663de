"""Markdown to Slack's mrkdwn, and Slack's markup to plain text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from hermes_agent.gateway.platforms.tables import padding, table_rows, text_table

MAX_TEXT = 39_000
_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_MARKUP = re.compile(r"<([^<>\s][^<>]*)>")
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)
_LINE_GAIN = 4
"""A bullet takes two bytes more than a dash, a line below it is indented by four spaces."""
_MARKS = {"strong": "*", "em": "_", "s": "~"}
_UNSAFE_IN_LINKS = {"|": "%7C", "<": "%3C", ">": "%3E"}


def to_slack(markdown: str) -> str:
    """mrkdwn. `&`, `<` and `>` are escaped, so that nothing in an answer pings a channel."""
    return _blocks(SyntaxTreeNode(_PARSER.parse(markdown)).children, "\n\n")


def measure(text: str) -> int:
    """UTF-8 bytes, about those after translation and at least those of the escaped text.

    It is asked often: nothing is parsed. Slack cuts what is longer than 40,000 without a word, and counts
    bytes at least in edits.
    """
    if len(text) > 2 * MAX_TEXT:  # too long in any case: no need to look closer
        return len(text)
    indents = sum(len(found) for found in _INDENT.findall(text))
    return size(escape(text)) + padding(text) + indents + _LINE_GAIN * text.count("\n")


def size(text: str) -> int:
    """UTF-8 bytes."""
    return len(text.encode(errors="replace"))


def from_slack(text: str, name_of: Callable[[str], str]) -> str:
    """Plain text: mentions by name, links as they read, entities as characters.

    Args:
        text: As Slack delivers it.
        name_of: What to write for the mention of a user id.
    """
    plain = _MARKUP.sub(lambda found: _plain(found[1], name_of), text)
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()


def escape(text: str) -> str:
    """Slack's three entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(markup: str, name_of: Callable[[str], str]) -> str:
    target, _, label = markup.partition("|")
    if target.startswith("@"):
        return name_of(target[1:])
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    if label and target not in (label, f"mailto:{label}") and not target.endswith(f"//{label}"):
        return f"{label} ({target})"
    return target.removeprefix("mailto:")


def _blocks(nodes: Iterable[SyntaxTreeNode], separator: str) -> str:
    return separator.join(text for text in map(_block, nodes) if text)


def _block(node: SyntaxTreeNode) -> str:
    return _BLOCKS.get(node.type, _container)(node)


def _container(node: SyntaxTreeNode) -> str:
    return _blocks(node.children, "\n\n")


def _paragraph(node: SyntaxTreeNode) -> str:
    return _inline(node.children)


def _heading(node: SyntaxTreeNode) -> str:
    text = _inline(node.children, plain=frozenset({"strong"})).strip()
    return f"*{text}*" if text else ""


def _quote(node: SyntaxTreeNode) -> str:
    return "\n".join(f"> {line}" for line in _container(node).split("\n"))


def _list(node: SyntaxTreeNode) -> str:
    start = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else 0
    lines: list[str] = []
    for number, item in enumerate(node.children, start):
        head = f"{number}." if node.type == "ordered_list" else "•"
        first, *rest = _blocks(item.children, "\n").split("\n") or [""]
        lines += [f"{head} {first}", *(f"    {line}" for line in rest)]
    return "\n".join(lines)


def _code(content: str) -> str:
    text = escape(content.rstrip()).replace("```", "``\u200b`")
    return f"```\n{text}\n```"


_BLOCKS: dict[str, Callable[[SyntaxTreeNode], str]] = {
    "paragraph": _paragraph,
    "inline": _paragraph,
    "heading": _heading,
    "bullet_list": _list,
    "ordered_list": _list,
    "fence": lambda node: _code(node.content),
    "code_block": lambda node: _code(node.content),
    "blockquote": _quote,
    "table": lambda node: _code(text_table(table_rows(node.to_tokens()))),
    "hr": lambda _node: "──────────",
    "html_block": lambda node: escape(node.content.rstrip("\n")),
}


def _inline(nodes: Sequence[SyntaxTreeNode], *, plain: frozenset[str] = frozenset()) -> str:
    parts: list[str] = []
    for node in nodes:
        kind = node.type
        if kind == "inline":
            parts.append(_inline(node.children, plain=plain))
        elif kind in ("text", "html_inline", "text_special"):
            parts.append(escape(node.content))
        elif kind in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif kind == "code_inline":
            parts.append(f"`{escape(node.content)}`")
        elif kind in _MARKS:
            mark = "" if kind in plain else _MARKS[kind]
            parts.append(f"{mark}{_inline(node.children, plain=plain)}{mark}")
        elif kind == "link":
            parts.append(_link(str(node.attrs.get("href", "")), _inline(node.children, plain=plain)))
        elif kind == "image":
            parts.append(_link(str(node.attrs.get("src", "")), escape(node.content)))
    return "".join(parts)


def _link(address: str, label: str) -> str:
    if not re.match(r"(https?|mailto|tel|slack):", address):
        return f"{label} ({escape(address)})" if address else label
    for character, code in _UNSAFE_IN_LINKS.items():
        address = address.replace(character, code)
    address = address.replace("&", "&amp;")
    label = label.replace("|", "¦").replace("\n", " ").strip()
    return f"<{address}|{label}>" if label and label != address else f"<{address}>"
