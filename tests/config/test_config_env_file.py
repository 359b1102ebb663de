"""`.env` files: what people wrote is understood, what we write reads back."""

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_agent.config import env_file
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigFileError, ManagedError, SettingError

NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,12}_X", fullmatch=True)
TEXT = st.text(
    alphabet=st.one_of(
        st.characters(codec="utf-8", exclude_characters="\0"), st.sampled_from("'\"\\$`#= \n\r\t")
    ),
    max_size=40,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X=1", "1"),
        ("  X = 1  ", "1"),
        ("export X=1", "1"),
        ("export\tX=1", "1"),
        ("X=a b", "a b"),
        ("X=a # comment", "a"),
        ("X=a#b", "a#b"),
        ("X=# comment", ""),
        ("X='a # b'", "a # b"),
        ("X='a\\nb'", "a\\nb"),
        ('X="a\\nb"', "a\nb"),
        ('X="a \\" b" # c', 'a " b'),
        ('X="\\$HOME \\`x\\` \\\\"', "$HOME `x` \\"),
        ('X="\\w"', "\\w"),
        ("X=$HOME/${Y}", "$HOME/${Y}"),
        ("X=", ""),
        ('X=""', ""),
        ("X=1\r", "1"),
        ("X=it's", "it's"),
        ("X=a=b=c", "a=b=c"),
        ("\ufeffX=1".removeprefix("\ufeff"), "1"),
    ],
)
def test_lines_are_read_as_people_mean_them(line: str, value: str) -> None:
    assert env_file.parse(line).values == {"X": value}


def test_later_lines_win_and_comments_are_skipped() -> None:
    parsed = env_file.parse("# a\nX=1\n\n  # b\nY=2\nX=3\n")
    assert parsed.values == {"X": "3", "Y": "2"}
    assert parsed.line_of("X") == 6
    assert parsed.warnings == ()


def test_double_quotes_may_span_lines() -> None:
    text = 'A="-----BEGIN\nabc\n-----END"\nB=2\n'
    assert env_file.parse(text).values == {"A": "-----BEGIN\nabc\n-----END", "B": "2"}


def test_a_quote_that_never_closes_takes_one_line_only() -> None:
    parsed = env_file.parse('A="x\nB=2\n')
    assert parsed.values == {"A": '"x', "B": "2"}
    assert "never closed" in parsed.warnings[0]


def test_lines_that_lost_their_newline_are_told_apart() -> None:
    parsed = env_file.parse("OPENAI_API_KEY=sk-abcOPENROUTER_API_KEY=sk-or-1TELEGRAM_BOT_TOKEN=1:x\n")
    assert parsed.values == {
        "OPENAI_API_KEY": "sk-abc",
        "OPENROUTER_API_KEY": "sk-or-1",
        "TELEGRAM_BOT_TOKEN": "1:x",
    }
    assert len(parsed.warnings) == 2


def test_glued_lines_after_a_closing_quote_are_told_apart() -> None:
    parsed = env_file.parse("A='x y'B_TOKEN=2\n")
    assert parsed.values == {"A": "x y", "B_TOKEN": "2"}


def test_a_query_string_is_no_glued_line() -> None:
    parsed = env_file.parse("X=https://h/?a=1&OPENAI_API_KEY=2\n")
    assert parsed.values == {"X": "https://h/?a=1&OPENAI_API_KEY=2"}


def test_credentials_lose_characters_that_no_key_contains() -> None:
    parsed = env_file.parse("OPENAI_API_KEY=“sk-1\u200b23”\nGREETING=grüezi\nDB_PASSWORD=pässword\n")
    assert parsed.values == {"OPENAI_API_KEY": "sk-123", "GREETING": "grüezi", "DB_PASSWORD": "pässword"}
    assert len(parsed.warnings) == 1
    assert "sk-" not in parsed.warnings[0]


def test_a_line_that_is_nothing_is_left_out_and_named_without_its_text() -> None:
    parsed = env_file.parse("sk-secret-pasted-alone\nX=1\n2BAD=3\nA-B=4\n")
    assert parsed.values == {"X": "1"}
    assert len(parsed.warnings) == 3
    assert not any("secret" in warning for warning in parsed.warnings)


@given(name=NAMES, value=TEXT)
def test_what_is_written_reads_back(name: str, value: str) -> None:
    parsed = env_file.parse(env_file.format_line(name, value) + "\n")
    assert parsed.values == {name: value}
    assert parsed.warnings == ()


@given(st.text(max_size=200))
def test_any_text_can_be_parsed(text: str) -> None:
    for name, value in env_file.parse(text).values.items():
        assert isinstance(value, str)
        assert name.isidentifier()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(values=st.dictionaries(NAMES, TEXT, max_size=4), name=NAMES, value=TEXT)
