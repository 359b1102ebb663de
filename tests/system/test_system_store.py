"""The store on a file system that is really full, or really read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hermes_agent.core.errors import StoreUnwritableError
from hermes_agent.core.messages import AssistantMessage, UserMessage
from hermes_agent.store import open_store

pytestmark = pytest.mark.system


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


async def test_a_full_disk_loses_nothing_and_writing_goes_on_when_there_is_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    store = await open_store(small_disk / "state.db")
    record = await store.create(source="cli")
    stored = 0
    with pytest.raises(StoreUnwritableError, match="No space left"):
        for number in range(1_000):
            await store.append(record.id, [UserMessage.of(f"{number} " + "word " * 2_000)])
            stored += 1
    assert len(await store.messages(record.id)) == stored > 3
    ballast.unlink()
    await store.append(record.id, [AssistantMessage("there is space again")])
    assert len(await store.search("space again")) == 1
    await store.aclose()
    again = await open_store(small_disk / "state.db")
    assert len(await again.messages(record.id)) == stored + 1
    await again.aclose()


async def test_opening_on_a_full_disk_says_so(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(4_000_000))
    with pytest.raises(StoreUnwritableError) as caught:
        await open_store(small_disk / "state.db")
    assert "space" in " ".join(caught.value.lines).lower()


async def test_a_read_only_file_system_is_named(small_disk: Path) -> None:
    store = await open_store(small_disk / "state.db")
    await store.create(source="cli")
    await store.aclose()
    _make_read_only(small_disk)
    with pytest.raises(StoreUnwritableError, match="Cannot write"):
        await open_store(small_disk / "state.db")
    with pytest.raises(StoreUnwritableError, match="Cannot write"):
        await open_store(small_disk / "other" / "state.db")


def _make_read_only(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
