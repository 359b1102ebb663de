"""Commands that need a person's consent, as rules with stable ids.

An id is what `session` and `always` remember (`command_allowlist`), so it must never change its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hermes_agent.tools.command_floor import Place, absolute, is_vital, operands
from hermes_agent.tools.command_matchers import (
    Matcher,
    always,
    both,
    container_host,
    either,
    flags,
    forced_push,
    git,
    git_discard,
    has,
    has_verbs,
    inline_code,
    kill_signal,
    on_system,
    open_to_all,
    to_root,
    verb,
    write_targets,
)
from hermes_agent.tools.command_wrappers import SHELLS, program
from hermes_agent.tools.file_policy import sensitive_write
from hermes_agent.tools.shell_parser import UNKNOWN


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of risk."""

    id: str
    reason: str


Finding: TypeAlias = Rule

RULES: dict[str, tuple[tuple[str, str, Matcher], ...]] = {
    "rm": (("rm-recursive", "deletes folders with all that is in them", has("-r", "-R", "--recursive")),),
    "grm": (("rm-recursive", "deletes folders with all that is in them", has("-r", "-R", "--recursive")),),
    "srm": (("rm-recursive", "deletes folders with all that is in them", has("-r", "-R", "--recursive")),),
    "mv": (
        (
            "mv-vital",
            "moves a system directory or a home away",
            lambda words, place: any(is_vital(path, place) for path in operands(words)[:-1]),
        ),
    ),
    "shred": (("shred", "overwrites files for good", always),),
    "truncate": (("truncate", "cuts files", has("-s", "--size")),),
    "rsync": (
        (
            "rsync-delete",
            "deletes files at the target",
            has(
                "--delete", "--delete-after", "--delete-before", "--delete-excluded", "--remove-source-files"
            ),
        ),
    ),
    "find": (("find-delete", "deletes what it finds", lambda words, _place: "-delete" in words),),
    "chmod": (
        ("chmod-open-to-all", "lets everybody write", open_to_all),
        (
            "chmod-setuid",
            "makes a program run with its owner's rights",
            lambda words, _p: any(re.search(r"^[4-7][0-7]{3}$|[ug]\+s", word) for word in words[1:]),
        ),
        ("chmod-system", "changes permissions of system files", both(has("-R", "--recursive"), on_system)),
    ),
    "chown": (
        ("chown-root", "gives whole folders to root", to_root),
        ("chown-system", "changes the owner of system files", both(has("-R", "--recursive"), on_system)),
    ),
    "chattr": (("chattr", "changes file attributes", always),),
    "systemctl": (
        (
            "service-stop",
            "stops or disables a service",
            verb(
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
            verb("unload", "bootout", "remove", "disable", "kill", "stop"),
        ),
    ),
    "kill": (("kill-9", "kills without letting programs finish", kill_signal),),
    "pkill": (
        ("kill-9", "kills without letting programs finish", kill_signal),
        ("pkill", "ends every program of that name", always),
    ),
    "killall": (
        ("kill-9", "kills without letting programs finish", kill_signal),
        ("pkill", "ends every program of that name", always),
    ),
    "fuser": (("pkill", "ends every program that uses a file or port", has("-k", "--kill")),),
    "git": (
        ("git-reset-hard", "throws uncommitted changes away", git("reset", "--hard", "--merge", "--keep")),
        ("git-push-force", "overwrites or deletes history on the server", forced_push),
        (
            "git-clean",
            "deletes files that are not under version control",
            both(git("clean"), has("-f", "--force", "-x", "-X", "-d")),
        ),
        (
            "git-branch-delete",
            "deletes a branch whether merged or not",
            either(git("branch", "-D"), both(git("branch", "-d", "--delete"), has("-f", "--force"))),
        ),
        ("git-discard", "throws uncommitted changes away", git_discard),
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
            either(
                verb("stop", "restart", "kill", "rm", "pause"),
                either(
                    has_verbs("container", "stop"),
                    either(has_verbs("container", "rm"), has_verbs("compose", "down")),
                ),
            ),
        ),
        (
            "container-prune",
            "deletes containers, images or volumes with their data",
            either(
                either(has_verbs("system", "prune"), has_verbs("volume", "prune")),
                either(either(has_verbs("volume", "rm"), verb("rmi")), lambda words, _p: "prune" in words),
            ),
        ),
        ("container-host", "gives a container power over this machine", container_host),
    ),
    "kubectl": (
        (
            "kubectl-delete",
            "changes or removes things in a cluster",
            verb("delete", "drain", "cordon", "replace"),
        ),
    ),
    "helm": (
        (
            "kubectl-delete",
            "changes or removes things in a cluster",
            verb("uninstall", "delete", "rollback"),
        ),
    ),
    "terraform": (("infrastructure", "changes or destroys infrastructure", verb("destroy", "apply")),),
    "tofu": (("infrastructure", "changes or destroys infrastructure", verb("destroy", "apply")),),
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
            either(
                either(has_verbs("gateway", "stop"), has_verbs("gateway", "restart")),
                either(has_verbs("gateway", "uninstall"), has_verbs("gateway", "run")),
            ),
        ),
        (
            "hermes-update",
            "changes the agent's program or settings",
            either(
                verb("update", "uninstall"),
                either(has_verbs("config", "set"), has_verbs("sessions", "prune")),
            ),
        ),
    ),
    "crontab": (
        ("crontab", "replaces or removes scheduled jobs", lambda words, _p: not flags(words) & {"-l"}),
    ),
    "at": (("crontab", "schedules a job", always),),
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
        (("users", "changes who may log in or what they may do", always),),
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
        ("chroot", "nsenter", "unshare"), (("namespace", "changes into another root or namespace", always),)
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
        (("script-inline", "runs a program given on the command line", inline_code),),
    ),
    "redis-cli": (
        (
            "database-drop",
            "deletes data",
            lambda words, _p: bool({"FLUSHALL", "FLUSHDB"} & {word.upper() for word in words}),
        ),
    ),
    "dropdb": (("database-drop", "deletes a database", always),),
    "mysqladmin": (("database-drop", "deletes a database", verb("drop", "shutdown")),),
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
    for path in write_targets(words):
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
