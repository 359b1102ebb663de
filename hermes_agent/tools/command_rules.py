"""Commands that need a person's consent, as rules with stable ids.

An id is what `session` and `always` remember (`command_allowlist`), so it must never change its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hermes_agent.tools.command_floor import Place, absolute, is_vital, operands
from hermes_agent.tools.command_wrappers import SHELLS, program
from hermes_agent.tools.file_policy import sensitive_write
from hermes_agent.tools.shell_parser import UNKNOWN


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of risk."""

    id: str
    reason: str


Finding: TypeAlias = Rule
Matcher: TypeAlias = Callable[[Sequence[str], Place], bool]


def flags(words: Sequence[str]) -> set[str]:
    """Options, with clusters of letters taken apart: `-rf` is `-r`, `-f`."""
    found: set[str] = set()
    for word in words[1:]:
        if word == "--":
            break
        if word.startswith("--"):
            found.add(word.partition("=")[0])
        elif word.startswith("-") and len(word) > 1:
            found.add(word)
            found.update(f"-{letter}" for letter in word[1:])
    return found


def _has(*options: str) -> Matcher:
    return lambda words, _place: bool(flags(words) & set(options))


def _always(_words: Sequence[str], _place: Place) -> bool:
    return True


def _verb(*verbs: str) -> Matcher:
    """The first word that is no option is one of these."""
    return lambda words, _place: next(iter(operands(words)), "") in verbs


def _has_verbs(*verbs: str) -> Matcher:
    """These words follow each other (`system prune`)."""
    return lambda words, _place: any(
        tuple(operands(words)[at : at + len(verbs)]) == verbs for at in range(len(words))
    )


def _both(one: Matcher, other: Matcher) -> Matcher:
    return lambda words, place: one(words, place) and other(words, place)


def _either(one: Matcher, other: Matcher) -> Matcher:
    return lambda words, place: one(words, place) or other(words, place)


def _open_to_all(words: Sequence[str], _place: Place) -> bool:
    modes = [*operands(words)[:1], *(word for word in words[1:] if re.match(r"-[rwx]", word))]
    return any(
        re.fullmatch(r"[0-7]?[0-7]?[0-7][2367]", mode)
        or re.search(r"(^|,)[ugo]*[oa][ugo]*[+=]\w*w|^\+\w*w", mode)
        for mode in modes
    )


def _kill_signal(words: Sequence[str], _place: Place) -> bool:
    text = " ".join(words[1:]).upper()
    return (
        re.search(r"(^| )-(S |N )?(-SIGNAL[= ])?(9|KILL|SIGKILL)( |$)|SIGNAL[= ](9|KILL|SIGKILL)", text)
        is not None
    )


def _to_root(words: Sequence[str], _place: Place) -> bool:
    owner = next(iter(operands(words)), "")
    return bool(flags(words) & {"-R", "--recursive"}) and re.match(r"(root|0)?(:|\.|$)", owner) is not None


def _on_system(words: Sequence[str], place: Place) -> bool:
    paths = [absolute(word, place) for word in operands(words)]
    return any(
        path == "/" or re.match(r"/(etc|usr|bin|sbin|lib|lib64|boot|var|opt|root|sys|proc)(/|$)", path)
        for path in paths
    )


def _forced_push(words: Sequence[str], _place: Place) -> bool:
    rest = operands(words)
    return "push" in rest and (
        bool(flags(words) & {"-f", "--force", "--force-with-lease", "--mirror", "--delete", "-d", "--prune"})
        or any(word.startswith(("+", ":")) for word in rest)
    )


def _git(verb: str, *options: str) -> Matcher:
    def matches(words: Sequence[str], _place: Place) -> bool:
        rest = operands(words)
        return verb in rest[:3] and (not options or bool(flags(words) & set(options)))

    return matches


def _git_discard(words: Sequence[str], _place: Place) -> bool:
    rest = operands(words)
    if "checkout" in rest[:3]:
        return (
            bool(flags(words) & {"-f", "--force"})
            or ("--" in words and "checkout" in words)
            or rest[-1:] == ["."]
        )
    if "switch" in rest[:3]:
        return bool(flags(words) & {"-f", "--force", "--discard-changes"})
    return "restore" in rest[:3] and "--staged" not in words


