"""The real gateway talks to a Discord on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("discord", reason="the extra discord is not installed")

from discord_server import ALICE, BOB, FREE, TOKEN, DiscordServer
from vendor_process import VendorGateway, make_gateway

from hermes_agent.config.paths import Home


@pytest.fixture
def server() -> Iterator[DiscordServer]:
    with DiscordServer() as made:
        yield made


@pytest.fixture
def gateway(home: Home, server: DiscordServer) -> Iterator[VendorGateway]:
    extra = {
        "api_base": server.api_base,
        "allowed_users": [str(ALICE), str(BOB)],
        "free_response_channels": [str(FREE)],
        "messages_per_second": 50,
    }
    made = make_gateway(home, "discord", TOKEN, extra)
    yield made
    made.end()


def test_a_direct_message_is_answered_as_a_reply(gateway: VendorGateway, server: DiscordServer) -> None:
    gateway.start()
    asked = server.say("token-1")
    answer = server.wait_for_text("token-1", channel=server.direct(ALICE))
    assert answer["request"]["message_reference"]["message_id"] == asked["id"]
    assert answer["request"]["allowed_mentions"]["parse"] == []
    assert server.direct(ALICE) in server.typing
    assert gateway.stop() == 0
