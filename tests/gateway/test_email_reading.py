"""From bytes to what a person said: MIME, HTML, quotes, signatures."""

from __future__ import annotations

import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.gateway.platforms.email.markup import html_to_text
from hermes_agent.gateway.platforms.email.mime import read_anyhow, read_mail
from hermes_agent.gateway.platforms.email.quoting import new_text


def raw(body: bytes, *headers: bytes) -> bytes:
    return b"".join(header + b"\r\n" for header in (b"From: A <a@x.test>", *headers)) + b"\r\n" + body


@given(st.binary(max_size=3000))
def test_any_bytes_can_be_read(data: bytes) -> None:
    mail = read_mail(data)
    new_text(mail.text)
    assert mail.digest == read_mail(data).digest


@given(
    st.lists(
        st.sampled_from(
            [
                b"Content-Type: multipart/mixed; boundary=b",
                b'Content-Type: text/html; charset="\xff"',
                b"--b",
                b"--b--",
                b"",
                b"Content-Type: message/rfc822",
                b"Content-Disposition: attachment; filename*=utf-9''%ff",
                b"Subject: =?x?b?!!?=",
                b"Content-Transfer-Encoding: base64",
                b"From: <>",
                b"Message-ID: <",
                b"\t\xff\x00",
                b"Content-Type: ;;;",
                b'Content-Type: multipart/alternative; boundary="b"',
                b"<b>text</b>",
                b"Content-Transfer-Encoding: x-uu",
                b"begin 644 x",
                b"References: <a@b> <c",
            ]
        )
    )
)
def test_any_order_of_parts_can_be_read(lines: list[bytes]) -> None:
    read_mail(b"\r\n".join(lines))


def test_names_and_subjects_in_any_encoding_are_read() -> None:
    mail = read_mail(
        b"From: =?iso-8859-1?q?J=FCrgen_=22M=22?= <J.M@X.test>\r\n"
        b"Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n =?utf-8?q?_!?=\r\n\r\n."
    )
    assert (mail.sender, mail.sender_name, mail.subject) == ("j.m@x.test", 'Jürgen "M"', "Grüße !")


@pytest.mark.parametrize(
    "header",
    [
        b"From: a@x.test, b@x.test",
        b"From: a@x.test\r\nFrom: b@x.test",
        b"From: ",
        b"X: y",
        b"From: nobody",
        b"From: a@x.test@y.test",
        b"From: =?utf-8?q?a=40x.test?=",
        b"From: undisclosed:;",
    ],
)
def test_a_mail_without_exactly_one_sender_has_none(header: bytes) -> None:
    assert read_mail(header + b"\r\n\r\ntext").sender == ""


def test_an_address_in_the_name_is_not_the_sender() -> None:
    mail = read_mail(b'From: "boss@people.test" <eve@evil.test>\r\n\r\n.')
    assert mail.sender == "eve@evil.test"


def test_plain_text_goes_before_html_unless_it_is_empty() -> None:
    message = EmailMessage()
    message.set_content("plain")
    message.add_alternative("<p>rich</p>", subtype="html")
    assert read_mail(message.as_bytes()).text == "plain\n"[:-1]
    message = EmailMessage()
    message.set_content(" \n")
    message.add_alternative("<p>rich</p>", subtype="html")
    assert read_mail(message.as_bytes()).text == "rich"


def test_attachments_have_names_and_content_and_noise_is_left_out() -> None:
    message = EmailMessage()
    message.set_content("see")
    message.add_attachment(b"data", maintype="application", subtype="pdf", filename="../Grüße.pdf")
    message.add_attachment(b"logo", maintype="application", subtype="pgp-signature", filename="signature.asc")
    forwarded = EmailMessage()
    forwarded.set_content("inner")
    message.add_attachment(forwarded)
    files = read_mail(message.as_bytes(policy=email.policy.SMTP)).files
    assert [(file.name, file.kind) for file in files] == [
        ("_Grüße.pdf", "document"),
        ("message.eml", "document"),
    ]
    assert files[0].data == b"data"
    assert b"inner" in files[1].data


def test_logos_in_html_mail_are_no_attachments_but_pictures_are() -> None:
    message = EmailMessage()
    message.set_content("text")
    message.add_alternative("<p>text <img src=cid:1></p>", subtype="html")
    html = message.get_payload()[1]
    html.add_related(b"x" * 500, "image", "png", cid="<1>")
    html.add_related(b"x" * 9000, "image", "jpeg", cid="<2>")
    # A plain text beside it is chosen; the richer branch is what clients send without one.
    assert read_mail(message.as_bytes()).files == ()
    rich = EmailMessage()
    rich.set_content("<p>text</p>", subtype="html")
    rich.add_related(b"x" * 500, "image", "png", cid="<1>")
    rich.add_related(b"x" * 9000, "image", "jpeg", cid="<2>")
    mail = read_mail(rich.as_bytes())
    assert mail.text == "text"
    assert [len(file.data) for file in mail.files] == [9000]


def test_flowed_text_is_joined() -> None:
    body = b"A long \r\nparagraph.\r\n\r\n stuffed\r\n-- \r\nme\r\n"
    mail = read_mail(raw(body, b"Content-Type: text/plain; format=flowed"))
    assert mail.text == "A long paragraph.\n\nstuffed\n-- \nme"


