"""Editing config.yaml: what people wrote stays, what is wrong is never written."""

import multiprocessing
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_agent.config import editor, yaml_reader
from hermes_agent.config.casting import cast, nix_value
from hermes_agent.config.editor_port import remember_rules, variable_for
from hermes_agent.config.keys import format_key, parse_key
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import ConfigError, ConfigFileError, ManagedError, SettingError

MINE = """\
# my settings
model: openrouter:some/model   # the good one

terminal:
    # four spaces, my style
    backend: 'local'  # here
    env_passthrough:
    - A  # first
    - B
agent: {max_turns: 30, personalities: {pirate: "Arr"}}
mode_words: off
key: ${SOME_KEY}
text: |
  two
  lines
"""


def write(home: Home, text: str) -> None:
    home.config_file.write_text(text, encoding="utf-8")


def read(home: Home) -> dict[str, Any]:
    return yaml_reader.read(home.config_file).data


def test_a_value_is_replaced_and_nothing_else_moves(home: Home) -> None:
    write(home, MINE)
    editor.set_value(home, "terminal.backend", "docker")
    editor.set_value(home, "agent.max_turns", 40)
    expected = MINE.replace("'local'", "'docker'").replace("max_turns: 30", "max_turns: 40")
    assert home.config_file.read_text() == expected


def test_a_new_key_keeps_comments_order_and_indentation(home: Home) -> None:
    write(home, MINE)
    editor.set_value(home, "terminal.timeout", 60)
    editor.set_value(home, "display.skin", "mono")
    text = home.config_file.read_text()
    for line in MINE.splitlines():
        assert line in text
    assert "    timeout: 60\n" in text
    assert "display:\n    skin: mono\n" in text


def test_templates_are_edited_around_and_never_expanded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-expanded")
    write(home, MINE)
    editor.set_value(home, "terminal.timeout", 60)
    text = home.config_file.read_text()
    assert "key: ${SOME_KEY}" in text
    assert "sk-expanded" not in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("terminal.backend", "dokcer"),
        ("terminal.timeout", "fast"),
        ("terminal.timeout", -1),
        ("agent", "x"),
        ("toolsets", "web"),
        ("terminal.backend.x", 1),
        ("terminal.env_passthrough.7", "C"),
        ("terminal.env_passthrough.x", "C"),
        ("custom_providers", [{"name": "x"}]),
    ],
)
def test_a_refused_value_never_touches_the_file(home: Home, key: str, value: object) -> None:
    write(home, MINE)
    before = home.config_file.stat()
    with pytest.raises(SettingError):
        editor.set_value(home, key, value, force=True)
    after = home.config_file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_unknown_keys_are_refused_with_the_nearest_one(home: Home) -> None:
    with pytest.raises(SettingError) as caught:
        editor.set_text(home, "terminal.timout", "3")
    assert "terminal.timeout" in (caught.value.remedy or "")
    assert not home.config_file.exists()
    editor.set_text(home, "my_plugin.level", "3", force=True)
    assert read(home) == {"my_plugin": {"level": 3}}


def test_what_is_wrong_elsewhere_does_not_stand_in_the_way(home: Home) -> None:
    write(home, "terminal: {timeout: fast}\nagent: 3\n")
    editor.set_value(home, "terminal.backend", "docker")
    editor.set_value(home, "terminal.timeout", 5)
    assert read(home) == {"terminal": {"timeout": 5, "backend": "docker"}, "agent": 3}


def test_a_broken_file_is_not_edited(home: Home) -> None:
    write(home, "a: [\n")
    with pytest.raises(ConfigFileError):
        editor.set_value(home, "agent.max_turns", 3)
    assert home.config_file.read_text() == "a: [\n"


