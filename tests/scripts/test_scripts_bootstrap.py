"""The first start of a clone: scripts/hermes and scripts/bootstrap, with a stand-in for uv.

The clone is real (the scripts are copied), the package index is a loopback server, and uv is a shell
script inside a real wheel, so that every path can be walked in milliseconds and without a network.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ("hermes", "bootstrap", "bootstrap.py", "test")
VERSION = "9.9.9"
WHEEL_NAME = f"uv-{VERSION}-py3-none-manylinux_2_17_{platform.machine()}.manylinux2014.whl"

# Makes an environment whose `hermes` prints its arguments; notes each call; obeys a few switches.
FAKE_UV = r"""#!/bin/sh
if [ "$1" = --version ]; then echo "uv 9.9.9"; exit 0; fi
echo "$*" >>"$UV_CALLS"
if [ -n "$UV_HANG_FIRST" ] && [ ! -e "$UV_CALLS.hung" ] && [ "$1" = sync ]; then
  touch "$UV_CALLS.hung"; echo waiting >"$UV_HANG_FIRST"; exec sleep 60
fi
if [ -n "$UV_FAIL" ]; then echo "error: Failed to fetch: dns error" >&2; exit 2; fi
if [ "$1" = venv ] || [ ! -e "$UV_PROJECT_ENVIRONMENT/pyvenv.cfg" ]; then
  "$UV_PYTHON" -m venv --without-pip "$UV_PROJECT_ENVIRONMENT"
fi
if [ "$1" = sync ]; then
  printf '#!/bin/sh\necho "hermes says: $*"\nwhile read -r line; do echo "read: $line"; done\n' \
    >"$UV_PROJECT_ENVIRONMENT/bin/hermes"
  chmod +x "$UV_PROJECT_ENVIRONMENT/bin/hermes"
fi
"""

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the stand-in wheel is made for Linux with glibc"
)


class Clone:
    """A clone in a temporary directory and the machine around it."""

    def __init__(self, base: Path, index: str) -> None:
        self.root = base / "a clone"
        self.calls = base / "uv-calls"
        (self.root / "scripts").mkdir(parents=True)
        (self.root / "hermes_agent").mkdir()
        for name in SCRIPTS:
            shutil.copy(REPOSITORY / "scripts" / name, self.root / "scripts" / name)
        (self.root / "pyproject.toml").write_text('[tool.uv]\nrequired-version = ">=0.9"\n')
        tools = base / "bin"
        tools.mkdir()
        for name in ("sh", "sleep", "chmod", "touch", "readlink", "dirname", "ln"):
            found = shutil.which(name)
            assert found
            (tools / name).symlink_to(found)
        (tools / "python3").symlink_to(sys.executable)
        self.home = base / "home"
        self.home.mkdir()
        self.environment = {
            "PATH": str(tools),
            "HOME": str(self.home),
            "UV_CALLS": str(self.calls),
            "PIP_INDEX_URL": "",
            "no_proxy": "*",
        }
        self.index = index

    def lock(self, digest: str, url: str) -> None:
        """Write a uv.lock that names uv."""
        (self.root / "uv.lock").write_text(
            f'version = 1\n[[package]]\nname = "uv"\nversion = "{VERSION}"\n'
            f'wheels = [{{ url = "{url}", hash = "sha256:{digest}" }}]\n'
        )

    def command(self, *arguments: str) -> list[str]:
        """The command line of a start."""
        return [str(self.root / "scripts" / "hermes"), *arguments]

    def run(self, *arguments: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        """Start hermes from the clone."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.environment, **extra},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def uv_calls(self) -> list[str]:
        """What uv was asked to do."""
        return self.calls.read_text().splitlines() if self.calls.exists() else []


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """A package index: its address, the wheel's SHA-256, its directory."""
    directory = tmp_path_factory.mktemp("index")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"uv-{VERSION}.data/scripts/uv", FAKE_UV)
    wheel = directory / WHEEL_NAME
    wheel.write_bytes(data.getvalue())
    (directory / "simple" / "uv").mkdir(parents=True)
    (directory / "simple" / "uv" / "index.html").write_text(
        f'<a href="../../{WHEEL_NAME}#sha256=whatever">{WHEEL_NAME}</a>'
    )

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    yield f"http://127.0.0.1:{server.server_port}", digest, directory
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clone(tmp_path: Path, index: tuple[str, str, Path]) -> Clone:
    """A fresh clone whose lock file points at the index."""
    address, digest, _ = index
    made = Clone(tmp_path, address)
    made.lock(digest, f"{address}/{WHEEL_NAME}")
    return made


