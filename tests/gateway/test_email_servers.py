"""Mail servers that misbehave: what is said then, and that nothing is sent or lost by mistake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import AuthFailedError, DeliveryError, NotReadyError
from hermes_agent.core.platform import ChatAddress, OutgoingPart
from hermes_agent.gateway.platforms.email.formatting import Letter, compose
from hermes_agent.gateway.platforms.email.imap import (
    ImapClosedError,
    ImapConnection,
    ImapRefusedError,
    mailbox_name,
)
from hermes_agent.gateway.platforms.email.mailbox import Mailbox
from hermes_agent.gateway.platforms.email.settings import Account, make_account
from hermes_agent.gateway.platforms.email.submission import Submission
from hermes_agent.gateway.platforms.email.threads import Thread

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[int]:
    """A server on a free port; `talk` has each connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def account(port: int) -> Account:
    values = {
        "EMAIL_ADDRESS": "hermes@home.test",
        "EMAIL_PASSWORD": "secret",
        "EMAIL_IMAP_HOST": "127.0.0.1",
        "EMAIL_IMAP_PORT": str(port),
        "EMAIL_IMAP_SECURITY": "none",
        "EMAIL_SMTP_HOST": "127.0.0.1",
        "EMAIL_SMTP_PORT": str(port),
        "EMAIL_SMTP_SECURITY": "none",
    }
    return make_account(PlatformSettings(), values.get)


def smtp(answers: dict[str, str | None]) -> Talk:
    """Answers by the beginning of a line; None drops the connection; `.` is the end of the mail."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{answers.get('', '220 hello')}\r\n".encode())
        in_mail = False
        while line := (await reader.readline()).decode().rstrip():
            if in_mail and line != ".":
                in_mail = await skip(reader)
                line = "."
            name = "." if in_mail or line == "." else line.split()[0].upper()
            in_mail = False
            default = {"DATA": "354 go on", "QUIT": "221 bye"}.get(name, "250 fine")
            answer = answers.get(name, default)
            if answer is None:
                return
            writer.write(f"{answer}\r\n".encode())
            in_mail = name == "DATA" and answer.startswith("354")

    async def skip(reader: asyncio.StreamReader) -> bool:
        await reader.readuntil(b"\r\n.\r\n")
        return False

    return talk


async def send(port: int) -> None:
    part = OutgoingPart(ChatAddress("email", "alice@people.test"), text="hello", key="1-0")
    letter = compose(Letter("hermes@home.test", "Hermes", part, Thread()))
    await Submission(account(port), ssl.create_default_context()).send(letter, "alice@people.test")


async def test_a_mail_that_the_server_takes_is_sent() -> None:
    async with serving(smtp({})) as port:
        await send(port)


@pytest.mark.parametrize(
    ("answers", "is_permanent", "is_unknown"),
    [
        ({"": "421 too busy"}, False, False),
        ({"": "554 not you"}, False, False),
        ({"MAIL": "451 later"}, False, False),
        ({"MAIL": "550 never"}, True, False),
        ({"RCPT": "450 grey"}, False, False),
        ({"RCPT": "550 no such person"}, True, False),
        ({"RCPT": None}, False, False),
        ({"DATA": "452 full"}, False, False),
        ({"DATA": "554 no"}, True, False),
        ({".": "451 disk full"}, False, False),
        ({".": "552 too big"}, True, False),
        ({".": None}, False, True),
        ({".": "nonsense"}, False, True),
    ],
)
async def test_what_became_of_a_mail_is_said_honestly(
    answers: dict[str, str | None], is_permanent: bool, is_unknown: bool
) -> None:
    async with serving(smtp(answers)) as port:
        with pytest.raises(DeliveryError) as caught:
            await send(port)
    assert (caught.value.is_permanent, caught.value.is_unknown) == (is_permanent, is_unknown)


async def test_a_server_that_cannot_be_reached_has_not_taken_it() -> None:
    async with serving(smtp({})) as port:
        pass
    with pytest.raises(DeliveryError) as caught:
        await send(port)
    assert not caught.value.is_unknown


def imap(*answers: str) -> Talk:
    """Says the greeting, then one answer for each line it gets; `TAG` becomes the line's tag."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[0].encode())
        tag = ""
        for answer in answers[1:]:
            line = await reader.readline()
            if not line:
                return
            tag = tag if line == b"DONE\r\n" else line.split(b" ")[0].decode()
            writer.write(answer.replace("TAG", tag).encode())
        await reader.read()

    return talk


