from __future__ import annotations

import os
import socket
import sqlite3
import stat
import zipfile
from pathlib import Path

import pytest

from hermes_agent.core.errors import (
    SessionBusyError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreUnwritableError,
    UsageError,
)
from hermes_agent.core.messages import UserMessage
from hermes_agent.store import open_store
from hermes_agent.store.backup import MANIFEST, create_backup
from hermes_agent.store.locks import SessionLock
from hermes_agent.store.restore import restore_backup


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    store = await open_store(root / "state.db")
    await store.create(source="cli", session_id="s", title="kept")
    await store.append("s", [UserMessage.of("precious words")])
    await store.aclose()
    (root / "config.yaml").write_text("model: demo  # mine\n")
    (root / ".env").write_text("OPENAI_API_KEY=sk-1\n")
    (root / ".env").chmod(0o600)
    (root / "memories").mkdir()
    (root / "memories" / "MEMORY.md").write_text("§\n")
    (root / "skills" / "own").mkdir(parents=True)
    (root / "skills" / "own" / "run.sh").write_text("#!/bin/sh\n")
    (root / "skills" / "own" / "run.sh").chmod(0o755)
    for folder in ("cache", "run", "checkpoints/store", "backups", "hermes-agent/venv"):
        (root / folder).mkdir(parents=True)
        (root / folder / "big.bin").write_text("x")
    (root / "gateway.pid").write_text("1")
    (root / "old.db-wal").write_text("x")
    for name in (
        "skills/own/run/a.txt",
        "skills/own/cache/b.txt",
        "skills/own/uv.lock",
        "memories/my-journal",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    return root


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def test_a_backup_holds_what_matters_and_nothing_else(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "b.zip"
    report = create_backup(home, target)
    assert names(target) == {
        "state.db",
        "config.yaml",
        ".env",
        "memories/MEMORY.md",
        "memories/my-journal",
        "skills/own/run.sh",
        "skills/own/run/a.txt",
        "skills/own/cache/b.txt",
        "skills/own/uv.lock",
        MANIFEST,
    }
    assert report.files == 9
    assert report.left_out == []
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["b.zip"]


def test_a_quick_backup_is_smaller(home: Path, tmp_path: Path) -> None:
    create_backup(home, tmp_path / "q.zip", is_quick=True)
    assert names(tmp_path / "q.zip") == {
        "state.db",
        "config.yaml",
        ".env",
        "memories/MEMORY.md",
        "memories/my-journal",
        MANIFEST,
    }


async def test_a_database_in_use_is_saved_as_it_is_at_one_moment(home: Path, tmp_path: Path) -> None:
    store = await open_store(home / "state.db")
    await store.append("s", [UserMessage.of("only in the log")])
    other = sqlite3.connect(home / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM messages")
    create_backup(home, tmp_path / "b.zip")
    other.execute("ROLLBACK")
    other.close()
    await store.aclose()
    restore_backup(tmp_path / "new", tmp_path / "b.zip")
    restored = await open_store(tmp_path / "new" / "state.db")
    assert len(await restored.messages("s")) == 2
    assert len(await restored.search("log")) == 1
    await restored.aclose()


def test_sockets_links_and_unreadable_things_are_named_or_left_out(home: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(home / "gateway.socket"))
        os.mkfifo(home / "pipe")
        (tmp_path / "dotfiles").mkdir()
        (tmp_path / "dotfiles" / "SOUL.md").write_text("kind")
        (home / "SOUL.md").symlink_to(tmp_path / "dotfiles" / "SOUL.md")
        (home / "linked").symlink_to(tmp_path / "dotfiles")
        (home / "dangling").symlink_to(tmp_path / "nowhere")
        report = create_backup(home, tmp_path / "b.zip")
    assert {name for name, _ in report.left_out} == {"linked", "dangling"}
    assert not {"gateway.socket", "pipe", "linked", "dangling"} & names(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as opened:
        assert opened.read("SOUL.md") == b"kind"


def test_a_damaged_database_is_saved_as_it_is(home: Path, tmp_path: Path) -> None:
    content = b"SQLite format 3\x00" + b"\xff" * 9000
    (home / "broken.db").write_bytes(content)
    (home / "not-sqlite.db").write_text("text")
    report = create_backup(home, tmp_path / "b.zip")
    assert [name for name, _ in report.left_out] == ["broken.db"]
    with zipfile.ZipFile(tmp_path / "b.zip") as opened:
        assert opened.read("broken.db") == content
        assert opened.read("not-sqlite.db") == b"text"
    restored = restore_backup(tmp_path / "new", tmp_path / "b.zip")
    assert restored.damaged == ["broken.db"]


def test_an_existing_file_is_never_overwritten(home: Path, tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("mine")
    with pytest.raises(StoreUnwritableError, match="exists already"):
        create_backup(home, tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_text() == "mine"
    with pytest.raises(StoreError, match="no state directory"):
        create_backup(tmp_path / "nowhere", tmp_path / "c.zip")
    with pytest.raises(StoreUnwritableError):
        create_backup(home, tmp_path / "b.zip" / "c.zip")


def test_a_backup_inside_the_home_does_not_hold_itself(home: Path) -> None:
    create_backup(home, home / "one.zip")
    create_backup(home, home / "two.zip")
    assert "two.zip" not in names(home / "two.zip")
    assert not any(name.startswith(".hermes-backup") for name in names(home / "two.zip"))


async def test_a_restored_home_is_the_same(home: Path, tmp_path: Path) -> None:
    create_backup(home, tmp_path / "b.zip")
    new = tmp_path / "new"
    report = restore_backup(new, tmp_path / "b.zip")
    assert (report.files, report.set_aside, report.damaged) == (9, None, [])
    assert (new / "memories" / "my-journal").read_text() == "mine"
    assert (new / "config.yaml").read_text() == "model: demo  # mine\n"
    assert stat.S_IMODE((new / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((new / "state.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((new / "skills/own/run.sh").stat().st_mode) == 0o755
    store = await open_store(new / "state.db")
    assert [hit.session_title for hit in await store.search("precious")] == ["kept"]
    await store.aclose()
    assert list((new / "backups").iterdir()) == []


def test_a_home_in_use_is_replaced_only_when_forced_and_kept(home: Path, tmp_path: Path) -> None:
    create_backup(home, tmp_path / "b.zip")
    (home / "config.yaml").write_text("model: other\n")
    (home / "extra.txt").write_text("not in the backup")
    with pytest.raises(UsageError, match="not empty") as caught:
        restore_backup(home, tmp_path / "b.zip")
    assert "-f" in str(caught.value.remedy)
    report = restore_backup(home, tmp_path / "b.zip", force=True)
    assert report.set_aside is not None
    assert (home / "config.yaml").read_text() == "model: demo  # mine\n"
    assert (report.set_aside / "config.yaml").read_text() == "model: other\n"
    assert (report.set_aside / "state.db").exists()
    assert (home / "extra.txt").read_text() == "not in the backup"


async def test_nothing_is_restored_while_a_session_runs(home: Path, tmp_path: Path) -> None:
    create_backup(home, tmp_path / "b.zip")
    with SessionLock(home / "run", "s"), pytest.raises(SessionBusyError, match="running"):
        restore_backup(home, tmp_path / "b.zip", force=True)
    store = await open_store(home / "state.db")
    await store.list()
    with pytest.raises(StoreBusyError, match="in use"):
        restore_backup(home, tmp_path / "b.zip", force=True)
    await store.aclose()
    restore_backup(home, tmp_path / "b.zip", force=True)


def archive_of(path: Path, *entries: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.yaml", "a: 1\n")
        for name, content, mode in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("../evil", 0o100644),
        ("a/../../evil", 0o100644),
        ("/etc/evil", 0o100644),
        ("C:evil", 0o100644),
        ("a\\..\\evil", 0o100644),
        ("link", stat.S_IFLNK | 0o777),
        ("device", stat.S_IFCHR | 0o666),
        ("new\nline", 0o100644),
        ("config.yaml/below", 0o100644),
        ("./config.yaml", 0o100644),
    ],
)
def test_unsafe_archives_change_nothing(tmp_path: Path, name: str, mode: int) -> None:
    source = archive_of(tmp_path / "b.zip", (name, b"/etc/passwd", mode))
    with pytest.raises(StoreCorruptError, match="not safe"):
        restore_backup(tmp_path / "home", source)
    assert not (tmp_path / "home" / "config.yaml").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"b.zip", "home"}


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    source = archive_of(tmp_path / "b.zip", ("zeros", bytes(80 * 1024 * 1024), 0o100644))
    with pytest.raises(StoreCorruptError, match="not safe") as caught:
        restore_backup(tmp_path / "home", source)
    assert "would grow" in str(caught.value.why)


def test_an_archive_that_lies_about_sizes_is_refused(tmp_path: Path) -> None:
    source = archive_of(tmp_path / "b.zip", ("zeros", bytes(100_000), 0o100644))
    data = source.read_bytes()
    lying = data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lying != data
    source.write_bytes(lying)
    with pytest.raises(StoreCorruptError):
        restore_backup(tmp_path / "home", source)
    assert not (tmp_path / "home" / "zeros").exists()


def test_other_files_are_no_backups(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StoreCorruptError, match="not a readable backup"):
        restore_backup(tmp_path / "home", tmp_path / "text")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.jpg", "x")
    with pytest.raises(StoreCorruptError, match="not a backup of hermes"):
        restore_backup(tmp_path / "home", tmp_path / "photos.zip")
    with pytest.raises(UsageError, match="no file"):
        restore_backup(tmp_path / "home", tmp_path / "missing.zip")


def test_a_truncated_or_bent_archive_changes_nothing(home: Path, tmp_path: Path) -> None:
    create_backup(home, tmp_path / "b.zip")
    data = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "short.zip").write_bytes(data[: len(data) // 2])
    bent = bytearray(data)
    bent[200:220] = bytes(20)
    (tmp_path / "bent.zip").write_bytes(bent)
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    for name in ("short.zip", "bent.zip"):
        with pytest.raises(StoreCorruptError):
            restore_backup(home, tmp_path / name, force=True)
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_links_in_the_home_are_replaced_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "home"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "MEMORY.md").write_text("untouched")
    root.mkdir()
    (root / "memories").symlink_to(tmp_path / "elsewhere")
    (root / "config.yaml").symlink_to(tmp_path / "elsewhere" / "MEMORY.md")
    source = archive_of(tmp_path / "b.zip", ("memories/MEMORY.md", b"new", 0o100600))
    report = restore_backup(root, source, force=True)
    assert (tmp_path / "elsewhere" / "MEMORY.md").read_text() == "untouched"
    assert (root / "memories" / "MEMORY.md").read_text() == "new"
    assert not (root / "memories").is_symlink()
    assert report.set_aside is not None
    assert (report.set_aside / "memories").is_symlink()


def test_a_half_way_failure_is_undone(tmp_path: Path) -> None:
    root = tmp_path / "home"
    root.mkdir()
    (root / "config.yaml").write_text("old: 1\n")
    source = archive_of(tmp_path / "b.zip", ("z" * 300 + ".txt", b"a name that is too long", 0o100600))
    with pytest.raises(StoreUnwritableError):
        restore_backup(root, source, force=True)
    assert (root / "config.yaml").read_text() == "old: 1\n"
    assert {path.name for path in root.iterdir()} == {"config.yaml", "backups"}
