"""Keep secrets out of everything that is shown, stored, logged or sent to a model.

Two nets: the values that are known to be secret (the `.env`, keys of the configuration) are replaced
exactly, also in their URL, base64 and JSON forms; patterns catch what merely looks like a secret.

Every pattern has needles: fixed texts without which it cannot match. They only save time. Patterns are
bounded or possessive, so the time is linear in the text. Except for private keys no pattern crosses the
end of a line, which is what makes `StreamRedactor` possible.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, quote_plus

MASK = "[REDACTED]"

MIN_VALUE_CHARS = 8
"""Shorter values are not replaced: they would hit ordinary words."""

Replacement: TypeAlias = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Something that looks like a secret.

    Attributes:
        name: For tests and documentation.
        expression: Compiled with `re.ASCII`, so that lower case means the same to it and to `needles`.
        needles: Lower case; one of them is in every match.
        replacement: As for `re.sub`.
    """

    name: str
    expression: re.Pattern[str]
    needles: tuple[str, ...]
    replacement: Replacement


def _compiled(expression: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    return re.compile(expression, re.ASCII | (re.IGNORECASE if ignore_case else 0))


_TOKEN_PREFIXES = (
    *("sk-", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    *("github_pat_", "glpat-", "glsa_", "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xapp-", "AKIA", "ASIA"),
    *("AIza", "ya29.", "hf_", "r8_", "gsk_", "xai-", "pplx-", "tvly-", "fc-", "npm_", "pypi-", "dop_v1_"),
    *("SG.", "whsec_", "shpat_", "lin_api_", "ntn_", "dckr_pat_", "nvapi-", "AGE-SECRET-KEY-1"),
)

_NAME = (
    r"(?:api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key|token|secret|password|passwd|passphrase"
    r"|credentials?|authorization|client[_-]?secret)"
)
_SECRET_NEEDLES = (
    *("apikey", "api_key", "api-key", "accesskey", "access_key", "access-key", "privatekey", "private_key"),
    *("private-key", "secret", "token", "password", "passwd", "passphrase", "credential", "authorization"),
)

_ESCAPE = r"(?<=\\[nrt])"
"""Tools answer in JSON: there a word may follow the `n` of an escaped line end."""
_START = rf"(?:(?<![A-Za-z0-9_])|{_ESCAPE})"
_TOKEN_START = rf"(?:(?<![A-Za-z0-9_.-])|{_ESCAPE})"
_SCHEME = rf"(?:(?<![a-z0-9+.-])|{_ESCAPE})[a-z][a-z0-9+.-]{{1,20}}://"

_GAP = r"(?:\\[nr]|[\s\"',+>|])*+"
"""What stands between the lines of a key in files, JSON texts and source code."""


def _is_reference(value: str) -> bool:
    """Whether a value only names the place of a secret: `$NAME`, `${NAME}`, `<your key>`, `***`."""
    return value.startswith(("$", "<", "{", "%")) or not value.strip("*x.…-")


def _masked_value(match: re.Match[str]) -> str:
    return match[0] if _is_reference(match[2]) else match[1] + MASK


def _masked_literal(match: re.Match[str]) -> str:
    """Unquoted words without a digit are code (`token: SecretStr`), not secrets."""
    value = match[2]
    if _is_reference(value) or not any(character.isdigit() for character in value):
        return match[0]
    return match[1] + MASK


PATTERNS: tuple[Pattern, ...] = (
    Pattern(
        "private key",
        _compiled(
            r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----)"
            rf"(?:{_GAP}(?:[A-Za-z0-9+/=]{{24,}}+|(?:Proc-Type|DEK-Info|Version|Comment|Hash):[^\n]*+))++"
            rf"(?:{_GAP}[A-Za-z0-9+/=]{{1,64}}(?={_GAP}-----END))?"
        ),
        ("private key",),
        rf"\1{MASK}",
    ),
    Pattern(
        "key with a known prefix",
        _compiled(
            rf"{_TOKEN_START}(?:{'|'.join(map(re.escape, _TOKEN_PREFIXES))})"
            r"(?=[A-Za-z_.-]*+[0-9])[A-Za-z0-9_.-]{12,}+"
        ),
        tuple(prefix.lower() for prefix in _TOKEN_PREFIXES),
        MASK,
    ),
    Pattern(
        "JSON web token",
        _compiled(rf"{_TOKEN_START}eyJ[A-Za-z0-9_-]{{10,}}+\.[A-Za-z0-9_-]{{10,}}+(?:\.[A-Za-z0-9_-]*+)?"),
        ("eyj",),
        MASK,
    ),
    Pattern(
        "Telegram token",
        _compiled(r"(?<![0-9])[0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
        (":",),
        MASK,
    ),
    Pattern(
        "authorization header",
        _compiled(
            rf"({_START}authorization\\?[\"']?[ \t]{{0,4}}[:=][ \t]{{0,4}}\\?[\"']?"
            r"(?:(?:bearer|basic|token|bot|apikey|digest)[ \t]{1,4})?)"
            r"([^\s\"',;\\]{8,}+)",
            ignore_case=True,
        ),
        ("authorization",),
        _masked_value,
    ),
    Pattern(
        "bearer token",
        _compiled(rf"({_START}bearer[ \t]{{1,4}})([A-Za-z0-9._~+/=-]{{16,}}+)", ignore_case=True),
        ("bearer",),
        _masked_value,
    ),
    Pattern(
        "key header",
        _compiled(
            rf"({_START}(?:x-api-key|api-key|x-auth-token|x-goog-api-key|private-token|x-gitlab-token|set-cookie|cookie)[\"']?"
            r"[ \t]{0,4}:[ \t]{0,4}\\?[\"']?)([^\s\"',\\]{8,}+)",
            ignore_case=True,
        ),
        ("api-key", "x-auth-token", "private-token", "x-gitlab-token", "cookie"),
        _masked_value,
    ),
    Pattern(
        "environment assignment",
        _compiled(
            rf"({_START}[A-Z0-9_]{{0,60}}?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(?:_[A-Z0-9]{{1,20}})?"
            r"=\\?[\"']?)([^\s\"'`;&|<>(){}\[\]\\]{8,}+)"
        ),
        ("key", "token", "secret", "password", "passwd", "passphrase", "credential"),
        _masked_value,
    ),
    Pattern(
        "quoted field",
        _compiled(
            rf"({_NAME}(?:_[a-z0-9]{{1,20}})?\\?[\"']?[ \t]{{0,4}}(?:=|:|=>)[ \t]{{0,4}}\\?[\"'])"
            r"([^\"'\\\n]{8,}+)(?=\\?[\"'])",
            ignore_case=True,
        ),
        _SECRET_NEEDLES,
        _masked_value,
    ),
    Pattern(
        "plain field",
        _compiled(
            rf"({_NAME}[ \t]{{0,4}}[:=][ \t]{{0,4}})([^\s\"'`,;&|<>(){{}}\[\]\\]{{8,}}+)", ignore_case=True
        ),
        _SECRET_NEEDLES,
        _masked_literal,
    ),
    Pattern(
        "password in an address",
        _compiled(
            rf"({_SCHEME}[^\s/:@\"']{{0,100}}:)([^\s/@\"']{{1,200}})(?=@)",
            ignore_case=True,
        ),
        ("://",),
        _masked_value,
    ),
    Pattern(
        "token in an address",
        _compiled(rf"({_SCHEME})([A-Za-z0-9_.-]{{16,200}})(?=@)", ignore_case=True),
        ("://",),
        _masked_value,
    ),
    Pattern(
        "query or form field",
        _compiled(
            rf"((?:(?<![A-Za-z0-9_-])|{_ESCAPE})(?:api_?key|key|token|access_token|refresh_token|id_token|auth|secret|client_secret|password"
            r"|passwd|pwd|sig|signature|code_verifier|assertion|x-amz-signature|x-amz-credential|x-amz-security-token)=)"
            r"([^&\s\"'<>#;,(){}\[\]\\]{8,}+)",
            ignore_case=True,
        ),
        (
            "key=",
            "token=",
            "auth=",
            "secret=",
            "password=",
            "passwd=",
            "pwd=",
            "sig=",
            "signature=",
            "code_verifier=",
            "assertion=",
            "x-amz-credential=",
        ),
        _masked_literal,
    ),
    Pattern("Discord mention", _compiled(r"<@[!&]?[0-9]{17,20}>"), ("<@",), f"<@{MASK}>"),
    Pattern("phone number", _compiled(r"(?<=[^\w+\n])\+[1-9][0-9]{9,14}(?![0-9A-Za-z_])"), ("+",), MASK),
)


def _spellings(value: str) -> set[str]:
    """A value and the forms in which it travels."""
    found = {value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1]}
    found.add(json.dumps(value, ensure_ascii=False)[1:-1])
    data = value.encode("utf-8", "surrogatepass")
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            # inside a longer text (`user:password`) base64 falls in one of three alignments; the characters
            # at both ends mix with the neighbours
            text = encode(b"\0" * shift + data).decode().rstrip("=")
            core = text[(0, 2, 3)[shift] :]
            core = core if (len(data) + shift) % 3 == 0 else core[:-1]
            if len(core) >= 12:
                found.add(core)
    return found


def _substituted(pattern: Pattern, text: str, lowered: str) -> str:
    """Apply a pattern, to the lines that have one of its needles if they are few."""
    if pattern is PATTERNS[0] or len(text) < 4_000 or len(text) != len(lowered):
        return pattern.expression.sub(pattern.replacement, text)
    lines: set[tuple[int, int]] = set()
    for needle in pattern.needles:
        at = lowered.find(needle)
        while at >= 0:
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            lines.add((text.rfind("\n", 0, at) + 1, end))
            if len(lines) > len(text) // 1_000:
                return pattern.expression.sub(pattern.replacement, text)
            at = lowered.find(needle, end)
    pieces: list[str] = []
    position = 0
    for start, end in sorted(lines):
        pieces += [text[position:start], pattern.expression.sub(pattern.replacement, text[start:end])]
        position = end
    return "".join([*pieces, text[position:]])


class Redactor:
    """Replaces secrets in text.

    Args:
        values: Known secret values; those under 8 characters are ignored.
        enabled: Off returns every text as it is (`security.redact_secrets: false`).
    """

    def __init__(self, values: Iterable[str] = (), *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._known: tuple[str, ...] = ()
        self._alternations: dict[tuple[str, ...], re.Pattern[str]] = {}
        self.add(values)

    def add(self, values: Iterable[str]) -> None:
        """Replace these too, from now on (tokens that are received while the program runs)."""
        spellings = {
            spelling
            for value in values
            if len(value.strip()) >= MIN_VALUE_CHARS
            for spelling in _spellings(value.strip())
        }
        # longest first, so that no value hides the rest of a longer one
        self._known = tuple(
            sorted(
                {known for known in spellings if known not in MASK}.union(self._known),
                key=lambda known: (-len(known), known),
            )
        )

    @property
    def longest_line_value(self) -> int:
        """Characters of the longest known value that goes over several lines; 0 if none does."""
        return max((len(value) for value in self._known if "\n" in value), default=0)

    def redact(self, text: str) -> str:
        """The text without secrets. Doing it twice changes nothing more."""
        if not self.enabled or not text:
            return text
        text = self._without_known(text)
        lowered = text.lower()
        for pattern in PATTERNS:
            if any(needle in lowered for needle in pattern.needles):
                changed = _substituted(pattern, text, lowered)
                if changed != text:
                    text, lowered = changed, changed.lower()
        return text

    def _without_known(self, text: str) -> str:
        present = tuple(value for value in self._known if value in text)
        if not present:
            return text
        if present not in self._alternations:
            if len(self._alternations) > 100:
                self._alternations.clear()
            self._alternations[present] = re.compile("|".join(map(re.escape, present)))
        return self._alternations[present].sub(MASK, text)

    def covers(self, text: str, cut: int) -> int:
        """A cut that splits no known value: `cut`, or the start of the value that it would split."""
        for value in self._known:
            start = text.find(value, max(0, cut - len(value) + 1), cut + len(value) - 1)
            if 0 <= start < cut:
                cut = start
        return cut


MAX_HELD_CHARS = 65_536

_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY", re.ASCII)
_BREAK = re.compile(r"[^A-Za-z0-9_+/=.~%-]")


class StreamRedactor:
    """Redacts text that comes in pieces, without letting a secret through that is cut between two.

    Whole lines are given on; the unfinished one waits (`flush` gives it on), and so does a private key
    until its end.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""
        self._in_key = False

    def feed(self, text: str) -> str:
        """Take a piece; returns what can be shown by now."""
        if not self._redactor.enabled:
            return text
        self._held += text
        if self._in_key and not self._skip_key():
            return ""
        cut = max(self._held.rfind("\n"), self._held.rfind("\r")) + 1
        if len(self._held) - cut > MAX_HELD_CHARS:
            cut = self._forced_cut()
        if self._redactor.longest_line_value:
            cut = min(cut, max(0, len(self._held) - self._redactor.longest_line_value))
        return self._release(self._redactor.covers(self._held, cut))

    def flush(self) -> str:
        """Give on what waits."""
        rest, self._held = self._held, ""
        if self._in_key:
            self._in_key = False
            return ""
        return self._redactor.redact(rest)

    def _release(self, cut: int) -> str:
        keys = list(_BEGIN.finditer(self._held, 0, cut))
        key = keys[-1] if keys else None
        if key and "-----END" not in self._held[key.end() : cut]:
            if len(self._held) - key.start() <= MAX_HELD_CHARS:
                cut = key.start()
            else:
                shown = self._redactor.redact(self._held[: key.start()]) + f"{key[0]}-----{MASK}"
                self._held, self._in_key = self._held[key.end() :], True
                self._skip_key()
                return shown
        ready, self._held = self._held[:cut], self._held[cut:]
        return self._redactor.redact(ready)

    def _skip_key(self) -> bool:
        end = self._held.find("-----END")
        if end < 0:
            self._held = self._held[-7:]
            return False
        self._held, self._in_key = self._held[end:], False
        return True

    def _forced_cut(self) -> int:
        """Where an endless line may be cut: behind its last character that cannot be part of a token."""
        window = self._held[:-4096]
        for index in range(len(window) - 1, max(0, len(window) - 32_768), -1):
            if window[index].isspace():
                return index + 1
        last = len(window)
        for index in range(last - 1, max(0, last - 32_768), -1):
            if _BREAK.match(window[index]):
                return index + 1
        return last
