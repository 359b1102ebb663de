"""Becoming root in a container whose image has no sudo.

The first process of the container, which is root, listens; `sudo` is a small client that hands over its
streams and what to run. Whoever is not the agent's user (or root) is refused. Standard library only.
"""

from __future__ import annotations

import array
import grp
import json
import os
import pwd
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

_PATH = "/run/hermes-agent-sudo"
_LONGEST = 4_000_000
_KEPT = ("TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "DEBIAN_FRONTEND", "DISPLAY")
_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/hermes-agent/tools/bin"
_USAGE = "usage: sudo [-nEHSis] [-u USER] [-g GROUP] [--] [NAME=VALUE ...] [COMMAND ...]"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


_LONG = {
    "--background": "b",
    "--login": "i",
    "--non-interactive": "n",
    "--preserve-env": "E",
    "--set-home": "H",
    "--shell": "s",
    "--stdin": "S",
}


class SudoUsageError(ValueError):
    """What the command line of `sudo` lacks."""


def main(words: Sequence[str]) -> int:
    """The client; returns the command's exit code."""
    try:
        request = parse(words, dict(os.environ))  # noqa: TID251 - the environment is what is handed over
    except SudoUsageError as problem:
        print(f"sudo: {problem}\n{_USAGE}", file=sys.stderr)
        return 1
    if request is None:
        return 0
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.connect(_PATH)
            request["cwd"] = _working_directory()
            data = json.dumps(request).encode()
            descriptors = array.array("i", [0, 1, 2])
            asking.sendmsg(
                [struct.pack("!I", len(data))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)]
            )
            asking.sendall(data)
            for number in _FORWARDED:
                signal.signal(number, lambda number, _frame: asking.send(bytes([number])))
            answer = asking.recv(1)
    except OSError as error:
        print(f"sudo: cannot become root: {error.strerror}", file=sys.stderr)
        return 1
    return answer[0] if answer else 1


def parse(words: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Understand a command line of sudo; None if there is nothing to run (`-v`, `-k`).

    Raises:
        SudoUsageError: It makes no sense, or uses what there is not.
    """
    user, group, shell, keeps = "root", "", "", False
    pending = list(words)
    while pending and pending[0].startswith("-"):
        word = pending.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        if name in {"-u", "--user", "-g", "--group"}:
            if not equals:
                if not pending:
                    raise SudoUsageError(f"{name} needs a name")
                value = pending.pop(0)
            user, group = (value, group) if name.endswith(("u", "user")) else (user, value)
        elif word in {"-v", "-k", "-K", "--validate", "--reset-timestamp", "--remove-timestamp"}:
            if not pending:
                return None
        elif (letters := _LONG.get(name) or word[1:]) and set(letters) <= set("nEHSisb"):
            shell = "login" if "i" in letters else "shell" if "s" in letters else shell
            keeps = keeps or "E" in letters
        else:
            raise SudoUsageError(f"{word} is not understood")
    variables = {}
    while pending and "=" in pending[0] and not pending[0].startswith(("/", "=")):
        variable, _, value = pending.pop(0).partition("=")
        variables[variable] = value
    if not pending and not shell:
        raise SudoUsageError("which command?")
    kept = dict(environ) if keeps else {name: environ[name] for name in _KEPT if name in environ}
    return {"user": user, "group": group, "shell": shell, "command": pending, "environment": kept | variables}


def serve(uid: int, name: str) -> NoReturn:
    """Listen, and run what the user of this number asks for."""
    Path(_PATH).parent.mkdir(mode=0o755, exist_ok=True)
    Path(_PATH).unlink(missing_ok=True)
    for number in (*_FORWARDED, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the ones below
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(_PATH)
    os.chown(_PATH, uid, 0)
    Path(_PATH).chmod(0o600)
    listening.listen(64)
    while True:
        asking, _ = listening.accept()
        with asking:
            if os.fork() == 0:
                code = 1
                try:
                    listening.close()
                    code = _answer(asking, uid, name)
                finally:
                    os._exit(code)


def _answer(asking: socket.socket, uid: int, name: str) -> int:
    _pid, peer, _gid = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if peer not in {0, uid}:
        return 1
    head, descriptors, _, _ = socket.recv_fds(asking, 4, 3)
    (size,) = struct.unpack("!I", head)
    if size > _LONGEST or len(descriptors) != 3:
        return 1
    data = b""
    while len(data) < size:
        piece = asking.recv(size - len(data))
        if not piece:
            return 1
        data += piece
    request = json.loads(data)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        _become(request, descriptors, name, uid)
    for descriptor in descriptors:
        os.close(descriptor)
    _forward_signals(asking, child)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with suppress(OSError):
        asking.send(bytes([(128 - code if code < 0 else code) & 0xFF]))
    return 0


def _forward_signals(asking: socket.socket, child: int) -> None:
    """Hand the client's signals to the command, until one of the two has ended."""
    ended = os.pidfd_open(child)
    while True:
        readable, _, _ = select.select([asking.fileno(), ended], [], [])
        if ended in readable:
            os.close(ended)
            return
        said = asking.recv(1)
        with suppress(ProcessLookupError):
            os.killpg(child, said[0] if said else signal.SIGHUP)
        if not said:  # The client was killed: nobody waits for the command any longer.
            os.close(ended)
            return


def _become(request: Mapping[str, Any], descriptors: Sequence[int], caller: str, uid: int) -> NoReturn:
    """Be the command."""
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        account = _account(str(request["user"]))
        gid = grp.getgrnam(request["group"]).gr_gid if request["group"] else account.pw_gid
        groups = os.getgrouplist(account.pw_name, gid)
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        environment = {
            **{str(k): str(v) for k, v in request["environment"].items()},
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "PATH": _PLACES,
            "SHELL": account.pw_shell or "/bin/sh",
            "SUDO_USER": caller,
            "SUDO_UID": str(uid),
        }
        os.umask(0o022)
        command = [str(word) for word in request["command"]]
        os.chdir(account.pw_dir if request["shell"] == "login" else _reachable(str(request["cwd"])))
        if request["shell"]:
            login = ["-l"] if request["shell"] == "login" else []
            command = [environment["SHELL"], *login, *(["-c", '"$0" "$@"', *command] if command else [])]
        os.execvpe(command[0], command, environment)  # noqa: S606 - this process becomes the command
    except FileNotFoundError:
        print(
            f"sudo: {request['command'][0] if request['command'] else 'shell'}: command not found",
            file=sys.stderr,
        )
    except (OSError, KeyError, IndexError, TypeError) as error:
        print(f"sudo: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(127)


def _account(user: str) -> pwd.struct_passwd:
    if user.startswith("#"):
        return pwd.getpwuid(int(user[1:]))
    return pwd.getpwnam(user)


def _reachable(path: str) -> str:
    return path if os.access(path, os.X_OK) else "/"


def _working_directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return "/"