HELLO = "* OK hello\r\n"
ABLE = "* CAPABILITY IMAP4rev1 IDLE\r\nTAG OK\r\n"


async def opened(port: int) -> ImapConnection:
    return await ImapConnection.open("127.0.0.1", port, context=None, timeout_seconds=5)


@pytest.mark.parametrize("greeting", ["* BYE busy\r\n", "220 smtp\r\n", ""])
async def test_what_is_no_imap_server_is_not_ready(greeting: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting.encode())

    async with serving(talk) as port:
        with pytest.raises(ImapClosedError):
            await opened(port)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("TAG NO [AUTHENTICATIONFAILED] wrong\r\n", AuthFailedError),
        ("TAG NO wrong\r\n", AuthFailedError),
        ("TAG NO [UNAVAILABLE] later\r\n", NotReadyError),
        ("TAG NO [ALERT] Too many simultaneous connections\r\n", NotReadyError),
        ("* BYE going down\r\n", ImapClosedError),
    ],
)
async def test_a_refused_sign_in_is_for_ever_or_for_now(answer: str, error: type[Exception]) -> None:
    async with serving(imap(HELLO, ABLE, answer)) as port:
        with pytest.raises(error):
            await Mailbox.open(account(port), "")


async def test_content_of_a_mail_is_never_taken_for_protocol() -> None:
    trap = "x\r\nh3 OK done\r\n* BYE\r\n+ go\r\n* 9 EXISTS\r\n{99}\r\n)"
    fetched = f"* 1 FETCH (UID 5 BODY[] {{{len(trap)}}}\r\n{trap} FLAGS (\\Seen))\r\nTAG OK\r\n"
    async with serving(imap(HELLO, ABLE, fetched)) as port:
        connection = await opened(port)
        assert await connection.body(5) == trap.encode()
        assert not connection.has_news
        await connection.close()


async def test_news_beside_an_answer_end_the_next_idle_at_once() -> None:
    async with serving(imap(HELLO, ABLE, "TAG OK\r\n", "* SEARCH 7 5\r\n* 8 EXISTS\r\nTAG OK\r\n")) as port:
        connection = await opened(port)
        await connection.noop()
        assert await connection.search("ALL") == [5, 7]
        await connection.idle(60)
        await connection.close()


async def test_idle_ends_with_news_and_a_refused_one_is_said() -> None:
    idle = "* 3 EXISTS\r\n+ idling\r\n* OK still here\r\n", "TAG OK\r\n"
    async with serving(imap(HELLO, ABLE, *idle)) as port:
        connection = await opened(port)
        await connection.idle(60)
        assert connection.has_news
        await connection.close()
    async with serving(imap(HELLO, ABLE, "TAG BAD no\r\n")) as port:
        connection = await opened(port)
        with pytest.raises(ImapRefusedError):
            await connection.idle(60)
        await connection.close()


async def test_what_is_said_before_tls_begins_is_not_believed() -> None:
    async with serving(imap(HELLO, "TAG OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")) as port:
        with pytest.raises(ImapClosedError, match="before TLS"):
            await ImapConnection.open(
                "127.0.0.1", port, context=ssl.create_default_context(), starttls=True, timeout_seconds=5
            )


@pytest.mark.parametrize("answer", ["* 1 FETCH (UID 5 BODY[] {999999999999}\r\nx", "* OK " + "x" * 3_000_000])
async def test_more_than_was_asked_for_is_refused(answer: str) -> None:
    async with serving(imap(HELLO, ABLE, answer)) as port:
        connection = await opened(port)
        with pytest.raises(ImapClosedError):
            await connection.body(5)
        await connection.close()


@pytest.mark.parametrize(
    ("name", "spelled"),
    [("INBOX", "INBOX"), ("A&B", "A&-B"), ("Entwürfe", "Entw&APw-rfe"), ("日本語/x", "&ZeVnLIqe-/x")],
)
def test_folders_are_spelled_as_imap_wants_them(name: str, spelled: str) -> None:
    assert mailbox_name(name) == spelled


async def test_a_name_with_a_line_break_is_no_command() -> None:
    async with serving(imap(HELLO, ABLE)) as port:
        connection = await opened(port)
        with pytest.raises(ImapRefusedError):
            await connection.select("INBOX\r\nx LOGOUT")
        await connection.close()
