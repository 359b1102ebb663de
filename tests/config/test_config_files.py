"""Atomic replacement and locks."""

import os
import stat
import threading
from pathlib import Path

import pytest

from hermes_agent.config.files import exclusive, read_file, replace_atomically
from hermes_agent.core.errors import ConfigError, ConfigFileError, StoreUnwritableError


def test_a_new_file_has_the_mode_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    old = os.umask(0)
    try:
        replace_atomically(path, b"x", mode=0o600)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"x"


def test_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    replace_atomically(path, b"new", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have a file of somebody else")
def test_an_existing_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    replace_atomically(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "link2").symlink_to("link")
    replace_atomically(tmp_path / "link2", b"new")
    assert (tmp_path / "link2").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("kind", ["directory", "no parent", "parent is a file"])
def test_what_cannot_be_written_is_a_clear_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "no parent":
        path = path / "y"
    else:
        path.write_text("")
        path = path / "y"
    with pytest.raises(StoreUnwritableError, match="Cannot write") as caught:
        replace_atomically(path, b"x")
    assert caught.value.remedy or caught.value.why
    assert not list(tmp_path.glob("**/*.tmp"))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("no /dev/full here")
    link = tmp_path / "file"
    link.write_bytes(b"old")
    with pytest.raises(StoreUnwritableError):
        replace_atomically(link / "below", b"x")
    assert link.read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["fifo", "device", "huge", "directory", "dangling", "loop", "no permission"])
def test_what_cannot_be_read_is_a_clear_error_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.yaml"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(10**12)
    elif kind == "directory":
        path.mkdir()
    elif kind == "no permission":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path.touch(mode=0o000)
    else:
        path.symlink_to(path if kind == "loop" else "gone")
    with pytest.raises(ConfigFileError) as caught:
        read_file(path)
    assert caught.value.remedy


def test_a_lock_keeps_others_out_and_says_who_waits(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "config.lock"
    with exclusive(lock):
        with pytest.raises(ConfigError, match="Another hermes process"):
            with exclusive(lock, timeout_seconds=0.05):
                pass
    with exclusive(lock, timeout_seconds=0):
        pass
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_a_waiting_holder_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with exclusive(lock, timeout_seconds=20):
            order.append("second")

    with exclusive(lock):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(20)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_a_lock_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnwritableError):
        with exclusive(tmp_path / "file" / "lock"):
            pass
