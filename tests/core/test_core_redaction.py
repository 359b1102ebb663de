from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.redaction import MASK, PATTERNS, Redactor, StreamRedactor

VALUE = "s3cr3t/välue+with=odd&parts"

SECRETS = [
    ("key is sk-proj-abc123DEF456ghi789JKL", "sk-proj-abc123DEF456ghi789JKL"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("id AKIAIOSFODNN7EXAMPLE here", "AKIAIOSFODNN7EXAMPLE"),
    ("AIzaSyA-1234567890abcdefghijklmnopqrstu", "AIzaSyA-1234567890abcdefghijklmnopqrstu"),
    ("xoxb-1234567890-abcdefghij", "xoxb-1234567890-abcdefghij"),
    ("OPENAI_API_KEY=plainlettersonly", "plainlettersonly"),
    ("export DB_PASSWORD='correct horse9'", "correct"),
    ("MY_TOKEN_2=abcdefgh12", "abcdefgh12"),
    ('{"api_key": "abcdefghijkl"}', "abcdefghijkl"),
    ('{\\"access_token\\": \\"abcdefghijkl\\"}', "abcdefghijkl"),
    ("client_secret = 'abcdefghijkl'", "abcdefghijkl"),
    ("password: hunter2hunter", "hunter2hunter"),
    ("Authorization: Bearer abcdefghijklmnop", "abcdefghijklmnop"),
    ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("curl -H 'X-API-Key: abcdefghijkl'", "abcdefghijkl"),
    ("Cookie: session=abcdefghijkl", "abcdefghijkl"),
    (
        "https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1/getMe",
        "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1",
    ),
    ("postgres://user:p4ss-w0rd@db:5432/x", "p4ss-w0rd"),
    ("redis://:hunter22@host", "hunter22"),
    ("https://abcdefghij0123456789@github.com/x", "abcdefghij0123456789"),
    ("GET /x?a=1&access_token=abcdefgh123&b=2", "abcdefgh123"),
    ("grant_type=x&client_secret=abcdefgh123", "abcdefgh123"),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
        "eyJzdWIiOiIxMjM0NTY3ODkwIn0",
    ),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA0Z3VS5JJcds3\nabc=\n-----END RSA PRIVATE KEY-----",
        "MIIEowIBAAKCAQEA0Z3VS5JJcds3",
    ),
    ('"-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0B\\n"', "MIIEvQIBADANBgkqhkiG9w0B"),
    ("hello <@123456789012345678>", "123456789012345678"),
    ("call +4915112345678 now", "4915112345678"),
]

HARMLESS = [
    *(
        "token = get_token()",
        "password: str = ''",
        "max_tokens: 4096",
        "def f(api_key: SecretStr) -> None:",
        "tokens = tokenizer.encode(text)",
    ),
    *(
        "API_KEY=$OTHER",
        "API_KEY=${OTHER_KEY}",
        "api_key: ${OPENAI_API_KEY}",
        "PASSWORD=<your password>",
        'os.environ["API_KEY"]',
    ),
    *(
        "sk-folding-cube-animation",
        "task-management-system",
        "https://example.com/path?page=2",
        "http://localhost:8080/",
        "a+b=12345678901",
    ),
    *(
        "git@github.com:owner/repo.git",
        "2024-01-01T10:00:00",
        "key=value",
        "monkey=banana",
        "secret_name: my-secret",
        "+12345678901\n+x",
    ),
    *(
        're.compile(r"-----BEGIN PRIVATE KEY-----")',
        "sha256:abcdef0123456789abcdef0123456789",
        "self.password = password",
        "password=self.password",
    ),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_what_looks_like_a_secret_is_replaced(text: str, secret: str) -> None:
    redacted = Redactor().redact(text)
    assert secret not in redacted and MASK in redacted
    assert Redactor().redact(redacted) == redacted
    assert secret not in Redactor().redact(f"before\n  {text}\nafter\n")


@pytest.mark.parametrize(("text", "secret"), [pair for pair in SECRETS if not pair[0].startswith("-----")])
def test_secrets_are_found_in_the_json_that_tools_answer_with(text: str, secret: str) -> None:
    if "\\" in text or "<@" in text or "+49" in text:
        return
    answer = json.dumps({"output": f"before\n{text}\nPATH=/usr/bin\tafter", "exit_code": 0})
    redacted = Redactor().redact(answer)
    assert secret not in redacted
    assert json.loads(redacted)["output"].endswith("\nPATH=/usr/bin\tafter")


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_and_code_stay(text: str) -> None:
    assert Redactor().redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        VALUE,
        f"a{VALUE}b",
        quote(VALUE, safe=""),
        json.dumps(VALUE),
        base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(f"x{VALUE}y".encode()).decode(),
        base64.b64encode(f"user:{VALUE}".encode()).decode(),
        base64.b64encode(f"me:{VALUE}\n".encode()).decode(),
    ],
)
def test_known_values_are_replaced_in_every_form(text: str) -> None:
    assert MASK in Redactor([VALUE]).redact(text)
    assert VALUE not in Redactor([VALUE]).redact(text)


