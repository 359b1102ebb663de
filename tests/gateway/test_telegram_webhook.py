"""Telegram delivers to the gateway instead of being asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from telegram_server import OWNER, TelegramGateway, TelegramServer, lasting_port

from hermes_agent.config.paths import Home

SECRET = "a-Secret_of-Telegram"


@dataclass
class Called:
    gateway: TelegramGateway
    telegram: TelegramServer
    port: int

    def deliver(self, update: Any, secret: str | None = SECRET, **options: Any) -> int:
        headers = {} if secret is None else {"X-Telegram-Bot-Api-Secret-Token": secret}
        kind = {"content": update} if isinstance(update, bytes) else {"json": update}
        address = f"http://127.0.0.1:{self.port}/"
        method = options.pop("method", "POST")
        return httpx.request(method, address, headers=headers, trust_env=False, **kind).status_code


@pytest.fixture
def called(home: Home) -> Iterator[Called]:
    port = lasting_port()
    with TelegramServer() as telegram:
        gateway = TelegramGateway(home, telegram)  # type: ignore[arg-type]
        gateway.env = {
            "TELEGRAM_WEBHOOK_URL": "https://bot.example.org/telegram",
            "TELEGRAM_WEBHOOK_SECRET": SECRET,
            "TELEGRAM_WEBHOOK_PORT": str(port),
        }
        yield Called(gateway, telegram, port)
        if gateway.process is not None and gateway.process.poll() is None:
            gateway.process.kill()
            gateway.process.wait(10)


def state(called: Called) -> dict[str, Any]:
    found = called.gateway.ask("status")["services"]["messaging"]["platforms"]["telegram"]
    assert isinstance(found, dict)
    return found


def test_a_delivery_is_stored_and_answered_once(called: Called) -> None:
    called.gateway.start()
    telegram = called.telegram
    telegram.wait_for(lambda: telegram.webhook)
    assert telegram.webhook["url"] == "https://bot.example.org/telegram"
    assert telegram.webhook["secret_token"] == SECRET
    update = telegram.update("message", telegram.message("token-1"))
    assert called.deliver(update) == 200
    called.gateway.kill()
    called.gateway.start()
    assert called.deliver(update) == 200
    telegram.wait_for_text("token-1")
    assert called.deliver(telegram.update("message", telegram.message("token-2"))) == 200
    telegram.wait_for_text("token-2")
    assert sum("token-1" in text for text in telegram.texts()) == 1
    assert not telegram.called("getUpdates")
    assert SECRET not in called.gateway.output()


def test_what_does_not_come_from_telegram_is_refused(called: Called) -> None:
    called.gateway.start()
    telegram = called.telegram
    update = telegram.update("message", telegram.message("token-1"))
    assert called.deliver(update, secret=None) == 401
    assert called.deliver(update, secret="wrong") == 401
    assert called.deliver(update, secret=SECRET.lower()) == 401
    assert called.deliver(b"{") == 400
    assert called.deliver([1]) == 400
    assert called.deliver(update, method="GET") == 405
    assert called.deliver(b" " * 1_100_000) == 413
    assert called.deliver({"update_id": 5, "something_new": {}}) == 200
    assert called.deliver(telegram.update("message", telegram.message("token-2"))) == 200
    telegram.wait_for_text("token-2")
    assert not any("token-1" in text for text in telegram.texts())


def test_a_button_works_there_too(called: Called) -> None:
    work = called.gateway.home.root.parent / "hello"
    work.mkdir()
    called.gateway.settings = {"terminal": {"cwd": str(work.parent)}}
    called.gateway.start()
    telegram = called.telegram
    called.deliver(telegram.update("message", telegram.message("delete the folder hello")))
    question = telegram.wait_for_text("May I run this?")
    person = {"id": OWNER, "is_bot": False, "first_name": "Ada"}
    shown = {"message_id": question.message_id, "chat": {"id": OWNER, "type": "private"}, "date": 0}
    content = {"id": "q1", "from": person, "message": shown, "data": question.buttons["✅ Once"]}
    assert called.deliver(telegram.update("callback_query", content)) == 200
    telegram.wait_for(lambda: not work.exists())
    telegram.wait_for(lambda: telegram.called("editMessageReplyMarkup"))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TELEGRAM_WEBHOOK_SECRET", "", "needs a secret"),
        ("TELEGRAM_WEBHOOK_SECRET", "has a space", "letters, digits"),
        ("TELEGRAM_WEBHOOK_PORT", "high", "webhook_port"),
        ("TELEGRAM_BOT_TOKEN", "hello", "not a bot token"),
    ],
)
def test_settings_that_do_not_go_together_say_why(
    called: Called, variable: str, value: str, words: str
) -> None:
    called.gateway.env[variable] = value
    called.gateway.start()
    assert state(called)["state"] == "failed"
    assert words in state(called)["error_message"]


def test_a_port_that_is_taken_is_said_and_tried_again(called: Called) -> None:
    with socket.create_server(("127.0.0.1", called.port)):
        called.gateway.start()
        assert "is taken" in state(called)["error_message"]
    called.telegram.wait_for(lambda: called.telegram.webhook)
    assert called.deliver(called.telegram.update("message", called.telegram.message("token-1"))) == 200
    called.telegram.wait_for_text("token-1")
