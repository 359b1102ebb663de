"""Settings of the email platform: `platforms.email.extra`, and the variables that go before them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pydantic import Field, ValidationError, field_validator

from hermes_agent.config.sections.base import Section
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.gateway.platforms.table import Variable

Security: TypeAlias = Literal["tls", "starttls", "none"]

_KEY = "platforms.email.extra"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_KNOWN_SERVERS = {
    "gmail.com": ("mx.google.com",),
    "googlemail.com": ("mx.google.com",),
    "fastmail.com": ("*.messagingengine.com",),
    "mail.me.com": ("dmarc.icloud.com",),
    "mail.yahoo.com": ("*.yahoo.com",),
}
"""By the end of the IMAP host's name: what the provider's own `Authentication-Results` begin with. Only
providers that put one on top of each mail that comes in."""


class EmailSettings(Section):
    """`platforms.email.extra`. Each may be given as the variable `EMAIL_<NAME>` too, which goes before it."""

    address: str = ""
    """The agent's own address."""
    username: str = ""
    """Login name on both servers; empty means the address."""
    from_name: str = "Hermes"
    """Name beside the address in what it sends."""
    imap_host: str = ""
    """Server that mail is read from."""
    imap_port: int = Field(default=993, ge=1, le=65535)
    """Its port."""
    imap_security: Security | None = None
    """`tls` from the first byte, `starttls`, `none`; null means `starttls` on port 143, otherwise `tls`."""
    smtp_host: str = ""
    """Server that mail is sent by."""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    """Its port."""
    smtp_security: Security | None = None
    """As `imap_security`; null means `tls` on port 465, otherwise `starttls`."""
    tls_ca_file: str = ""
    """Certificates of authorities to trust besides the system's, for servers of one's own."""
    folder: str = "INBOX"
    """The folder that is read."""
    mark_seen: bool = True
    """Mark mail as read once it is stored. What was handled is remembered apart from this mark."""
    poll_interval: float = Field(default=15.0, gt=0)
    """Seconds between two looks, on servers that cannot tell by themselves (no IDLE)."""
    conversations: Literal["thread", "sender"] = "thread"
    """Whether each mail thread is a conversation, or everything one person sends."""
    sender_check: Literal["strict", "none"] = "strict"
    """`strict` takes mail only if a trusted server has found its sender genuine; `none` believes `From`."""
    trusted_authserv_ids: tuple[str, ...] = ()
    """What the `Authentication-Results` of trusted servers begin with; `*.example.org` names a family."""
    max_message_bytes: int = Field(default=30_000_000, ge=100_000)
    """Of a larger mail only the beginning is read."""

    @field_validator("trusted_authserv_ids", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.replace(";", ",").split(",") if part.strip())
        return value


@dataclass(frozen=True, slots=True)
class Account:
    """Everything needed to connect.

    Attributes:
        trusted: Ids of servers whose `Authentication-Results` count; lower case.
    """

    settings: EmailSettings
    address: str
    username: str
    password: str = field(repr=False)
    imap_security: Security
    smtp_security: Security
    trusted: tuple[str, ...]


def make_account(settings: PlatformSettings, variable: Variable) -> Account:
    """From settings and variables.

    Raises:
        SettingError: Something is missing or wrong.
    """
    values: dict[str, Any] = dict(settings.extra)
    for name in EmailSettings.model_fields:
        if text := variable(f"EMAIL_{name.upper()}"):
            values[name] = text
    try:
        own = EmailSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise SettingError(
            f"{_KEY}.{name} (or EMAIL_{name.upper()}) cannot be used",
            key=f"{_KEY}.{name}",
            why=f"{first['msg']}; it is {first['input']!r}",
        ) from error
    address = own.address.strip().lower()
    password = settings.token or variable("EMAIL_PASSWORD") or ""
    for name, value in (
        ("address", address),
        ("imap_host", own.imap_host),
        ("smtp_host", own.smtp_host),
        ("password", password),
    ):
        if not value:
            raise SettingError(
                f"Email needs EMAIL_{name.upper()}",
                key=f"{_KEY}.{name}",
                remedy=f"Put EMAIL_{name.upper()}=… into .env (hermes config set EMAIL_{name.upper()} …)",
            )
    if "@" not in address:
        raise SettingError(f"EMAIL_ADDRESS is no address: {address!r}", key=f"{_KEY}.address")
    return Account(
        own,
        address,
        own.username or address,
        password,
        _security("imap", own.imap_host, own.imap_security, "starttls" if own.imap_port == 143 else "tls"),
        _security("smtp", own.smtp_host, own.smtp_security, "tls" if own.smtp_port == 465 else "starttls"),
        tuple(each.lower() for each in own.trusted_authserv_ids) or _known(own.imap_host),
    )


def _security(kind: str, host: str, wanted: Security | None, default: Security) -> Security:
    if wanted == "none" and host not in _LOOPBACK:
        raise SettingError(
            f"The password would cross the network in the clear to {host}",
            key=f"{_KEY}.{kind}_security",
            why="`none` is for servers on this machine",
            remedy=f"hermes config set {_KEY}.{kind}_security starttls",
        )
    return wanted or default


def _known(host: str) -> tuple[str, ...]:
    return next((ids for end, ids in _KNOWN_SERVERS.items() if host.lower().endswith(end)), ())
