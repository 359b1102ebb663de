"""Compiling `.env`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config import env_file
from hermes_agent.core.errors import ConfigFileError
from hermes_agent.deploy.secrets import SecretFile, compile_env, read_secret_file

FIRST = Path("/run/secrets/first.env")
SECOND = Path("/run/secrets/second.env")


def test_variables_come_first_then_each_file_with_a_blank_line_between():
    compiled = compile_env({"A": "1"}, [SecretFile(FIRST, "B=2\n"), SecretFile(SECOND, "export C='3 4'\n")])
    assert compiled.text.endswith("lost.\nA=1\n\nB=2\n\nC='3 4'\n")
    assert compiled.warnings == ()


def test_the_last_of_two_equal_names_counts_and_both_places_are_named():
    compiled = compile_env({"A": "1"}, [SecretFile(FIRST, "x=1\nA=2\n"), SecretFile(SECOND, "A=s3cret\n")])
    assert env_file.parse(compiled.text).values == {"A": "s3cret", "x": "1"}
    assert compiled.text.count("A=") == 1
    assert compiled.warnings == (
        f"{FIRST} line 2: A replaces the one of environment",
        f"{SECOND} line 1: A replaces the one of {FIRST} line 2",
    )


def test_a_malformed_line_is_named_by_file_and_line_and_never_shown():
    secret = "sk-verysecretvalue"
    text = f"A=1\n{secret}\n{secret}.x=1\nB='{secret}' tail-{secret}\nC=\"{secret}\n"
    compiled = compile_env({}, [SecretFile(FIRST, text)])
    assert len(compiled.warnings) == 4
    for number, warning in zip((2, 3, 4, 5), sorted(compiled.warnings), strict=True):
        assert warning.startswith(f"{FIRST} line {number} ")
        assert secret not in warning


def test_variables_that_change_which_programs_run_are_left_out():
    compiled = compile_env({"LD_PRELOAD": "/x.so"}, [SecretFile(FIRST, "HERMES_HOME=/elsewhere\nOK=1\n")])
    assert compiled.names == ("OK",)
    assert len(compiled.warnings) == 2


def test_a_file_that_is_not_there_is_reported(tmp_path: Path):
    file = read_secret_file(tmp_path / "none")
    assert compile_env({}, [file]).missing == (tmp_path / "none",)


def test_a_directory_in_place_of_a_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigFileError):
        read_secret_file(tmp_path)


@given(
    st.dictionaries(
        st.from_regex(r"X[A-Z_]{0,6}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30),
    )
)
def test_every_value_is_read_back_as_it_was(values: dict[str, str]):
    credentials = {name for name in values if env_file.is_credential(name)}
    compiled = compile_env(values, [])
    read = env_file.parse(compiled.text).values
    for name, value in values.items():
        if name not in credentials:
            assert read[name] == value
