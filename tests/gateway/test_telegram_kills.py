"""The gateway is killed again and again while people write on Telegram: nothing is lost or answered twice."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import time
from collections import Counter

import pytest
from telegram_server import OWNER, TelegramGateway, TelegramServer

from hermes_agent.config.paths import Home

KILLS = max(4, int(os.environ.get("HERMES_TEST_KILLS", "0")) // 4)
CHATS = (OWNER, 5, 6)
TOKEN = re.compile(r"token-(\d+)")


def tokens(text: str) -> list[int]:
    return [int(number) for number in dict.fromkeys(TOKEN.findall(text))]


@pytest.mark.timeout(600)
def test_nothing_is_lost_answered_twice_or_out_of_order_on_telegram(home: Home) -> None:
    rng = random.Random(KILLS)
    said: dict[int, list[int]] = {chat: [] for chat in CHATS}
    with TelegramServer() as telegram:
        gateway = TelegramGateway(home, telegram, extra={"messages_per_second": 1000})  # type: ignore[arg-type]
        gateway.env = {"TELEGRAM_ALLOWED_USERS": ",".join(map(str, CHATS))}
        gateway.settings = {
            "display": {
                "busy_input_mode": "queue",
                "tool_progress": "off",
                "interim_assistant_messages": False,
            }
        }

        def write() -> None:
            for _ in range(rng.randint(1, 3)):
                chat = rng.choice(CHATS)
                number = sum(map(len, said.values())) + 1
                said[chat].append(number)
                telegram.say(f"token-{number}", chat=chat, user=chat)

        def is_settled() -> bool:
            with sqlite3.connect(f"file:{home.state_db}?mode=ro", uri=True) as db:
                rows = db.execute(
                    "SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM inbox WHERE state != 'done'),"
                    " (SELECT count(*) FROM outbox WHERE state IN ('waiting', 'sending'))"
                ).fetchone()
            return tuple(rows) == (sum(map(len, said.values())), 0, 0)

        try:
            for _ in range(KILLS):
                polls = len(telegram.called("getUpdates"))
                gateway.start(wait=False)
                write()
                telegram.wait_for(lambda before=polls: len(telegram.called("getUpdates")) > before)
                write()
                time.sleep(rng.uniform(0.0, 0.3))
                gateway.kill()
            gateway.start()
            telegram.wait_for(is_settled, timeout=60)
            with sqlite3.connect(f"file:{home.state_db}?mode=ro", uri=True) as db:
                rows = db.execute("SELECT payload FROM outbox WHERE state = 'unknown'").fetchall()
            unknown = {token for (payload,) in rows for token in tokens(payload)}
            for chat in CHATS:
                answered = [token for text in telegram.texts(chat) for token in tokens(text)]
                assert max(Counter(answered).values(), default=1) == 1
                assert answered == [token for token in said[chat] if token in answered]
                assert set(said[chat]) - set(answered) <= unknown
        finally:
            if gateway.process is not None and gateway.process.poll() is None:
                gateway.process.kill()
                gateway.process.wait(10)
