"""The email adapter: reads one folder by IMAP, sends by SMTP.

A chat is a person (`chat_id` is their address), a mail thread is a thread of it. Only the person who wrote
gets the answer, at the address that was checked: other recipients and `Reply-To` are not obeyed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from hermes_agent.config.extras import missing_extra
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import DeliveryError, HermesError, NotReadyError
from hermes_agent.core.loading import load
from hermes_agent.core.platform import (
    Attachment,
    Capabilities,
    InboundMessage,
    OutgoingPart,
    Person,
    Receiver,
)
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.gateway.platforms.email.formatting import Letter, compose, message_id
from hermes_agent.gateway.platforms.email.genuine import automatic_reason, judge, stamped_by
from hermes_agent.gateway.platforms.email.imap import ImapClosedError, ImapRefusedError
from hermes_agent.gateway.platforms.email.mailbox import IDLE_SECONDS, Arrived, Mailbox, fetch_body
from hermes_agent.gateway.platforms.email.mime import Mail, is_address, read_anyhow
from hermes_agent.gateway.platforms.email.quoting import new_text
from hermes_agent.gateway.platforms.email.settings import Account, make_account
from hermes_agent.gateway.platforms.email.threads import Thread, Threads, thread_of
from hermes_agent.gateway.platforms.email.tls import make_context
from hermes_agent.gateway.platforms.table import Variable

if TYPE_CHECKING:
    from hermes_agent.gateway.platforms.email.submission import Submission

_LOG = logging.getLogger(__name__)

NAME = "email"
MAX_TEXT = 50_000
_CACHED_BYTES = 60_000_000
_PARALLEL_SENDS = 2
_LOOKED_AT = 20


def make_adapter(settings: PlatformSettings, variable: Variable) -> EmailAdapter:
    """Build it.

    Raises:
        SettingError: An address, a server or the password is missing.
        MissingExtraError: The library for SMTP is not installed.
    """
    account = make_account(settings, variable)
    context = make_context(account.settings.tls_ca_file)
    try:
        submission = load("hermes_agent.gateway.platforms.email.submission:Submission")(account, context)
    except ModuleNotFoundError as error:
        raise missing_extra(Home.from_environment(), NAME, "Email") from error
    return EmailAdapter(account, cast("Submission", submission))


class EmailAdapter(BaseAdapter):
    """See the module."""

    def __init__(self, account: Account, submission: Submission) -> None:
        super().__init__(
            NAME,
            Capabilities(
                max_text=MAX_TEXT,
                can_send_files=True,
                messages_per_second=0.5,
                burst=5,
                max_silence_seconds=2 * IDLE_SECONDS + account.settings.poll_interval,
                shows_progress=False,
            ),
        )
        self._account = account
        self._submission = submission
        self._mailbox: Mailbox | None = None
        self._threads: Threads | None = None
        self._sending = asyncio.Semaphore(_PARALLEL_SENDS)
        self._cached: OrderedDict[int, Mail] = OrderedDict()
        self._cached_bytes = 0
        self._doubted: dict[str, str] = {}
        self._counts = {"received": 0, "automatic": 0, "doubted": 0}

    async def start(self, receiver: Receiver) -> None:
        """Sign in on both servers; the first time, reading begins with what comes from now on."""
        self.receiver = receiver
        self._threads = Threads(receiver)
        await self._submission.check()
        try:
            self._mailbox = await Mailbox.open(self._account, await receiver.load_cursor(NAME))
        except (ImapClosedError, ImapRefusedError) as error:
            raise NotReadyError(error.message, why=error.why) from error
        try:
            if not await receiver.load_cursor(NAME):
                await receiver.save_cursor(NAME, self._mailbox.cursor.to_text())
            if self._account.settings.sender_check == "strict" and not self._account.trusted:
                await self._advise(self._mailbox)
        except (ImapClosedError, ImapRefusedError) as error:
            await self.stop()
            raise NotReadyError(error.message, why=error.why) from error
        except BaseException:
            await self.stop()
            raise
        self.progressed()

    async def run(self) -> None:
        """Look, wait until the server tells of news or it is time, look again."""
        mailbox = self._mailbox
        assert mailbox is not None
        try:
            while True:
                await self._look(mailbox)
                self.progressed()
                if mailbox.can_idle:
                    await mailbox.wait()
                else:
                    await asyncio.sleep(self._account.settings.poll_interval)
        except (ImapClosedError, ImapRefusedError) as error:
            raise NotReadyError(error.message, why=error.why) from error

    async def stop(self) -> None:
        """Disconnect."""
        mailbox, self._mailbox = self._mailbox, None
        self._cached.clear()
        self._cached_bytes = 0
        if mailbox is not None:
            await mailbox.connection.close()

    async def send(self, part: OutgoingPart) -> str:
        """Send one mail; returns its Message-ID."""
        recipient = part.address.chat_id
        if not is_address(recipient):
            raise DeliveryError(f"{recipient!r} is no mail address", is_permanent=True)
        if self._threads is None:
            raise DeliveryError("Not connected")
        data = b""
        if part.file is not None:
            try:
                data = part.file.data or await asyncio.to_thread(Path(part.file.path).read_bytes)
            except OSError as error:
                raise DeliveryError(
                    "The file cannot be read", why=error.strerror, is_permanent=True
                ) from error
        thread = Thread()
        if part.address.thread_id or self._account.settings.conversations == "sender":
            thread = await self._threads.recall(recipient, part.address.thread_id)
        letter = Letter(self._account.address, self._account.settings.from_name, part, thread, data)
        message = await asyncio.to_thread(compose, letter)
        async with self._sending:
            await self._submission.send(message, recipient)
        return message_id(letter)

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        """Content of an attachment; it is read from the mailbox again if it is not at hand."""
        try:
            validity, uid, index = (int(each) for each in attachment.reference.split("/"))
        except ValueError as error:
            raise DeliveryError("There is no such attachment", is_permanent=True) from error
        mail = self._cached.get(uid)
        if mail is None or self._mailbox is None or self._mailbox.cursor.validity != validity:
            try:
                data = await fetch_body(self._account, validity, uid)
            except HermesError as error:
                raise DeliveryError(error.message, why=error.why) from error
            if data is None:
                raise DeliveryError("The mail is gone from the mailbox", is_permanent=True)
            mail = await asyncio.to_thread(read_anyhow, data)
        if index >= len(mail.files):
            raise DeliveryError("There is no such attachment", is_permanent=True)
        content = mail.files[index].data
        if len(content) > max_bytes:
            raise DeliveryError(f"It is larger than {max_bytes // 1_000_000} MB", is_permanent=True)
        return content

    def facts(self) -> Mapping[str, str]:
        """The account, and what was not taken."""
        own = self._account.settings
        facts = {
            "address": self._account.address,
            "server": f"{own.imap_host}:{own.imap_port}",
            "receives_by": "IDLE" if self._mailbox is not None and self._mailbox.can_idle else "polling",
        }
        if self._counts["automatic"]:
            facts["ignored"] = f"{self._counts['automatic']} sent by machines"
        if self._counts["doubted"]:
            facts["not_proven"] = str(self._counts["doubted"])
        if self._doubted:
            sender, reason = next(reversed(self._doubted.items()))
            facts["last_not_proven"] = f"{sender}: {reason}"
        return facts

    async def _advise(self, mailbox: Mailbox) -> None:
        """No server is trusted yet: say what the mail that is there suggests."""
        mails = [await asyncio.to_thread(read_anyhow, data) for data in await mailbox.recent(_LOOKED_AT)]
        ids = Counter(name for mail in mails if (name := stamped_by(mail)))
        if ids:
            name, count = ids.most_common(1)[0]
            checked = f"{count} of the last {len(mails)} were checked by {name!r}"
            advice = f"{checked}: if that is your own mail server, set EMAIL_TRUSTED_AUTHSERV_IDS={name}"
        else:
            advice = "set EMAIL_TRUSTED_AUTHSERV_IDS; docs/platforms/email.md says how to find it"
        _LOG.warning("email: no server is trusted to say who sent a mail, so none is taken; %s", advice)

    async def _look(self, mailbox: Mailbox) -> None:
        assert self.receiver is not None
        async for arrived in mailbox.news():
            await self._take(mailbox, arrived)
            if mailbox.handled(arrived.uid):
                await self.receiver.save_cursor(NAME, mailbox.cursor.to_text())
            self.progressed()
        await self.receiver.save_cursor(NAME, mailbox.cursor.to_text())

    async def _take(self, mailbox: Mailbox, arrived: Arrived) -> None:
        assert self.receiver is not None and self._threads is not None
        mail = await asyncio.to_thread(read_anyhow, arrived.data)
        if not self._is_wanted(mail):
            return
        chat_id = mail.sender
        thread_id, is_new = "", not mail.references
        if self._account.settings.conversations == "thread":
            thread_id = thread_of(mail.message_id or mail.digest, mail.references)
        ids = (*mail.references, mail.message_id) if mail.message_id else mail.references
        await self._threads.remember(chat_id, thread_id, Thread(mail.subject, ids))
        self._keep(arrived.uid, mail, len(arrived.data))
        text = new_text(mail.text)
        if mail.subject and (not text or (is_new and not text.startswith("/"))):
            text = f"[Subject: {mail.subject}]\n{text}" if text else mail.subject
        if arrived.is_cut:
            text += "\n[This mail is too large; only its beginning was read.]"
        await self.receiver.receive(
            InboundMessage(
                platform=NAME,
                chat_id=chat_id,
                message_id=f"{mail.message_id}#{mail.digest}",
                sender=Person(mail.sender, mail.sender_name),
                text=text,
                thread_id=thread_id,
                chat_name=mail.subject,
                reply_to_id=mail.references[-1] if mail.references else "",
                sent_at=mail.sent_at,
                attachments=tuple(
                    Attachment(
                        file.kind,
                        f"{mailbox.cursor.validity}/{arrived.uid}/{index}",
                        file.name,
                        file.media_type,
                        len(file.data),
                    )
                    for index, file in enumerate(mail.files)
                )
                if not arrived.is_cut
                else (),
            )
        )
        self._counts["received"] += 1
        if self._account.settings.mark_seen:
            try:
                await mailbox.connection.mark_seen(arrived.uid)
            except ImapRefusedError as error:
                _LOG.debug("email: %s", error)

    def _is_wanted(self, mail: Mail) -> bool:
        if not mail.sender:
            _LOG.info("email: a mail without exactly one sender was ignored")
            self._counts["doubted"] += 1
            return False
        if reason := automatic_reason(mail, self._account.address):
            _LOG.info("email: a mail from %s was ignored: %s", mail.sender, reason)
            self._counts["automatic"] += 1
            return False
        if self._account.settings.sender_check == "none":
            return True
        verdict = judge(mail, self._account.trusted)
        if verdict.is_genuine:
            return True
        self._counts["doubted"] += 1
        seen = (
            f"; its Authentication-Results are of: {', '.join(verdict.seen_ids)[:200]}"
            if verdict.seen_ids
            else ""
        )
        report = _LOG.info if mail.sender in self._doubted else _LOG.warning
        self._doubted.pop(mail.sender, None)
        self._doubted[mail.sender] = verdict.reason
        while len(self._doubted) > 100:
            self._doubted.pop(next(iter(self._doubted)))
        report(
            "email: a mail that claims to be from %s was not taken: %s%s", mail.sender, verdict.reason, seen
        )
        return False

    def _keep(self, uid: int, mail: Mail, size: int) -> None:
        """Attachments of the newest mail stay at hand until they are asked for."""
        if not mail.files:
            return
        self._cached[uid] = mail
        self._cached_bytes += size
        while self._cached and self._cached_bytes > _CACHED_BYTES:
            _, oldest = self._cached.popitem(last=False)
            self._cached_bytes -= sum(len(file.data) for file in oldest.files)