def test_list_elements_are_set_appended_and_removed(home: Home) -> None:
    write(home, MINE)
    editor.set_text(home, "terminal.env_passthrough.1", "C")
    editor.set_text(home, "terminal.env_passthrough[2]", "D")
    assert editor.unset(home, "terminal.env_passthrough.0")
    assert read(home)["terminal"]["env_passthrough"] == ["C", "D"]
    editor.set_text(home, "fallback_providers", '[{"provider": "openrouter", "model": "x"}]')
    editor.set_text(home, "fallback_providers.0.model", "4")
    assert read(home)["fallback_providers"] == [{"provider": "openrouter", "model": "4"}]


def test_lists_are_made_where_lists_belong(home: Home) -> None:
    editor.set_text(home, "terminal.env_passthrough.0", "FOO")
    editor.set_text(home, "custom_providers", '[{"name": "a", "base_url": "http://a"}]')
    editor.set_value(home, "custom_providers.1", {"name": "b", "base_url": "http://b"})
    assert read(home)["terminal"] == {"env_passthrough": ["FOO"]}
    assert [item["name"] for item in read(home)["custom_providers"]] == ["a", "b"]


def test_the_version_is_not_set_by_hand(home: Home) -> None:
    with pytest.raises(SettingError, match="_config_version"):
        editor.set_text(home, "_config_version", "30")


def test_a_model_written_as_a_word_becomes_a_map_when_needed(home: Home) -> None:
    write(home, "model: a/b # c\n")
    editor.set_text(home, "model", "c/d")
    assert read(home)["model"] == {"default": "c/d"}
    write(home, "model: a/b # c\n")
    editor.set_text(home, "model.provider", "openrouter")
    assert read(home)["model"] == {"default": "a/b", "provider": "openrouter"}
    assert "# c" in home.config_file.read_text()


def test_removing_the_last_key_removes_the_empty_map(home: Home) -> None:
    write(home, "# top\nterminal:\n  timeout: 3\nagent:\n  max_turns: 1\n")
    assert editor.unset(home, "terminal.timeout")
    assert read(home) == {"agent": {"max_turns": 1}}
    assert not editor.unset(home, "terminal.timeout")
    assert editor.unset(home, "agent")
    assert read(home) == {}
    assert home.config_file.read_text().startswith("# top")


def test_a_file_of_comments_only_keeps_them(home: Home) -> None:
    write(home, "# one\n# two")
    editor.set_value(home, "agent.max_turns", 3)
    assert home.config_file.read_text() == "# one\n# two\nagent:\n  max_turns: 3\n"


def test_a_new_file_is_private(home: Home) -> None:
    editor.set_value(home, "agent.max_turns", 3)
    assert stat.S_IMODE(home.config_file.stat().st_mode) == 0o600


