"""Programs that start another program: `sudo`, `env`, `timeout`, `xargs`, `bash -c`, `find -exec` …"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

SHELLS = frozenset(
    ("sh", "bash", "zsh", "dash", "ksh", "ash", "mksh", "fish", "rbash", "csh", "tcsh", "busybox-sh")
)

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wrapper:
    """How to find the inner command.

    Attributes:
        valued: Options that take a value of their own.
        skips: Words before the inner command (the seconds of `timeout`).
        scripts: Options whose value is a script.
    """

    valued: frozenset[str] = frozenset()
    skips: int = 0
    scripts: frozenset[str] = frozenset()


def _wrapper(valued: str = "", skips: int = 0, scripts: str = "") -> Wrapper:
    return Wrapper(frozenset(valued.split()), skips, frozenset(scripts.split()))


WRAPPERS: dict[str, Wrapper] = {
    "sudo": _wrapper("-u --user -g --group -h --host -p --prompt -C -r --role -t --type -T -U -D --chdir -R"),
    "doas": _wrapper("-u -C"),
    "pkexec": _wrapper("--user"),
    "env": _wrapper("-u --unset -C --chdir", scripts="-S --split-string"),
    "nohup": _wrapper(),
    "setsid": _wrapper(),
    "builtin": _wrapper(),
    "command": _wrapper(),
    "exec": _wrapper("-a"),
    "time": _wrapper("-f -o --format --output"),
    "nice": _wrapper("-n --adjustment"),
    "ionice": _wrapper("-c -n -p --class --classdata"),
    "chrt": _wrapper(skips=1),
    "taskset": _wrapper(skips=1),
    "timeout": _wrapper("-s --signal -k --kill-after", skips=1),
    "stdbuf": _wrapper("-i -o -e --input --output --error"),
    "xargs": _wrapper("-I -n -P -L -d -s -a -E --max-args --max-procs --delimiter --arg-file --replace"),
    "parallel": _wrapper("-j --jobs -a --arg-file -I --delay --timeout"),
    "watch": _wrapper("-n --interval", scripts=""),
    "strace": _wrapper("-o -e -p -s -u -E"),
    "ltrace": _wrapper("-o -e -p -s -u"),
    "busybox": _wrapper(),
    "toybox": _wrapper(),
    "chroot": _wrapper("--userspec --groups", skips=1),
    "unshare": _wrapper("-R --root -w --wd -S -G"),
    "nsenter": _wrapper("-t --target -S -G"),
    "setpriv": _wrapper("--reuid --regid --groups --inh-caps --bounding-set"),
    "gosu": _wrapper(skips=1),
    "su-exec": _wrapper(skips=1),
    "runuser": _wrapper("-u --user -g -G -s --shell", scripts="-c --command"),
    "su": _wrapper("-g -G -s --shell -w", skips=1, scripts="-c --command --session-command"),
    "script": _wrapper("-I -O -B -T -o -E -m", scripts="-c --command"),
    "flock": _wrapper("-w --timeout -E", skips=1, scripts="-c --command"),
    "faketime": _wrapper("-f", skips=1),
    "caffeinate": _wrapper("-t -w"),
    "systemd-run": _wrapper(
        "-u --unit -p --property -E --setenv --uid --gid --on-calendar --on-active -M -d"
    ),
    "systemd-inhibit": _wrapper("--what --who --why --mode"),
    "dbus-run-session": _wrapper("--config-file"),
    "xvfb-run": _wrapper("-n -s -e -f -w -p"),
    "torsocks": _wrapper(),
    "proxychains": _wrapper("-f"),
    "unbuffer": _wrapper(),
    "noglob": _wrapper(),
    "nocorrect": _wrapper(),
    "setarch": _wrapper(skips=1),
    "linux64": _wrapper(),
    "firejail": _wrapper(),
    "gdb": _wrapper("-ex -x"),
    "valgrind": _wrapper(),
    "exec-path": _wrapper(),
}

_JOINING = frozenset(("watch", "ssh", "eval", "su", "runuser"))


@dataclass(frozen=True, slots=True)
class Inner:
    """What a wrapper starts: words of one command, or the text of a script."""

    words: tuple[str, ...] = ()
    script: str | None = None


def program(words: Sequence[str]) -> str:
    """The name of the program, without its folder."""
    return words[0].rstrip("/").rpartition("/")[2] if words else ""


def inner_commands(words: Sequence[str]) -> list[Inner]:
    """The commands that this one starts; empty if it is no wrapper."""
    name, arguments = program(words), list(words[1:])
    if name in ("command", "builtin", "type") and arguments[:1] and arguments[0] in ("-v", "-V"):
        return []
    if name in ("eval", "trap"):
        return [Inner(script=" ".join(arguments) if name == "eval" else (arguments[0] if arguments else ""))]
    if name == "find":
        return _find_commands(arguments)
    if name == "ssh":
        return _ssh_command(arguments)
    if name in SHELLS:
        script = shell_script(arguments)
        return [Inner(script=script)] if script is not None else []
    wrapper = WRAPPERS.get(name)
    return _unwrapped(name, wrapper, arguments) if wrapper else []


def shell_script(arguments: Sequence[str]) -> str | None:
    """The script in the arguments of a shell (`-c 'script'`, `-lc`), or None."""
    for index, argument in enumerate(arguments):
        if argument == "--command" or re.fullmatch(r"[-+][A-Za-z]*c[A-Za-z]*", argument):
            rest = [word for word in arguments[index + 1 :] if not re.fullmatch(r"[-+][A-Za-z]+|--", word)]
            return rest[0] if rest else ""
        if argument.startswith("--command="):
            return argument.partition("=")[2]
    return None


def _unwrapped(name: str, wrapper: Wrapper, arguments: list[str]) -> list[Inner]:
    found: list[Inner] = []
    skips, index = wrapper.skips, 0
    unknown_option = False
    while index < len(arguments):
        word = arguments[index]
        option, equals, value = word.partition("=")
        if option in wrapper.scripts or (wrapper.scripts and re.fullmatch(r"-\w*[cS]", word)):
            script = value if equals else " ".join(arguments[index + 1 : index + 2])
            found.append(Inner(script=script))
            index += 1 if equals else 2
        elif word == "--":
            index += 1
            break
        elif word.startswith("-") and len(word) > 1:
            unknown_option = unknown_option or (word not in wrapper.valued and not equals)
            index += 2 if word in wrapper.valued else 1
        elif _ASSIGNMENT.match(word):
            index += 1
        elif skips:
            skips -= 1
            index += 1
        else:
            break
    rest = tuple(arguments[index:])
    if name == "parallel" and ":::" in rest:
        rest = tuple(word for word in rest if not word.startswith(":::"))
    if rest:
        found.append(Inner(rest))
        if name in _JOINING:
            found.append(Inner(script=" ".join(rest)))
        if unknown_option and len(rest) > 1:
            found.append(Inner(rest[1:]))  # an option we do not know may have taken the first word
    return found


def _find_commands(arguments: Sequence[str]) -> list[Inner]:
    found: list[Inner] = []
    for index, word in enumerate(arguments):
        if len(found) >= 10:
            break
        if word in ("-exec", "-execdir", "-ok", "-okdir"):
            rest = list(arguments[index + 1 :])
            end = next((at for at, part in enumerate(rest) if part in (";", "+")), len(rest))
            root = next((part for part in arguments if not part.startswith("-")), ".")
            only_all = not any(part in _FILTERS for part in arguments)
            words = [root if part == "{}" and only_all else part for part in rest[:end]]
            found.append(Inner(tuple(words)))
    return found


_FILTERS = frozenset(
    (
        *(
            "-name",
            "-iname",
            "-path",
            "-ipath",
            "-wholename",
            "-regex",
            "-iregex",
            "-size",
            "-mtime",
            "-mmin",
        ),
        *("-atime", "-amin", "-ctime", "-cmin", "-newer", "-user", "-group", "-empty", "-perm", "-inum"),
        *("-links", "-maxdepth", "-prune"),
    )
)
"""Tests of find that choose; without one of them it takes everything."""


def takes_everything(arguments: Sequence[str]) -> bool:
    """Whether `find` with these arguments selects all that is under its root."""
    return not any(argument in _FILTERS for argument in arguments)


def _ssh_command(arguments: Sequence[str]) -> list[Inner]:
    index = 0
    while index < len(arguments) and arguments[index].startswith("-"):
        takes_value = len(arguments[index]) == 2 and arguments[index][1] in "bcDEeFIiJLlmOopQRSWw"
        index += 2 if takes_value else 1
    script = " ".join(arguments[index + 1 :])
    return [Inner(script=script)] if script else []
