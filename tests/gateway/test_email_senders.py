"""Who a mail is from, and whether somebody or something sent it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.gateway.platforms.email.genuine import automatic_reason, judge
from hermes_agent.gateway.platforms.email.mime import Mail, read_mail

TRUSTED = ("mx.home.test", "*.family.test")


def mail(*results: str, sender: str = "alice@people.test", more: str = "") -> Mail:
    headers = "".join(f"Authentication-Results: {each}\r\n" for each in results)
    return read_mail(f"{headers}From: {sender}\r\n{more}\r\ntext".encode())


@pytest.mark.parametrize(
    "result",
    [
        "mx.home.test; dmarc=pass header.from=people.test",
        "MX.Home.Test 1; dmarc=pass (p=REJECT sp=NONE dis=NONE) header.from=People.TEST",
        "in-7.family.test; spf=fail smtp.mailfrom=list.test; dkim=pass header.d=people.test",
        'mx.home.test;\r\n dkim=pass (2048-bit key) header.d=people.test header.b="a+/=";\r\n spf=none',
        "mx.home.test; dmarc=none header.from=people.test; dkim=pass header.i=@people.test",
        "mx.home.test; spf=pass smtp.mailfrom=bounce@people.test",
        "mx.home.test; auth=pass smtp.auth=alice@people.test",
    ],
)
def test_a_sender_that_a_trusted_server_has_checked_is_genuine(result: str) -> None:
    assert judge(mail(result), TRUSTED).is_genuine


@pytest.mark.parametrize(
    "result",
    [
        "",
        "mx.home.test; none",
        "mx.home.test; dmarc=fail header.from=people.test; dkim=pass header.d=people.test",
        "mx.home.test; dmarc=pass header.from=evil.test",
        "mx.home.test; dmarc=pass",
        "mx.home.test; dkim=pass header.d=evil.test; spf=pass smtp.mailfrom=people.test.evil.test",
        "mx.home.test; dkim=pass header.d=test",
        "mx.home.test; dkim=pass",
        "mx.home.test; spf=pass smtp.helo=people.test",
        "mx.home.test; auth=pass smtp.auth=bob@people.test",
        "mx.evil.test; dmarc=pass header.from=people.test",
        "evil.test (mx.home.test); dmarc=pass header.from=people.test",
        'mx.home.test; spf=pass (domain of "); dmarc=pass header.from=people.test; x=("@evil.test)',
        'mx.home.test; spf=pass smtp.mailfrom="; dmarc=pass header.from=people.test"@evil.test',
        "mx.home.test; dmarc=fail header.from=people.test; dmarc=pass header.from=people.test",
        "mx.home.test; x-dmarc=pass header.from=people.test",
    ],
)
def test_any_other_sender_is_not(result: str) -> None:
    assert not judge(mail(result), TRUSTED).is_genuine


def test_only_the_topmost_result_of_a_trusted_server_counts() -> None:
    good, bad = (
        "mx.home.test; dmarc=pass header.from=people.test",
        "mx.home.test; dmarc=fail header.from=people.test",
    )
    assert not judge(mail(bad, good), TRUSTED).is_genuine
    assert judge(mail(good, bad), TRUSTED).is_genuine
    assert judge(mail("mx.other.test; dmarc=fail header.from=people.test", good), TRUSTED).is_genuine
    assert not judge(mail(good), ()).is_genuine


def test_a_parent_domain_may_sign_and_a_child_may_not() -> None:
    signed = "mx.home.test; dkim=pass header.d={}"
    assert judge(mail(signed.format("people.test"), sender="a@mail.people.test"), TRUSTED).is_genuine
    assert not judge(mail(signed.format("mail.people.test"), sender="a@people.test"), TRUSTED).is_genuine


def test_domains_with_umlauts_are_compared_in_one_spelling() -> None:
    found = mail("mx.home.test; dmarc=pass header.from=xn--mller-kva.test", sender="a@müller.test")
    assert found.sender == "a@müller.test"
    assert judge(found, TRUSTED).is_genuine


@given(st.text(alphabet='mx.home.test;= ()"\\dmarcpasfil@,\t', max_size=200))
def test_no_header_makes_a_sender_genuine_by_chance(text: str) -> None:
    assert not judge(mail(text.replace("\n", " ")), ("mx.somewhere.example",)).is_genuine


@pytest.mark.parametrize(
    "more",
    [
        "Auto-Submitted: auto-generated\r\n",
        "Auto-Submitted: Auto-Replied; owner\r\n",
        "Precedence: Bulk\r\n",
        "List-Id: x <x.test>\r\n",
        "List-Unsubscribe: <mailto:x>\r\n",
        "X-Auto-Response-Suppress: OOF, All\r\n",
        "X-Autoreply: yes\r\n",
        "Return-Path: <>\r\n",
        "Content-Type: multipart/report; report-type=x; boundary=b\r\n",
    ],
)
def test_mail_of_machines_is_known_by_its_headers(more: str) -> None:
    assert automatic_reason(mail(more=more), "hermes@home.test")


@pytest.mark.parametrize(
    "sender",
    [
        "MAILER-DAEMON@x.test",
        "noreply@x.test",
        "no-reply+7@x.test",
        "do_not_reply@x.test",
        "bounces@x.test",
        "list-request@x.test",
        "hermes@home.test",
        "Hermes@Home.test",
        "postmaster@x.test",
    ],
)
def test_mail_of_machines_is_known_by_its_sender(sender: str) -> None:
    assert automatic_reason(mail(sender=sender), "hermes@home.test")


@pytest.mark.parametrize(
    "more", ["", "Auto-Submitted: no\r\n", "Precedence: first-class\r\n", "X-Auto-Response-Suppress: OOF\r\n"]
)
def test_mail_of_people_is_not(more: str) -> None:
    assert automatic_reason(mail(more=more, sender="noreen.reply@x.test"), "hermes@home.test") == ""
