"""Prepare .venv for scripts/hermes (`run`) or for working on the project (`dev`).

Standard library only: this runs on a machine that has Python 3.11 and nothing else, not even pip. uv is
taken from where it is installed, or its wheel is downloaded into a private cache; the version and the
SHA-256 come from uv.lock, so a mirror or a proxy cannot slip in something else. Everything is said on
stderr; nothing is read from stdin.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
    import ssl
    import urllib.error
    import urllib.parse
    import urllib.request
except ImportError as missing:  # Debian's python3-minimal
    sys.exit(
        f"hermes: this Python ({sys.executable}) lacks a part of the standard library: {missing.name}\n"
        "  Debian, Ubuntu:  apt install python3"
    )

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
READY = VENV / ".hermes-ready"
READY_DEV = VENV / ".hermes-ready-dev"
UNFINISHED = VENV / ".hermes-unfinished"
PYPI = "https://pypi.org/simple"
PROXY_ADVICE = (
    "Behind a proxy: set HTTPS_PROXY (SSL_CERT_FILE for its CA certificates). "
    "With a mirror of PyPI: set UV_DEFAULT_INDEX or PIP_INDEX_URL."
)
NETWORK_SIGNS = (
    "dns error",
    "error sending request",
    "failed to lookup",
    "failed to fetch",
    "connection refused",
    "network is unreachable",
    "timed out",
    "tcp connect",
    "certificate",
)


class SetupError(Exception):
    """Set-up cannot go on. The text is for people; further lines say what to do."""


def say(text: str) -> None:
    """Tell the person, on stderr."""
    print(f"hermes: {text}", file=sys.stderr, flush=True)


# --- is there anything to do? ---------------------------------------------------------------------------


def is_ready(stamp: Path) -> bool:
    """Whether `stamp` was written for this directory, after the last change of the lock file."""
    try:
        text = stamp.read_text(encoding="utf-8")
    except OSError:
        return False
    return (
        text == stamp_text()
        and not UNFINISHED.exists()
        and os.access(VENV / "bin" / "python", os.X_OK)
        and (VENV / "bin" / "hermes").exists()
    )


def stamp_text() -> str:
    """What a stamp says: the directory .venv was made for, and a digest of what decides its contents."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "uv.lock"):
        digest.update((ROOT / name).read_bytes())
    return f"{ROOT}\n{digest.hexdigest()}\n"


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one set-up of this clone run at a time. The lock ends with the process, however it ends."""
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another start is preparing this clone; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # a network file system without locks: uv locks the environment itself
            pass
        yield
    finally:
        os.close(descriptor)


# --- uv -------------------------------------------------------------------------------------------------


def find_uv() -> str:
    """Path of a uv that this project accepts; downloaded if there is none.

    Raises:
        SetupError: There is none and it cannot be downloaded.
    """
    wanted = locked_uv()
    cached = cache_directory() / f"uv-{wanted['version']}" / "uv"
    needed = minimum_uv()
    home = Path.home()
    for candidate in (
        shutil.which("uv"),
        VENV / "bin" / "uv",
        home / ".local" / "bin" / "uv",
        home / ".cargo" / "bin" / "uv",
        cached,
    ):
        if candidate and (version := uv_version(str(candidate))) and version >= needed:
            return str(candidate)
    download_uv(wanted, cached)
    if uv_version(str(cached)) is None:
        cached.unlink(missing_ok=True)
        raise SetupError(
            f"uv {wanted['version']} does not run on this machine ({platform.machine()})\n"
            "Install uv yourself, then try again: https://docs.astral.sh/uv/"
        )
    return str(cached)


def uv_version(program: str) -> tuple[int, ...] | None:
    """Version of a uv, or None if it does not run (a shim of a version manager may not)."""
    try:
        output = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"uv (\d+)\.(\d+)\.(\d+)", output)
    return tuple(int(part) for part in found.groups()) if found else None


def minimum_uv() -> tuple[int, ...]:
    """The oldest uv that `tool.uv.required-version` accepts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    required = str(project.get("tool", {}).get("uv", {}).get("required-version", ">=0"))
    return tuple(int(part) for part in re.findall(r"\d+", required))


