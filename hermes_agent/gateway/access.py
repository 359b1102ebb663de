"""Who may talk: nobody, unless a rule lets them in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hermes_agent.config.settings import Settings
from hermes_agent.core.errors import StoreError
from hermes_agent.core.platform import InboundMessage, Person
from hermes_agent.gateway.pairing import PairingBook
from hermes_agent.gateway.platforms.table import has_chats

_IGNORES_CASE = frozenset({"email"})
_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether somebody may talk.

    Attributes:
        is_named: A rule names them (a list or pairing), not merely everybody.
        rule: Which rule, for the log.
    """

    is_allowed: bool
    is_named: bool = False
    rule: str = ""


class Access:
    """The rules. Order: platform open to all, paired, platform's list, global list, open to all, deny.

    Args:
        settings: `gateway`, `platforms`.
        variable: Reads `<PLATFORM>_ALLOWED_USERS` and `<PLATFORM>_ALLOW_ALL_USERS`.
        pairing: Who was let in by code.
    """

    def __init__(
        self, settings: Settings, variable: Callable[[str], str | None], pairing: PairingBook
    ) -> None:
        self._settings = settings
        self._variable = variable
        self.pairing = pairing

    def admit(self, platform: str, person: Person) -> Admission:
        """Decide by the person's stable id; a program's request has been proved to be its own."""
        if not has_chats(platform):
            return Admission(True, False, "signed")
        is_named = self._is_named(platform, person.id)
        if self._is_open(platform):
            return Admission(True, bool(is_named), is_named or f"{platform} is open to all")
        if is_named:
            return Admission(True, True, is_named)
        if self._settings.gateway.allow_all_users:
            return Admission(True, False, "open to all")
        return Admission(False)

    def is_owner(self, platform: str, person: Person) -> bool:
        """Whether somebody may use commands that concern the whole gateway.

        `gateway.owners` decides; without it everybody whom a rule names.
        """
        owners = _spelled(platform, _ids(self._settings.gateway.owners))
        if owners:
            return bool({person.id, f"{platform}:{person.id}"} & owners)
        return self.admit(platform, person).is_named

    def is_listed_owner(self, platform: str, person: Person) -> bool:
        """Whether `gateway.owners` or `memory.owners` names somebody: all conversations are open to them."""
        name = f"{platform}:{person.id}"
        owners = _spelled(platform, _ids(self._settings.gateway.owners))
        return bool({person.id, name} & owners) or name in self._settings.memory.owners

    def offers_pairing(self, message: InboundMessage) -> bool:
        """Whether a stranger's message gets a code: direct messages only."""
        own = self._settings.platforms.get(message.platform)
        behaviour = (own.unauthorized_dm_behavior if own else None) or self._settings.unauthorized_dm_behavior
        return message.chat_type == "dm" and behaviour == "pair"

    def has_rules(self, platform: str) -> bool:
        """Whether anybody at all can be let in without pairing."""
        return bool(
            not has_chats(platform)
            or self._is_open(platform)
            or self._list(platform)
            or _ids(self._settings.gateway.allowed_users)
            or self._settings.gateway.allow_all_users
        )

    def _is_named(self, platform: str, user_id: str) -> str:
        try:
            if self.pairing.is_approved(platform, user_id):
                return "paired"
        except StoreError:
            pass  # a broken file lets nobody in
        if user_id in _spelled(platform, self._list(platform)):
            return f"the list of {platform}"
        everywhere = _spelled(platform, _ids(self._settings.gateway.allowed_users))
        if {user_id, f"{platform}:{user_id}"} & everywhere:
            return "the global list"
        return ""

    def _is_open(self, platform: str) -> bool:
        value = self._variable(f"{platform.upper()}_ALLOW_ALL_USERS") or self._extra(
            platform, "allow_all_users"
        )
        return str(value).strip().lower() in _TRUE

    def _list(self, platform: str) -> frozenset[str]:
        listed = self._extra(platform, "allowed_users")
        text = ",".join(str(each) for each in listed) if isinstance(listed, list) else str(listed or "")
        return _ids(self._variable(f"{platform.upper()}_ALLOWED_USERS") or "") | _ids(text)

    def _extra(self, platform: str, name: str) -> object:
        own = self._settings.platforms.get(platform)
        return own.extra.get(name) if own else None


def _ids(text: str) -> frozenset[str]:
    return frozenset(part.strip() for part in text.split(",") if part.strip())


def _spelled(platform: str, ids: frozenset[str]) -> frozenset[str]:
    """Ids as the platform's adapter spells them: people write mail addresses as they please."""
    return frozenset(each.lower() for each in ids) if platform in _IGNORES_CASE else ids
