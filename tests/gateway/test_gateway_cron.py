"""Scheduled jobs in the real gateway: made in a chat, delivered there, and silent when there is nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from gateway_process import Gateway
from loopback_server import LoopbackServer

if TYPE_CHECKING:
    from conftest import StartServer


def hermes(gateway: Gateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hermes_agent", *arguments],
        env=gateway.environment(),
        cwd=gateway.home.root.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def use(gateway: Gateway, base_url: str, **settings: Any) -> None:
    model = {"provider": "custom", "base_url": base_url, "default": "scripted", "api_key": "none-at-all"}
    gateway.settings = {"model": model, **settings}
    gateway.env = {"LOOPBACK_HOME_CHANNEL": "home"}


def call(**arguments: Any) -> dict[str, Any]:
    return {"name": "cronjob", "arguments": arguments}


JOBS: Any = {
    "rules": [
        {"when": {"user": "scheduled job.*weather"}, "text": "It rains."},
        {"when": {"user": "scheduled job.*nothing"}, "text": "[SILENT]"},
        {
            "when": {"user": "every weekday at nine", "after": "user"},
            "tool_calls": [
                call(action="create", schedule="0 9 * * 1-5", prompt="look at the weather", name="weather")
            ],
        },
        {"when": {"user": "try it", "after": "user"}, "tool_calls": [call(action="run", job_id="weather")]},
        {"when": {"after": "tool"}, "text": "Done: {{tool_result | first:60}}"},
        {"text": "?"},
    ]
}


def test_a_job_made_in_a_chat_is_delivered_there(
    gateway: Gateway, chat_server: LoopbackServer, model_server: StartServer
) -> None:
    use(gateway, model_server(JOBS).base_url)
    gateway.start()
    chat_server.say("Tell me the weather every weekday at nine.", chat="c7")
    chat_server.wait_for_text("Done", chat="c7")
    (job,) = json.loads(hermes(gateway, "cron", "list", "--json").stdout)
    assert job["deliver"] == "origin"
    assert job["origin"]["platform"] == "loopback"
    assert job["origin"]["chat_id"] == "c7"
    assert job["schedule"]["expr"] == "0 9 * * 1-5"
    chat_server.say("Now try it.", chat="c7")
    text = chat_server.wait_for_text("It rains.", chat="c7")
    assert text.startswith("Cronjob Response: weather")
    assert hermes(gateway, "config", "set", "cron.wrap_response", "false").returncode == 0
    gateway.ask("reload")
    assert hermes(gateway, "cron", "run", "weather").returncode == 0
    chat_server.wait_for(lambda: chat_server.texts("c7")[-1] == "It rains.")


def test_a_job_goes_to_the_home_channel_to_all_or_nowhere(
    gateway: Gateway, chat_server: LoopbackServer, model_server: StartServer
) -> None:
    use(gateway, model_server(JOBS).base_url, cron={"wrap_response": False})
    gateway.start()
    for name, prompt, target in (
        ("one", "weather here", "loopback"),
        ("two", "weather there", "all,loopback:c9"),
        ("three", "nothing", "all"),
        ("four", "weather nowhere", "local"),
    ):
        hermes(gateway, "cron", "create", "every 1d", prompt, "--name", name, "--deliver", target)
    for name in ("three", "four", "one"):
        assert hermes(gateway, "cron", "run", name).returncode == 0
    chat_server.wait_for(lambda: chat_server.texts("home") == ["It rains."])
    hermes(gateway, "cron", "run", "two")
    chat_server.wait_for(lambda: chat_server.texts("home") == ["It rains.", "It rains."])
    chat_server.wait_for(lambda: chat_server.texts("c9") == ["It rains."])

    def states() -> dict[str, str]:
        lines = hermes(gateway, "cron", "history", "--json").stdout
        names = {
            job["id"]: job["name"] for job in json.loads(hermes(gateway, "cron", "list", "--json").stdout)
        }
        return {names[each["job_id"]]: each["state"] for each in json.loads(lines)}

    chat_server.wait_for(lambda: states() == {"one": "ok", "two": "ok", "three": "silent", "four": "ok"})
    assert len(chat_server.shown) == 3
