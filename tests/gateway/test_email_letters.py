"""What leaves: headers, threads, ids, the formatted alternative. And what settings are refused."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.config.sections.session_reset import SessionResetSettings
from hermes_agent.core.errors import SettingError
from hermes_agent.core.platform import ChatAddress, OutgoingFile, OutgoingPart
from hermes_agent.gateway.keys import policy_for
from hermes_agent.gateway.platforms.email.formatting import Letter, compose, message_id, to_html
from hermes_agent.gateway.platforms.email.mailbox import Cursor
from hermes_agent.gateway.platforms.email.settings import make_account
from hermes_agent.gateway.platforms.email.threads import Thread, Threads, thread_of

ADDRESS = ChatAddress("email", "alice@people.test", "0123456789abcdef")
GOOD = {
    "EMAIL_ADDRESS": "Hermes@Home.test",
    "EMAIL_PASSWORD": "secret",
    "EMAIL_IMAP_HOST": "imap.home.test",
    "EMAIL_SMTP_HOST": "smtp.home.test",
}


def letter(text: str = "text", thread: Thread = Thread(), **more: object) -> Letter:  # noqa: B008
    part = OutgoingPart(ADDRESS, text=text, key="7-0")
    return Letter("hermes@home.test", "Hermes", replace(part, **more), thread)  # type: ignore[arg-type]


@given(
    st.text(max_size=300),
    st.text(max_size=80),
    st.lists(st.text(alphabet="ab@.<> \r\n", max_size=120), max_size=5),
)
def test_any_answer_makes_a_mail_without_lines_of_its_own_in_the_headers(
    text: str, subject: str, ids: list[str]
) -> None:
    data = bytes(compose(letter(text, Thread(subject, tuple(ids)))))
    data.decode("ascii")
    head = data.partition(b"\r\n\r\n")[0]
    names = {line.partition(b":")[0] for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))}
    assert names <= {
        *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"In-Reply-To", b"References"),
        *(b"Auto-Submitted", b"MIME-Version", b"Content-Type", b"Content-Transfer-Encoding"),
    }
    assert max(map(len, data.split(b"\r\n"))) <= 998


def test_a_resend_has_the_same_id_and_anything_else_another() -> None:
    one = message_id(letter())
    assert one == message_id(letter())
    assert one.startswith("hermes.0123456789abcdef.")
    assert len({one, message_id(letter("other")), message_id(letter(key="7-1"))}) == 3


def test_ids_longer_than_a_line_stay_as_they_are() -> None:
    ids = tuple(f"{'x' * 150}{number}@people.test" for number in range(12))
    mail = email.message_from_bytes(
        bytes(compose(letter(thread=Thread("S", ids)))), policy=email.policy.default
    )
    assert mail["References"].split() == [f"<{each}>" for each in ids]
    assert mail["In-Reply-To"] == f"<{ids[-1]}>"


def test_what_answers_a_mail_says_so_and_names_it() -> None:
    thread = Thread("AW: Fragen", ("root@x", "second@x"))
    mail = compose(letter(thread=thread, reply_to_id="second@x#0123"))
    assert mail["Subject"] == "AW: Fragen"
    assert mail["References"] == "<root@x> <second@x>"
    assert mail["Auto-Submitted"] == "auto-replied"
    fresh = compose(letter("# *Weekly* `report`\n\ntext"))
    assert fresh["Subject"] == "Weekly report"
    assert fresh["In-Reply-To"] is None
    assert compose(letter(""))["Subject"] == "A message for you"


def test_a_file_is_attached_under_its_name() -> None:
    file = OutgoingFile(name="Übersicht\r\nX: y.csv")
    mail = compose(replace(letter("", file=file), file="a;b\nü;d".encode()))
    (attachment,) = email.message_from_bytes(bytes(mail), policy=email.policy.default).iter_attachments()  # type: ignore[attr-defined]
    assert attachment.get_filename() == "Übersicht X: y.csv"
    assert attachment.get_content() == "a;b\nü;d"


def test_the_html_shows_raw_html_and_loads_nothing() -> None:
    html = to_html("<script>x</script> ![p](https://x.test/p.png)\n\n| a |\n|---|\n| 1 |")
    assert "<script>" not in html
    assert "<img" not in html
    assert "<td>1</td>" in html


def test_a_thread_is_known_by_its_first_mail_or_by_our_own_ids() -> None:
    root = thread_of("root@x", ())
    assert thread_of("second@x", ("root@x",)) == root
    assert thread_of("third@x", ("root@x", "second@x")) == root
    ours = message_id(letter(address=ChatAddress("email", "alice@people.test", root)))
    assert thread_of("fourth@x", (ours,)) == root
    assert thread_of("other@x", ()) != root


async def test_the_memory_of_threads_is_bounded_and_forgets_the_oldest() -> None:
    kept: dict[str, str] = {}

    class Memory:
        async def load_cursor(self, name: str) -> str:
            return kept.get(name, "")

        async def save_cursor(self, name: str, cursor: str) -> None:
            kept[name] = cursor

    threads = Threads(Memory())  # type: ignore[arg-type]
    for number in range(300):
        await threads.remember("alice@people.test", f"{number}", Thread("S" * 400, ("a@b",) * 50))
    assert sum(map(len, kept.values())) < 300 * 700
    assert (await threads.recall("alice@people.test", "299")).subject == "S" * 400
    assert len((await threads.recall("alice@people.test", "299")).ids) == 20
    assert await threads.recall("bob@people.test", "299") == Thread()


@given(st.text(max_size=60))
def test_a_cursor_of_any_kind_is_read_or_refused(text: str) -> None:
    Cursor.of(text)
    cursor = Cursor("a@b/INBOX", 7, 8, 9.5)
    assert Cursor.of(cursor.to_text()) == cursor


@pytest.mark.parametrize("missing", list(GOOD))
def test_what_is_missing_is_named(missing: str) -> None:
    values = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(SettingError, match=missing):
        make_account(PlatformSettings(), values.get)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("EMAIL_IMAP_PORT", "many", "EMAIL_IMAP_PORT"),
        ("EMAIL_ADDRESS", "hermes", "is no address"),
        ("EMAIL_SENDER_CHECK", "maybe", "EMAIL_SENDER_CHECK"),
        ("EMAIL_SMTP_SECURITY", "none", "in the clear"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        make_account(PlatformSettings(), {**GOOD, name: value}.get)


def test_defaults_fit_the_ports_and_known_providers() -> None:
    account = make_account(PlatformSettings(), GOOD.get)
    assert (account.imap_security, account.smtp_security, account.trusted) == ("tls", "starttls", ())
    assert account.address == account.username == "hermes@home.test"
    assert "secret" not in repr(account)
    other = {**GOOD, "EMAIL_SMTP_PORT": "465", "EMAIL_IMAP_PORT": "143", "EMAIL_IMAP_HOST": "imap.gmail.com"}
    account = make_account(PlatformSettings(extra={"trusted_authserv_ids": []}), other.get)
    assert (account.imap_security, account.smtp_security) == ("starttls", "tls")
    assert account.trusted == ("mx.google.com",)


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, "none"),
        ({"mode": "daily"}, "daily"),
        ({"by_platform": {"email": {"mode": "idle"}}}, "idle"),
        ({"by_type": {"thread": {"mode": "both"}}}, "both"),
        ({"by_platform": {"telegram": {"mode": "idle"}}}, "none"),
    ],
)
def test_a_mail_thread_does_not_start_afresh_at_night_unless_somebody_wants_it(
    settings: dict[str, Any], mode: str
) -> None:
    assert policy_for(SessionResetSettings.model_validate(settings), "email", "thread").mode == mode