def locked_uv() -> dict[str, Any]:
    """The uv of uv.lock: `version` and `wheels` (`url`, `hash`)."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    for package in lock["package"]:
        if package["name"] == "uv":
            return dict(package)
    raise SetupError("uv.lock does not name uv\nInstall uv yourself: https://docs.astral.sh/uv/")


def cache_directory() -> Path:
    """Where the downloaded uv is kept."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "hermes-agent"


def wheel_for_this_machine(wheels: list[dict[str, Any]]) -> dict[str, Any]:
    """The wheel whose platform tag fits.

    Raises:
        SetupError: None does.
    """
    machine = platform.machine().lower()
    machine = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686"}.get(machine, machine)
    if sys.platform == "darwin":
        patterns = [rf"macosx_.*{'arm64' if machine == 'aarch64' else machine}\.whl"]
    else:
        glibc = [rf"manylinux_2_17_{machine}", rf"manylinux_2_\d+_{machine}"]
        musl = [rf"musllinux_1_\d_{machine}"]  # linked statically: runs anywhere
        is_glibc = platform.libc_ver()[0] == "glibc"
        patterns = glibc + musl if is_glibc else musl + glibc
    for pattern in patterns:
        for wheel in wheels:
            if re.search(pattern, wheel["url"]):
                return wheel
    raise SetupError(
        f"There is no ready-made uv for this machine ({sys.platform}, {machine})\n"
        "Install uv yourself, then try again: https://docs.astral.sh/uv/"
    )


def download_uv(wanted: dict[str, Any], target: Path) -> None:
    """Put uv at `target`, whole or not at all.

    Raises:
        SetupError: No network, or what came is not what uv.lock names.
    """
    wheel = wheel_for_this_machine(wanted["wheels"])
    index = package_index()
    url = wheel["url"] if index is None else address_at_index(index, Path(wheel["url"]).name)
    say(f"downloading uv {wanted['version']} (once; it installs the rest)")
    data = fetch(url)
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if found != wheel["hash"]:
        raise SetupError(
            "The downloaded uv is not the one that uv.lock names; nothing was installed\n"
            f"expected {wheel['hash']}\nreceived {found}\n"
            "A proxy or mirror may have answered in its place."
        )
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".data/scripts/uv"))
        program = archive.read(member)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
            partial.write(program)
        Path(partial.name).chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        Path(partial.name).replace(target)
    except OSError as error:
        raise SetupError(f"Cannot write {target}: {error.strerror}\nSet XDG_CACHE_HOME.") from error


def package_index() -> str | None:
    """The package index this machine is told to use; None means the addresses in uv.lock."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        index = os.environ.get(name, "").strip().rstrip("/")
        if index:
            return None if index == PYPI else index
    return None


def address_at_index(index: str, file_name: str) -> str:
    """Where a package index has the file."""
    page_url = f"{index}/uv/"
    page = fetch(page_url).decode("utf-8", "replace")
    for link in re.findall(r'href="([^"#]+)', page):
        address = urllib.parse.urljoin(page_url, link.replace("&amp;", "&"))
        if Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name == file_name:
            return with_login_of(index, address)
    raise SetupError(
        f"The package index has no {file_name}: {without_login(page_url)}\n"
        "Install uv yourself, then try again: https://docs.astral.sh/uv/"
    )


def with_login_of(index: str, address: str) -> str:
    """Carry `user:password@` of the index over to a file on the same host."""
    login, at, host = urllib.parse.urlsplit(index).netloc.rpartition("@")
    parts = urllib.parse.urlsplit(address)
    return parts._replace(netloc=f"{login}@{host}").geturl() if at and parts.netloc == host else address


def without_login(address: str) -> str:
    """The address as it may be shown."""
    parts = urllib.parse.urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def fetch(address: str) -> bytes:
    """Download. Proxies, SSL_CERT_FILE, PIP_CERT and REQUESTS_CA_BUNDLE are honoured.

    Raises:
        SetupError: It cannot be had.
    """
    shown = without_login(address)
    parts = urllib.parse.urlsplit(address)
    headers = {"Accept": "text/html, */*", "User-Agent": "hermes-setup"}
    request = urllib.request.Request(shown, headers=headers)
    if parts.username is not None:
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    context = certificates()
    if parts.username is None and not has_certificates(context):
        # A bare Debian has no CA certificates. What is downloaded here is checked by its SHA-256, so a
        # false host can do no harm, unless there is a password to steal.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as response:
            return read_with_progress(response)
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLError):
            advice = "If a proxy signs for the network here: set SSL_CERT_FILE to its CA certificates."
        else:
            advice = PROXY_ADVICE
        raise SetupError(
            f"Cannot download {shown}: {reason}\n"
            "The first start needs the network once, to fetch uv and the libraries.\n"
            f"{advice}\n"
            "Or install uv yourself: https://docs.astral.sh/uv/"
        ) from error


def certificates() -> ssl.SSLContext:
    """The machine's CA certificates, and those that pip or requests are told to use."""
    context = ssl.create_default_context()
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE"):
        file = Path(os.environ.get(name, ""))
        if file.is_file():
            context.load_verify_locations(file)
    return context


