"""Which mail is new: a cursor of UIDVALIDITY and UID, whatever marks other programs set."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace

from hermes_agent.core.errors import AuthFailedError, NotReadyError
from hermes_agent.gateway.platforms.email.imap import Folder, ImapConnection, ImapRefusedError
from hermes_agent.gateway.platforms.email.settings import Account
from hermes_agent.gateway.platforms.email.tls import make_context

_MARGIN_SECONDS = 2 * 86400
_BEGINNING = 300_000
"""Bytes read of a mail that is too large: its headers, and most likely its text."""
_HEADERS = 20_000
_AT_ONCE = 100
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PASSING = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN"})
_PASSING_WORDS = ("too many", "temporar", "try again", "system error", "internal error")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a folder was read.

    Attributes:
        account: Whose folder; another one begins anew.
        uid: The newest that was handed over.
        at: Unix time of the last look; needed when the server numbers its mail anew.
    """

    account: str
    validity: int
    uid: int
    at: float = 0.0

    def to_text(self) -> str:
        """For `Receiver.save_cursor`."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Cursor | None:
        """From `to_text`; None for anything else."""
        try:
            found = json.loads(text)
            return cls(str(found["account"]), int(found["validity"]), int(found["uid"]), float(found["at"]))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Arrived:
    """One mail. `is_cut` means that only its beginning was read."""

    uid: int
    data: bytes
    is_cut: bool = False


class Mailbox:
    """The folder of the account, over one connection."""

    def __init__(self, account: Account, connection: ImapConnection, cursor: Cursor) -> None:
        self._account = account
        self.connection = connection
        self.cursor = cursor
        self._again_since = 0.0
        self._newest = 0

    @classmethod
    async def open(cls, account: Account, stored: str) -> Mailbox:
        """Connect, sign in, open the folder.

        Args:
            account: Where and who.
            stored: The cursor, as text; without one, reading begins with what comes from now on.

        Raises:
            ImapClosedError: The server cannot be reached.
            NotReadyError: It cannot let us in now.
            AuthFailedError: It refuses the password.
        """
        connection = await connect(account)
        try:
            folder = await _select(connection, account)
            name = f"{account.username}@{account.settings.imap_host}/{account.settings.folder}"
            cursor = Cursor.of(stored)
            again_since = 0.0
            newest = (
                folder.uid_next - 1 if folder.uid_next else max(await connection.search("ALL"), default=0)
            )
            if cursor is None or cursor.account != name:
                cursor = Cursor(name, folder.uid_validity, newest, time.time())
            elif cursor.validity != folder.uid_validity:
                # All numbers are new: look at everything since; what was handled is known by its id.
                again_since = max(1.0, cursor.at - _MARGIN_SECONDS)
                cursor = Cursor(name, folder.uid_validity, 0, cursor.at)
        except BaseException:
            await connection.close()
            raise
        mailbox = cls(account, connection, cursor)
        mailbox._again_since = again_since
        mailbox._newest = newest
        return mailbox

    async def news(self) -> AsyncIterator[Arrived]:
        """Mail behind the cursor, in order. Call `handled` for each one.

        Raises:
            ImapClosedError: The connection is lost.
            ImapRefusedError: The server cannot read.
        """
        await self.connection.noop()
        if self._again_since:
            uids = await self.connection.search(f"SINCE {_day(self._again_since)}")
        else:
            behind = await self.connection.search(f"UID {self.cursor.uid + 1}:*")
            uids = [uid for uid in behind if uid > self.cursor.uid]
        limit = self._account.settings.max_message_bytes
        sizes: dict[int, int] = {}
        for index, uid in enumerate(uids):
            if index % _AT_ONCE == 0:  # a command must fit into a line
                sizes = await self.connection.sizes(uids[index : index + _AT_ONCE])
            is_cut = sizes.get(uid, 0) > limit
            data = await self.connection.body(uid, limit=_BEGINNING if is_cut else None)
            if data is not None:
                yield Arrived(uid, data, is_cut)
        if self._again_since:
            self._again_since = 0.0
            self.cursor = replace(self.cursor, uid=max([self._newest, *uids]))

    async def recent(self, count: int) -> list[bytes]:
        """The beginnings of the newest mails. Raises `ImapClosedError`, `ImapRefusedError`."""
        uids = (await self.connection.search("ALL"))[-count:]
        found = [await self.connection.body(uid, limit=_HEADERS) for uid in uids]
        return [data for data in found if data is not None]

    def handled(self, uid: int) -> bool:
        """A mail is stored; returns whether the cursor may be saved now."""
        if self._again_since:
            return False  # not before all of it was looked at: numbers say nothing about age now
        self.cursor = replace(self.cursor, uid=uid, at=time.time())
        return True

    async def wait(self) -> None:
        """Until the server tells news, or it is time. Raises `ImapClosedError`, `ImapRefusedError`."""
        await self.connection.idle(IDLE_SECONDS)

    @property
    def can_idle(self) -> bool:
        """Whether the server tells by itself when mail comes."""
        return "IDLE" in self.connection.capabilities


IDLE_SECONDS = 110.0
"""Routers forget silent connections after a few minutes, servers after half an hour."""


async def connect(account: Account) -> ImapConnection:
    """A connection that is signed in. Raises like `Mailbox.open`."""
    own = account.settings
    connection = await ImapConnection.open(
        own.imap_host,
        own.imap_port,
        context=make_context(own.tls_ca_file) if account.imap_security != "none" else None,
        starttls=account.imap_security == "starttls",
    )
    try:
        await connection.login(account.username, account.password)
    except ImapRefusedError as error:
        await connection.close()
        said = (error.why or "").lower()
        if error.code in _PASSING or any(word in said for word in _PASSING_WORDS):
            raise NotReadyError("The IMAP server cannot let us in now", why=error.why) from error
        raise AuthFailedError(
            f"The IMAP server refuses the password of {account.username}",
            why=error.why,
            remedy="Check EMAIL_ADDRESS and EMAIL_PASSWORD; many providers want a password for apps.",
        ) from error
    except BaseException:
        await connection.close()
        raise
    return connection


async def fetch_body(account: Account, validity: int, uid: int) -> bytes | None:
    """A whole mail over a connection of its own; None if it is gone. Raises like `Mailbox.open`."""
    connection = await connect(account)
    try:
        folder = await connection.select(account.settings.folder, read_only=True)
        return await connection.body(uid) if folder.uid_validity == validity else None
    finally:
        await connection.close()


async def _select(connection: ImapConnection, account: Account) -> Folder:
    name = account.settings.folder
    try:
        return await connection.select(name)
    except ImapRefusedError as error:
        raise NotReadyError(
            f"The mail folder {name!r} cannot be opened",
            why=error.why,
            remedy="hermes config set platforms.email.extra.folder INBOX",
        ) from error


def _day(at: float) -> str:
    day = time.gmtime(at)
    return f"{day.tm_mday}-{_MONTHS[day.tm_mon - 1]}-{day.tm_year}"