def test_longer_values_win_and_short_ones_are_ignored() -> None:
    redactor = Redactor(["abcdefgh", "abcdefghij", "short", "REDACTED"])
    assert redactor.redact("abcdefghij short abcdefgh REDACTED") == f"{MASK} short {MASK} REDACTED"


def test_redaction_can_be_switched_off() -> None:
    assert Redactor([VALUE], enabled=False).redact(VALUE) == VALUE
    assert StreamRedactor(Redactor([VALUE], enabled=False)).feed(VALUE) == VALUE


PIECES = st.sampled_from(
    [text for text, _ in SECRETS]
    + HARMLESS
    + [
        VALUE,
        "\n",
        " ",
        "=",
        ":",
        "'",
        '"',
        "key",
        "TOKEN=",
        "password: ",
        "-----END",
        "ſecret=abcdefgh1",
        "toKen=abcdefgh1",
        "x" * 20,
    ]
)
TEXT = st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join)


@given(TEXT)
def test_needles_change_nothing(text: str) -> None:
    expected = text
    for pattern in PATTERNS:
        expected = pattern.expression.sub(pattern.replacement, expected)
    assert Redactor().redact(text) == expected
    filler = "ordinary words\n" * 400
    assert Redactor().redact(f"{filler}{text}\n{filler}") == f"{filler}{expected}\n{filler}"


@given(TEXT)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    redactor = Redactor([VALUE])
    once = redactor.redact(text)
    assert redactor.redact(once) == once
    assert VALUE not in once


@given(TEXT, st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_a_stream_hides_what_the_whole_hides(text: str, sizes: list[int]) -> None:
    stream, shown, position, index = StreamRedactor(Redactor([VALUE])), "", 0, 0
    while position < len(text):
        size = sizes[index % len(sizes)]
        shown += stream.feed(text[position : position + size])
        position, index = position + size, index + 1
    shown += stream.flush()
    assert shown == Redactor([VALUE]).redact(text) or all(
        secret not in shown for _, secret in SECRETS if secret not in Redactor([VALUE]).redact(text)
    )
    assert VALUE not in shown


def test_a_stream_gives_lines_on_at_once() -> None:
    stream = StreamRedactor(Redactor([VALUE]))
    assert stream.feed("one\ntw") == "one\n"
    assert stream.feed("o\n") == "two\n"
    assert stream.feed(VALUE[:10]) == ""
    assert stream.feed(VALUE[10:] + " end") == ""
    assert stream.flush() == f"{MASK} end"


def test_a_value_over_several_lines_is_hidden_in_a_stream() -> None:
    value = "line one of it\nline two of it"
    stream = StreamRedactor(Redactor([value]))
    shown = "".join(stream.feed(char) for char in f"a\nb\n{value}\nc\n") + stream.flush()
    assert shown == f"a\nb\n{MASK}\nc\n"


def test_an_endless_private_key_is_swallowed_to_its_end() -> None:
    stream = StreamRedactor(Redactor())
    shown = stream.feed("a\n-----BEGIN PRIVATE KEY-----\n")
    for _ in range(100):
        shown += stream.feed("MIIEvQIBADANBgkqhkiG9w0B" * 100 + "\n")
    shown += stream.feed("-----END PRIVATE KEY-----\nb\n") + stream.flush()
    assert "MIIEvQ" not in shown and shown.startswith("a\n") and shown.endswith("b\n")


def test_an_endless_line_is_not_held_for_ever() -> None:
    stream = StreamRedactor(Redactor([VALUE]))
    shown = "".join(stream.feed("x" * 10_000) for _ in range(50))
    assert len(shown) > 400_000
    shown += stream.feed(VALUE) + stream.flush()
    assert VALUE not in shown


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "a",
            "sk-",
            "KEY",
            "TOKEN=",
            "password: ",
            "eyJ",
            "://",
            "a://",
            "-----BEGIN PRIVATE KEY-----",
            "Bearer ",
            "A_",
            "x:y@",
            "key=",
        ),
        *(
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B",
            "1",
            "12345678:",
            '"secret":"',
            "aws_secret",
            "+1",
            "<@",
            "authorization:",
            " \t",
            "=:",
        ),
    ],
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    Redactor([VALUE]).redact(unit * (300_000 // len(unit)))
    assert time.process_time() - started < 4


def test_ten_megabytes_are_quick() -> None:
    line = (
        "2026-01-01 12:00:00 INFO worker: request id=4711 path=/api/items?page=3 took 12 ms, token count 17\n"
    )
    text = line * (10_000_000 // len(line))
    redactor = Redactor([f"known-secret-value-{number}" for number in range(40)])
    started = time.process_time()
    assert redactor.redact(text) == text
    assert time.process_time() - started < 15
