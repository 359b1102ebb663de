"""Figures of the gateway as a service: how soon it is ready, what it costs at rest, what it takes in.

The chat platform is the loopback server of the tests, on this machine.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api_figures import SLOW, bodies
from load import run_load
from measure import run_once

from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.config.paths import Home

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "gateway"))
from loopback_server import TOKEN, LoopbackServer

STARTS = 7
MESSAGES = 1_000
CHATS = 2_000
WARM_CHATS = 300
WAVE = 50
IDLE_SECONDS = 20
STREAMS = 200

Figure = tuple[str, str, str, bool]
"""What, measured, goal, whether it is met."""


class Gateway:
    """`hermes gateway run` with the API server and one platform.

    Attributes:
        ready_ms: From the start of the process to READY.
        exit_code: How a plain stop ended.
    """

    def __init__(self, hermes: str, env: dict[str, str], model: str, server: LoopbackServer) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.key, self.url = "bench-key-0123456789", f"http://127.0.0.1:{port}"
        self._home = Home(Path(env["HERMES_HOME"]))
        for left in self._home.root.glob("state.db*"):
            left.unlink()  # another server's cursor is in it
        config = self._home.config_file
        self._config, self._kept = config, config.read_text()
        extra = {"url": server.url, "allow_all_users": True, "messages_per_second": 1000}
        config.write_text(
            self._kept.replace("default: echo", f"default: {json.dumps(model)}\n  context_length: 10000000")
            + json.dumps({"platforms": {"loopback": {"enabled": True, "token": TOKEN, "extra": extra}}})[1:-1]
            + "\n"
        )
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self._home.root.parent / f"notify-{port}")
        self._notified.bind(path)
        self._notified.settimeout(60)
        settings = {"API_SERVER_KEY": self.key, "API_SERVER_PORT": str(port), "NOTIFY_SOCKET": path}
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [hermes, "gateway", "run"],
            env={**env, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while b"READY=1" not in self._notified.recv(4096):
            pass
        self.ready_ms = (time.perf_counter() - began) * 1000
        self._drain = threading.Thread(target=self._read_on, daemon=True)
        self._drain.start()
        self.exit_code: int | None = None

    def _read_on(self) -> None:
        self._notified.settimeout(None)
        try:
            while self._notified.recv(4096):
                pass
        except OSError:
            return

    @property
    def memory_mib(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def cpu_ms(self) -> float:
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        return ask_gateway(self._home, command, timeout_seconds=120, **values)

    def wait_idle(self) -> None:
        while self.ask("status")["services"]["messaging"]["active"]:
            time.sleep(0.2)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self.exit_code = self._process.wait(60)
        self._config.write_text(self._kept)
        self._notified.close()


@contextmanager
def running(
    hermes: str, env: dict[str, str], server: LoopbackServer, model: str = "echo"
) -> Iterator[Gateway]:
    gateway = Gateway(hermes, env, model, server)
    try:
        yield gateway
    finally:
        gateway.close()


def figures(hermes: str, env: dict[str, str]) -> Iterator[Figure]:
    """All figures."""
    yield from _start(hermes, env)
    with LoopbackServer() as server, running(hermes, env, server) as gateway:
        yield from _idle(gateway)
    with LoopbackServer() as server, running(hermes, env, server, SLOW) as gateway:
        yield from _lag(gateway, server)
    with LoopbackServer() as server, running(hermes, env, server) as gateway:
        yield from _burst(server)
    with LoopbackServer() as server, running(hermes, env, server) as gateway:
        yield from _chats(gateway, server)


def _start(hermes: str, env: dict[str, str]) -> Iterator[Figure]:
    plain, ready, codes = [], [], []
    imports = [sys.executable, "-c", "import openai, uvicorn"]
    run_once(imports, env)
    with LoopbackServer() as server:
        for number in range(STARTS + 1):
            plain.append(run_once(imports, env).wall * 1000)
            with running(hermes, env, server) as gateway:
                pass
            codes.append(gateway.exit_code)
            if number:  # the first one makes the database
                ready.append(gateway.ready_ms)
    above = statistics.median(ready) - statistics.median(plain)
    ratio = statistics.median(ready) / statistics.median(plain)
    yield (
        "ready, with the API and one platform",
        f"{ratio:.2f} × `python -c 'import openai, uvicorn'` ({above:+.0f} ms)",
        "+600 ms",
        above <= 600,
    )
    yield "exit codes of plain stops", ", ".join(map(str, sorted(set(codes)))), "0", set(codes) == {0}


def _idle(gateway: Gateway) -> Iterator[Figure]:
    time.sleep(3)
    memory = gateway.memory_mib
    yield "resident memory at rest", f"{memory:.0f} MiB", "under 85 MiB", memory < 85
    before = gateway.cpu_ms
    time.sleep(IDLE_SECONDS)
    share = (gateway.cpu_ms - before) / IDLE_SECONDS / 10
    yield "processor time at rest", f"{share:.2f} % of a core", "under 0.2 %", share < 0.2


def _lag(gateway: Gateway, server: LoopbackServer) -> Iterator[Figure]:
    """With 200 slow streams of the API, and messages beside them."""
    streams = bodies(SLOW, STREAMS, stream=True)
    found: dict[str, Any] = {}

    def work() -> None:
        asyncio.run(run_load(gateway.url, gateway.key, streams, concurrency=STREAMS, warm_up=1))

    work()
    time.sleep(7)  # it tidies its memory once, after the first work
    working = threading.Thread(target=work)
    asking = threading.Thread(target=lambda: found.update(gateway.ask("lag", seconds=4)))
    working.start()
    asking.start()
    number = 0
    while asking.is_alive():
        server.say(f"m{number}", chat=f"lag{number % 20}")
        number += 1
        time.sleep(0.1)
    working.join()
    own, late = found["own"]["p99_ms"], found["late"]["p99_ms"]
    yield (
        f"loop lag with {STREAMS} slow streams and 10 messages a second, 99th percentile",
        f"{own:.1f} ms of its own doing ({late:.0f} ms by the clock)",
        "under 20 ms",
        own < 20,
    )


def _burst(server: LoopbackServer) -> Iterator[Figure]:
    """1,000 messages at once, each in a chat of its own: the hardest case."""
    server.say("warm up", chat="warm")
    server.wait_for(lambda: server.texts("warm"), 60)
    before = server.acknowledged
    began = time.perf_counter()
    for number in range(MESSAGES):
        server.say(f"message {number}", chat=f"burst{number}")
    server.wait_for(lambda: server.acknowledged >= before + MESSAGES, 120)
    seconds = time.perf_counter() - began
    server.wait_for(lambda: len({shown.chat_id for shown in server.shown}) > MESSAGES, 300)
    answered = len({shown.chat_id for shown in server.shown}) - 1
    yield (
        f"{MESSAGES:,} messages at once, each to another chat",
        f"accepted in {seconds:.2f} s, {answered:,} answered",
        "3 s, all",
        seconds < 3 and answered == MESSAGES,
    )


def _chats(gateway: Gateway, server: LoopbackServer) -> Iterator[Figure]:
    def talk(begin: int, end: int) -> float:
        for first in range(begin, end, WAVE):
            for number in range(first, first + WAVE):
                server.say(f"hello {number}", chat=f"chat{number}")
            server.wait_for(lambda wanted=first + WAVE: len(answered()) >= wanted, 120)
        gateway.wait_idle()
        return gateway.memory_mib

    def answered() -> set[str]:
        return {shown.chat_id for shown in server.shown}

    before = talk(0, WARM_CHATS)
    after = talk(WARM_CHATS, WARM_CHATS + CHATS)
    each = (after - before) * 1024 / CHATS
    yield (
        f"memory for each of {CHATS:,} more idle chats",
        f"{each:.1f} KiB ({before:.0f} to {after:.0f} MiB)",
        "under 20 KiB",
        each < 20,
    )
