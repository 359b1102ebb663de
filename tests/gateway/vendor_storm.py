"""People write to a bot whose gateway is killed again and again."""

from __future__ import annotations

import random
import re
import sqlite3
import time
from collections.abc import Callable, Sequence

from vendor_process import VendorGateway
from vendor_server import VendorServer

TOKEN = re.compile(r"token-(\d+)")
QUEUEING = {
    "display": {"busy_input_mode": "queue", "tool_progress": "off", "interim_assistant_messages": False}
}


def storm(
    gateway: VendorGateway,
    server: VendorServer,
    write: Callable[[int, str], object],
    chats: Sequence[int],
    connections: Callable[[], int],
    kills: int,
) -> dict[int, list[int]]:
    """Write while killing; returns the tokens of each chat in order.

    Args:
        write: Says a text in one of the chats.
        connections: How often the gateway has connected.
    """
    rng = random.Random(kills)
    said: dict[int, list[int]] = {chat: [] for chat in chats}
    number = 0

    def write_some(least: int) -> None:
        nonlocal number
        for _ in range(rng.randint(least, 3)):
            chat = rng.choice(chats)
            number += 1
            write(chat, f"token-{number}")
            said[chat].append(number)

    gateway.is_measured = False
    for round_number in range(kills):
        gateway.start(wait=False)
        before = connections()
        if round_number:
            write_some(0)
        if rng.random() < 0.9:
            server.wait_for(lambda before=before: connections() > before)
            write_some(1)
            time.sleep(rng.uniform(0.0, 0.3))
        else:
            time.sleep(rng.uniform(0.1, 0.6))
        gateway.kill()
    gateway.is_measured = True
    gateway.start()
    total = sum(map(len, said.values()))
    server.wait_for(lambda: is_settled(gateway, total), timeout=60)
    return said


def is_settled(gateway: VendorGateway, total: int) -> bool:
    with sqlite3.connect(f"file:{gateway.home.state_db}?mode=ro", uri=True) as db:
        (open_in,) = db.execute("SELECT count(*) FROM inbox WHERE state != 'done'").fetchone()
        (open_out,) = db.execute(
            "SELECT count(*) FROM outbox WHERE state IN ('waiting', 'sending')"
        ).fetchone()
        (received,) = db.execute("SELECT count(*) FROM inbox").fetchone()
    return bool(received >= total and not open_in and not open_out)


def tokens(texts: Sequence[str]) -> list[int]:
    """Each answer names its tokens (several messages may have been joined)."""
    return [int(number) for text in texts for number in dict.fromkeys(TOKEN.findall(text))]


def unknown(gateway: VendorGateway) -> set[int]:
    """Tokens of answers of which nobody knows whether they arrived."""
    with sqlite3.connect(f"file:{gateway.home.state_db}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT payload FROM outbox WHERE state = 'unknown'").fetchall()
    return {int(number) for (payload,) in rows for number in TOKEN.findall(payload)}


def given_up(gateway: VendorGateway) -> set[int]:
    """Tokens whose runs were killed so often (ten times) that the person was told so instead."""
    with sqlite3.connect(f"file:{gateway.home.state_db}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT payload FROM inbox WHERE outcome = 'failed' AND attempts >= 10").fetchall()
    return {int(number) for (payload,) in rows for number in TOKEN.findall(payload)}
