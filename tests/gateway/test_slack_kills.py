"""Slack: the gateway is killed with SIGKILL again and again while people write."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

pytest.importorskip("slack_sdk", reason="the extra slack is not installed")

from slack_server import ALICE, APP_TOKEN, BOB, BOT_TOKEN, FREE, SlackServer
from vendor_process import make_gateway
from vendor_storm import QUEUEING, given_up, storm, tokens, unknown

from hermes_agent.config.paths import Home

KILLS = int(os.environ.get("HERMES_TEST_KILLS", "5"))


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_answered_twice_and_what_is_missing_is_called_unknown(home: Home) -> None:
    with SlackServer() as server:
        extra = {
            "api_base": server.api_base,
            "allowed_users": [ALICE, BOB],
            "free_response_channels": [FREE],
            "reply_in_thread": False,
            "messages_per_second": 1000,
        }
        gateway = make_gateway(home, "slack", BOT_TOKEN, extra)
        gateway.settings, gateway.env = QUEUEING, {"SLACK_APP_TOKEN": APP_TOKEN}
        names = [server.direct(ALICE), server.direct(BOB), FREE]
        for name in names:
            server.messages.setdefault(name, [])
        try:

            def write(chat: int, text: str) -> None:
                server.say(text, channel=names[chat], user=BOB if chat == 1 else ALICE)

            said = storm(gateway, server, write, (0, 1, 2), lambda: server.opened, KILLS)
            missing = unknown(gateway) | given_up(gateway)
            for chat, name in enumerate(names):
                answered = tokens(server.texts(name))
                assert max(Counter(answered).values(), default=1) == 1
                assert answered == [token for token in said[chat] if token in answered]
                assert set(said[chat]) - set(answered) <= missing
            assert gateway.stop() == 0
        finally:
            gateway.end()


@pytest.mark.timeout(300)
def test_cuts_of_the_connection_lose_nothing_and_keep_the_order(home: Home) -> None:
    with SlackServer() as server:
        server.messages[server.direct(ALICE)] = []
        extra = {"api_base": server.api_base, "allowed_users": [ALICE], "messages_per_second": 1000}
        gateway = make_gateway(home, "slack", BOT_TOKEN, extra)
        gateway.settings, gateway.env = QUEUEING, {"SLACK_APP_TOKEN": APP_TOKEN}
        rng = random.Random(KILLS)
        number = 0
        try:
            gateway.start()
            for _ in range(3 * KILLS):
                for _ in range(rng.randint(1, 4)):
                    number += 1
                    server.say(f"token-{number}")
                server.redelivers = rng.random() < 0.5
                opened = server.opened
                if rng.random() < 0.5:
                    server.cut()
                else:
                    server.frame({"type": "disconnect", "reason": "warning"})
                server.wait_for(lambda opened=opened: server.opened > opened)
            expected = list(range(1, number + 1))
            server.wait_for(lambda: len(tokens(server.texts(server.direct(ALICE)))) >= number, timeout=60)
            assert tokens(server.texts(server.direct(ALICE))) == expected
        finally:
            gateway.end()
