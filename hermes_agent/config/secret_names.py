"""Which names hold secrets, and how a secret may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping


def names(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_SECRET_WORDS = names(
    "APIKEY AUTH COOKIE COOKIES CREDENTIAL CREDENTIALS DSN KEY KEYS PASS PASSPHRASE PASSWD PASSWORD PAT "
    "PRIVATE SECRET SECRETS TOKEN TOKENS WEBHOOK"
)
_SECRET_ENDINGS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "PASSWD")
_HARMLESS = names(
    "SSH_AUTH_SOCK XAUTHORITY TERMINAL_SSH_KEY DBUS_SESSION_BUS_ADDRESS WEBHOOK_ENABLED WEBHOOK_HOST "
    "WEBHOOK_PORT TELEGRAM_WEBHOOK_URL TELEGRAM_WEBHOOK_PORT"
)
_HARMLESS_WORDS = frozenset({"PUBLIC", "KEYBOARD", "MONKEY", "KEYMAP"})
_USER_IN_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)

_SECRET_SETTINGS = names(
    "api_key apikey key token secret password password_hash client_secret access_token refresh_token "
    "authorization x_api_key auth_token bot_token app_token private_key passphrase cookie "
    "signing_secret"
)

MASK = "…"


def is_secret_name(name: str) -> bool:
    """Whether a variable's name says that its value is secret (`OPENAI_API_KEY`, `DB_PASSWORD`)."""
    upper = name.upper()
    if upper in _HARMLESS:
        return False
    words = upper.split("_")
    if any(word in _HARMLESS_WORDS for word in words):
        return False
    return any(word in _SECRET_WORDS for word in words) or upper.endswith(_SECRET_ENDINGS)


def is_secret_variable(name: str, value: str) -> bool:
    """The same, and also true for addresses with a password in them, proxies apart."""
    if is_secret_name(name):
        return True
    return not name.upper().endswith("_PROXY") and _USER_IN_URL.match(value) is not None


def is_secret_setting(key: str) -> bool:
    """Whether a dotted key of config.yaml holds a secret (`model.api_key`, `…headers.Authorization`).

    Names of variables in free maps (`mcp_servers.x.env.GITHUB_TOKEN`) count too.
    """
    parts = key.split(".")
    last = next((part for part in reversed(parts) if not part.isdigit()), "")
    folded = last.lower().replace("-", "_")
    if folded in _SECRET_SETTINGS:
        return True
    in_free_map = len(parts) > 1 and parts[-2] in {"env", "headers", "default_headers", "extra", "docker_env"}
    if in_free_map or last.isupper():
        return is_secret_name(folded)
    return folded.endswith(("_api_key", "_token", "_secret", "_password", "_passphrase"))


def mask(value: str) -> str:
    """Show enough of a secret to tell two apart and never the whole: `sk-…9f3a`.

    A template (`${NAME}`) is no secret and is shown as it is.
    """
    if not value or re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", value):
        return value
    if len(value) < 12:
        return MASK
    return f"{value[:3]}{MASK}{value[-4:]}"


def masked(value: object, key: str = "") -> object:
    """A copy of a value of config.yaml with every secret in it masked. `key` is its dotted key."""
    if isinstance(value, Mapping):
        return {name: masked(item, f"{key}.{name}" if key else str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, f"{key}.{index}") for index, item in enumerate(value)]
    if isinstance(value, str):
        if is_secret_setting(key):
            return mask(value)
        return re.sub(r"(?<=://)([^/\s:@]*):[^/\s@]+@", rf"\1:{MASK}@", value)
    if value is not None and not isinstance(value, bool) and is_secret_setting(key):
        return MASK
    return value
