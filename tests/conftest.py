"""Fixtures for all tests: a fresh home, a scripted model server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from hermes_agent.config.paths import Home
from hermes_agent.core.loading import load

if TYPE_CHECKING:
    from hermes_agent.models.scripted.server import ScriptedServer
    from hermes_agent.models.scripted.source import ScriptSource

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So begins what a shell starts in the background, and so would the processes whose Ctrl+C is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # And what nohup starts: processes whose hanging up is tested would not notice it.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A state directory that nobody used yet. It exists; its parent is the test's own directory."""
    fresh = Home(tmp_path / "home")
    fresh.ensure()
    return fresh


class StartServer(Protocol):
    """Starts a scripted model server; None answers as the model's name says (`echo`, `tools-3` …)."""

    def __call__(self, script: ScriptSource | None = None) -> ScriptedServer: ...


@pytest.fixture(scope="session")
def _ending_servers() -> Iterator[list[ScriptedServer]]:
    servers: list[ScriptedServer] = []
    yield servers
    for server in servers:
        server.close()


@pytest.fixture
def model_server(_ending_servers: list[ScriptedServer]) -> Iterator[StartServer]:
    """A factory of scripted model servers (`base_url`, `url`, `requests`, `stats()`, `assert_complete()`).

    Each runs on a thread of its own and ends with the test. See docs/scripted-model.md for scripts.
    """
    started: list[ScriptedServer] = []

    def start(script: ScriptSource | None = None) -> ScriptedServer:
        server: ScriptedServer = load("hermes_agent.models.scripted.server:ScriptedServer")(script)
        started.append(server.start())
        return server

    yield start
    for server in started:
        server.stop()  # waiting takes a fifth of a second each: it is done once, at the end
    _ending_servers.extend(started)
