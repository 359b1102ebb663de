"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_process import Gateway, measuring_what_is_stopped
from loopback_server import LoopbackServer

from hermes_agent.config.paths import Home


@pytest.fixture(autouse=True)
def _measured(request: pytest.FixtureRequest) -> Iterator[None]:
    yield from measuring_what_is_stopped(request.function)


@pytest.fixture
def chat_server() -> Iterator[LoopbackServer]:
    with LoopbackServer() as server:
        yield server


@pytest.fixture
def gateway(home: Home, chat_server: LoopbackServer) -> Iterator[Gateway]:
    made = Gateway(home, chat_server)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait(10)