def _inline_code(words: Sequence[str], _place: Place) -> bool:
    name = program(words)
    letters = {
        "perl": "eE",
        "ruby": "e",
        "node": "ep",
        "nodejs": "ep",
        "bun": "e",
        "php": "r",
        "lua": "e",
        "osascript": "e",
        "Rscript": "e",
        "tclsh": "",
    }
    wanted = letters.get(re.sub(r"[\d.]+$", "", name), "c")
    for word in words[1:]:
        if word in ("--eval", "--execute", "--print", "--run") or (name == "deno" and word == "eval"):
            return True
        if re.fullmatch(rf"-[A-Za-z]*[{wanted or 'c'}]", word):
            return True
        if not word.startswith("-"):
            return False
    return False


def _container_host(words: Sequence[str], _place: Place) -> bool:
    rest = " ".join(words[1:])
    return (
        re.search(
            r"--privileged|--pid[= ]host"
            r"|(-v|--volume|--mount)[= ]?\S*(source=|src=)?(/:|/var/run/docker\.sock|/etc[:/])",
            rest,
        )
        is not None
    )


def _write_targets(words: Sequence[str]) -> list[str]:  # noqa: PLR0911 - a table in the shape of code
    """Paths that this command writes, as far as they can be seen."""
    name, rest = program(words), operands(words)
    if name in ("tee", "truncate", "touch", "mkdir", "chattr", "unlink", "rm", "shred", "sponge"):
        return rest
    if name in ("chmod", "chown", "chgrp", "setfacl"):
        return rest[1:]
    if name == "mv":
        return rest
    if name in ("cp", "install", "ln", "rsync", "scp"):
        named = [word.partition("=")[2] for word in words if word.startswith("--target-directory=")]
        return rest[-1:] + named + _after(words, "-t")
    if name == "dd":
        return [word[3:] for word in words if word.startswith("of=")]
    if name in ("sed", "gsed", "perl") and any(re.match(r"-\w*i|--in-place", word) for word in words[1:]):
        return rest
    if name in ("curl", "wget"):
        return _after(words, "-o", "--output", "-O", "--output-document")
    if name in ("vim", "vi", "nano", "ed", "emacs", "ex"):
        return rest
    return []


def _after(words: Sequence[str], *options: str) -> list[str]:
    return [words[at + 1] for at in range(len(words) - 1) if words[at] in options]


