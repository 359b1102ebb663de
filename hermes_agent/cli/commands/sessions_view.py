"""How `hermes sessions` prints sessions and conversations."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from hermes_agent.cli.chat.wording import shown_output
from hermes_agent.cli.output import terminal_width
from hermes_agent.core.session import SearchHit, SessionRecord
from hermes_agent.store.transfer import session_json

_SHORT_RESULT: Final = 300
_MARKS: Final = re.compile(r">>>(.*?)<<<", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def print_sessions(records: Sequence[SessionRecord], *, as_json: bool) -> None:
    """One line per session."""
    if as_json:
        for record in records:
            print_json(session_json(record) | {"preview": record.preview})
        return
    if not records:
        click.echo("There are no sessions yet.")
        return
    width = terminal_width() if sys.stdout.isatty() else 140
    click.echo(click.style(f"{'ID':<22}  {'LAST USED':<12}  MSGS  {'SOURCE':<8}  TITLE", fg="bright_black"))
    for record in records:
        click.echo(line(record, width))


def line(record: SessionRecord, width: int) -> str:
    """`id  when  messages  source  title or preview`, cut to fit."""
    moment = when(record.last_active_at)
    head = f"{record.id:<22}  {moment:<12}  {record.message_count:>4}  {plain(record.source):<8}  "
    text = plain(record.title or record.preview or "(empty)")
    room = max(10, width - len(head))
    cells = 0
    for index, char in enumerate(text):
        cells += 2 if "\u1100" <= char <= "\uffdc" or char >= "\U0001f300" else 1
        if cells > room:
            text = text[: max(0, index - 1)] + "…"
            break
    return head + text


def show(found: dict[str, Any], *, with_tools: bool) -> None:
    """Print a conversation (`session_json` with `messages`)."""
    title = f" · {found['title']}" if found["title"] else ""
    click.echo(click.style(plain(f"{found['id']}{title}"), bold=True))
    details = (found["model"], found["source"], when(found["started_at"]), found["cwd"])
    click.echo(plain(" · ".join(str(detail) for detail in details if detail)))
    for message in found["messages"]:
        click.echo()
        role = message["role"]
        if role == "tool":
            text = shown_output(message["content"])
            if not with_tools and len(text) > _SHORT_RESULT:
                text = f"{text[:_SHORT_RESULT].rstrip()} … ({len(text):,} characters; --tools shows all)"
            click.echo(click.style(f"{message['tool_name']}:", fg="bright_black"))
            click.echo(plain(text))
            continue
        note = " (interrupted)" if message.get("finish_reason") == "interrupted" else ""
        click.echo(click.style(f"{'You' if role == 'user' else 'Hermes'}{note}:", fg="cyan", bold=True))
        if message["content"]:
            click.echo(plain(message["content"]))
        for _ in message.get("images", ()):
            click.echo("[image]")
        for call in message.get("tool_calls", ()):
            arguments = call["function"]["arguments"]
            if not with_tools and len(arguments) > _SHORT_RESULT:
                arguments = f"{arguments[:_SHORT_RESULT]} …"
            click.echo(plain(f"→ {call['function']['name']} {arguments}"))


def plain(text: str) -> str:
    """Text without control characters: what a tool has printed must not steer this terminal."""
    return _CONTROL.sub("", text)


def when(moment: float) -> str:
    """`14:05` today, `21 Nov` this year, `2025-11-21` before."""
    then, now = time.localtime(moment), time.localtime()
    if then[:3] == now[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%d %b %H:%M" if then[0] == now[0] else "%Y-%m-%d", then)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def show_hits(hits: Sequence[SearchHit], *, color: bool) -> None:
    """Print search hits: where, then the passage."""
    if not hits:
        click.echo("Nothing found.")
    for hit in hits:
        title = f" {plain(hit.session_title)}" if hit.session_title else ""
        head = click.style(f"{hit.session_id}{title}", bold=True)
        click.echo(f"{head} · {hit.role} · {when(hit.timestamp)}")
        snippet = plain(hit.snippet)
        if color:
            snippet = _MARKS.sub(lambda match: click.style(match[1], fg="yellow", bold=True), snippet)
        click.echo(f"  {snippet}")
