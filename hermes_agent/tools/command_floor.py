"""The hard floor: commands that are never run, whoever agrees.

They destroy the machine, its system or the person's home, or switch it off. Each check gets one
command with its wrappers (`sudo`, `env` …) already taken off.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hermes_agent.tools.command_wrappers import program, takes_everything

_BLOCK_DEVICE = re.compile(
    r"/dev/(sd[a-z]+|hd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+(n\d+)?|mmcblk\d+|md\d*|dm-\d+|mapper/(?!control)\S+|disk\S*"
    r"|rdisk\S*|loop\d+|nbd\d+|zd\d+|zram\d+|ram\d+|sr\d+|bcache\d+|drbd\d+|pmem\d+|vg\S*/\S+|root)(p?\d+)?$"
)

_SYSTEM_FOLDERS = frozenset(
    (
        *("/", "/bin", "/boot", "/boot/efi", "/dev", "/efi", "/etc", "/home", "/lib", "/lib32", "/lib64"),
        *("/libx32", "/lost+found", "/media", "/mnt", "/nix", "/nix/store", "/opt", "/proc", "/root", "/run"),
        *("/sbin", "/snap", "/srv", "/sys", "/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/libexec"),
        *(
            "/usr/local",
            "/usr/sbin",
            "/usr/share",
            "/var",
            "/var/lib",
            "/var/spool",
            "/etc/nixos",
            "/etc/ssh",
        ),
        *("/etc/systemd", "/var/lib/docker", "/Applications", "/Library", "/System", "/Users", "/Volumes"),
        *("/private", "/private/etc", "/private/var", "/cores"),
    )
)
_HOME = re.compile(r"(/home/[^/*]+|/Users/(?!Shared)[^/*]+|/root)$")
_TILDE = re.compile(r"^(?:~(\w*)|\$HOME\b)(?=/|$)")


@dataclass(slots=True)
class Place:
    """What is known of where a command runs.

    Attributes:
        cwd: Absolute path; None if unknown.
        homes: Absolute paths of home directories besides the usual ones.
    """

    cwd: str | None = None
    homes: frozenset[str] = field(default_factory=frozenset)


def absolute(path: str, place: Place) -> str:
    """A path with `.` and `..` and doubled slashes removed; relative ones joined to the directory."""
    path = re.sub(r"\$\{(\w+)\}", r"$\1", path)
    if path.startswith("$PWD") and place.cwd:
        path = place.cwd + path[4:]
    path = _TILDE.sub(lambda match: "/home/~" + (match[1] or "me"), path)
    if not path.startswith(("/", "$")):
        if place.cwd is None:
            return posixpath.normpath(path)
        path = f"{place.cwd}/{path}"
    clean = posixpath.normpath(path)
    return "/" + clean.lstrip("/") if clean.startswith("/") else clean


def is_vital(path: str, place: Place) -> bool:
    """Whether deleting this path destroys the system or a home; `X/*` counts as `X`."""
    clean = absolute(path, place)
    while True:
        head, tail = posixpath.split(clean)
        # globs that take everything in a folder: *, .*, {*,.*}, .[!.]*, ?*, **
        if not tail or not re.fullmatch(r"[.*?]*\*[.*?]*|\.?\[[^\]]*\][*?]*|\.\?\?\*", tail):
            break
        clean = head
    if clean in _SYSTEM_FOLDERS or clean in place.homes or _HOME.fullmatch(clean):
        return True
    if len(clean) <= 200 and any(character in clean for character in "*?[") and clean.startswith("/"):
        return _glob_hits(clean)
    return False


def _glob_hits(pattern: str) -> bool:
    """Whether a glob like `/e?c` or `/*/bin` may stand for a system directory."""
    try:
        expression = re.compile(
            "".join(
                "[^/]*"
                if part == "*"
                else "[^/]"
                if part == "?"
                else re.escape(part)
                if len(part) == 1
                else "[^/]"
                for part in re.findall(r"\[[^\]]*\]|.", pattern)
            )
        )
    except re.error:
        return True
    return any(expression.fullmatch(folder) for folder in _SYSTEM_FOLDERS)


def is_block_device(path: str, place: Place) -> bool:
    """Whether a path names a disk or a partition."""
    return _BLOCK_DEVICE.match(absolute(path, place)) is not None


Check = Callable[[Sequence[str], Place], str | None]


def operands(words: Sequence[str]) -> list[str]:
    """Arguments that are no options."""
    found, only_operands = [], False
    for word in words[1:]:
        if word == "--" and not only_operands:
            only_operands = True
        elif only_operands or not word.startswith("-") or word == "-":
            found.append(word)
    return found


def _removal(words: Sequence[str], place: Place) -> str | None:
    for path in operands(words):
        if is_vital(path, place):
            return f"it deletes {path!r}: a system directory or a home"
        if is_block_device(path, place) and program(words) == "shred":
            return f"it overwrites the disk {path!r}"
    return None


def _find_removal(words: Sequence[str], place: Place) -> str | None:
    if "-delete" not in words or not takes_everything(words):
        return None
    roots = []
    for word in words[1:]:
        if word.startswith(("-", "(", "!")):
            break
        roots.append(word)
    vital = next((root for root in roots or ["."] if is_vital(root, place)), None)
    return f"it deletes everything under {vital!r}" if vital else None


def _disk_writer(words: Sequence[str], place: Place) -> str | None:
    name = program(words)
    if name == "dd":
        targets = [word[3:] for word in words[1:] if word.startswith("of=")]
    elif name in ("tee", "wipefs", "blkdiscard", "shred", "sgdisk", "badblocks", "truncate", "mkswap"):
        targets = operands(words)
        if name == "wipefs" and not any(w in ("-a", "--all", "-o", "--offset", "-af", "-fa") for w in words):
            return None
        if name == "badblocks" and not any("w" in w for w in words if w.startswith("-")):
            return None
        if name == "sgdisk" and not any(
            w in ("-Z", "-z", "-o", "--zap-all", "--zap", "--clear") for w in words
        ):
            return None
    else:  # cp, mv, install
        targets = operands(words)[-1:]
    disk = next((target for target in targets if is_block_device(target, place)), None)
    return f"it overwrites the disk {disk!r}" if disk else None


def _mkfs(words: Sequence[str], _place: Place) -> str | None:
    asks_only = {"-h", "--help", "-V", "--version", "-v"}
    return (
        None
        if words[1:] and set(words[1:]) <= asks_only
        else "it makes a new file system, deleting the old one"
    )


def _kill(words: Sequence[str], _place: Place) -> str | None:
    arguments = list(words[1:])
    if arguments[:1] and arguments[0] in ("-l", "-L", "--list"):
        return None
    if len(arguments) > 1 and arguments[0] in ("-s", "-n", "--signal"):
        arguments = arguments[2:]
    elif len(arguments) > 1 and arguments[0] != "--":
        arguments = arguments[1:] if arguments[0].startswith("-") else arguments
    return "it kills every process" if "-1" in arguments else None


def _power(words: Sequence[str], _place: Place) -> str | None:
    harmless = (
        {"--help", "-h", "--version", "-V"} if program(words) != "shutdown" else {"--help", "--version", "-c"}
    )
    if words[1:] and words[1] in harmless:
        return None
    return "it switches the machine off or restarts it"


def _runlevel(words: Sequence[str], place: Place) -> str | None:
    return _power(words, place) if any(word in ("0", "6") for word in words[1:]) else None


def _manager(words: Sequence[str], _place: Place) -> str | None:
    verbs = {"poweroff", "reboot", "halt", "kexec", "soft-reboot", "emergency", "rescue"}
    verb = next((word for word in words[1:] if not word.startswith("-")), "")
    if verb in verbs:
        return "it switches the machine off or restarts it"
    if verb in ("start", "isolate") and any(
        re.fullmatch(r"(poweroff|reboot|halt|kexec|shutdown|emergency|rescue)\.target", word)
        for word in words
    ):
        return "it switches the machine off or restarts it"
    return None


FLOOR: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(("rm", "unlink", "grm", "srm"), (_removal,)),
    "shred": (_removal, _disk_writer),
    "find": (_find_removal,),
    **dict.fromkeys(
        ("dd", "tee", "wipefs", "blkdiscard", "sgdisk", "badblocks", "cp", "mv", "install"), (_disk_writer,)
    ),
    **dict.fromkeys(("mkfs", "mke2fs", "newfs", "mkntfs", "mkdosfs"), (_mkfs,)),
    **dict.fromkeys(("truncate", "mkswap"), (_disk_writer,)),
    "kill": (_kill,),
    "killall5": (lambda _words, _place: "it kills every process",),
    **dict.fromkeys(("shutdown", "reboot", "halt", "poweroff"), (_power,)),
    **dict.fromkeys(("init", "telinit"), (_runlevel,)),
    **dict.fromkeys(("systemctl", "loginctl"), (_manager,)),
}
"""Checks by program."""


def floor_reason(words: Sequence[str], place: Place) -> str | None:
    """Why this command is never run, or None."""
    name = program(words)
    if len(name) <= 40 and any(character in name for character in "*?[") and name not in ("[", "[["):
        names = [known for known in FLOOR if fnmatch.fnmatchcase(known, name)]
    else:
        names = ["mkfs" if name.startswith("mkfs.") else name]
    for known in names:
        for check in FLOOR.get(known, ()):
            reason = check([known, *words[1:]], place)
            if reason:
                return reason
    return None


def redirect_reason(target: str, place: Place) -> str | None:
    """Why nothing may be redirected there, or None."""
    if is_block_device(target, place):
        return f"it overwrites the disk {target!r}"
    if absolute(target, place) == "/proc/sysrq-trigger":
        return "it can stop or restart the machine"
    return None
