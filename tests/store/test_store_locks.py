from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_agent.core.errors import SessionBusyError, StoreUnwritableError
from hermes_agent.store.locks import SessionLock, running_sessions

HOLDER = """
import sys
from pathlib import Path
from hermes_agent.store.locks import SessionLock
SessionLock(Path(sys.argv[1]), sys.argv[2], source="telegram gateway").acquire()
print("held", flush=True)
sys.stdin.read()
"""


def start_holder(directory: Path, session_id: str) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), session_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_another_process_is_named_and_its_death_frees_the_session(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = start_holder(run, "s1")
    lock = SessionLock(run, "s1")
    with pytest.raises(SessionBusyError) as caught:
        lock.acquire()
    assert f"process {holder.pid} (telegram gateway)" in str(caught.value)
    assert caught.value.remedy
    assert [(item.session_id, item.pid) for item in running_sessions(run)] == [("s1", holder.pid)]
    holder.kill()
    holder.communicate()
    lock.acquire()
    assert lock.is_held
    assert [item.pid for item in running_sessions(run)] == [os.getpid()]
    lock.release()
    assert running_sessions(run) == []
    assert list(run.iterdir()) == []


def test_two_chats_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with SessionLock(tmp_path, "s") as first:
        first.acquire()  # again is fine
        with pytest.raises(SessionBusyError, match="this process"):
            SessionLock(tmp_path, "s").acquire()
        with SessionLock(tmp_path, "other"):
            pass
    with SessionLock(tmp_path, "s"):
        pass
    first.release()


@pytest.mark.parametrize("session_id", ["../../etc/passwd", "a/b", "", ".", "ü 独", "x" * 60])
def test_any_session_id_is_one_file_in_the_directory(tmp_path: Path, session_id: str) -> None:
    with SessionLock(tmp_path / "run", session_id) as lock:
        assert lock.path.parent == tmp_path / "run"
        assert [item.session_id for item in running_sessions(tmp_path / "run")] == [session_id]


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    lock = SessionLock(tmp_path, "s")
    lock.path.symlink_to(tmp_path / "victim")
    with pytest.raises(StoreUnwritableError):
        lock.acquire()
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(StoreUnwritableError, match="run"):
        SessionLock(tmp_path / "run", "s").acquire()
    assert running_sessions(tmp_path / "run") == []


def test_garbage_in_a_lock_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "session-s.lock").write_bytes(b"\xff\xfe garbage" * 100)
    assert running_sessions(tmp_path) == []
    with SessionLock(tmp_path, "s"):
        assert len(running_sessions(tmp_path)) == 1
