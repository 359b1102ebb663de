"""`hermes gateway setup` for mail and Matrix: what is wrong is said in a way that helps."""

from __future__ import annotations

import subprocess
import sys

import pytest
from gateway_process import Gateway

EMAIL = [
    "EMAIL_ADDRESS=a@x.test",
    "EMAIL_PASSWORD=secret-word",
    "EMAIL_SMTP_HOST=127.0.0.1",
    "EMAIL_SMTP_PORT=9",
]
MATRIX = ["MATRIX_HOMESERVER=http://127.0.0.1:9", "MATRIX_PASSWORD=secret-word"]


@pytest.mark.parametrize(
    ("platform", "values", "code", "said"),
    [
        ("email", EMAIL, 2, "without EMAIL_IMAP_HOST"),
        (
            "email",
            [*EMAIL, "EMAIL_IMAP_HOST=x", "EMAIL_IMAP_PORT=many"],
            3,
            "EMAIL_IMAP_PORT) cannot be used",
        ),
        ("email", [*EMAIL, "EMAIL_IMAP_HOST=x"], 1, "The SMTP server 127.0.0.1:9 cannot be used"),
        ("matrix", [*MATRIX, "MATRIX_USER_ID=hermes"], 3, "is no user id: 'hermes'; nothing was changed"),
        (
            "matrix",
            [*MATRIX, "MATRIX_USER_ID=@a:x.test"],
            1,
            "http://127.0.0.1:9 does not answer; nothing was",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    gateway: Gateway, platform: str, values: list[str], code: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hermes_agent", "gateway", "setup", platform, "--non-interactive"],
        env=gateway.environment(),
        input="\n".join(values),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "secret-word" not in done.stdout + done.stderr
    assert not gateway.home.env_file.exists()
