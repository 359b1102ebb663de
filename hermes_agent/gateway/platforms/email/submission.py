"""Sending by SMTP, and saying honestly what became of it."""

from __future__ import annotations

import ssl
from contextlib import suppress
from email.message import EmailMessage

import aiosmtplib

from hermes_agent.core.errors import AuthFailedError, DeliveryError, NotReadyError
from hermes_agent.gateway.platforms.email.settings import Account

_SECONDS = 30.0
_DATA_SECONDS = 300.0


class Submission:
    """The account's SMTP server; each mail has a connection of its own."""

    def __init__(self, account: Account, context: ssl.SSLContext) -> None:
        self._account = account
        self._context = context

    async def check(self) -> None:
        """Connect and sign in. Raises `NotReadyError`, `AuthFailedError`."""
        try:
            client = await self._connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            if error.code // 100 == 4:
                raise NotReadyError(
                    "The SMTP server cannot check the password now", why=_said(error)
                ) from error
            raise AuthFailedError(
                f"The SMTP server refuses the password of {self._account.username}",
                why=_said(error),
                remedy="Check EMAIL_ADDRESS and EMAIL_PASSWORD; many providers want a password for apps.",
            ) from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NotReadyError(f"{self._name} cannot be used", why=_said(error)) from error
        await _leave(client)

    async def send(self, message: EmailMessage, recipient: str) -> None:
        """Hand over one mail.

        Raises:
            DeliveryError: It was not taken; `is_unknown` if the connection broke while it was handed over.
        """
        try:
            client = await self._connect()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"{self._name} cannot be used", why=_said(error)) from error
        try:
            is_plain = recipient.isascii() and self._account.address.isascii()
            if not is_plain and not client.supports_extension("smtputf8"):
                raise DeliveryError(
                    f"{self._name} cannot send to {recipient}", why="it has no SMTPUTF8", is_permanent=True
                )
            options = [] if is_plain else ["SMTPUTF8"]
            await self._address(client, recipient, options)
            await self._hand_over(client, bytes(message))
        finally:
            await _leave(client)

    async def _address(self, client: aiosmtplib.SMTP, recipient: str, options: list[str]) -> None:
        try:
            await client.mail(self._account.address, options=options, encoding="utf-8")
            await client.rcpt(recipient, encoding="utf-8")
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error, f"{self._name} does not take mail for {recipient}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise DeliveryError(f"{self._name} cannot be used", why=_said(error)) from error

    async def _hand_over(self, client: aiosmtplib.SMTP, data: bytes) -> None:
        try:
            await client.data(data, timeout=_DATA_SECONDS)
        except aiosmtplib.SMTPResponseException as error:
            if error.code < 400:
                raise DeliveryError(
                    f"{self._name} answers oddly", why=_said(error), is_unknown=True
                ) from error
            raise _refused(error, f"{self._name} does not take the mail") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise DeliveryError(
                f"{self._name} did not say whether it took the mail", why=_said(error), is_unknown=True
            ) from error

    async def _connect(self) -> aiosmtplib.SMTP:
        own, account = self._account.settings, self._account
        client = aiosmtplib.SMTP(
            hostname=own.smtp_host,
            port=own.smtp_port,
            use_tls=account.smtp_security == "tls",
            start_tls=account.smtp_security == "starttls",
            tls_context=self._context,
            local_hostname=account.address.rpartition("@")[2].encode("idna").decode("ascii"),
            timeout=_SECONDS,
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
            if client.supports_extension("auth"):
                await client.login(account.username, account.password)
        except BaseException:
            client.close()
            raise
        return client

    @property
    def _name(self) -> str:
        return f"The SMTP server {self._account.settings.smtp_host}:{self._account.settings.smtp_port}"


async def _leave(client: aiosmtplib.SMTP) -> None:
    with suppress(aiosmtplib.SMTPException, OSError):
        if client.is_connected:
            await client.quit(timeout=2)
    client.close()


def _refused(error: aiosmtplib.SMTPResponseException, message: str) -> DeliveryError:
    return DeliveryError(message, why=_said(error), is_permanent=error.code >= 500)


def _said(error: BaseException) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"[:300]
    return str(error)[:300] or type(error).__name__
