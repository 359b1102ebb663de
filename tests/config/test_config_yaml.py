"""Reading config.yaml: exact places, clear errors, nothing that runs away."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config import yaml_reader
from hermes_agent.core.errors import ConfigFileError

PATH = Path("/somewhere/config.yaml")


def broken(data: bytes) -> ConfigFileError:
    with pytest.raises(ConfigFileError) as caught:
        yaml_reader.parse(data, PATH)
    return caught.value


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    document = yaml_reader.read(tmp_path / "config.yaml")
    assert document.data == {}
    assert not document.exists


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n", b"---\n", b"\xef\xbb\xbf", b"null\n"])
def test_an_empty_file_is_empty(data: bytes) -> None:
    assert yaml_reader.parse(data, PATH).data == {}


def test_words_stay_words() -> None:
    data = yaml_reader.parse(
        b"a: off\nb: yes\nc: true\nd: 2024-01-01\ne: 22:30\nf: 010\ng: 1e3\nh: 0x10\ni: ~\nj: 1_000\nk: .5\n"
        b"l: +3\nm: 0o17\nn: -.inf\n",
        PATH,
    ).data
    assert data == {
        "a": "off",
        "b": "yes",
        "c": True,
        "d": "2024-01-01",
        "e": "22:30",
        "f": 10,
        "g": 1000.0,
        "h": 16,
        "i": None,
        "j": "1_000",
        "k": 0.5,
        "l": 3,
        "m": 15,
        "n": float("-inf"),
    }


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    assert yaml_reader.parse(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: x\r\n", PATH).data == {"a": 1, "b": {"c": "x"}}


def test_keys_are_text() -> None:
    assert yaml_reader.parse(b"7: a\ntrue: b\n2.5: c\nnull: d\n", PATH).data == {
        "7": "a",
        "true": "b",
        "2.5": "c",
        "null": "d",
    }


def test_json_is_yaml() -> None:
    assert yaml_reader.parse(b'{"a": {"b": [1, "x", null]}}', PATH).data == {"a": {"b": [1, "x", None]}}
    assert yaml_reader.parse(b'{\n\t"a":\t"\\ud83d\\ude00"\n}', PATH).data == {"a": "\U0001f600"}


def test_a_tab_is_named_with_its_place_and_remedy() -> None:
    error = broken(b"a: 1\nterminal:\n\tbackend: local\n")
    assert (error.line, error.column) == (3, 1)
    assert str(PATH) in error.message
    assert "tab" in (error.remedy or "")
    assert "→backend" in (error.why or "")


def test_a_syntax_error_shows_the_line_with_a_caret() -> None:
    error = broken(b"a: 1\nb: [1, 2\nc: 3\n")
    assert error.line == 3
    assert "c: 3" in (error.why or "")
    assert "^" in (error.why or "")


@pytest.mark.parametrize(
    "data",
    [
        b"a: b: c\n",
        b"a: 'x\n",
        b"a: 1\n b: 2\n",
        b"- a\nb: 1\n",
        b"a: *nothing\n",
        b"a: !!python/object:os.system x\n",
        b"a: !own x\n",
        b"--- 1\n--- 2\n",
        b"a: {b\n",
        b"a: @x\n",
        b"%YAML 9.9\n---\na: 1\n",
        b"? [a, b]\n: c\n",
        b"a: !!int x\n",
        b"<<: 1\n",
        b"\x00",
        b"a: \x07\n",
    ],
)
def test_what_is_not_plain_yaml_is_a_clear_error(data: bytes) -> None:
    error = broken(data)
    assert str(PATH) in error.message
    assert error.remedy


@pytest.mark.parametrize(
    "data",
    [
        b"model:\n  api_key: sk-very-secret\n\tx: 1\n",
        b"model:\n  api_key: 'sk-very-secret\n",
        b'{"model": {"api_key": "sk-very-secret", "x": ], "a": 1}',
        b"model: {api_key: sk-very-secret, x: ]\n",
        b"headers:\n  Authorization: Bearer sk-very-secret: x\n",
        b"GITHUB_TOKEN : sk-very-secret: x\n",
    ],
)
def test_secrets_near_an_error_are_not_shown(data: bytes) -> None:
    assert "sk-very-secret" not in "\n".join(broken(data).lines)


def test_an_error_in_a_long_line_shows_its_surroundings() -> None:
    why = broken(b'{"a": "' + b"x" * 5000 + b'", "here": ], "b": 1}').why or ""
    assert '"here": ]' in why
    assert all(len(line) < 120 for line in why.splitlines())
    excerpt, caret = why.splitlines()[-2:]
    assert excerpt[caret.index("^")] == "]"


@pytest.mark.parametrize(
    ("data", "kind"), [(b"- a\n", "a list"), (b"hello\n", "a single value"), (b"3", "single")]
)
def test_something_else_than_a_map_is_named(data: bytes, kind: str) -> None:
    assert kind in broken(data).message


def test_invalid_utf8_is_named_with_its_place() -> None:
    error = broken("ü: 1\nb: ".encode() + b"ab\xff\n")
    assert (error.line, error.column) == (2, 6)


def test_utf16_is_recognised() -> None:
    assert "UTF-16" in broken("a: 1\n".encode("utf-16")).message


def test_duplicate_keys_give_a_warning_and_the_later_wins() -> None:
    document = yaml_reader.parse(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", PATH)
    assert document.data == {"a": 3, "b": {"c": 2}}
    text = "\n".join(sorted(document.warnings))
    assert "line 4: 'b.c' stands twice (first on line 3)" in text
    assert "line 5: 'a' stands twice (first on line 1)" in text


def test_anchors_and_merges_work() -> None:
    data = yaml_reader.parse(b"a: &x {k: 1}\nb:\n  <<: *x\n  l: 2\nc: *x\n", PATH).data
    assert data == {"a": {"k": 1}, "b": {"k": 1, "l": 2}, "c": {"k": 1}}


def test_an_alias_that_contains_itself_is_refused() -> None:
    assert "contains itself" in (broken(b"a: &x [*x]\n").why or "")


def test_aliases_that_multiply_are_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "multiply" in (broken("\n".join(lines).encode()).why or "")


@pytest.mark.parametrize("opening", [b"[", b"- ", b"? ", b"{a: "])
@pytest.mark.parametrize("depth", [200, 300_000])
def test_deep_nesting_is_an_error_and_no_crash(opening: bytes, depth: int) -> None:
    broken(b"a:\n  " + opening * depth)
    broken(b"a:\n  " + opening * depth + {b"[": b"]", b"{a: ": b"}"}.get(opening, b"x") * depth)


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.mkdir()
    with pytest.raises(ConfigFileError, match="is a directory"):
        yaml_reader.read(path)


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigFileError, match="does not exist"):
        yaml_reader.read(path)


def test_a_link_to_itself_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.symlink_to(path)
    with pytest.raises(ConfigFileError):
        yaml_reader.read(path)


def test_lines_of_keys_are_known() -> None:
    document = yaml_reader.parse(b"# c\na:\n  b:\n    - x: 1\n    - y: 2\n", PATH)
    assert document.line_of(("a",)) == 2
    assert document.line_of(("a", "b", "1", "y")) == 5
    assert document.line_of(("a", "b", "1", "missing")) == 5
    assert document.line_of(("zzz",)) is None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_map_or_a_clear_error(data: bytes) -> None:
    try:
        document = yaml_reader.parse(data, PATH)
    except ConfigFileError as error:
        assert str(PATH) in error.message
    else:
        assert isinstance(document.data, dict)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t<0.", max_size=60))
def test_any_text_gives_a_map_or_a_clear_error(text: str) -> None:
    try:
        document = yaml_reader.parse(text.encode(), PATH)
    except ConfigFileError as error:
        assert error.lines
    else:
        assert all(isinstance(key, str) for key in document.data)
