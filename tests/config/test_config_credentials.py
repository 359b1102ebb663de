"""Credentials that the service manager hands over as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermes_agent.config.environ import Environ
from hermes_agent.config.paths import Home


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.mkdir()
    return path


def load(tmp_path: Path, directory: Path, **variables: str) -> Environ:
    return Environ.load(
        Home(tmp_path / "home"), variables={"CREDENTIALS_DIRECTORY": str(directory), **variables}
    )


def test_a_credential_is_a_variable_and_wins(tmp_path: Path, directory: Path):
    (directory / "OPENAI_API_KEY").write_text("sk-from-systemd\n")
    environ = load(tmp_path, directory, OPENAI_API_KEY="sk-old")
    assert environ.get("OPENAI_API_KEY") == "sk-from-systemd"
    assert environ.origin("OPENAI_API_KEY") == "a credential of the service"
    assert "OPENAI_API_KEY" in set(environ.names())


def test_a_credential_is_secret_whatever_its_name_and_never_reaches_commands(tmp_path: Path, directory: Path):
    (directory / "LOOKS_HARMLESS").write_text("very-secret")
    environ = load(tmp_path, directory, LOOKS_HARMLESS="very-secret", PATH="/bin")
    assert "very-secret" in environ.secret_values()
    child = environ.child_environment()
    assert child == {"PATH": "/bin"}
    assert environ.child_environment(["LOOKS_HARMLESS"])["LOOKS_HARMLESS"] == "very-secret"


def test_other_files_are_left_alone_and_broken_ones_are_named(tmp_path: Path, directory: Path):
    (directory / "tls.pem").write_text("x")
    (directory / "LD_PRELOAD").write_text("/x.so")
    (directory / "BINARY").write_bytes(b"\xff\xfe")
    environ = load(tmp_path, directory)
    assert list(environ.names()) == ["CREDENTIALS_DIRECTORY"]
    assert environ.warnings == ("The credential BINARY cannot be read, or is no text",)


def test_a_directory_that_is_gone_is_named(tmp_path: Path):
    environ = load(tmp_path, tmp_path / "none")
    assert "cannot be read" in environ.warnings[0]