def test_the_same_mail_by_another_way_has_the_same_digest_and_another_text_has_not() -> None:
    one = raw(b"text", b"Received: by a", b"Message-ID: <1@x>", b"Date: Sat, 21 Nov 2026 10:00:00 +0000")
    two = raw(
        b"text", b"Received: by b", b"X: y", b"Message-ID: <1@x>", b"Date: Sat, 21 Nov 2026 10:00:00 +0000"
    )
    other = raw(b"another", b"Message-ID: <1@x>", b"Date: Sat, 21 Nov 2026 10:00:00 +0000")
    assert read_mail(one).digest == read_mail(two).digest != read_mail(other).digest


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two <b>three</b>.</p>", "One\n\nTwo three."),
        ("a<br>b<br/>c", "a\nb\nc"),
        ("<div>a</div><div>b</div>", "a\nb"),
        ("<style>x{}</style><script>alert(1)</script>said", "said"),
        ('<a href="https://x.test/y">here</a>', "here (https://x.test/y)"),
        ('<a href="https://x.test">https://x.test</a>', "https://x.test"),
        ('<a href="javascript:alert(1)">here</a>', "here"),
        ("<ul><li>a</li><li>b</li></ul><ol><li>c<li>d</ol>", "- a\n- b\n1. c\n2. d"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a | b\nc"),
        ("<pre>x\n  y</pre>", "x\n  y"),
        ("<blockquote>old<br>er</blockquote>new", "> old\n> er\nnew"),
        ('<p>seen</p><div style="display:none">hidden <b>deep</b></div>after', "seen\n\nafter"),
        ("</div></p>a</b>", "a"),
        ("&lt;b&gt; &amp; &nbsp;x &euro;", "<b> & x €"),
        ("<p>un<p>closed", "un\nclosed"),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert html_to_text(html) == text


@given(st.text(alphabet="<>/abpdivul li\"'=&;#", max_size=300))
def test_any_html_can_be_read(html: str) -> None:
    html_to_text(html)


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("New.\n\nOn Sat, 21 Nov 2026 at 10:00, Hermes <h@x.test> wrote:\n> old\n> older", "New."),
        ("New.\n\nOn Sat, 21 Nov 2026 at 10:00, Hermes\n<h@x.test> wrote:\n\n> old\n", "New."),
        ("Neu.\n\nAm 21.11.2026 um 10:00 schrieb Hermes:\n> alt", "Neu."),
        ("Nouveau.\n\nLe 21/11/2026 à 10:00, Hermes a écrit :\n> vieux", "Nouveau."),
        ("New.\n\n-----Original Message-----\nFrom: H\nold", "New."),
        (
            "New.\n\n________________________________\nFrom: H <h@x>\nSent: today\nTo: me\nSubject: x\n\nold",
            "New.",
        ),
        ("Neu.\n\nVon: H\nGesendet: heute\nAn: mich\nBetreff: x\n\nalt", "Neu."),
        ("New.\n-- \nAlice\nHead of Things", "New."),
        ("New.\n\nSent from my iPhone\n\nOn Sat, Hermes wrote:\n> old", "New."),
        ("Von meinem iPhone gesendet", "Von meinem iPhone gesendet"),
        ("On Sat, Hermes wrote:\n> old\n> older\n\nBelow it.", "Below it."),
        ("> one?\nYes.\n> two?\nNo.\n> three, not answered", "> one?\nYes.\n> two?\nNo."),
        ("Look:\n\n---------- Forwarded message ---------\nFrom: B <b@x>\nDate: x\nSubject: y\n\ntext",) * 2,
        ("/approve\n\nOn Sat, Hermes wrote:\n> May I run this?", "/approve"),
        ("> only a quote", "> only a quote"),
        ("", ""),
        ("Do: a\nFrom: here to there\nnothing else", "Do: a\nFrom: here to there\nnothing else"),
        ("a\n--\n" + "b\n" * 40, ("a\n--\n" + "b\n" * 40).strip()),
        ("On Monday he wrote:\nsomething that matters", "On Monday he wrote:\nsomething that matters"),
    ],
)
def test_only_what_is_new_is_taken(text: str, new: str) -> None:
    assert new_text(text) == new


@given(
    st.lists(
        st.sampled_from(
            [
                "> quoted",
                "text",
                "",
                "-- ",
                "--",
                "On Sat, H wrote:",
                "From: x",
                "To: y",
                "Subject: z",
                "Sent from my phone",
                "-----Original Message-----",
                "__________",
                "Forwarded message",
            ]
        ),
        max_size=15,
    )
)
def test_something_always_stays(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert bool(new_text(text)) == bool(text.strip())


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n"
        + b"".join(
            b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (number, number + 1)
            for number in range(3000)
        ),
        b"Content-Type: message/rfc822\r\n\r\n" * 3000,
    ],
)
def test_of_a_mail_that_defeats_the_parser_the_headers_are_read(body: bytes) -> None:
    mail = read_anyhow(b"From: a@x.test\r\nSubject: still\r\n there\r\n" + body)
    assert (mail.sender, mail.subject) == ("a@x.test", "still there")
    assert "could not be read" in mail.text


@pytest.mark.parametrize(
    "piece", ["<?", "<!", "<!--", "<a ", "<", '<a b="', "<![CDATA[", "</", "&#", "<b>x</b>"]
)
def test_markup_that_never_ends_takes_no_time(piece: str) -> None:
    assert len(html_to_text(piece * 400_000)) <= 500_010  # minutes with the parser of the standard library


@pytest.mark.parametrize("line", ["--\n", "-- \n", "On x\n", "From: x\n", "> q\na\n", "\n", "> \n"])
def test_many_lines_take_no_time(line: str) -> None:
    new_text(line * 60_000)