def test_first_start_prepares_and_then_runs_the_command_with_its_input(clone: Clone) -> None:
    result = clone.run("-z", "two words", stdin="from stdin\n")
    assert result.stdout == "hermes says: -z two words\nread: from stdin\n", result.stderr
    assert result.returncode == 0
    assert "first start" in result.stderr
    assert "downloading uv" in result.stderr
    assert any(call.startswith("sync --frozen") and "--no-dev" in call for call in clone.uv_calls())


def test_second_start_prepares_nothing_and_says_nothing(clone: Clone) -> None:
    clone.run("one")
    before = clone.uv_calls()
    result = clone.run("two")
    assert (result.stdout, result.stderr) == ("hermes says: two\n", "")
    assert clone.uv_calls() == before


def test_short_way_forks_nothing(clone: Clone) -> None:
    clone.run("one")
    result = clone.run("two", PATH="/nonexistent")
    assert result.stdout == "hermes says: two\n", result.stderr


def test_changed_lock_file_updates_the_environment(clone: Clone, index: tuple[str, str, Path]) -> None:
    clone.run("one")
    lock = clone.root / "uv.lock"
    lock.write_text(lock.read_text() + "# newer\n")
    result = clone.run("two")
    assert "have changed" in result.stderr
    assert result.stdout == "hermes says: two\n"
    assert sum(call.startswith("sync") for call in clone.uv_calls()) == 2


def test_touched_lock_file_with_the_same_contents_costs_one_check_only(clone: Clone) -> None:
    clone.run("one")
    (clone.root / "uv.lock").touch()
    assert clone.run("two").stderr == ""
    assert sum(call.startswith("sync") for call in clone.uv_calls()) == 1
    assert clone.run("three", PATH="/nonexistent").stdout == "hermes says: three\n"


def test_moved_clone_is_prepared_again(clone: Clone, tmp_path: Path) -> None:
    clone.run("one")
    clone.root = clone.root.rename(tmp_path / "elsewhere")
    result = clone.run("two")
    assert result.stdout == "hermes says: two\n"
    assert "preparing" in result.stderr


