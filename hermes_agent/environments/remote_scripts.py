"""Scripts for the other end of a connection: POSIX sh, nothing else is assumed there.

A script travels as one line of standard input, so that it needs no quoting for whatever login shell
a host has, has no length limit and shows in no process list. Standard output carries what commands
print and nothing else; standard error carries reports, lines that begin with the run's nonce.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from shlex import quote

from hermes_agent.environments.guard import SLAY
from hermes_agent.environments.shell_state import IDENTIFIER, Flavour, StateFiles

BOOTSTRAP = ("sh", "-c", 'IFS= read -r s; eval "$(printf "%b" "$s")"')
"""Reads one encoded line and runs it; what follows on standard input is for that script."""

SHELLS: dict[Flavour, str] = {"bash": "bash --norc", "sh": "sh"}
"""How to start them: bash takes itself for a login shell under sshd and would read ~/.bashrc again."""

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=:,@ ")
_ENCODED = [chr(byte) if byte in _PLAIN else f"\\0{byte:03o}" for byte in range(256)]


def encode(data: bytes) -> bytes:
    """Write any bytes so that `printf %b` makes them again; the result is one plain line."""
    return "".join(_ENCODED[byte] for byte in data).encode()


def encode_text(text: str) -> bytes:
    """Encode a script or a command."""
    return encode(text.encode(errors="surrogateescape"))


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What the other end needs to know about one command.

    Attributes:
        nonce: Begins the report lines.
        shell: `bash` or `sh`.
        script: What that shell runs.
        environment: Exported first.
        files: State files of the command.
        fifo: Path for the command's standard input, if it gets one.
    """

    nonce: str
    shell: Flavour
    script: str
    environment: Mapping[str, str] = field(default_factory=dict)
    files: StateFiles = field(default_factory=StateFiles)
    fifo: str | None = None


def supervise(plan: RunPlan) -> str:
    """Run a command in a session of its own and watch over it.

    Standard input is the control line: `d` and encoded bytes go to the command's standard input, `c`
    closes that, and the end of it, for whatever reason, ends the command: SIGTERM, SIGKILL a second
    later. So nothing is left running when we, or the connection, die.
    """
    stdin = "<&5" if plan.fifo else "</dev/null"
    start = f"{SHELLS[plan.shell]} -c {quote(plan.script)} {stdin} 2>&1 3<&- 5<&- 6>&- &"
    fifo = quote(plan.fifo or "")
    lines = [
        "exec 3<&0 5</dev/null 6>/dev/null </dev/null",
        SLAY,
        *_exports(plan.environment),
        *([f"mkfifo {fifo} && exec 4<>{fifo} 5<{fifo} 6>{fifo} 4>&-; rm -f {fifo}"] if plan.fifo else []),
        "if command -v setsid >/dev/null 2>&1",
        f"then setsid {start}",
        f"else set -m; {start}",
        "fi",
        "p=$!",
        f'printf "%s pid %s\\n" {plan.nonce} "$p" >&2',
        "(exec >/dev/null 2>&1 5<&-; trap '' PIPE HUP",
        'while IFS= read -r l <&3; do case $l in d*) printf %b "${l#d}" >&6;; c) exec 6>&-;; esac; done',
        'trap \'\' TERM; slay TERM "$p"; sleep 1; slay KILL "$p") &',
        "w=$!; exec 3<&- 5<&- 6>&-",
        'wait "$p"; r=$?; kill "$w" 2>/dev/null',
        *_report_state(plan),
        f'printf "%s exit %s\\n" {plan.nonce} "$r" >&2',
    ]
    if plan.files.new:
        lines.append(f"rm -f {quote(plan.files.new)}.cwd")
        if plan.files.old:
            lines.append(f'[ -z "$c" ] || rm -f {quote(plan.files.old)}')
    return "\n".join(lines)


def on_terminal(plan: RunPlan, rows: int, columns: int) -> str:
    """Run a command on the terminal that the connection has opened; reports go there, too."""
    return "\n".join(
        (
            # Outlives the command when the session is told to end, to report how it ended.
            f"trap : TERM INT; printf '\\036%s pid %s\\n' {plan.nonce} $$",
            f"stty rows {rows} cols {columns} 2>/dev/null",
            *_exports({"TERM": "xterm-256color", **plan.environment}),
            f"{SHELLS[plan.shell]} -c {quote(plan.script)}",
            "r=$?; exec 2>&1",
            *(line.replace(">&2", "").replace('"%s', '"\\036%s') for line in _report_state(plan)),
            f"printf '\\036%s exit %s\\n' {plan.nonce} $r",
        )
    )


def kill(pid: int) -> str:
    """End a session from outside."""
    return f"{SLAY}\nexec 2>/dev/null; slay TERM {pid}; sleep 1; slay KILL {pid}"


def prepare(start: str, earlier: str) -> str:
    """Make the private directory and say where we are: directory, shell, home, working directory.

    Args:
        start: Where the session starts.
        earlier: The private directory of an earlier connection; taken again if it is still there.
    """
    enter = ":" if start in ("", ".") else f"cd -- {place(start)} || exit 43"
    return "\n".join(
        (
            enter,
            f'd={quote(earlier)}; if [ ! -d "$d" ]; then',
            'd=; for t in /dev/shm "${TMPDIR:-/tmp}"',
            # What sessions left that could not tidy up is a week old by then.
            'do find "$t" -maxdepth 1 -name "hermes-shell-*" -user "$(id -u)" -mtime +7 -exec rm -rf {} +',
            'd=$(mktemp -d "$t/hermes-shell-XXXXXXXX") && break; done 2>/dev/null; fi',
            '[ -n "$d" ] || exit 44',
            "s=sh; command -v bash >/dev/null 2>&1 && s=bash",
            'printf "%s\\n" "$d" "$s" "${HOME:-/}" "$PWD"',
        )
    )


def tidy(directory: str, leftovers: list[int]) -> str:
    """Hang up on what commands left behind and remove the private directory."""
    lines = [SLAY, "exec 2>/dev/null", *(f"kill -0 {pid} || slay HUP {pid}" for pid in leftovers)]
    return "\n".join((*lines, f"rm -rf {quote(directory)}"))


def place(path: str) -> str:
    """Quote a path for the shell; a leading `~` stays the home directory."""
    if path == "~" or path.startswith("~/"):
        return f'"$HOME"{quote(path[1:])}'
    return quote(path)


def _exports(environment: Mapping[str, str]) -> list[str]:
    return [f"export {name}={quote(value)}" for name, value in environment.items() if IDENTIFIER.match(name)]


def _report_state(plan: RunPlan) -> list[str]:
    if plan.files.new is None:
        return []
    return [
        f"c=; if [ -s {quote(plan.files.new)}.cwd ]; then IFS= read -r c <{quote(plan.files.new)}.cwd; fi",
        f'[ -z "$c" ] || printf "%s cwd %s\\n" {plan.nonce} "$c" >&2',
    ]
