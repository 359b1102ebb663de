"""State directories on file systems that are full or read-only. Needs to mount, so it needs root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.system


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE")
    }
    return subprocess.run(
        [sys.executable, "-m", "hermes_agent", "--provider", "demo", *arguments],
        env={**kept, "HERMES_HOME": str(home), "HOME": str(home.parent), "LANG": "C.UTF-8"},
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_read_only_home_is_said_plainly(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "home", "ro") as home:
        result = run(home, "-z", "hi")
    assert result.returncode == 5
    assert "read-only" in result.stderr.lower()
    assert "Traceback" not in result.stderr


def test_a_full_disk_is_said_plainly_and_nothing_stored_is_lost(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "home", "size=1m") as home:
        assert run(home, "-z", "hi").returncode == 0
        filler = home / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        full = run(home, "-z", "again")
        assert full.returncode == 5
        assert "no space" in full.stderr.lower()
        assert "Traceback" not in full.stderr
        filler.unlink()
        after = run(home, "-c", "-z", "what did I say first?")
        assert after.returncode == 0
        assert "hi" in after.stdout