def test_setting_one_variable_leaves_the_others(
    tmp_path: Path, values: dict[str, str], name: str, value: str
) -> None:
    home = Home(tmp_path / "round")
    home.ensure()
    text = "# mine\n" + "".join(env_file.format_line(key, item) + "\n" for key, item in values.items())
    home.env_file.write_text(text, encoding="utf-8", newline="")
    env_file.set_variable(home, name, value)
    assert env_file.read(home.env_file).values == {**values, name: value}
    assert env_file.unset_variable(home, name)
    values.pop(name, None)
    assert env_file.read(home.env_file).values == values
    assert home.env_file.read_text(encoding="utf-8").startswith("# mine\n")


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(home: Home) -> None:
    env_file.set_variable(home, "OPENAI_API_KEY", "sk-1")
    assert stat.S_IMODE(home.env_file.stat().st_mode) == 0o600
    home.env_file.chmod(0o640)
    env_file.set_variable(home, "OPENAI_API_KEY", "sk-2")
    assert stat.S_IMODE(home.env_file.stat().st_mode) == 0o640
    assert home.env_file.read_text() == "OPENAI_API_KEY=sk-2\n"


def test_comments_and_foreign_lines_survive(home: Home) -> None:
    home.ensure()
    home.env_file.write_bytes(b"# top\nexport A=1   # one\nnot a line\nB='x'\xff\n\n# end")
    env_file.set_variable(home, "C", "3")
    env_file.set_variable(home, "A", "2")
    assert home.env_file.read_bytes() == b"# top\nA=2\nnot a line\nB='x'\xff\n\n# end\nC=3\n"


def test_editing_a_glued_line_keeps_the_other_variable(home: Home) -> None:
    home.ensure()
    home.env_file.write_text("OPENAI_API_KEY=sk-abcOPENROUTER_API_KEY=sk-or-1\n")
    env_file.set_variable(home, "OPENAI_API_KEY", "sk-new")
    assert env_file.read(home.env_file).values == {
        "OPENAI_API_KEY": "sk-new",
        "OPENROUTER_API_KEY": "sk-or-1",
    }
    assert env_file.read(home.env_file).warnings == ()


def test_doubled_variables_are_all_replaced(home: Home) -> None:
    home.ensure()
    home.env_file.write_text("A=1\nB=2\nA=3\n")
    env_file.set_variable(home, "A", "4")
    assert home.env_file.read_text() == "B=2\nA=4\n"
    assert env_file.unset_variable(home, "A")
    assert not env_file.unset_variable(home, "A")
    assert home.env_file.read_text() == "B=2\n"


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "PATH",
        "PYTHONPATH",
        "EDITOR",
        "HERMES_HOME",
        "BASH_ENV",
        "GIT_SSH_COMMAND",
    ],
)
def test_names_that_steer_programs_are_refused(home: Home, name: str) -> None:
    with pytest.raises(SettingError, match=name):
        env_file.set_variable(home, name, "x")
    assert not home.env_file.exists()


@pytest.mark.parametrize("name", ["A-B", "1A", "A B", "", "A=B", "Ä"])
def test_names_that_are_none_are_refused(home: Home, name: str) -> None:
    with pytest.raises(SettingError):
        env_file.set_variable(home, name, "x")


def test_a_key_with_invisible_characters_is_refused(home: Home) -> None:
    with pytest.raises(SettingError) as caught:
        env_file.set_variable(home, "OPENAI_API_KEY", "sk-1\u200b")
    assert "sk-1" not in "\n".join(caught.value.lines)
    env_file.set_variable(home, "OPENAI_API_KEY", "  sk-1\n")
    assert env_file.read(home.env_file).values == {"OPENAI_API_KEY": "sk-1"}


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_no_file_can_hold_is_refused(home: Home, value: str) -> None:
    with pytest.raises(SettingError):
        env_file.set_variable(home, "X", value)


def test_a_directory_in_place_of_the_file(home: Home) -> None:
    home.env_file.mkdir(parents=True)
    with pytest.raises(ConfigFileError, match="directory"):
        env_file.set_variable(home, "X", "1")


def test_managed_installations_are_left_alone(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERMES_MANAGED", "true")
    with pytest.raises(ManagedError, match="managed by NixOS") as caught:
        env_file.set_variable(home, "OPENAI_API_KEY", "sk-1")
    assert "services.hermes-agent.environmentFiles" in (caught.value.remedy or "")
    with pytest.raises(ManagedError):
        env_file.unset_variable(home, "OPENAI_API_KEY")
    assert not home.root.exists()


def test_a_link_stays_a_link(home: Home, tmp_path: Path) -> None:
    home.ensure()
    real = tmp_path / "elsewhere.env"
    real.write_text("A=1\n")
    home.env_file.symlink_to(real)
    env_file.set_variable(home, "B", "2")
    assert home.env_file.is_symlink()
    assert real.read_text() == "A=1\nB=2\n"
    assert not list(tmp_path.glob("**/*.tmp"))