def has_certificates(context: ssl.SSLContext) -> bool:
    """Whether there are any; those of OpenSSL's directory are read on demand and do not show before."""
    directory = ssl.get_default_verify_paths().capath
    return bool(context.get_ca_certs() or (directory and any(Path(directory).glob("*.0"))))


def read_with_progress(response: Any) -> bytes:
    """Read all; on a terminal, show how much has come."""
    total = int(response.headers.get("Content-Length") or 0)
    blocks: list[bytes] = []
    received = 0
    shown = 0.0
    while block := response.read(1 << 16):
        blocks.append(block)
        received += len(block)
        if sys.stderr.isatty() and time.monotonic() - shown > 0.1:
            shown = time.monotonic()
            of_total = f" of {total / 1e6:.0f}" if total else ""
            print(f"\r  {received / 1e6:.1f}{of_total} MB ", end="", file=sys.stderr, flush=True)
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    if total and received != total:
        raise OSError(f"only {received} of {total} bytes arrived")
    return b"".join(blocks)


# --- the environment ------------------------------------------------------------------------------------


def prepare(profile: str) -> None:
    """Make .venv what uv.lock says and stamp it.

    Raises:
        SetupError: It could not be done; the next start tries again.
    """
    started = time.monotonic()
    began = time.time_ns()
    text = stamp_text()
    was_ready = READY.exists() or READY_DEV.exists()
    say("preparing .venv: the libraries have changed" if was_ready else "first start: preparing .venv, once")
    interrupted = UNFINISHED.exists()
    remove_broken_environment()  # first: it may hold a uv
    uv = find_uv()
    synchronise(uv, profile, reinstall=interrupted)
    compile_own_modules()
    for stamp in (READY, READY_DEV) if profile == "dev" else (READY,):
        partial = stamp.with_suffix(f".{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        os.utime(partial, ns=(began, began))  # a lock file that changed meanwhile is newer than this
        partial.replace(stamp)
    UNFINISHED.unlink(missing_ok=True)
    say(f"ready after {time.monotonic() - started:.0f} s")


def remove_broken_environment() -> None:
    """Remove a .venv that lost its Python (upgraded away, moved, half made).

    Raises:
        SetupError: .venv is something that nobody here made.
    """
    if not VENV.exists() and not VENV.is_symlink():
        return
    python = VENV / "bin" / "python"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        check = "import sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)"
        subprocess.run([python, "-I", "-c", check], check=True, timeout=60, capture_output=True)
        return
    if VENV.is_dir() and ((VENV / "pyvenv.cfg").exists() or not any(VENV.iterdir())):
        say("the old .venv does not work any more; making a new one")
        shutil.rmtree(VENV)
        return
    raise SetupError(f"{VENV} is in the way: it is no Python environment\nMove it away, then try again.")


def synchronise(uv: str, profile: str, *, reinstall: bool) -> None:
    """Run `uv sync`; with a mirror, install the same locked versions and hashes from there.

    Raises:
        SetupError: uv failed.
    """
    python = VENV / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environment["UV_PROJECT_ENVIRONMENT"] = str(VENV)
    environment["UV_PYTHON"] = str(python if python.exists() else Path(sys.executable))
    if "SSL_CERT_FILE" not in environment and os.environ.get("PIP_CERT"):
        environment["SSL_CERT_FILE"] = os.environ["PIP_CERT"]
    if has_certificates(certificates()):  # which may have one of a company's proxy; uv's own list has not
        environment.setdefault("UV_SYSTEM_CERTS", "true")
    # --inexact: never take away what a developer added to .venv
    selection = ["--all-extras", "--all-groups"] if profile == "dev" else ["--no-dev"]
    options = [*(["--reinstall"] if reinstall else []), "--compile-bytecode"]
    if not python.exists():
        run_uv([uv, "venv", str(VENV)], environment)
        environment["UV_PYTHON"] = str(python)
    UNFINISHED.touch()
    index = package_index()
    if index is None:
        run_uv([uv, "sync", "--frozen", "--inexact", *selection, *options], environment)
        return
    environment["UV_DEFAULT_INDEX"] = index
    with tempfile.TemporaryDirectory() as directory:
        pinned = Path(directory) / "requirements.txt"
        export = [uv, "export", "--frozen", "--no-emit-project", "--output-file", str(pinned)]
        run_uv([*export, *selection], environment)
        install = [uv, "pip", "install", "--python", str(python), *options]
        run_uv([*install, "--require-hashes", "-r", str(pinned)], environment)
        run_uv([*install, "--no-deps", "--editable", str(ROOT)], environment)


def run_uv(command: list[str], environment: dict[str, str]) -> None:
    """Run uv; what it does is shown on a terminal, without the list of everything it installed.

    Raises:
        SetupError: It failed.
    """
    is_shown = sys.stderr.isatty() and command[1] == "sync"
    output: list[str] = []
    with subprocess.Popen(
        command if is_shown else [*command, "--quiet"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # a pipe makes uv write plain lines
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line.rstrip())
            if is_shown and not line.startswith((" + ", " - ", " ~ ")):
                print(f"  {line.strip()}", file=sys.stderr, flush=True)
    if process.returncode == 0:
        return
    if process.returncode < 0:
        raise KeyboardInterrupt
    lines = [f"uv could not prepare the environment (exit {process.returncode})"]
    lines += [] if is_shown else output[-15:]
    if not output or any(sign in line.lower() for line in output for sign in NETWORK_SIGNS):
        lines += [
            "If there is no network: the first start needs it once, to fetch the libraries.",
            PROXY_ADVICE,
        ]
    lines.append("Starting again continues where this stopped.")
    raise SetupError("\n".join(lines))


def compile_own_modules() -> None:
    """Write the bytecode of the package itself, so that the first start is as quick as the next."""
    subprocess.run(
        [VENV / "bin" / "python", "-m", "compileall", "-q", "hermes_agent"],
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    if arguments not in (["run"], ["dev"]):
        say("usage: scripts/bootstrap run|dev")
        return 2
    profile = arguments[0]
    stamp = READY_DEV if profile == "dev" else READY
    try:
        if not is_ready(stamp):
            with one_at_a_time():
                if not is_ready(stamp):
                    prepare(profile)
        elif profile == "run":
            # A fresh checkout of the same files; let scripts/hermes take its short way again.
            with contextlib.suppress(OSError):  # somebody else's clone
                stamp.touch()
    except SetupError as error:
        say(str(error).replace("\n", "\n  "))
        return 3
    except KeyboardInterrupt:
        say("set-up was interrupted; starting again continues it")
        return 130
    except OSError as error:
        say(f"cannot prepare .venv: {error}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
