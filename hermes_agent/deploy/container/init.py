"""The first process in the container: prepares it, becomes the user, and minds the processes.

Standard library only, and nothing of the image is needed: the interpreter comes with the package in the
mounted store. Nothing here uses the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from hermes_agent.core.loading import load
from hermes_agent.deploy.container import accounts

EXIT_UNPREPARED = 70
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)
_CONTROL = "/opt/hermes-agent"
_CERTIFICATES = ("etc/ssl/certs/ca-certificates.crt", "etc/ssl/cert.pem", "etc/pki/tls/certs/ca-bundle.crt")
_UTC = {"UTC", "UCT", "Universal", "Zulu", "GMT"}
_VENV_SECONDS = 180
_FITS = (
    "import os, sys; major, minor = sys.version_info[:2]; "
    "sys.exit(not os.path.isdir(f'{sys.prefix}/lib/python{major}.{minor}'))"
)
"""Whether a virtual environment was made for the interpreter that it leads to."""
_SHELLS = ("bin/bash", "usr/bin/bash", "bin/sh", "usr/bin/sh")
_SERVE_SUDO = "hermes_agent.deploy.container.sudo:serve"
_SUDO_COMMAND = "usr/local/bin/sudo"
_SUDOERS = "etc/sudoers.d/hermes-agent"
_MARK = "# Made by hermes-agent"


def main(start: Path) -> int:
    """Be the first process; returns the exit code of the program it started.

    Args:
        start: `start.json`, written by the supervisor before each start.
    """
    process = _Process()
    process.catch()
    try:
        facts = json.loads(start.read_bytes())
        Preparation(facts, Path("/")).run()
        if facts["sudo"] and not _has_real_sudo(Path("/")):
            _fork(lambda: load(_SERVE_SUDO)(int(facts["uid"]), str(facts["user"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        say(f"the container cannot be prepared: {type(error).__name__}: {error}")
        return EXIT_UNPREPARED
    return process.run(facts)


class Preparation:
    """What is done at each start, before anything of the agent runs. It changes only what differs.

    Args:
        facts: `start.json`.
        root: The file system.
    """

    def __init__(self, facts: Mapping[str, Any], root: Path) -> None:
        self._facts = facts
        self._root = root
        self._user = str(facts["user"])
        self._uid, self._gid = int(facts["uid"]), int(facts["gid"])
        self._tools = root / _CONTROL.lstrip("/") / "tools"

    def run(self) -> None:
        """Do all of it."""
        self.user()
        self.home()
        self.local_time()
        self.sudo()
        _as_user(self._facts, self.directories)

    def user(self) -> None:
        """Make the user, with the numbers it has on the host."""
        etc = self._root / "etc"
        etc.mkdir(exist_ok=True)
        before = _text(etc / "passwd") or "root:x:0:0:root:/root:/bin/sh\n"
        for line in before.splitlines():
            fields = line.split(":")
            if (
                fields[0] == self._user
                and len(fields) > 3
                and fields[2:4] != [str(self._uid), str(self._gid)]
            ):
                before_numbers = ":".join(fields[2:4])
                say(f"the user {self._user} is {self._uid}:{self._gid} now ({before_numbers} before)")
        shell = next((f"/{name}" for name in _SHELLS if (self._root / name).exists()), "/bin/sh")
        home = str(self._facts["home"])
        passwd = accounts.with_user(before, self._user, self._uid, self._gid, home=home, shell=shell)
        _replace(etc / "passwd", passwd, 0o644)
        group = accounts.with_group(_text(etc / "group") or "root:x:0:\n", self._user, self._gid)
        for gid in self._facts.get("groups", ()):
            if gid not in {0, self._gid}:
                group = accounts.with_member(group, int(gid), self._user, name=f"host-{gid}")
        _replace(etc / "group", group, 0o644)
        shadow = _text(etc / "shadow")
        if shadow is not None:
            _replace(etc / "shadow", accounts.with_shadow(shadow, self._user), 0o640)

    def home(self) -> None:
        """Let the user's home be a directory of the state, whatever the image has there."""
        home = self._root / str(self._facts["home"]).lstrip("/")
        target = str(self._facts["home_target"])
        home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with suppress(OSError):
            if home.readlink() == Path(target):
                return
        if home.is_symlink():
            home.unlink()
        elif home.exists():
            with suppress(OSError):
                home.rmdir()
            if home.exists():
                aside = home.with_name(f"{home.name}.of-the-image")
                try:
                    shutil.move(home, aside)  # a directory of a lower layer cannot be renamed
                except OSError:
                    say(f"{home} is a mount or in use; it stays as it is")
                    return
                say(f"{home} of the image is {aside} now")
        home.symlink_to(target)

    def local_time(self) -> None:
        """Take the host's time zone over, unless somebody chose one in here."""
        given = self._root / _CONTROL.lstrip("/") / "localtime"
        zone, mark = self._root / "etc/localtime", self._root / "etc/.localtime.hermes-agent"
        if not given.exists():
            return
        data = given.read_bytes()
        try:
            known = zone.read_bytes()
        except OSError:
            known = b""
        is_default = not known or (zone.is_symlink() and zone.readlink().name in _UTC)
        if known == data or not (is_default or _text(mark) == hashlib.sha256(known).hexdigest()):
            return
        temporary = zone.with_name(".localtime.new")
        temporary.write_bytes(data)
        temporary.replace(zone)
        _replace(mark, hashlib.sha256(data).hexdigest(), 0o644)

    def sudo(self) -> None:
        """Let the user become root, or see that it cannot."""
        rule = self._root / _SUDOERS
        command = self._root / _SUDO_COMMAND
        if not self._facts["sudo"]:
            _remove_ours(rule)
            _remove_ours(command)
            return
        if _has_real_sudo(self._root):
            _remove_ours(command)
            self._allow(rule)
            return
        _remove_ours(rule)
        if not (self._root / "bin/sh").exists():
            say("the image has neither sudo nor a shell: the agent cannot become root in it")
            return
        script = f'#!/bin/sh\n{_MARK}\nexec {_CONTROL}/package/bin/hermes-agent-container sudo "$@"\n'
        command.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _replace(command, script, 0o755)

    def _allow(self, rule: Path) -> None:
        places = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        rule.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        text = (
            f"{_MARK}\n{self._user} ALL=(ALL:ALL) NOPASSWD: ALL\n"
            f'Defaults:{self._user} secure_path="{places}:{_CONTROL}/tools/bin"\n'
        )
        _replace(rule, text, 0o440)
        sudoers = self._root / "etc/sudoers"
        known = _text(sudoers)
        if known is not None and "includedir /etc/sudoers.d" not in known:
            _replace(sudoers, f"{known}\n@includedir /etc/sudoers.d\n", 0o440)

    def directories(self) -> None:
        """As the user: where programs that it installs for itself go."""
        home = self._root / str(self._facts["home_target"]).lstrip("/")
        for name in (".local/bin", ".npm-global/bin", ".npm-global/lib", ".cache"):
            with suppress(FileExistsError):
                (home / name).mkdir(parents=True, exist_ok=True)
        self._virtual_environment(home / ".venv")

    def _virtual_environment(self, place: Path) -> None:
        python = self._tools / "bin/python3"
        if not python.exists() or _runs([str(place / "bin/python"), "-c", _FITS]):
            return
        # Its interpreter is reached through a link that stays, so an upgrade rarely comes here again.
        was_there = place.exists()
        for link in place.glob("bin/python*"):
            link.unlink()
        words = [str(python), "-m", "venv", str(place)]
        if _runs(words, seconds=_VENV_SECONDS):
            say(f"{place} is {'ready for another version of Python' if was_there else 'ready'}")
        else:
            say(f"{place} could not be made; `pip install` will not work until it is: {' '.join(words)}")


