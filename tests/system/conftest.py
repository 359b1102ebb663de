"""Fixtures of the tests with programs of the machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from platform_process import measuring_what_is_stopped


@pytest.fixture(autouse=True)
def _measured(request: pytest.FixtureRequest) -> Iterator[None]:
    yield from measuring_what_is_stopped(request.function)
