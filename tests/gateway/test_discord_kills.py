"""Discord: the gateway is killed with SIGKILL again and again while people write."""

from __future__ import annotations

import os
import random

import pytest

pytest.importorskip("discord", reason="the extra discord is not installed")

from discord_server import ALICE, BOB, FREE, TOKEN, DiscordServer
from vendor_process import make_gateway
from vendor_storm import QUEUEING, given_up, storm, tokens

from hermes_agent.config.paths import Home

KILLS = int(os.environ.get("HERMES_TEST_KILLS", "5"))


@pytest.mark.timeout(900)
def test_nothing_is_lost_answered_twice_or_out_of_order(home: Home) -> None:
    with DiscordServer() as server:
        extra = {
            "api_base": server.api_base,
            "allowed_users": [str(ALICE), str(BOB)],
            "free_response_channels": [str(FREE)],
            "messages_per_second": 1000,
        }
        gateway = make_gateway(home, "discord", TOKEN, extra)
        gateway.settings = QUEUEING
        chats = (server.direct(ALICE), server.direct(BOB), FREE)
        try:
            gateway.start()  # from now on it knows these two
            for user in (ALICE, BOB):
                server.say("hello", user=user)
                server.wait_for(lambda user=user: server.texts(server.direct(user)))
            gateway.stop()

            def write(chat: int, text: str) -> None:
                server.say(text, channel=chat, user=BOB if chat == server.direct(BOB) else ALICE)

            said = storm(gateway, server, write, chats, lambda: server.identifies, KILLS)
            told_otherwise = given_up(gateway)
            for chat in chats:
                expected = [token for token in said[chat] if token not in told_otherwise]
                assert tokens(server.texts(chat)) == expected, gateway.output()[-3000:]
            assert gateway.stop() == 0
        finally:
            gateway.end()


@pytest.mark.timeout(300)
def test_cuts_of_the_connection_lose_nothing_and_keep_the_order(home: Home) -> None:
    with DiscordServer() as server:
        extra = {
            "api_base": server.api_base,
            "allowed_users": [str(ALICE)],
            "free_response_channels": [str(FREE)],
            "messages_per_second": 1000,
        }
        gateway = make_gateway(home, "discord", TOKEN, extra)
        gateway.settings = QUEUEING
        rng = random.Random(KILLS)
        number = 0
        try:
            gateway.start()
            for _ in range(3 * KILLS):
                for _ in range(rng.randint(1, 4)):
                    number += 1
                    server.say(f"token-{number}", channel=FREE)
                before = server.resumes + server.identifies
                if rng.random() < 0.3:
                    server.order({"op": 7, "d": None, "s": None, "t": None})
                elif rng.random() < 0.3:
                    server.close(1000)
                else:
                    server.cut()
                server.wait_for(lambda before=before: server.resumes + server.identifies > before)
            expected = list(range(1, number + 1))
            server.wait_for(lambda: len(tokens(server.texts(FREE))) >= number, timeout=60)
            assert tokens(server.texts(FREE)) == expected
        finally:
            gateway.end()
