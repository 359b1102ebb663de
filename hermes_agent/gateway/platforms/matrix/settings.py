"""Settings of the Matrix platform: `platforms.matrix.extra`, and the variables that go before them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError, field_validator

from hermes_agent.config.sections.base import Section
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.gateway.platforms.table import Variable

_KEY = "platforms.matrix.extra"
_USER_ID = re.compile(r"^@[^:\s]+:[^\s]+$")


class MatrixSettings(Section):
    """`platforms.matrix.extra`. The variable `MATRIX_<NAME>` of each goes before it."""

    homeserver: str = ""
    """Address of the home server, `https://matrix.example.org`."""
    user_id: str = ""
    """The agent's user id, `@hermes:example.org`; not needed with an access token."""
    device_name: str = "Hermes"
    """What the agent's session is called among its devices."""
    encryption: bool = True
    """Read and write encrypted rooms."""
    require_mention: bool = True
    """In rooms with several people only what mentions or answers the agent is for it."""
    free_response_rooms: tuple[str, ...] = ()
    """Ids of rooms where everything is for it."""
    auto_thread: bool = False
    """Answer in a thread of its own what is asked in a room with several people."""
    read_markers: bool = True
    """Show people that their messages were read."""
    messages_per_second: float = Field(default=0.3, gt=0)
    """Pace of one room, edits of streamed answers included. Home servers allow 0.2 unless told otherwise."""
    burst: int = Field(default=8, ge=1)
    """As many may follow each other at once."""

    @field_validator("free_response_rooms", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


@dataclass(frozen=True, slots=True)
class MatrixAccount:
    """Everything needed to sign in: a token, or user id and password."""

    settings: MatrixSettings
    homeserver: str
    user_id: str
    token: str = field(repr=False)
    password: str = field(repr=False)


def make_account(settings: PlatformSettings, variable: Variable) -> MatrixAccount:
    """From settings and variables.

    Raises:
        SettingError: Something is missing or wrong.
    """
    values: dict[str, Any] = dict(settings.extra)
    for name in MatrixSettings.model_fields:
        if text := variable(f"MATRIX_{name.upper()}"):
            values[name] = text
    try:
        own = MatrixSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise SettingError(
            f"{_KEY}.{name} (or MATRIX_{name.upper()}) cannot be used",
            key=f"{_KEY}.{name}",
            why=f"{first['msg']}; it is {first['input']!r}",
        ) from error
    address = own.homeserver.strip().rstrip("/")
    if not address:
        raise SettingError(
            "Matrix needs the address of your home server",
            key=f"{_KEY}.homeserver",
            remedy="Put MATRIX_HOMESERVER=https://matrix.example.org into .env",
        )
    if "://" not in address:
        address = f"https://{address}"
    token = settings.token or variable("MATRIX_ACCESS_TOKEN") or ""
    password = variable("MATRIX_PASSWORD") or ""
    user_id = own.user_id.strip()
    if not token and not password:
        raise SettingError(
            "Matrix needs a password or an access token",
            key="platforms.matrix.token",
            remedy="Put MATRIX_USER_ID and MATRIX_PASSWORD (or MATRIX_ACCESS_TOKEN) into .env",
        )
    if not token and not user_id:
        raise SettingError("A password needs MATRIX_USER_ID too", key=f"{_KEY}.user_id")
    if user_id and not _USER_ID.match(user_id):
        raise SettingError(
            f"MATRIX_USER_ID is no user id: {user_id!r}",
            key=f"{_KEY}.user_id",
            why="It looks like @hermes:example.org",
        )
    return MatrixAccount(own, address, user_id, token, password)
