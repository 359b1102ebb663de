"""Discord: the gateway is killed with SIGKILL again and again while people write."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("discord", reason="the extra discord is not installed")

from discord_server import ALICE, BOB, FREE, TOKEN, DiscordServer
from vendor_process import make_gateway
from vendor_storm import QUEUEING, storm, tokens

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
            for chat in chats:
                assert tokens(server.texts(chat)) == said[chat], gateway.output()[-3000:]
            assert gateway.stop() == 0
        finally:
            gateway.end()
