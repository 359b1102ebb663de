"""Shell scripts that make one-shot shells feel like one long session.

Every command runs in a shell of its own. Before it, the state that the last command left is read;
after it, the state is written: directory, exported variables, umask and, with bash, functions,
aliases and `shopt` options. Options of `set` (`-e`, `-u` …) end with their command: scripts set
them for themselves, and a session in which every failing command ends the shell helps nobody.

The directory is written last, and only if all the rest was: a shell that was killed, that became
another program with `exec`, or that found no space, leaves no directory, and the earlier state stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from shlex import quote
from typing import Literal, TypeAlias

Flavour: TypeAlias = Literal["bash", "sh"]

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

_DUMP_BASH = (
    "builtin export -n {hidden}",
    '{{ [[ $BASHOPTS == "$__hermes_opts" ]] || builtin shopt -p',
    "builtin umask -p",
    "builtin declare -f",
    "builtin declare -Fx",
    "[[ ${{#BASH_ALIASES[@]}} -eq 0 ]] || {{ builtin echo 'shopt -s expand_aliases'; builtin alias -p; }}",
    "builtin export -p",
    "[[ -z ${{OLDPWD-}} ]] || builtin printf 'OLDPWD=%q\\n' \"$OLDPWD\"",
    'builtin echo "#end"; }} >|{new} && builtin printf %s "$PWD" >|{new}.cwd',
)
_DUMP_SH = (
    "__hermes_d=$PWD",
    "unset {hidden}",
    '{{ echo "umask $(umask)"',
    "export -p",
    'echo "#end"; }} >|{new} && printf %s "$__hermes_d" >|{new}.cwd',
)


@dataclass(frozen=True, slots=True)
class StateFiles:
    """Where a shell reads and writes its state; both are paths in the environment.

    Attributes:
        old: State to read, if there is one.
        new: State to write, with the directory in `new` + `.cwd`; None leaves the state alone.
    """

    old: str | None = None
    new: str | None = None


def build_script(
    text: str,
    *,
    flavour: Flavour,
    cwd: str,
    files: StateFiles,
    own_names: Iterable[str] = (),
    is_strict: bool = False,
    tty: str | None = None,
) -> str:
    """The script for `bash -c`.

    Args:
        text: The command.
        flavour: Which shell will run it.
        cwd: Where to start; `~` is the home directory. If it is gone, the nearest parent is used.
        files: State to restore and to keep.
        own_names: Variables given for this command only: they win over the state and stay out of it.
        is_strict: End with 126 instead, if `cwd` cannot be entered.
        tty: Terminal to take as the controlling one.
    """
    names = sorted(name for name in own_names if IDENTIFIER.match(name))
    lines = [f": <{quote(tty)}"] if tty else []
    lines += _enter(cwd, is_strict)
    if flavour == "bash" and files.new:
        lines.append("__hermes_opts=$BASHOPTS")
    if files.old:
        lines += [f'__hermes_{name}="${{{name}-}}"' for name in names]
        lines.append(f"if [ -r {quote(files.old)} ]; then . {quote(files.old)}; fi 2>/dev/null")
        lines += [f'export {name}="$__hermes_{name}"; unset __hermes_{name}' for name in names]
    if files.new:
        lines += _keep(flavour, files.new, names)
    # All on one line, so that the shell's messages count the lines of the command from 1.
    lines.append(f"eval {quote(text)}")
    script = "; ".join(lines)
    if files.new:
        # A command that sets its own EXIT trap replaces ours: keep the state before it runs.
        script += "\n{ __hermes_rc=$?; __hermes_end; } 2>/dev/null; exit $__hermes_rc"
    return script


def _enter(cwd: str, is_strict: bool) -> list[str]:
    start = f'"$HOME"{quote(cwd[1:])}' if cwd == "~" or cwd.startswith("~/") else quote(cwd)
    if is_strict:
        return [f"cd -- {start} || exit 126", "unset OLDPWD"]
    return [
        f"__hermes_d={start}",
        'until cd -- "${__hermes_d:-/}" 2>/dev/null; do __hermes_d=${__hermes_d%/*}; done',
        f'[ "$__hermes_d" = {start} ] || printf "hermes: %s is gone, continuing in %s\\n" {start} "$PWD"',
        "unset __hermes_d OLDPWD",
    ]


def _keep(flavour: Flavour, new: str, names: list[str]) -> list[str]:
    hidden = " ".join(("PWD", "SHLVL", "_", "HERMES_SESSION_ID", *names))
    dump = "; ".join(_DUMP_BASH if flavour == "bash" else _DUMP_SH)
    body = dump.format(new=quote(new), hidden=hidden)
    return [
        "__hermes_end() { { set +euxv; } 2>/dev/null; __hermes_ended=1; unset -f __hermes_end; "
        f"{{ {body}; }} 2>/dev/null; }}",
        # The shell leaves a trap with the status it came with, so `exit 3` stays 3.
        """trap '[ -n "${__hermes_ended-}" ] || __hermes_end' EXIT""",
    ]
