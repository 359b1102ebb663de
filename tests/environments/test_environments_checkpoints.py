"""Snapshots of real directories in a real git store."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from hermes_agent.core.errors import CheckpointError
from hermes_agent.environments.checkpoints import GitCheckpoints


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    (place / "pyproject.toml").write_text("x")
    (place / "a.txt").write_text("one\n")
    (place / "sub").mkdir()
    (place / "sub" / "b.txt").write_text("two\n")
    return place


@pytest.fixture
def store(tmp_path: Path) -> GitCheckpoints:
    return GitCheckpoints(tmp_path / "home" / "checkpoints")


def tree(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


async def test_everything_comes_back_and_going_back_can_be_undone(
    store: GitCheckpoints, project: Path
) -> None:
    before = tree(project)
    await store.take(str(project), "before write_file: a.txt")
    (project / "a.txt").write_text("changed\n")
    (project / "sub" / "b.txt").unlink()
    (project / "new.txt").write_text("new\n")
    after = tree(project)
    assert "-one\n+changed" in await store.diff(str(project), 1)
    restored = await store.restore(str(project), 1)
    assert tree(project) == before
    assert set(restored.written) == {"a.txt", "sub/b.txt"} and restored.removed == ("new.txt",)
    listed = await store.snapshots(str(project))
    assert [item.reason for item in listed] == ["before going back to snapshot 1", "before write_file: a.txt"]
    assert listed[0].changed_files == 3
    assert abs(listed[0].created_at - time.time()) < 60
    await store.restore(str(project), 1)
    assert tree(project) == after


async def test_one_file_comes_back_alone(store: GitCheckpoints, project: Path) -> None:
    await store.take(str(project), "before")
    (project / "a.txt").write_text("changed\n")
    (project / "sub" / "b.txt").write_text("changed too\n")
    (project / "new.txt").write_text("new\n")
    restored = await store.restore(str(project), 1, "sub/b.txt")
    assert restored.written == ("sub/b.txt",)
    assert tree(project)["sub/b.txt"] == b"two\n"
    assert tree(project)["a.txt"] == b"changed\n" and "new.txt" in tree(project)
    for wrong in ("new.txt", "missing", "../outside", "/etc/passwd", ".", "*.txt", ":/a.txt"):
        with pytest.raises(CheckpointError):
            await store.restore(str(project), 2, wrong)
    with pytest.raises(CheckpointError, match="no snapshot 9"):
        await store.restore(str(project), 9)


async def test_nothing_new_makes_no_snapshot(store: GitCheckpoints, project: Path) -> None:
    assert await store.take(str(project), "one") is not None
    assert await store.take(str(project), "two") is None
    assert len(await store.snapshots(str(project))) == 1


async def test_bytes_modes_and_links_are_kept_whatever_the_project_says_of_them(
    store: GitCheckpoints, project: Path
) -> None:
    (project / ".gitattributes").write_text("* text=auto eol=crlf\n*.bin filter=evil\n")
    (project / "dos.txt").write_bytes(b"a\r\nb\r\n")
    (project / "mixed.txt").write_bytes(b"a\r\nb\n$Id$\n")
    (project / "x.bin").write_bytes(bytes(range(256)))
    (project / "weird \n name\udcff.txt").write_bytes(b"w")
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    (project / "link").symlink_to("a.txt")
    before = tree(project)
    await store.take(str(project), "before")
    for path in project.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.unlink()
    (project / "link").unlink()
    await store.restore(str(project), 1)
    assert tree(project) == before
    assert os.access(project / "run.sh", os.X_OK)
    assert (project / "link").readlink() == Path("a.txt")


async def test_the_users_own_repository_is_not_touched(store: GitCheckpoints, project: Path) -> None:
    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-c", "user.name=u", "-c", "user.email=u@x", *words],
            cwd=project,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    git("init", "-q")
    (project / ".gitignore").write_text("ignored/\n.env\n")
    (project / "ignored").mkdir()
    (project / "ignored" / "big").write_text("x")
    (project / ".env").write_text("KEY=1")
    git("add", "a.txt")
    hook = project / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\ntouch ../hook-ran\n")
    hook.chmod(0o755)
    files = {path: path.read_bytes() for path in (project / ".git").rglob("*") if path.is_file()}
    await store.take(str(project), "before", (str(project / ".env"),))
    (project / "a.txt").write_text("changed")
    (project / ".env").write_text("KEY=2")
    await store.restore(str(project), 1)
    now = {path: path.read_bytes() for path in (project / ".git").rglob("*") if path.is_file()}
    assert now == files
    assert (project / "a.txt").read_text() == "one\n"
    assert (project / ".env").read_text() == "KEY=1"  # ignored, but it was about to be changed
    assert (project / "ignored" / "big").read_text() == "x"
    assert not list(project.parent.glob("**/hook-ran"))


async def test_large_files_are_left_alone(tmp_path: Path, project: Path) -> None:
    store = GitCheckpoints(tmp_path / "c", max_file_bytes=1000)
    (project / "big.bin").write_bytes(b"x" * 2000)
    await store.take(str(project), "before")
    (project / "big.bin").write_bytes(b"y" * 2000)
    (project / "a.txt").write_text("z")
    await store.restore(str(project), 1)
    assert (project / "big.bin").read_bytes() == b"y" * 2000
    assert (project / "a.txt").read_text() == "one\n"


async def test_a_directory_with_too_many_files_is_refused_quickly(tmp_path: Path) -> None:
    place = tmp_path / "huge"
    for folder in range(100):
        (place / str(folder)).mkdir(parents=True)
        for number in range(100):
            os.close(os.open(place / str(folder) / str(number), os.O_CREAT | os.O_WRONLY))
    store = GitCheckpoints(tmp_path / "c", max_files=2_000)
    started = time.monotonic()
    with pytest.raises(CheckpointError, match="too many files"):
        await store.take(str(place), "before")
    assert time.monotonic() - started < 30
    assert await store.directories() == ()


async def test_many_files_go_into_one_pack_and_come_back(tmp_path: Path) -> None:
    place = tmp_path / "many"
    place.mkdir()
    for number in range(1_000):
        (place / f"{number}.txt").write_text(f"content {number}\n" * (number % 50))
    before = tree(place)
    store = GitCheckpoints(tmp_path / "c")
    await store.take(str(place), "before")
    objects = [path for path in (tmp_path / "c/store/objects").rglob("*") if path.is_file()]
    assert len(objects) < 20
    (place / "1.txt").write_text("changed")
    await store.take(str(place), "before")
    for path in place.iterdir():
        path.write_text("all gone")
    await store.restore(str(place), 2)
    assert tree(place) == before
    assert "+all gone" not in await store.diff(str(place), 2)


async def test_too_wide_places_are_refused(tmp_path: Path, store: GitCheckpoints) -> None:
    for place in ("/", str(Path.home()), str(tmp_path), str(tmp_path / "missing")):
        with pytest.raises(CheckpointError):
            await store.take(place, "before")


async def test_old_and_surplus_snapshots_are_forgotten(tmp_path: Path, project: Path) -> None:
    store = GitCheckpoints(tmp_path / "c", max_snapshots=3)
    for number in range(6):
        (project / "a.txt").write_text(str(number))
        await store.take(str(project), f"before {number}")
    listed = await store.snapshots(str(project))
    assert [item.reason for item in listed] == ["before 5", "before 4", "before 3"]
    await store.restore(str(project), 3)
    assert (project / "a.txt").read_text() == "3"
    strict = GitCheckpoints(tmp_path / "c", retention_seconds=0.0)
    assert await strict.prune() == 3
    assert await store.snapshots(str(project)) == ()
    assert await store.directories() == ()


async def test_the_store_is_kept_under_its_size(tmp_path: Path, project: Path) -> None:
    store = GitCheckpoints(tmp_path / "c", max_total_bytes=600_000)
    for _ in range(6):
        (project / "noise").write_bytes(os.urandom(200_000))
        await store.take(str(project), "before")
    assert await store.prune() > 0
    assert store.size() < 600_000
    assert len(await store.snapshots(str(project))) >= 1


async def test_two_at_once_wait_for_each_other(tmp_path: Path, project: Path) -> None:
    stores = [GitCheckpoints(tmp_path / "c") for _ in range(4)]

    async def work(store: GitCheckpoints, number: int) -> None:
        (project / f"{number}.txt").write_text("x")
        await store.take(str(project), f"before {number}")

    await asyncio.gather(*(work(store, number) for number, store in enumerate(stores)))
    assert 1 <= len(await stores[0].snapshots(str(project))) <= 4


def test_the_root_is_the_project_or_the_folder(store: GitCheckpoints, project: Path, tmp_path: Path) -> None:
    def root(path: Path, cwd: Path) -> str:
        return store.root_of(str(path), cwd=str(cwd))

    assert root(project / "sub" / "deep" / "file.txt", tmp_path) == str(project)
    assert root(project, project) == root(project / "sub", project / "sub") == str(project)
    loose = tmp_path / "loose"
    assert root(loose / "sub" / "file.txt", loose) == root(loose, loose) == str(loose)
    assert root(loose / "file.txt", project) == str(loose)
    assert root(Path.home() / "x" / "file.txt", Path.home()) == str(Path.home() / "x")


async def test_a_store_that_cannot_be_made_says_so(tmp_path: Path, project: Path) -> None:
    (tmp_path / "c").write_text("a file is in the way")
    with pytest.raises(CheckpointError, match="cannot be used"):
        await GitCheckpoints(tmp_path / "c").take(str(project), "before")
