"""Which files a tool may read or write without asking.

Secrets of this program never reach a prompt: reading them is forbidden, not asked for. Writing what
decides who may log in, what a shell runs at its start, or how this program behaves needs approval.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from hermes_agent.config.paths import Home
from hermes_agent.core.approvals import Allowed, Forbidden, NeedsApproval, Verdict
from hermes_agent.core.tool import ToolContext

_PROCESS_SECRETS = re.compile(r"/proc/[^/]+/(task/[^/]+/)?(environ|mem)$")

_LOGIN_KEYS = re.compile(
    r"/\.(ssh|gnupg|aws|azure|kube|docker|config/gcloud|config/gh)(/|$)|/\.(netrc|pgpass|git-credentials|npmrc|pypirc)$"
)

_SHELL_START = re.compile(
    r"/\.(bash(rc|_profile|_login|_logout|_aliases)|profile|z(shrc|profile|shenv|login|logout)|kshrc|cshrc|tcshrc"
    r"|inputrc|xprofile|xsession|xinitrc|pam_environment|gitconfig)$"
    r"|/\.config/(fish|systemd|autostart|environment\.d|git)(/|$)"
    r"|/Library/Launch(Agents|Daemons)/|/\.git/(hooks/|config$)"
)

_SYSTEM = re.compile(
    r"^/(private/)?(etc|boot|bin|sbin|lib|lib32|lib64|libx32|usr|sys|proc|dev|run/systemd|var/spool/cron)(/|$)|^/System/"
)
_HARMLESS_SYSTEM = re.compile(r"^/(usr/local/|dev/(null|stdout|stderr|shm/|tty$))")


class FilePolicy:
    """Judges paths.

    A path is judged as written and, on this machine, also as what it leads to through links.
    """

    def __init__(self, home: Home) -> None:
        self._root = _spellings(home.root)
        self._secret_files = _spellings(home.env_file, home.auth_file)
        self._secret_folders = _spellings(home.root / "mcp-tokens", home.root / "pairing")
        self._own_files = _spellings(home.config_file, home.managed_marker, home.soul_file)
        self._own_folders = _spellings(home.root / "hooks", home.root / "plugins", home.cron)

    def review_read(self, path: str, context: ToolContext) -> Verdict:
        """May this file be read?"""
        if context.environment.is_isolated:
            return Allowed()
        for place in self.places(path, context):
            if self.is_own_secret(place):
                return Forbidden(f"read {place}", "the secrets of this program are not shown to models")
            if _PROCESS_SECRETS.search(place):
                return Forbidden(f"read {place}", "the environment and memory of processes hold secrets")
            if _LOGIN_KEYS.search(place) and not place.endswith((".pub", "/known_hosts", "/.ssh/config")):
                return NeedsApproval(f"read {place}", ("may hold keys or passwords",), ("read-credentials",))
        return Allowed()

    def review_write(self, paths: Iterable[str], context: ToolContext) -> Verdict:
        """May these files be written, moved or deleted?"""
        if context.environment.is_isolated:
            return Allowed()
        found: dict[str, tuple[str, str]] = {}
        for path in paths:
            for place in self.places(path, context):
                rule = self._write_rule(place)
                if rule:
                    found.setdefault(place, rule)
        if not found:
            return Allowed()
        return NeedsApproval(
            "write " + ", ".join(found),
            tuple(dict.fromkeys(reason for _, reason in found.values())),
            tuple(dict.fromkeys(rule for rule, _ in found.values())),
        )

    def _write_rule(self, place: str) -> tuple[str, str] | None:
        if self.is_own_secret(place):
            return "write-hermes-secrets", _REASONS["write-hermes-secrets"]
        if _is_in(place, self._own_files, self._own_folders):
            return "write-hermes-config", _REASONS["write-hermes-config"]
        rule = sensitive_write(place)
        return (rule, _REASONS[rule]) if rule else None

    def is_own_secret(self, place: str) -> bool:
        """Whether an absolute path is a secret of this program (`.env`, `auth.json`, tokens)."""
        if _is_in(place, self._secret_files, self._secret_folders):
            return True
        folder, name = posixpath.split(place.casefold())
        # copies that editors and this program leave beside the file: .env.bak, auth.json.corrupt
        return folder in self._root and name.startswith((".env", "auth.json"))

    def places(self, path: str, context: ToolContext) -> tuple[str, ...]:
        """The absolute path, and where it really leads if that can be seen from here."""
        place = context.environment.resolve(path)
        if context.environment.name != "local":
            return (place,)
        return tuple(dict.fromkeys((place, os.path.realpath(place))))


_OWN_SECRETS = re.compile(r"(/\.hermes|^\$HERMES_HOME)(/profiles/[^/]+)?/(\.env|auth\.json|mcp-tokens)")
_OWN_CONFIG = re.compile(
    r"(/\.hermes|^\$HERMES_HOME)(/profiles/[^/]+)?/(config\.yaml|\.managed|SOUL\.md|(hooks|plugins|cron)(/|$))"
)
_REASONS = {
    "write-hermes-secrets": "holds the secrets of this program",
    "write-hermes-config": "decides how this program behaves",
    "write-credentials": "decides who may log in, or holds keys",
    "write-startup-file": "is run by itself when a shell, session or git starts",
    "write-system-file": "belongs to the system",
}


def sensitive_write(place: str) -> str | None:
    """The rule that writing an absolute path breaks, wherever the homes are; None for an ordinary file."""
    checks = (
        ("write-hermes-secrets", _OWN_SECRETS),
        ("write-hermes-config", _OWN_CONFIG),
        ("write-credentials", _LOGIN_KEYS),
        ("write-startup-file", _SHELL_START),
    )
    found = next((rule for rule, pattern in checks if pattern.search(place)), None)
    if found is None and _SYSTEM.search(place) and not _HARMLESS_SYSTEM.search(place):
        return "write-system-file"
    return found


def _spellings(*paths: Path) -> frozenset[str]:
    return frozenset(
        spelling.casefold() for path in paths for spelling in (str(path), os.path.realpath(path))
    )


def _is_in(place: str, files: frozenset[str], folders: frozenset[str]) -> bool:
    folded = place.casefold()
    return folded in files or any(folded == folder or folded.startswith(folder + "/") for folder in folders)