RULES: dict[str, tuple[tuple[str, str, Matcher], ...]] = {
    "rm": (("rm-recursive", "deletes folders with all that is in them", _has("-r", "-R", "--recursive")),),
    "grm": (("rm-recursive", "deletes folders with all that is in them", _has("-r", "-R", "--recursive")),),
    "srm": (("rm-recursive", "deletes folders with all that is in them", _has("-r", "-R", "--recursive")),),
    "mv": (
        (
            "mv-vital",
            "moves a system directory or a home away",
            lambda words, place: any(is_vital(path, place) for path in operands(words)[:-1]),
        ),
    ),
    "shred": (("shred", "overwrites files for good", _always),),
    "truncate": (("truncate", "cuts files", _has("-s", "--size")),),
    "rsync": (
        (
            "rsync-delete",
            "deletes files at the target",
            _has(
                "--delete", "--delete-after", "--delete-before", "--delete-excluded", "--remove-source-files"
            ),
        ),
    ),
    "find": (("find-delete", "deletes what it finds", lambda words, _place: "-delete" in words),),
    "chmod": (
        ("chmod-open-to-all", "lets everybody write", _open_to_all),
        (
            "chmod-setuid",
            "makes a program run with its owner's rights",
            lambda words, _p: any(re.search(r"^[4-7][0-7]{3}$|[ug]\+s", word) for word in words[1:]),
        ),
        ("chmod-system", "changes permissions of system files", _both(_has("-R", "--recursive"), _on_system)),
    ),
    "chown": (
        ("chown-root", "gives whole folders to root", _to_root),
        ("chown-system", "changes the owner of system files", _both(_has("-R", "--recursive"), _on_system)),
    ),
    "chattr": (("chattr", "changes file attributes", _always),),
    "systemctl": (
        (
            "service-stop",
            "stops or disables a service",
            _verb(
                "stop",
                "disable",
                "mask",
                "kill",
                "restart",
                "try-restart",
                "isolate",
                "daemon-reexec",
                "set-default",
                "revert",
                "edit",
            ),
        ),
    ),
    "service": (
        (
            "service-stop",
            "stops or disables a service",
            lambda words, _place: operands(words)[1:2] in (["stop"], ["restart"]),
        ),
    ),
    "rc-service": (
        (
            "service-stop",
            "stops or disables a service",
            lambda words, _place: operands(words)[1:2] in (["stop"], ["restart"]),
        ),
    ),
    "launchctl": (
        (
            "service-stop",
            "stops or disables a service",
            _verb("unload", "bootout", "remove", "disable", "kill", "stop"),
        ),
    ),
    "kill": (("kill-9", "kills without letting programs finish", _kill_signal),),
    "pkill": (
        ("kill-9", "kills without letting programs finish", _kill_signal),
        ("pkill", "ends every program of that name", _always),
    ),
    "killall": (
        ("kill-9", "kills without letting programs finish", _kill_signal),
        ("pkill", "ends every program of that name", _always),
    ),
    "fuser": (("pkill", "ends every program that uses a file or port", _has("-k", "--kill")),),
    "git": (
        ("git-reset-hard", "throws uncommitted changes away", _git("reset", "--hard", "--merge", "--keep")),
        ("git-push-force", "overwrites or deletes history on the server", _forced_push),
        (
            "git-clean",
            "deletes files that are not under version control",
            _both(_git("clean"), _has("-f", "--force", "-x", "-X", "-d")),
        ),
        (
            "git-branch-delete",
            "deletes a branch whether merged or not",
            _either(_git("branch", "-D"), _both(_git("branch", "-d", "--delete"), _has("-f", "--force"))),
        ),
        ("git-discard", "throws uncommitted changes away", _git_discard),
        (
            "git-stash-drop",
            "deletes stashed changes",
            lambda words, _p: "stash" in words and bool({"drop", "clear"} & set(words)),
        ),
        (
            "git-rewrite",
            "rewrites or drops history",
            lambda words, _p: (
                bool({"filter-branch", "filter-repo"} & set(words[:4]))
                or ("reflog" in words and "expire" in words)
                or ("gc" in words and any(w.startswith("--prune") for w in words))
            ),
        ),
    ),
    "docker": (
        (
            "container-stop",
            "stops or removes containers",
            _either(
                _verb("stop", "restart", "kill", "rm", "pause"),
                _either(
                    _has_verbs("container", "stop"),
                    _either(_has_verbs("container", "rm"), _has_verbs("compose", "down")),
                ),
            ),
        ),
        (
            "container-prune",
            "deletes containers, images or volumes with their data",
            _either(
                _either(_has_verbs("system", "prune"), _has_verbs("volume", "prune")),
                _either(
                    _either(_has_verbs("volume", "rm"), _verb("rmi")), lambda words, _p: "prune" in words
                ),
            ),
        ),
        ("container-host", "gives a container power over this machine", _container_host),
    ),
    "kubectl": (
        (
            "kubectl-delete",
            "changes or removes things in a cluster",
            _verb("delete", "drain", "cordon", "replace"),
        ),
    ),
    "helm": (
        (
            "kubectl-delete",
            "changes or removes things in a cluster",
            _verb("uninstall", "delete", "rollback"),
        ),
    ),
    "terraform": (("infrastructure", "changes or destroys infrastructure", _verb("destroy", "apply")),),
    "tofu": (("infrastructure", "changes or destroys infrastructure", _verb("destroy", "apply")),),
    "aws": (
        (
            "infrastructure",
            "changes or destroys infrastructure",
            lambda words, _p: any(
                re.match(r"(delete|terminate|remove)-|rb$|rm$", word) for word in words[1:]
            ),
        ),
    ),
    "gcloud": (
        ("infrastructure", "changes or destroys infrastructure", lambda words, _p: "delete" in words),
    ),
    "hermes": (
        (
            "hermes-stop",
            "stops or restarts the agent itself",
            _either(
                _either(_has_verbs("gateway", "stop"), _has_verbs("gateway", "restart")),
                _either(_has_verbs("gateway", "uninstall"), _has_verbs("gateway", "run")),
            ),
        ),
        (
            "hermes-update",
            "changes the agent's program or settings",
            _either(
                _verb("update", "uninstall"),
                _either(_has_verbs("config", "set"), _has_verbs("sessions", "prune")),
            ),
        ),
    ),
    "crontab": (
        ("crontab", "replaces or removes scheduled jobs", lambda words, _p: not flags(words) & {"-l"}),
    ),
    "at": (("crontab", "schedules a job", _always),),
    **dict.fromkeys(
        (
            "useradd",
            "userdel",
            "usermod",
            "groupadd",
            "groupdel",
            "passwd",
            "chpasswd",
            "adduser",
            "deluser",
            "visudo",
            "chsh",
            "vipw",
            "gpasswd",
        ),
        (("users", "changes who may log in or what they may do", _always),),
    ),
    **dict.fromkeys(
        ("iptables", "ip6tables", "nft", "ufw", "firewall-cmd", "pfctl"),
        (
            (
                "firewall",
                "changes the firewall",
                lambda words, _p: (
                    not set(words[1:])
                    & {"-L", "-S", "--list", "list", "status", "--list-all", "--state", "-nL"}
                ),
            ),
        ),
    ),
    **dict.fromkeys(
        (
            "fdisk",
            "sfdisk",
            "cfdisk",
            "parted",
            "gparted",
            "sgdisk",
            "gdisk",
            "pvremove",
            "vgremove",
            "lvremove",
            "zpool",
            "zfs",
            "cryptsetup",
            "mdadm",
            "hdparm",
            "wipefs",
            "swapoff",
            "mkswap",
            "resize2fs",
            "tune2fs",
            "btrfs",
        ),
        (
            (
                "disk",
                "changes disks, partitions or volumes",
                lambda words, _p: (
                    not set(words[1:])
                    & {"-l", "--list", "list", "status", "--version", "--help", "print", "get"}
                ),
            ),
        ),
    ),
    "diskutil": (
        (
            "disk",
            "changes disks, partitions or volumes",
            lambda words, _p: not set(words[1:]) & {"list", "info"},
        ),
    ),
    "dd": (
        (
            "dd",
            "writes raw data",
            lambda words, _p: any(
                word.startswith("of=/dev/") and word not in ("of=/dev/null", "of=/dev/stdout")
                for word in words
            ),
        ),
    ),
    **dict.fromkeys(
        ("mount", "umount"),
        (
            (
                "mount",
                "changes what is mounted",
                lambda words, _p: len(words) > 1 and not flags(words) & {"-l", "--help", "-V"},
            ),
        ),
    ),
    **dict.fromkeys(
        ("insmod", "rmmod", "modprobe", "kexec", "sysctl"),
        (
            (
                "kernel",
                "changes the running kernel",
                lambda words, _p: (
                    program(words) != "sysctl"
                    or bool(flags(words) & {"-w", "--write", "-p"})
                    or any("=" in word for word in words)
                ),
            ),
        ),
    ),
    **dict.fromkeys(
        ("apt", "apt-get", "aptitude", "dnf", "yum", "pacman", "zypper", "apk", "dpkg", "rpm", "brew"),
        (
            (
                "package-remove",
                "removes software",
                lambda words, _p: (
                    bool({"remove", "purge", "autoremove", "erase", "del", "uninstall"} & set(words[1:]))
                    or any(re.match(r"-R[a-z]*$|--remove$|--purge$|-r$|-P$|-e$", w) for w in words[1:])
                ),
            ),
        ),
    ),
    **dict.fromkeys(
        ("nc", "ncat", "socat", "netcat"),
        (
            (
                "remote-shell",
                "may open this machine to others",
                lambda words, _p: (
                    bool(flags(words) & {"-e", "-c", "--exec", "--sh-exec"})
                    or "exec:" in " ".join(words).lower()
                ),
            ),
        ),
    ),
    **dict.fromkeys(
        ("chroot", "nsenter", "unshare"), (("namespace", "changes into another root or namespace", _always),)
    ),
    **dict.fromkeys(
        (
            "python",
            "python2",
            "python3",
            "pypy",
            "pypy3",
            "perl",
            "ruby",
            "node",
            "nodejs",
            "bun",
            "deno",
            "php",
            "lua",
            "osascript",
            "Rscript",
            "tclsh",
        ),
        (("script-inline", "runs a program given on the command line", _inline_code),),
    ),
    "redis-cli": (
        (
            "database-drop",
            "deletes data",
            lambda words, _p: bool({"FLUSHALL", "FLUSHDB"} & {word.upper() for word in words}),
        ),
    ),
    "dropdb": (("database-drop", "deletes a database", _always),),
    "mysqladmin": (("database-drop", "deletes a database", _verb("drop", "shutdown")),),
    "security": (
        (
            "read-credentials",
            "reads stored passwords",
            lambda words, _p: any("password" in word or word == "dump-keychain" for word in words),
        ),
    ),
}
"""By program: rule id, reason, and what it looks like."""

