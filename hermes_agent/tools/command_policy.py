"""Which shell commands need a person's consent, and which are never run."""

from __future__ import annotations

import re

from hermes_agent.core.approvals import Allowed, Forbidden, NeedsApproval, Verdict

_FLOOR = re.compile(r"\brm\s+(-\S+\s+)*(/|~|/\*)(\s|$)|\bmkfs|:\(\)\s*\{|\b(shutdown|reboot|poweroff)\b")
_ASK = re.compile(r"\brm\s+-\S*[rR]|\bchmod\s+(-R\s+)?777|\bbash\s+-c")


def review_command(command: str, *, is_isolated: bool = False, has_sudo_password: bool = False) -> Verdict:
    """Classify a shell command.

    Args:
        command: As the shell will get it.
        is_isolated: It runs in a sandbox: nothing is asked, the floor stays.
        has_sudo_password: A password for sudo is configured, so `sudo -S` does not guess.
    """
    if _FLOOR.search(command):
        return Forbidden(command, "destroys the system")
    if not has_sudo_password and "sudo -S" in command:
        return Forbidden(command, "guesses the password of sudo")
    if not is_isolated and _ASK.search(command):
        return NeedsApproval(command, ("risky",), ("risky",))
    return Allowed()
