"""People talk to the real gateway process over a real HTTP platform."""

from __future__ import annotations

from gateway_process import Gateway
from loopback_server import LoopbackServer


def test_a_message_is_answered_in_its_chat(gateway: Gateway, chat_server: LoopbackServer) -> None:
    gateway.start()
    sent = chat_server.say("token-1")
    answer = chat_server.wait_for_text("token-1")
    assert "understand" in answer
    assert chat_server.shown[0].reply_to_id == sent
    chat_server.wait_for(lambda: chat_server.acknowledged >= 1)
    assert gateway.stop() == 0
