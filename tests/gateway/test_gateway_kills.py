"""The proof: the gateway is killed with SIGKILL again and again while people write to it."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest
from gateway_process import Gateway
from loopback_server import LoopbackServer, Shown

from hermes_agent.config.paths import Home

KILLS = int(os.environ.get("HERMES_TEST_KILLS", "6"))
"""More with `HERMES_TEST_KILLS=200 pytest tests/gateway/test_gateway_kills.py`."""

CHATS = ("c1", "c2", "c3")
TOKEN = re.compile(r"token-(\d+)")


def tokens_of(shown: Shown) -> list[int]:
    return [int(number) for number in dict.fromkeys(TOKEN.findall(shown.text))]


def storm(gateway: Gateway, server: LoopbackServer, kills: int, seed: int) -> dict[str, list[int]]:
    """Write while killing; returns the tokens of each chat in order."""
    rng = random.Random(seed)
    said: dict[str, list[int]] = {chat: [] for chat in CHATS}
    number = 0

    def write() -> None:
        nonlocal number
        for _ in range(rng.randint(0, 3)):
            chat = rng.choice(CHATS)
            number += 1
            text = f"$ echo token-{number}" if rng.random() < 0.3 else f"token-{number}"
            server.say(text, chat=chat)
            said[chat].append(number)

    gateway.is_measured = False
    for _ in range(kills):
        gateway.start(wait=False)
        assert gateway.process is not None
        write()
        polls = server.polls_begun
        if rng.random() < 0.9:  # most kills hit a gateway that is working, some one that is starting
            server.wait_for(
                lambda before=polls: server.polls_begun > before or gateway.process.poll() is not None
            )
            write()
            time.sleep(rng.uniform(0.0, 0.25))
        else:
            time.sleep(rng.uniform(0.1, 0.5))
        gateway.kill()
    gateway.is_measured = True
    gateway.start()
    total = sum(map(len, said.values()))

    def everything_is_settled() -> bool:
        with sqlite3.connect(f"file:{gateway.home.state_db}?mode=ro", uri=True) as db:
            (open_in,) = db.execute("SELECT count(*) FROM inbox WHERE state != 'done'").fetchone()
            (open_out,) = db.execute(
                "SELECT count(*) FROM outbox WHERE state IN ('waiting', 'sending')"
            ).fetchone()
            (received,) = db.execute("SELECT count(*) FROM inbox").fetchone()
        return received == total and not open_in and not open_out

    server.wait_for(everything_is_settled, timeout=60)
    return said


def answers(server: LoopbackServer, chat: str) -> list[Shown]:
    return [each for each in server.shown if each.chat_id == chat and TOKEN.search(each.text)]


@pytest.mark.timeout(600)
def test_nothing_is_lost_answered_twice_or_out_of_order(home: Home) -> None:
    with LoopbackServer() as server:
        gateway = Gateway(home, server, settings=queueing(), extra={"messages_per_second": 1000})
        try:
            said = storm(gateway, server, KILLS, seed=KILLS)
            for chat in CHATS:
                answered = [token for each in answers(server, chat) for token in tokens_of(each)]
                assert answered == said[chat], gateway.output()[-3000:]
            assert gateway.stop() == 0
        finally:
            end(gateway)


@pytest.mark.timeout(600)
def test_a_platform_that_shows_resends_never_sees_one_and_what_is_missing_is_called_unknown(
    home: Home,
) -> None:
    with LoopbackServer(recognises_resends=False) as server:
        extra = {"messages_per_second": 1000, "recognises_resends": False}
        gateway = Gateway(home, server, settings=queueing(), extra=extra)
        try:
            said = storm(gateway, server, max(3, KILLS // 4), seed=7)
            unknown = unknown_tokens(home.state_db)
            for chat in CHATS:
                answered = [token for each in answers(server, chat) for token in tokens_of(each)]
                assert max(Counter(answered).values(), default=1) == 1
                assert answered == [token for token in said[chat] if token in answered]
                assert set(said[chat]) - set(answered) <= unknown
        finally:
            end(gateway)


def queueing() -> dict[str, object]:
    return {
        "display": {"busy_input_mode": "queue", "tool_progress": "off", "interim_assistant_messages": False}
    }


def unknown_tokens(database: Path) -> set[int]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        rows = db.execute("SELECT payload FROM outbox WHERE state = 'unknown'").fetchall()
    return {int(number) for (payload,) in rows for number in TOKEN.findall(payload)}


def end(gateway: Gateway) -> None:
    if gateway.process is not None and gateway.process.poll() is None:
        gateway.process.kill()
        gateway.process.wait(10)