def test_started_through_a_link_it_finds_its_clone(clone: Clone, tmp_path: Path) -> None:
    link = tmp_path / "bin" / "hermes"
    link.symlink_to(os.path.relpath(clone.root / "scripts" / "hermes", link.parent))
    result = subprocess.run(
        [link, "linked"],
        env=clone.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "hermes says: linked\n", result.stderr


def test_wheel_with_the_wrong_hash_is_refused(clone: Clone, index: tuple[str, str, Path]) -> None:
    clone.lock("0" * 64, f"{index[0]}/{WHEEL_NAME}")
    result = clone.run("x")
    assert result.returncode == 3
    assert "nothing was installed" in result.stderr
    assert clone.uv_calls() == []
    assert not list(clone.home.rglob("uv"))


def test_mirror_is_used_for_uv_and_for_the_libraries(clone: Clone, index: tuple[str, str, Path]) -> None:
    clone.lock(index[1], f"http://127.0.0.1:9/{WHEEL_NAME}")
    result = clone.run("x", PIP_INDEX_URL=f"{index[0]}/simple/")
    calls = clone.uv_calls()
    assert any(call.startswith("export --frozen") for call in calls), result.stderr
    assert any("--require-hashes" in call for call in calls)
    assert not any(call.startswith("sync") for call in calls)


def test_password_of_a_mirror_is_never_shown(clone: Clone) -> None:
    result = clone.run("x", UV_DEFAULT_INDEX="http://me:hunter2@127.0.0.1:9/simple")
    assert result.returncode == 3
    assert "hunter2" not in result.stderr
    assert "127.0.0.1:9" in result.stderr


def test_without_a_network_it_says_so_and_what_to_do(clone: Clone, index: tuple[str, str, Path]) -> None:
    clone.lock(index[1], f"http://127.0.0.1:9/{WHEEL_NAME}")
    result = clone.run("x")
    assert result.returncode == 3
    assert "Cannot download" in result.stderr
    assert "HTTPS_PROXY" in result.stderr
    assert "Traceback" not in result.stderr


def test_failure_of_uv_is_shown_and_the_next_start_tries_again(clone: Clone) -> None:
    failed = clone.run("x", UV_FAIL="yes")
    assert failed.returncode == 3
    assert "dns error" in failed.stderr
    assert "needs it once" in failed.stderr
    assert clone.run("x").stdout == "hermes says: x\n"


def test_two_first_starts_at_once_prepare_one_environment(clone: Clone) -> None:
    processes = [
        subprocess.Popen(
            clone.command("x"),
            env=clone.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [out for out, _ in outputs] == ["hermes says: x\n"] * 3, outputs
    assert sum(call.startswith("sync") for call in clone.uv_calls()) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_set_up_heals_itself(clone: Clone, tmp_path: Path, how: signal.Signals) -> None:
    fifo = tmp_path / "reached"
    os.mkfifo(fifo)
    process = subprocess.Popen(
        clone.command("x"),
        env={**clone.environment, "UV_HANG_FIRST": str(fifo)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert fifo.read_text() == "waiting\n"  # uv is in the middle of its work
    os.killpg(process.pid, how)
    _, errors = process.communicate(timeout=30)
    if how is signal.SIGINT:
        assert "interrupted" in errors
    assert not (clone.root / ".venv" / ".hermes-ready").exists()

    result = clone.run("again")
    assert result.stdout == "hermes says: again\n", result.stderr
    assert any(call.startswith("sync") and "--reinstall" in call for call in clone.uv_calls())


def test_environment_that_lost_its_python_is_made_anew(clone: Clone) -> None:
    clone.run("one")
    python = clone.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python")
    result = clone.run("two")
    assert result.stdout == "hermes says: two\n", result.stderr
    assert "making a new one" in result.stderr


def test_uv_inside_an_environment_that_does_not_work_is_not_relied_on(clone: Clone) -> None:
    clone.run("one")
    binaries = clone.root / ".venv" / "bin"
    (binaries / "uv").write_text(FAKE_UV)
    (binaries / "uv").chmod(0o755)
    (binaries / "python").unlink()
    result = clone.run("two")
    assert result.stdout == "hermes says: two\n", result.stderr


def test_directory_that_is_no_environment_is_left_alone(clone: Clone) -> None:
    mine = clone.root / ".venv" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    result = clone.run("x")
    assert result.returncode == 3
    assert "in the way" in result.stderr
    assert mine.read_text() == "precious"


def test_installed_uv_is_preferred_and_a_broken_shim_passed_over(clone: Clone, tmp_path: Path) -> None:
    shim = tmp_path / "bin" / "uv"
    shim.write_text("#!/bin/sh\necho 'uv: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    local = clone.home / ".local" / "bin" / "uv"
    local.parent.mkdir(parents=True)
    local.write_text(FAKE_UV)
    local.chmod(0o755)
    result = clone.run("x")
    assert result.stdout == "hermes says: x\n", result.stderr
    assert "downloading" not in result.stderr


def test_uv_that_is_too_old_is_not_used(clone: Clone) -> None:
    old = clone.home / ".local" / "bin" / "uv"
    old.parent.mkdir(parents=True)
    old.write_text("#!/bin/sh\necho 'uv 0.4.1'\n")
    old.chmod(0o755)
    assert "downloading uv 9.9.9" in clone.run("x").stderr


def test_machine_without_a_new_enough_python_is_told_what_is_needed(clone: Clone, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python3"
    python.unlink()
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    python.chmod(0o755)
    result = clone.run("x")
    assert result.returncode == 3
    assert "Python 3.11 or newer is needed; found: Python 3.9.2" in result.stderr
    assert "apt install python3" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_clone_gets_a_message(clone: Clone) -> None:
    clone.root.chmod(0o555)
    try:
        result = clone.run("x")
    finally:
        clone.root.chmod(0o755)
    assert result.returncode == 3
    assert "Traceback" not in result.stderr