WRITE_REASONS = {
    "write-hermes-secrets": "changes the secrets of this program",
    "write-hermes-config": "changes how this program behaves",
    "write-credentials": "changes who may log in, or keys",
    "write-startup-file": "changes what runs by itself when a shell, session or git starts",
    "write-system-file": "changes files of the system",
}

_SECRET_FILES = re.compile(
    r"(\.hermes|\$HERMES_HOME|\$\{HERMES_HOME\})(/profiles/[^/]+)?/(\.env|auth\.json|mcp-tokens)|/proc/[^/]+/(environ|mem)\b"
)
_SQL = re.compile(
    r"(psql|mysql|mariadb|sqlite3?|sqlcmd|duckdb|clickhouse(-client)?|cockroach|usql|pgcli|mycli|litecli|bq)\d*$"
)
_DROP = re.compile(
    r"\bDROP\s+(TABLE|DATABASE|SCHEMA|INDEX|VIEW|USER|ROLE|COLUMN|COLLECTION)\b", re.IGNORECASE
)
_TRUNCATE = re.compile(r"\bTRUNCATE\b", re.IGNORECASE)
_DELETE = re.compile(r"\bDELETE\s+FROM\s+[^\s;]+(?![^;]*\bWHERE\b)", re.IGNORECASE)


