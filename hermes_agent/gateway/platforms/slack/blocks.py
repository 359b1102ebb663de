"""What a message of ours consists of: mrkdwn text, Block Kit where buttons or length ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hermes_agent.core.platform import Button
from hermes_agent.gateway.platforms.slack.formatting import MAX_TEXT, escape, size, to_slack
from hermes_agent.gateway.splitting import split_text

MAX_EDIT_BYTES = 3_900
"""`chat.update` takes 4,000 bytes of text, `chat.postMessage` 40,000 characters."""
MAX_EDIT_TEXT = 12_000
"""Characters: what the blocks of one message hold together, with some room."""
_SECTION = 2_900
_STYLES = {"good": "primary", "bad": "danger"}
_MAX_BUTTONS = 25


def translated(markdown: str) -> str:
    """mrkdwn within the limit."""
    # A text of nothing but link definitions shows nothing, and Slack takes no empty message.
    text = to_slack(markdown) or escape(markdown)
    return text if size(text) <= MAX_TEXT else _cut(escape(markdown), MAX_TEXT)


def body(markdown: str, buttons: Sequence[Button], *, is_edit: bool) -> dict[str, Any] | None:
    """`text` and `blocks` of a message; None if it is too long for an edit.

    Without blocks an edit takes those away that were there.
    """
    text = translated(markdown)
    is_long_edit = is_edit and size(text) > MAX_EDIT_BYTES
    if is_long_edit and len(text) > MAX_EDIT_TEXT:
        return None
    if not buttons and not is_long_edit:
        return {"text": text, "blocks": []} if is_edit else {"text": text}
    blocks: list[dict[str, Any]] = [
        {"type": "section", "expand": True, "text": {"type": "mrkdwn", "text": piece, "verbatim": True}}
        for piece in split_text(text, _SECTION)
    ]
    if buttons:
        blocks.append({"type": "actions", "elements": [_button(each, n) for n, each in enumerate(buttons)]})
    # Beside blocks the text is what notifications show.
    return {"text": _cut(text, MAX_EDIT_BYTES), "blocks": blocks[:50]}


def settled(message: Mapping[str, Any], verdict: str) -> dict[str, Any]:
    """A message of ours without its buttons, with how the question was settled (mrkdwn)."""
    kept = [
        each
        for each in message.get("blocks") or ()
        if isinstance(each, dict) and each.get("type") == "section"
    ]
    line = {"type": "context", "elements": [{"type": "mrkdwn", "text": verdict}]}
    return {"text": _cut(str(message.get("text") or verdict), MAX_EDIT_BYTES), "blocks": [*kept, line]}


def _cut(text: str, limit: int) -> str:
    return text.encode(errors="replace")[:limit].decode(errors="ignore")


def _button(button: Button, number: int) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "button",
        "action_id": f"hermes_{number}",
        "text": {"type": "plain_text", "text": button.label[:75], "emoji": True},
        "value": button.value,
    }
    if button.style in _STYLES:
        shown["style"] = _STYLES[button.style]
    return shown
