"""Whether a mail comes from whom it says, and whether a machine sent it by itself.

`From` is written by whoever sends. What counts is what the server that took the mail has found
(RFC 8601, `Authentication-Results`), and of those headers only the topmost of a trusted server: everything
below may have come with the mail.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hermes_agent.gateway.platforms.email.mime import Mail

Statement: TypeAlias = tuple[str, str, dict[str, str]]
"""Method, result, properties: `("dkim", "pass", {"header.d": "example.org"})`."""

_MOST_LENGTH = 8_000
_COMMENT = re.compile(r"\([^()]*\)")
_SAFE_QUOTED = re.compile(r'=\s*"([A-Za-z0-9+/=._@:-]*)"')
_PAIR = re.compile(r"([A-Za-z0-9._-]+)\s*=\s*([^\s;]+)")
_ROBOTS = re.compile(
    r"^(mailer-daemon|postmaster|no-?_?\.?reply|do-?_?\.?not-?_?\.?reply|bounces?|.*[-+.]bounces?|"
    r"notifications?|listserv|majordomo|.*-request)(\+.*)?@",
    re.IGNORECASE,
)
_PRECEDENCE = frozenset({"bulk", "junk", "list", "auto_reply"})
_MARKS = (
    "list-id",
    "list-unsubscribe",
    "list-post",
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "feedback-id",
    "x-failed-recipients",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the sender is genuine; `reason` says why not, for the log."""

    is_genuine: bool
    reason: str = ""
    seen_ids: tuple[str, ...] = ()


def automatic_reason(mail: Mail, own_address: str) -> str:
    """Why a mail must not be answered: a machine sent it, or we did. Empty for mail of people."""
    if mail.sender == own_address:
        return "it is our own"
    if _ROBOTS.match(mail.sender):
        return f"{mail.sender} is a machine"
    submitted = mail.first("auto-submitted").split(";")[0].strip().lower()
    if submitted and submitted != "no":
        return f"Auto-Submitted: {submitted}"
    precedence = mail.first("precedence").strip().lower()
    if precedence in _PRECEDENCE:
        return f"Precedence: {precedence}"
    for name in _MARKS:
        if mail.first(name):
            return f"it has {name}"
    if "all" in re.split(r"[\s,]+", mail.first("x-auto-response-suppress").lower()):
        return "X-Auto-Response-Suppress: All"
    if mail.first("return-path").strip() == "<>" or mail.first("content-type").lower().startswith(
        "multipart/report"
    ):
        return "it is a delivery report"
    return ""


def stamped_by(mail: Mail) -> str:
    """Id of the topmost `Authentication-Results`; empty without one."""
    value = mail.first("authentication-results")
    return _parse(value)[0] if value else ""


def judge(mail: Mail, trusted: Sequence[str]) -> Verdict:
    """Whether a trusted server has found the sender genuine.

    Args:
        mail: With exactly one sender.
        trusted: Ids (RFC 8601 `authserv-id`) in lower case; `*.example.org` names a family.
    """
    domain = _ascii(mail.sender.rpartition("@")[2])
    results = [_parse(value) for value in mail.all("authentication-results")]
    seen = tuple(dict.fromkeys(name for name, _ in results if name))
    ours = next(
        (found for name, found in results if any(fnmatch.fnmatchcase(name, each) for each in trusted)), None
    )
    if ours is None:
        return Verdict(False, "no trusted server has checked who sent it", seen)
    policies = [
        result
        for method, result, properties in ours
        if method == "dmarc" and _ascii(properties.get("header.from", "")) == domain
    ]
    if policies == ["pass"]:
        return Verdict(True)
    if policies and policies != ["none"]:
        return Verdict(False, f"DMARC says {', '.join(policies)} for {domain}", seen)
    if any(
        result == "pass" and _vouches(method, found, mail.sender, domain) for method, result, found in ours
    ):
        return Verdict(True)
    said = ", ".join(f"{method}={result}" for method, result, _ in ours) or "none"
    return Verdict(False, f"nothing vouches for {domain} ({said})", seen)


def _vouches(method: str, properties: dict[str, str], sender: str, domain: str) -> bool:
    if method == "dkim":
        signer = properties.get("header.d") or properties.get("header.i", "").rpartition("@")[2]
        return bool(signer) and _is_within(domain, _ascii(signer))
    if method == "spf":
        return _ascii(properties.get("smtp.mailfrom", "").rpartition("@")[2]) == domain
    if method == "auth":
        return properties.get("smtp.auth", properties.get("smtp.mailfrom", "")).lower() == sender
    return False


def _is_within(domain: str, signer: str) -> bool:
    """The domain itself, or one above it that is more than a top-level domain."""
    return domain == signer or ("." in signer and domain.endswith(f".{signer}"))


def _parse(value: str) -> tuple[str, list[Statement]]:
    """Id in lower case, and the statements; none if the header can be read in two ways.

    Parts of it are the sender's own words (the envelope address, the name in HELO): a quoted local part
    could close a comment and go on with a statement of its own.
    """
    text = _SAFE_QUOTED.sub(r"=\1", value[:_MOST_LENGTH])
    if '"' in text or "\\" in text:
        return text.split(";")[0].split("(")[0].strip().lower(), []
    previous = ""
    while text != previous:  # comments may be nested
        previous, text = text, _COMMENT.sub(" ", text)
    head, *rest = text.split(";")
    name = head.split()[0].lower() if head.split() else ""
    statements: list[Statement] = []
    for statement in rest:
        pairs = _PAIR.findall(statement)
        if pairs:
            properties = {key.lower(): text for key, text in pairs[1:]}
            statements.append((pairs[0][0].lower(), pairs[0][1].lower(), properties))
    return name, statements


def _ascii(domain: str) -> str:
    text = domain.strip().rstrip(".").lower()
    try:
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        return text
