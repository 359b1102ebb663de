"""Commands on the host that belong into the service's container.

The activation of a container writes `.container-mode` into the home; every `hermes` command on the host
is then run inside, with its arguments as they are. Standard library only: this is part of the fast door.
The file is believed only if root owns it and nobody else may write it, because the agent can write the
directory around it. An agent that may be root in its container can do even that, so what the system's
own configuration says in /etc/hermes-agent/container-mode comes first: no container reaches that place.
"""

from __future__ import annotations

import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

TTY_SECONDS = 5.0
"""How long a person at a terminal waits for a container that is not there."""
SILENT_SECONDS = 10.0
"""How long a script waits."""
EXIT_NO_CONTAINER = 6
_PROBE_SECONDS = 15
_SETTLING_SECONDS = 120
"""In the first minutes of a container its user may not have been made yet."""
_FORWARDED = ("TERM", "COLORTERM", "LANG", "LC_ALL")
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLACES = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin"
_DECLARED = "etc/hermes-agent/container-mode"
"""Directory of the host with one file for each container: the lines of `.container-mode`, and `home=`."""
_CGROUPS = ("/docker/", "/docker-", "/libpod-", "/kubepods", "/crio-")
_STORAGES = ("/docker/containers/", "/containers/storage/overlay-containers/")
_ENGINE_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")


class RoutingProblem(Exception):  # noqa: N818 - printed, never raised to callers outside
    """Why a command cannot be run in the container: what, and what to do."""


class ContainerMode:
    """The content of `.container-mode`."""

    __slots__ = ("backend", "container_name", "exec_user", "hermes_bin")

    def __init__(
        self,
        backend: str = "docker",
        container_name: str = "hermes-agent",
        exec_user: str = "hermes",
        hermes_bin: str = "/data/current-package/bin/hermes",
    ) -> None:
        self.backend = backend
        self.container_name = container_name
        self.exec_user = exec_user
        self.hermes_bin = hermes_bin

    def is_possible(self) -> bool:
        """Whether these can be an engine, a container, a user and a program."""
        return (
            self.backend in {"docker", "podman"}
            and all(_is_name(name) for name in (self.container_name, self.exec_user))
            and self.hermes_bin.startswith("/")
        )


def _is_name(text: str) -> bool:
    return bool(text) and text[0] not in ".-" and not set(text) - _NAME


def route(marker: str, args: Sequence[str], environ: Mapping[str, str], *, root: str = "/") -> int | None:
    """Run a command in the container; does not come back if that works.

    Args:
        marker: Path of `.container-mode`, which exists.
        args: Arguments without the program name, handed over as they are.
        environ: The process environment.
        root: Where to look for the signs of a container, and for /etc.

    Returns:
        None if the command belongs here: inside a container already, or `HERMES_DEV=1`. Otherwise the
        exit code of the failure, which was printed.
    """
    if environ.get("HERMES_DEV") == "1" or is_inside(environ, root):
        return None
    try:
        mode = read_declared(os.path.dirname(marker), root) or read_mode(marker)  # noqa: PTH120
        command = _wait(mode, environ)
        sys.stdout.flush()
        sys.stderr.flush()
        _execute([*command, *_exec_words(mode, environ), *args])
    except RoutingProblem as problem:
        first, *more = str(problem).split("\n")
        print(f"Error: {first}", file=sys.stderr)
        for line in more:
            print(f"       {line}", file=sys.stderr)
        return EXIT_NO_CONTAINER


def is_inside(environ: Mapping[str, str], root: str = "/") -> bool:
    """Whether this process runs in a container."""
    if environ.get("KUBERNETES_SERVICE_HOST") or environ.get("container") in {"docker", "podman", "oci"}:
        return True
    if any(os.path.exists(root + name) for name in (".dockerenv", "run/.containerenv")):  # noqa: PTH110
        return True
    if any(mark in _content(root + "proc/1/cgroup") for mark in _CGROUPS):
        return True
    for line in _content(root + "proc/self/mountinfo").splitlines():
        # What an engine mounts for its containers can be seen on the host, too, but not in these places.
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in _ENGINE_FILES and any(mark in fields[3] for mark in _STORAGES):
            return True
    return False


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(1_000_000)
    except OSError:
        return ""


def read_declared(home: str, root: str = "/") -> ContainerMode | None:
    """What the host's own configuration says about the container of a home; None if it says nothing."""
    place = root + _DECLARED
    try:
        names = sorted(os.listdir(place))  # noqa: PTH208
    except OSError:
        return None
    for name in names:
        try:
            with open(f"{place}/{name}", "rb") as file:  # noqa: PTH123
                text = file.read(4096).decode("utf-8", "replace")
        except OSError:
            continue
        values = _values(text)
        if values.get("home") and os.path.realpath(values["home"]) == os.path.realpath(home):
            return _mode(values, f"{place}/{name}")
    return None


