"""The real gateway in a process of its own: a home, the demo model or a scripted one, a loopback platform."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml
from loopback_server import TOKEN, LoopbackServer

from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError

_MEASURING = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", *_MEASURING)


def measuring_what_is_stopped(test: Callable[..., object]) -> Iterator[None]:
    """Measure coverage in gateways only if the test ends them itself: the others are killed after it."""
    Gateway.are_measured = "stop" in inspect.getsource(test)
    yield
    Gateway.are_measured = True


@dataclass
class Gateway:
    """Starts, stops and kills it.

    Attributes:
        settings: Top-level keys of config.yaml besides the loopback platform.
        extra: `platforms.loopback.extra` beyond the address.
        env: Further variables.
        interpreter: Options of Python.
        is_measured: Whether the process measures coverage. One that is killed never writes what it measured,
            which costs half as much time again.
    """

    home: Home
    server: LoopbackServer
    settings: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    interpreter: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    is_measured: bool = field(default_factory=lambda: Gateway.are_measured)

    are_measured: ClassVar[bool] = True
    """Whether new ones are."""

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {"HERMES_HOME": str(self.home.root), "HOME": str(self.home.root.parent)}
        return {**kept, **own, "PYTHONDONTWRITEBYTECODE": "1", **self.env}

    def configure(self) -> None:
        extra = {"url": self.server.url, "allowed_users": ["u1", "u2"], **self.extra}
        config = {
            "model": {"provider": "demo", "default": "demo"},
            "platforms": {"loopback": {"enabled": True, "token": TOKEN, "extra": extra}},
            **self.settings,
        }
        self.home.config_file.write_text(yaml.safe_dump(config))
        self.home.config_file.chmod(0o600)

    def start(self, *arguments: str, wait: bool = True) -> None:
        if not self.home.config_file.exists():
            self.configure()
        log = (self.home.root.parent / "gateway.out").open("ab")
        environment = self.environment()
        if not self.is_measured:
            environment = {name: text for name, text in environment.items() if name not in _MEASURING}
        with log:
            self.process = subprocess.Popen(
                [sys.executable, *self.interpreter, "-m", "hermes_agent", "gateway", "run", "-v", *arguments],
                env=environment,
                cwd=self.home.root.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, self.output()
            try:
                if self.ask("status")["gateway_state"] == "running":
                    return
            except GatewayError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.output()}")

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        return ask_gateway(self.home, command, **values)

    def output(self) -> str:
        return (self.home.root.parent / "gateway.out").read_text(errors="replace")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)