def test_mode_and_link_are_kept(home: Home, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.yaml"
    real.write_text("agent: {max_turns: 1}\n")
    real.chmod(0o660)
    home.config_file.symlink_to(real)
    editor.set_value(home, "agent.max_turns", 3)
    assert home.config_file.is_symlink()
    assert real.read_text() == "agent: {max_turns: 3}\n"
    assert stat.S_IMODE(real.stat().st_mode) == 0o660


def test_windows_line_ends_and_byte_order_mark_are_kept(home: Home) -> None:
    home.config_file.write_bytes(b"\xef\xbb\xbf# c\r\nagent:\r\n  max_turns: 1\r\n")
    editor.set_value(home, "agent.max_turns", 3)
    editor.set_value(home, "agent.api_max_retries", 2)
    assert home.config_file.read_bytes() == (
        b"\xef\xbb\xbf# c\r\nagent:\r\n  max_turns: 3\r\n  api_max_retries: 2\r\n"
    )


def test_json_files_of_nix_are_edited_too(home: Home) -> None:
    write(home, '{"agent":{"max_turns":1},"toolsets":["web"]}')
    editor.set_value(home, "agent.max_turns", 3)
    editor.set_value(home, "terminal.backend", "ssh")
    assert read(home) == {"agent": {"max_turns": 3}, "toolsets": ["web"], "terminal": {"backend": "ssh"}}


def test_yaml_that_would_not_survive_is_refused_and_untouched(home: Home) -> None:
    text = "base: &base {x: 1}\nagent: *base\nother: *base\n"
    write(home, text)
    try:
        editor.set_value(home, "agent.max_turns", 3)
    except ConfigError:
        assert home.config_file.read_text() == text
    else:
        assert read(home)["base"] == {"x": 1}


def test_duplicate_keys_do_not_break_an_edit(home: Home) -> None:
    write(home, "agent:\n  max_turns: 1\n  max_turns: 2\n")
    editor.set_value(home, "agent.max_turns", 3)
    assert read(home)["agent"]["max_turns"] == 3


def test_setting_what_is_there_leaves_the_file_alone(home: Home) -> None:
    write(home, MINE)
    before = home.config_file.stat().st_ino
    editor.set_value(home, "agent.max_turns", 30)
    assert home.config_file.stat().st_ino == before


def test_rules_are_remembered_once(home: Home) -> None:
    write(home, "# c\ncommand_allowlist:\n  - git-reset\n")
    remember_rules(home, ["curl-pipe", "git-reset", "curl-pipe"])
    remember_rules(home, ["git-reset"])
    assert read(home) == {"command_allowlist": ["git-reset", "curl-pipe"]}
    assert home.config_file.read_text().startswith("# c\n")


@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("openai_api_key", "OPENAI_API_KEY"),
        ("my_TOKEN", "MY_TOKEN"),
        ("db_password", "DB_PASSWORD"),
        ("TELEGRAM_ALLOWED_USERS", "TELEGRAM_ALLOWED_USERS"),
        ("model.api_key", None),
        ("model", None),
        ("timezone", None),
    ],
)
def test_secrets_go_to_the_env_file(key: str, variable: str | None) -> None:
    assert variable_for(key) == variable


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("my.x", "true", True),
        ("my.x", "False", False),
        ("my.x", "null", None),
        ("my.x", "12", 12),
        ("my.x", "-3", -3),
        ("my.x", "1.5", 1.5),
        ("my.x", "1e3", 1000.0),
        ("my.x", "1.2.3", "1.2.3"),
        ("my.x", "007", 7),
        ("my.x", '["a", 1]', ["a", 1]),
        ("my.x", "[a, 1, true]", ["a", 1, True]),
        ("my.x", '{"a": 1}', {"a": 1}),
        ("my.x", "[not closed", "[not closed"),
        ("my.x", "{oops}", "{oops}"),
        ("my.x", "off", "off"),
        ("my.x", "", ""),
        ("model.default", "4", "4"),
        ("model.default", "true", "true"),
        ("approvals.mode", "off", "off"),
        ("streaming.enabled", "on", True),
        ("streaming.enabled", "0", False),
        ("toolsets", "web, file", ["web", "file"]),
        ("toolsets", "web", ["web"]),
        ("terminal.timeout", "60", 60),
        ("agent.personalities.pirate", "12", "12"),
        ("model.context_length", "null", None),
    ],
)
def test_typed_text_becomes_the_value_it_means(key: str, text: str, value: object) -> None:
    result = cast(text, parse_key(key))
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.b", ("a", "b")),
        ('a."b.c".d', ("a", "b.c", "d")),
        ("a[0].b", ("a", "0", "b")),
        ("a.0.b", ("a", "0", "b")),
        (' a."x\\"y" ', ("a", 'x"y')),
    ],
)
def test_keys_are_split_at_dots(text: str, parts: tuple[str, ...]) -> None:
    assert parse_key(text) == parts


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", 'a."b', "a[", "a]b[0", '"a"b'])
def test_keys_that_are_none_are_refused(text: str) -> None:
    try:
        parts = parse_key(text)
    except SettingError:
        return
    assert parse_key(format_key(parts)) == parts


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4))
def test_keys_survive_formatting(parts: list[str]) -> None:
    assert parse_key(format_key(parts)) == tuple(parts)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**12), 10**12),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20),
        st.sampled_from(
            ["off", "yes", "null", "~", "1e3", "0x1", "2024-01-01", "a: b", "# c", " x ", "two\nlines\n"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("abc-_. 1", min_size=1, max_size=5), inner, max_size=3),
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(
    data=st.dictionaries(st.sampled_from(["x", "y", "z"]), VALUES, max_size=3),
    value=VALUES,
    place=st.integers(0, 3),
)
def test_any_value_set_reads_back_and_leaves_the_rest(
    home: Home, data: dict[str, Any], value: object, place: int
) -> None:
    home.config_file.unlink(missing_ok=True)
    for name, item in data.items():
        editor.set_value(home, f"hooks.{name}", item)
    key = ("x", "y", "z", "new")[place]
    expected = {**data, key: value}
    editor.set_value(home, f"hooks.{key}", value)
    assert read(home) == {"hooks": expected}
    assert editor.unset(home, f"hooks.{key}")
    del expected[key]
    assert read(home) == ({"hooks": expected} if expected else {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (None, "null"),
        (60, "60"),
        (-1, "(-1)"),
        ('a"b${c}\n', '"a\\"b\\${c}\\n"'),
        (["a", 1], '[ "a" 1 ]'),
        ({"a": 1, "b.c": "x"}, '{ a = 1; "b.c" = "x"; }'),
    ],
)
def test_values_are_shown_as_nix(value: object, expected: str) -> None:
    assert nix_value(value) == expected


def test_managed_installations_name_the_option_and_the_line(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_MANAGED", "true")
    with pytest.raises(ManagedError, match="managed by NixOS") as caught:
        editor.set_text(home, "terminal.timeout", "60")
    assert "services.hermes-agent.settings.terminal.timeout = 60;" in (caught.value.remedy or "")
    with pytest.raises(ManagedError):
        editor.unset(home, "terminal.timeout")
    with pytest.raises(ManagedError):
        editor.migrate(home)
    with pytest.raises(ManagedError):
        remember_rules(home, ["x"])
    assert not home.config_file.exists()


OLD = """\
# old
model: openrouter:x  # mine
max_turns: 7
fallback_model:
  provider: openai-api
  model: y
"""


def test_migrating_copies_the_file_first_and_is_done_once(home: Home) -> None:
    write(home, OLD)
    notes, copied = editor.migrate(home, dry_run=True)
    assert notes
    assert copied is None
    assert home.config_file.read_text() == OLD
    notes, copied = editor.migrate(home)
    assert len(notes) == 3
    assert copied is not None
    assert copied.read_text() == OLD
    assert stat.S_IMODE(copied.stat().st_mode) == 0o600
    text = home.config_file.read_text()
    assert "# old" in text
    assert "# mine" in text
    assert read(home) == {
        "model": {"default": "openrouter:x"},
        "agent": {"max_turns": 7},
        "fallback_providers": [{"provider": "openai-api", "model": "y"}],
        "_config_version": 29,
    }
    assert editor.migrate(home) == ([], None)
    assert home.config_file.read_text() == text


def test_a_newer_file_is_not_migrated(home: Home) -> None:
    write(home, "_config_version: 30\n")
    with pytest.raises(ConfigFileError, match="30"):
        editor.migrate(home)


def _set_many(root: str, name: str, count: int) -> None:
    for number in range(count):
        editor.set_value(Home(Path(root)), f"hooks.{name}{number}", number)


def test_concurrent_writers_lose_nothing(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_set_many, args=(str(home.root), name, 15)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert read(home) == {"hooks": {f"{name}{number}": number for name in "abc" for number in range(15)}}
    assert not list(home.root.glob(".*.tmp"))