def read_mode(marker: str) -> ContainerMode:
    """Read `.container-mode`.

    Raises:
        RoutingProblem: It is not root's own, or says something that cannot be.
    """
    try:
        descriptor = os.open(marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise RoutingProblem(f"{marker} cannot be read: {error.strerror}\n{_ACTIVATE_AGAIN}") from error
    with os.fdopen(descriptor, "rb") as file:
        known = os.fstat(descriptor)
        writable = stat.S_IMODE(known.st_mode) & 0o022
        if not stat.S_ISREG(known.st_mode) or known.st_uid != 0 or writable:
            raise RoutingProblem(
                f"{marker} is not believed: it must belong to root and be writable by nobody else\n"
                f"{_ACTIVATE_AGAIN}"
            )
        text = file.read(4096).decode("utf-8", "replace")
    return _mode(_values(text), marker)


def _values(text: str) -> dict[str, str]:
    """The `name=value` lines of a text."""
    values = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.strip()
    return values


def _mode(values: Mapping[str, str], source: str) -> ContainerMode:
    mode = ContainerMode(**{name: values[name] for name in ContainerMode.__slots__ if values.get(name)})
    if not mode.is_possible():
        raise RoutingProblem(f"{source} does not describe a container\n{_ACTIVATE_AGAIN}")
    return mode


_ACTIVATE_AGAIN = (
    "Write it again: sudo nixos-rebuild switch. To run hermes here instead: HERMES_DEV=1 hermes …"
)


def _wait(mode: ContainerMode, environ: Mapping[str, str]) -> list[str]:
    """The engine's command (perhaps through sudo), as soon as the container takes commands."""
    places = f"{environ.get('PATH', '')}:{_PLACES}"
    engine = _which(mode.backend, places)
    if engine is None:
        raise RoutingProblem(
            f"{mode.backend} is not installed, and hermes runs in the container {mode.container_name!r}\n"
            f"Put it on PATH, or run: sudo hermes …"
        )
    sudo = _which("sudo", places)
    is_tty = sys.stderr.isatty()
    end = time.monotonic() + (TTY_SECONDS if is_tty else SILENT_SECONDS)
    step = 0
    while True:
        problem = ""
        prefixes = [[engine]] if os.geteuid() == 0 or sudo is None else [[engine], [sudo, "-n", engine]]
        for command in prefixes:
            problem = _probe(command, mode, environ)
            if not problem:
                _clear(is_tty and step > 0)
                return command
        if time.monotonic() >= end:
            _clear(is_tty and step > 0)
            raise _unreachable(mode, problem)
        if is_tty:
            print(
                f"\r{_SPINNER[step % 10]} waiting for {mode.container_name}",
                end="",
                file=sys.stderr,
                flush=True,
            )
        step += 1
        time.sleep(0.2)


def _probe(command: Sequence[str], mode: ContainerMode, environ: Mapping[str, str]) -> str:
    """Why the container takes no commands this way; empty if it does."""
    started: str | None = None
    if mode.backend == "docker" and len(command) == 1:
        started = _ask_socket(mode.container_name, environ)
    if started is None:
        said = _run(
            [*command, "inspect", "--format", "{{.State.Running}} {{.State.StartedAt}}", mode.container_name]
        )
        if said.returncode:
            return said.stderr.strip() or f"exit code {said.returncode}"
        running, _, started = said.stdout.strip().partition(" ")
        if running != "true":
            return f"the container {mode.container_name!r} is not running"
    if started == "":
        return f"the container {mode.container_name!r} is not running"
    if time.time() - _moment(started) < _SETTLING_SECONDS:
        said = _run([*command, "exec", "-u", mode.exec_user, mode.container_name, "true"])
        return said.stderr.strip() or f"exit code {said.returncode}" if said.returncode else ""
    return ""


def _ask_socket(name: str, environ: Mapping[str, str]) -> str | None:
    """When the container was started, from the engine itself; '' if it is not running, None if unknown."""
    address = environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not address.startswith("unix://"):
        return None
    import json
    import socket

    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(address.removeprefix("unix://"))
            connection.sendall(f"GET /containers/{name}/json HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            return None
        state = json.loads(body)["State"]
        return str(state["StartedAt"]) if state["Running"] else ""
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _moment(text: str) -> float:
    """Seconds since 1970 of `2026-01-02T03:04:05.678Z` (any other writing: 0, which is long ago)."""
    try:
        year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
        seconds = 3600 * int(text[11:13]) + 60 * int(text[14:16]) + int(text[17:19])
    except ValueError:
        return 0.0
    # Days of the civil calendar, with years that begin in March.
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 719469
    return 86400.0 * days + seconds


def _which(name: str, places: str) -> str | None:
    for place in places.split(":"):
        path = os.path.join(place or ".", name)  # noqa: PTH118
        if os.path.isfile(path) and os.access(path, os.X_OK):  # noqa: PTH113
            return path
    return None


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    import subprocess

    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {_PROBE_SECONDS} seconds")
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", str(error.strerror))


def _exec_words(mode: ContainerMode, environ: Mapping[str, str]) -> list[str]:
    is_tty = sys.stdin.isatty() and sys.stdout.isatty()
    words = ["exec", "-it" if is_tty else "-i", "-u", mode.exec_user]
    for name in _FORWARDED:
        if environ.get(name):
            words += ["-e", f"{name}={environ[name]}"]
    return [*words, mode.container_name, mode.hermes_bin]


def _execute(command: Sequence[str]) -> NoReturn:
    try:
        os.execv(command[0], list(command))  # noqa: S606 - this process becomes the command
    except OSError as error:
        raise RoutingProblem(f"{command[0]} cannot be run: {error.strerror}") from error


def _clear(is_shown: bool) -> None:
    if is_shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _unreachable(mode: ContainerMode, problem: str) -> RoutingProblem:
    engine = f"/run/current-system/sw/bin/{mode.backend}"
    reason = problem.split("\n", maxsplit=1)[0]
    if "permission denied" in problem.lower() or "password is required" in problem:
        advice = (
            f"Run: sudo hermes …, or allow it in configuration.nix:\n"
            f'  security.sudo.extraRules = [ {{ groups = [ "hermes" ]; commands = [ {{\n'
            f'    command = "{engine}"; options = [ "NOPASSWD" ]; }} ]; }} ];'
        )
    else:
        advice = "See how it is: systemctl status hermes-agent. Or run: sudo hermes …"
    return RoutingProblem(
        f"The container {mode.container_name!r} cannot be reached: {reason}\n"
        f"hermes runs in it and not on this host.\n{advice}"
    )
