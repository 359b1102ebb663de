"""Figures of MCP: when the gateway is ready with many servers, what calls cost, what is left of them."""

from __future__ import annotations

import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SERVER = ROOT / "tests" / "mcp" / "servers" / "raw_server.py"
SERVERS = 20
ROUNDS = 9
GROWTH_KIB = 1024


class GatewayStart:
    """Starts gateways with some stdio servers configured, and times them."""

    def __init__(self, hermes: str, env: dict[str, str], folder: Path) -> None:
        self._hermes, self._folder = hermes, folder
        home = folder / "home"
        home.mkdir()
        self._config = home / "config.yaml"
        self._starts = folder / "starts"
        self._env = {**env, "HERMES_HOME": str(home), "NOTIFY_SOCKET": str(folder / "notify")}

    def measure(self, servers: int, *, are_known: bool) -> tuple[float, float, float]:
        """Seconds until the gateway is ready, by the clock and on a processor, and from then until the last
        server has been started."""
        entries = {
            f"s{number}": {"command": sys.executable, "args": ["-I", str(SERVER), f"starts={self._starts}"]}
            for number in range(servers)
        }
        self._config.write_text(json.dumps({"model": {"provider": "demo"}, "mcp_servers": entries}))
        if not are_known:
            subprocess.run(["rm", "-rf", str(self._config.parent / "cache" / "mcp")], check=True)
        self._starts.write_text("")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            path = Path(self._env["NOTIFY_SOCKET"])
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            listener.settimeout(30)
            begun = time.perf_counter()
            process = subprocess.Popen(
                [self._hermes, "gateway", "run"],
                env=self._env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                while b"READY=1" not in listener.recv(4096):
                    pass
                ready, busy = time.perf_counter(), _cpu_seconds(process.pid)
                while len(self._starts.read_text().split()) < servers and time.perf_counter() < ready + 30:
                    time.sleep(0.01)
                return ready - begun, busy, time.perf_counter() - ready
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def _median(series: list[tuple[float, float, float]], which: int) -> float:
    """In milliseconds."""
    return statistics.median(each[which] for each in series) * 1000


def _cpu_seconds(pid: int) -> float:
    """Time on a processor so far, of all threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def figures(hermes: str, env: dict[str, str]) -> Iterator[tuple[str, str, str, bool]]:
    """What, figure, goal, whether it is met."""
    with tempfile.TemporaryDirectory() as folder:
        start = GatewayStart(hermes, env, Path(folder))
        start.measure(SERVERS, are_known=False)
        none, fresh, known = [], [], []
        for _ in range(ROUNDS):  # in turn, so that a busy moment hits all
            none.append(start.measure(0, are_known=True))
            fresh.append(start.measure(SERVERS, are_known=False))
            known.append(start.measure(SERVERS, are_known=True))
    for what, series in (("never seen before", fresh), ("known", known)):
        more, busier = (_median(series, which) - _median(none, which) for which in (0, 1))
        yield (
            f"gateway ready with {SERVERS} stdio servers, {what}, against none",
            f"{more:+.0f} ms (none: {_median(none, 0):.0f}; on a processor: {busier:+.0f} ms)",
            "+150 ms",
            more <= 150,
        )
    seconds = _median(fresh, 2) / 1000
    yield "… all of them started, after that", f"{seconds:.1f} s", "5 s", seconds < 5
    output = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mcp_calls.py"))],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = json.loads(output)
    over = found["call_ms"] - found["bare_call_ms"]
    yield (
        "MCP call over the bare SDK, median",
        f"+{over:.2f} ms ({found['call_ms']:.2f} against {found['bare_call_ms']:.2f})",
        "+2 ms",
        over < 2,
    )
    for what, name in (("10,000 calls", "calls"), ("1,000 reconnects", "reconnects")):
        before, after = found[name]
        grown = [new - old for old, new in zip(before, after, strict=True)]
        yield (
            f"left after {what}",
            f"{grown[0]:+d} processes, {grown[1]:+d} descriptors, {grown[2]:+d} tasks, {grown[3]:+,d} KiB",
            "nothing; memory under 1 MiB",
            max(grown[:3]) <= 0 and grown[3] < GROWTH_KIB,
        )