class _Process:
    """The program, its signals, and everybody's children."""

    def __init__(self) -> None:
        self._child = 0

    def catch(self) -> None:
        """Handle signals from now on: nothing does so for the first process of a container by itself."""
        for number in _FORWARDED:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, number)
        elif number in {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}:
            os._exit(128 + number)

    def run(self, facts: Mapping[str, Any]) -> int:
        """Start the program as the user, and wait for it and for whoever lost its parent."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        self._child = _fork(lambda: _become_program(facts))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self._child:
                code = os.waitstatus_to_exitcode(status)
                return 128 - code if code < 0 else code


def _become_program(facts: Mapping[str, Any]) -> NoReturn:
    """Replace this process."""
    for number in (*_FORWARDED, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    become_user(facts)
    os.umask(0o007)
    for place in (str(facts["directory"]), str(facts["home_target"]), "/"):
        try:
            os.chdir(place)
            break
        except OSError:
            continue
    environment = {**_environment(), **{str(k): str(v) for k, v in facts["variables"].items()}}
    command = [str(word) for word in facts["command"]]
    try:
        os.execve(command[0], command, environment)  # noqa: S606 - this process becomes the gateway
    except OSError as error:
        say(f"{command[0]} cannot be started: {error.strerror}")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def become_user(facts: Mapping[str, Any]) -> None:
    """Give up root for good."""
    os.setgroups(sorted({int(facts["gid"]), *(int(gid) for gid in facts.get("groups", ()) if gid)}))
    os.setresgid(*[int(facts["gid"])] * 3)
    os.setresuid(*[int(facts["uid"])] * 3)


def _environment() -> dict[str, str]:
    variables = dict(os.environ)  # noqa: TID251 - this is the entry of the container
    bundle = Path(_CONTROL, "tools/etc/ssl/certs/ca-bundle.crt")
    if not any(Path("/", name).exists() for name in _CERTIFICATES) and bundle.exists():
        for name in ("SSL_CERT_FILE", "NIX_SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"):
            variables.setdefault(name, str(bundle))
    return variables


def _as_user(facts: Mapping[str, Any], action: Callable[[], None]) -> None:
    def inner() -> NoReturn:
        become_user(facts)
        os.umask(0o007)
        action()
        os._exit(0)

    pid = _fork(inner)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            break
    if status:
        say("the user's home could not be prepared; the agent starts all the same")


def _fork(action: Callable[[], Any]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        action()
    except (OSError, ValueError, KeyError) as error:
        say(f"{type(error).__name__}: {error}")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_UNPREPARED)


def _has_real_sudo(root: Path) -> bool:
    return any((root / place / "sudo").exists() for place in ("usr/bin", "bin", "usr/sbin", "sbin"))


def _runs(words: Sequence[str], *, seconds: float = 20) -> bool:
    try:
        done = subprocess.run(
            words, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _remove_ours(path: Path) -> None:
    text = _text(path)
    if text is not None and _MARK in text:
        path.unlink()


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def _replace(path: Path, text: str, mode: int) -> None:
    """Write a file of the image; one that exists keeps its owner and mode."""
    if _text(path) == text:
        return
    temporary = path.with_name(f".{path.name}.hermes-agent")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        try:
            known = path.stat()
            os.fchmod(descriptor, stat.S_IMODE(known.st_mode))
            os.fchown(descriptor, known.st_uid, known.st_gid)
        except FileNotFoundError:
            os.fchmod(descriptor, mode)
    temporary.replace(path)


def say(text: str) -> None:
    """A line for the log."""
    print(f"hermes-agent-container: {text}", file=sys.stderr, flush=True)
