"""Figures of the API server: what it adds to a direct call of the same model."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from load import Load, body, run_load

TOKENS = 1_000
SLOW = "tokens-20+ttft=200+gap=100"


class ApiServer:
    """`hermes gateway run` with the API server, for one model."""

    def __init__(self, hermes: str, env: dict[str, str], model: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.key = secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{port}"
        self._env = {**env, "API_SERVER_KEY": self.key, "API_SERVER_PORT": str(port)}
        config = Path(env["HERMES_HOME"]) / "config.yaml"
        self._config, self._kept = config, config.read_text()
        settings = self._kept.replace(
            "default: echo", f"default: {json.dumps(model)}\n  context_length: 10000000"
        )
        config.write_text(settings)
        self._process = subprocess.Popen(
            [hermes, "gateway", "run"], env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                urlopen(f"{self.url}/health", timeout=1).close()
                return
            except (URLError, OSError):
                time.sleep(0.05)
        raise TimeoutError("the API server did not start")

    @property
    def memory_mib(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def cpu_ms(self) -> float:
        """Time on a processor so far, of all threads: unlike wall time it does not depend on neighbours."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        self._config.write_text(self._kept)


@contextmanager
def api_server(hermes: str, env: dict[str, str], model: str) -> Iterator[ApiServer]:
    server = ApiServer(hermes, env, model)
    try:
        server.wait()
        yield server
    finally:
        server.close()


def bodies(model: str, count: int, **options: object) -> list[bytes]:
    return [body(model, f"Hello {number}", **options) for number in range(count)]  # type: ignore[arg-type]


def both(server: ApiServer, direct: str, data: list[bytes], **options: object) -> tuple[Load, Load]:
    """The same requests through the server and to the model itself."""
    ours = asyncio.run(run_load(server.url, server.key, data, **options))  # type: ignore[arg-type]
    return ours, asyncio.run(run_load(direct, "x", data, **options))  # type: ignore[arg-type]


Figure = tuple[str, str, str, bool]
"""What, measured, goal, whether it is met."""


def figures(hermes: str, env: dict[str, str], direct: str) -> Iterator[Figure]:
    """All figures."""
    with api_server(hermes, env, "echo") as server:
        time.sleep(2)
        idle = server.memory_mib
        yield "API server, resident memory when idle", f"{idle:.0f} MiB", "under 85 MiB", idle < 85
        yield from _quick(server, direct)
        yield from _histories(server)
        memory = server.memory_mib
        yield (
            "resident memory after more than 500 requests",
            f"{memory:.0f} MiB",
            "under 120 MiB",
            memory < 120,
        )
    with api_server(hermes, env, f"tokens-{TOKENS}") as server:
        yield from _tokens(server, direct)
    with api_server(hermes, env, SLOW) as server:
        yield from _slow(server, direct)


def _quick(server: ApiServer, direct: str) -> Iterator[Figure]:
    ours, theirs = both(server, direct, bodies("echo", 100))
    above = ours.median_ms - theirs.median_ms
    yield "API, above a direct call of the model", f"+{above:.1f} ms", "+15 ms", above < 15
    ours, theirs = both(server, direct, bodies("echo", 100, stream=True))
    above = ours.first_ms - theirs.first_ms
    yield "first streamed token, above the model's", f"+{above:.1f} ms", "+15 ms", above < 15
    load = asyncio.run(run_load(server.url, server.key, bodies("echo", 600), concurrency=32))
    yield (
        "32 requests at a time, instant model",
        f"{load.per_second:.0f} a second, {load.failures} failed",
        "150 a second, none",
        load.per_second >= 150 and not load.failures,
    )


def _histories(server: ApiServer) -> Iterator[Figure]:
    """Conversations that the server keeps, and such that the client sends anew each time."""
    kept: dict[int, float] = {}
    sent: dict[int, float] = {}
    for history in (10, 200, 1_000):
        whole = bodies("echo", 80, history=history)
        sent[history] = _cpu_of(server, whole)
        name = {"x-hermes-session-key": f"bench-{history}"}
        asyncio.run(run_load(server.url, server.key, whole[:1], warm_up=0, **name))
        kept[history] = _cpu_of(server, bodies("echo", 80), **name)
    for what, each in (("kept by the server", kept), ("sent by the client", sent)):
        told = ", ".join(f"{count}: {value:.1f} ms" for count, value in each.items())
        ratio = each[1_000] / each[10]
        grows = (each[1_000] - each[10]) / 990 * 1_000
        yield (
            f"CPU of a request with 10, 200 and 1,000 earlier messages {what}",
            f"{told}; {ratio:.2f} ×, {grows:.1f} µs for each message",
            "1.3 × at most",
            ratio <= 1.3,
        )


def _cpu_of(server: ApiServer, data: list[bytes], **headers: str) -> float:
    before = server.cpu_ms
    load = asyncio.run(run_load(server.url, server.key, data, warm_up=0, **headers))
    return (server.cpu_ms - before) / len(load.timings)


def _tokens(server: ApiServer, direct: str) -> Iterator[Figure]:
    data = bodies(f"tokens-{TOKENS}", 20, stream=True)
    ours, theirs = both(server, direct, data)
    above = (ours.median_ms - theirs.median_ms) / TOKENS
    yield "each streamed token, above a direct call", f"+{above:.3f} ms", "+0.05 ms", above < 0.05


def _slow(server: ApiServer, direct: str) -> Iterator[Figure]:
    ours, theirs = both(server, direct, bodies(SLOW, 200, stream=True), concurrency=200, warm_up=1)
    slowest = max(timing.total_ms for timing in ours.timings)
    ratio = slowest / max(timing.total_ms for timing in theirs.timings)
    yield (
        "200 slow streams at once: the slowest, against direct calls",
        f"{ratio:.2f} ×, {ours.failures} failed",
        "1.5 ×, none",
        ratio < 1.5 and not ours.failures,
    )
