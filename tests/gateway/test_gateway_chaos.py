"""Everything at once: commands, steering, tasks and processes in several chats, with kills in between.

`HERMES_TEST_SEED` and `HERMES_TEST_STEPS` choose another course and a longer one.
"""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path
from typing import Any

from gateway_process import Gateway
from loopback_server import LoopbackServer

STEPS = int(os.environ.get("HERMES_TEST_STEPS", "60"))
KILL_EVERY = 20


def terminal(command: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"name": "terminal", "arguments": {"command": command, **more}}]}


RULES: list[dict[str, Any]] = [
    {"when": {"after": "tool"}, "text": "did {{user | last:60}}"},
    {"when": {"user": "bg\\d+"}, **terminal("sleep 0.1; echo x", background=True, notify_on_complete=True)},
    {"when": {"user": "tool\\d+"}, **terminal("echo x")},
    {"when": {"user": "rm\\d+"}, **terminal("rm -rf nowhere")},
    {
        "when": {"user": "slow"},
        "text": "one two three four " * 3,
        "chunk_size": 4,
        "chunk_delay_seconds": 0.02,
    },
    {"when": {"user": "asked to be told"}, "text": "[SILENT]"},
    {"text": "You said: {{user | last:60}}"},
]
SAID = (
    *("token{n}", "tool{n}", "bg{n}", "rm{n}", "slow", "/steer s{n}", "/queue k{n}", "/greet x", "/nonsense"),
    *(
        "/stop",
        "/undo",
        "/retry",
        "/new now",
        "/resume Named",
        "/title Named",
        "/branch",
        "/status",
        "/reload",
    ),
    *("/approve", "/deny", "/sessions", "/memory", "/skills", "/background tool{n}", "/background slow {n}"),
    *("/busy steer", "/busy interrupt", "/busy queue", "/reload"),
)


def unfinished(database: Path) -> list[Any]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        return db.execute("SELECT session_key, state, payload FROM inbox WHERE state != 'done'").fetchall()


def test_nothing_gets_stuck_or_is_answered_twice(
    gateway: Gateway, chat_server: LoopbackServer, model_server: Any
) -> None:
    chance = random.Random(os.environ.get("HERMES_TEST_SEED", "1"))
    skill = gateway.home.root / "skills" / "greet"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: greet\ndescription: Greets.\n---\nSay hello.\n")
    gateway.settings = {
        "model": {
            "provider": "custom",
            "base_url": model_server({"rules": RULES}).base_url,
            "default": "scripted",
        },
        "streaming": {"enabled": True, "edit_interval": 0.1, "buffer_threshold": 1},
        "terminal": {"cwd": str(gateway.home.root.parent)},
    }
    gateway.start()
    chat_server.say("/busy queue", chat="q")
    chat_server.wait_for_text("waits its turn", chat="q")
    expected: list[str] = []
    count = 1
    for number in range(STEPS):
        if number % 3 == 0:
            expected.append(f"{chance.choice(('token', 'tool'))}{number:05d}")
            chat_server.say(expected[-1], chat="q")
        else:
            chat_server.say(chance.choice(SAID).format(n=number), chat=chance.choice(("c1", "c2")))
        count += 1
        if chance.random() < 0.05:
            chat_server.failures.append((chance.choice((503, 429, 0)), "0.1"))
        if chance.random() < 0.6:
            chat_server.wait_for(lambda count=count: chat_server.acknowledged >= count)
        if number % KILL_EVERY == KILL_EVERY - 1:
            gateway.kill()
            gateway.start()

    def is_done() -> bool:
        if not unfinished(gateway.home.state_db):
            return True
        for chat in ("c1", "c2"):  # questions that nobody has answered
            chat_server.say("/deny", chat=chat)
        return False

    chat_server.wait_for(is_done, timeout=90)
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.output()
    answers = [each for each in chat_server.texts("q") if each.startswith(("You said", "did"))]
    assert [each.split()[-1] for each in answers] == expected