def program_rules(words: Sequence[str], place: Place) -> list[Rule]:
    """The rules that one command breaks, its wrappers already taken off."""
    name = program(words)
    key = (
        "docker"
        if name in ("podman", "nerdctl", "docker-compose")
        else re.sub(r"^(python|pypy)[\d.]+$", r"\1", name)
    )
    found = [Rule(rule, reason) for rule, reason, matches in RULES.get(key, ()) if matches(words, place)]
    if name == "docker-compose" and "down" in words:
        found.append(Rule("container-stop", "stops or removes containers"))
    for path in _write_targets(words):
        found += write_rules(path, place)
    if any(_SECRET_FILES.search(word) for word in words[1:]):
        found.append(Rule("read-secrets", "reads secrets of this program"))
    if name.startswith(("$", UNKNOWN)):
        found.append(Rule("unknown-program", "runs a program whose name is not known beforehand"))
    return found


def write_rules(path: str, place: Place) -> list[Rule]:
    """The rules that writing this file breaks."""
    rule = sensitive_write(absolute(path, place))
    return [Rule(rule, WRITE_REASONS[rule])] if rule else []


def sql_rules(name: str, texts: Sequence[str]) -> list[Rule]:
    """The rules that SQL given to a database program breaks."""
    if not _SQL.match(name):
        return []
    text = " ; ".join(texts)
    checks = (
        ("sql-drop", "drops database objects", _DROP),
        ("sql-truncate", "empties tables", _TRUNCATE),
        ("sql-delete-all", "deletes every row", _DELETE),
    )
    return [Rule(rule, reason) for rule, reason, pattern in checks if pattern.search(text)]


def reads_code(words: Sequence[str]) -> bool:
    """Whether a shell or interpreter will run what comes on its standard input."""
    name = re.sub(r"[\d.]+$", "", program(words))
    if name not in SHELLS and name not in (
        "python",
        "pypy",
        "perl",
        "ruby",
        "node",
        "php",
        "lua",
        "osascript",
    ):
        return False
    if any(re.fullmatch(r"-\w*[ce]", word) for word in words[1:]):
        return False
    rest = operands(words)
    return not rest or rest[0] in ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0") or "-s" in words[1:]
