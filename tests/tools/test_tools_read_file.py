from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.config.sections.tools import ToolOutputSettings
from hermes_agent.core.approvals import Allowed, Forbidden, NeedsApproval
from hermes_agent.core.environment import FileInfo
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.tools.read_file import Page
from hermes_agent.tools.text_file import TextFile, change_counts, detect_encoding


async def test_lines_come_with_their_numbers(bench: Any) -> None:
    bench.write("a.txt", "one\ntwo\n\nfour")
    result = await bench.call("read_file", path="a.txt")
    assert result.text == "1|one\n2|two\n3|\n4|four"
    assert result.summary == "4 lines"


async def test_a_page_says_how_to_go_on(bench: Any) -> None:
    bench.write("a.txt", "".join(f"line {n}\n" for n in range(1, 11)))
    first = await bench.call("read_file", path="a.txt", limit=3)
    assert first.text == "1|line 1\n2|line 2\n3|line 3\n[lines 1-3 of 10; go on with offset=4]"
    last = await bench.call("read_file", path="a.txt", offset=9)
    assert last.text == "9|line 9\n10|line 10\n[lines 9-10 of 10, the end]"
    with pytest.raises(ToolError, match="has only 10 lines; offset 11"):
        await bench.call("read_file", path="a.txt", offset=11)
    with pytest.raises(ToolArgumentsError):
        await bench.call("read_file", path="a.txt", offset=-1)


async def test_empty_files_say_so(bench: Any) -> None:
    bench.write("a.txt", "")
    assert "is empty" in (await bench.call("read_file", path="a.txt")).text


async def test_long_lines_are_cut_and_counted(bench: Any) -> None:
    bench.write("a.txt", "x" * 5000 + "\nshort\n")
    text = (await bench.call("read_file", path="a.txt")).text
    assert text.startswith("1|" + "x" * 2000 + " [... 3000 more characters]\n2|short\n")


async def test_a_page_never_exceeds_the_output_limit(bench: Any) -> None:
    bench.write("a.txt", ("y" * 1000 + "\n") * 500)
    text = (await bench.call("read_file", path="a.txt")).text
    assert len(text.encode()) <= ToolOutputSettings().max_bytes
    assert "go on with offset=" in text


async def test_a_hundred_megabytes_are_paged_in_constant_memory(bench: Any) -> None:
    path = bench.folder / "big.log"
    with path.open("wb") as file:
        for number in range(100):
            file.write((f"{number:07d} " + "z" * 91 + "\n").encode() * 10_000)
    text = (await bench.call("read_file", path="big.log", offset=900_001, limit=2)).text
    assert text.splitlines()[0].startswith("900001|0000090 zz")
    assert text.splitlines()[-1] == "[lines 900001-900002; go on with offset=900003]"


async def test_one_endless_line_is_no_problem(bench: Any) -> None:
    bench.write("a.json", "x" * 12_000_000)
    text = (await bench.call("read_file", path="a.json")).text
    assert "11998000 more characters" in text and len(text) < 2200


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ("\ufeffgrün\n".encode(), None),
        ("\ufeffgrün\n".encode("utf-16-le"), "UTF-16-LE with BOM"),
        ("\ufeffgrün\n".encode("utf-16-be"), "UTF-16-BE with BOM"),
        ("grün\n".encode("utf-16-le"), "UTF-16-LE"),
        ("grün\n".encode("latin-1"), "LATIN-1"),
    ],
)
async def test_encodings_are_recognised_and_noted(bench: Any, data: bytes, note: str | None) -> None:
    bench.write("a.txt", data)
    text = (await bench.call("read_file", path="a.txt")).text
    assert text.splitlines()[0] == "1|grün"
    assert text.splitlines()[1:] == ([f"[encoding {note}]"] if note else [])


async def test_windows_line_ends_are_not_shown(bench: Any) -> None:
    bench.write("a.txt", "one\r\ntwo\r\n")
    assert (await bench.call("read_file", path="a.txt")).text == "1|one\n2|two"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x7fELF" + bytes(range(256)), "ELF"),
        (b"%PDF-1.4\0\1\2", "PDF"),
        (os.urandom(3000) + b"\0", "binary data"),
    ],
)
async def test_binary_files_are_named_and_not_shown(bench: Any, data: bytes, kind: str) -> None:
    bench.write("a.bin", data)
    with pytest.raises(ToolError, match=kind):
        await bench.call("read_file", path="a.bin")


async def test_pictures_are_attached(bench: Any) -> None:
    bench.write("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    result = await bench.call("read_file", path="a.png")
    assert result.images[0].media_type == "image/png"
    assert result.images[0].data


async def test_a_missing_file_names_its_neighbours(bench: Any) -> None:
    bench.write("src/settings.py", "")
    bench.write("src/other.py", "")
    with pytest.raises(ToolError) as caught:
        await bench.call("read_file", path="src/setings.py")
    assert f"{bench.folder}/src/settings.py" in (caught.value.remedy or "")
    with pytest.raises(ToolError, match="scr does not exist") as caught:
        await bench.call("read_file", path="scr/deep/settings.py")
    assert f"{bench.folder}/src" in (caught.value.remedy or "")


async def test_directories_and_devices_are_refused(bench: Any) -> None:
    with pytest.raises(ToolError, match="is a directory"):
        await bench.call("read_file", path=".")
    with pytest.raises(ToolError, match="not a regular file"):
        await bench.call("read_file", path="/dev/zero")


async def test_an_unreadable_name_is_an_ordinary_error(bench: Any) -> None:
    for path in ("a\nb'c\"$(touch pwned)", "-rf", "x" * 300):
        with pytest.raises(ToolError):
            await bench.call("read_file", path=path)
    assert not (bench.folder / "pwned").exists()


async def test_the_same_page_again_is_answered_in_a_word_once(bench: Any) -> None:
    path = bench.write("a.txt", "one\n")
    assert (await bench.call("read_file", path="a.txt")).text == "1|one"
    assert "unchanged" in (await bench.call("read_file", path="a.txt")).text
    assert (await bench.call("read_file", path="a.txt")).text == "1|one"
    path.write_text("other\n")
    assert (await bench.call("read_file", path="a.txt")).text == "1|other"
    bench.history.clear()  # compacted away: the model does not have it any more
    assert (await bench.call("read_file", path="a.txt")).text == "1|other"


async def test_secrets_of_this_program_are_never_read(bench: Any, tmp_path: Path) -> None:
    review = bench.tool("read_file").review
    home: Path = bench.setup.home.root
    (home / ".env").write_text("OPENAI_API_KEY=x\n")
    (bench.folder / "link").symlink_to(home / ".env")
    for path in (
        home / ".env",
        home / "auth.json",
        home / "mcp-tokens/x.json",
        home / ".env.bak",
        bench.folder / "link",
    ):
        assert isinstance(review({"path": str(path)}, bench.context), Forbidden), path
    assert isinstance(review({"path": f"{bench.folder}/../person/.hermes/.env"}, bench.context), Forbidden)
    for path_text in ("/proc/self/environ", "/proc/1/environ", "/proc/1/task/1/environ"):
        assert isinstance(review({"path": path_text}, bench.context), Forbidden)
    assert isinstance(review({"path": "/home/x/.ssh/id_ed25519"}, bench.context), NeedsApproval)
    for fine in (
        ".env.example",
        "a.txt",
        "/home/x/.ssh/config",
        str(home / "SOUL.md"),
        str(home / "logs/agent.log"),
    ):
        assert review({"path": fine}, bench.context) == Allowed(), fine


class _Bytes:
    """Just enough of an environment to read one file from memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def stat(self, path: str) -> FileInfo:
        return FileInfo(path, "file", len(self.data), 0, 0o644)

    async def read_bytes(self, path: str, *, offset: int = 0, max_bytes: int | None = None) -> bytes:
        return self.data[offset : offset + 7]


@given(
    st.text(alphabet="ab\n\r\né", max_size=80),
    st.integers(1, 12),
    st.integers(1, 12),
)
async def test_any_page_equals_the_same_lines_of_the_whole(text: str, first: int, count: int) -> None:
    page = Page(first, count, max_bytes=10_000, max_line_chars=1000)
    encoding = detect_encoding(text.encode())
    assert encoding is not None
    await page.fill(_Bytes(text.encode()), "x", encoding, len(text))  # type: ignore[arg-type]
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    expected = [f"{n}|{line.removesuffix(chr(13))}" for n, line in enumerate(lines, 1)]
    assert page.lines == expected[first - 1 : first - 1 + count]
    assert page.total == len(lines)


@given(st.text(alphabet="ab \n\ré\ufeff", max_size=60), st.sampled_from(["utf-8", "utf-16", "utf-16-le"]))
def test_a_text_file_is_written_back_as_it_was(text: str, codec: str) -> None:
    data = text.encode(codec)
    if detect_encoding(data) is not None:
        assert TextFile.parse(data).to_bytes() == data


@given(st.binary(max_size=200))
def test_any_bytes_are_text_that_round_trips_or_refused(data: bytes) -> None:
    try:
        file = TextFile.parse(data)
    except ToolError:
        return
    assert file.to_bytes() == data


def test_edits_keep_every_other_line_ending() -> None:
    file = TextFile.parse(b"a\r\nb\nc\r\nd")
    file.replace_lines(1, 2, ["x", "y"])
    assert file.to_bytes() == b"a\r\nx\ny\r\nc\r\nd"


def test_change_counts_count_lines() -> None:
    assert change_counts("a\nb\nc\n", "a\nx\nc\n") == (1, 1)
    assert change_counts("", "a\nb\n") == (2, 0)
    assert change_counts("a\nb\nc\nd\n", "a\nc\nx\nd\n") == (1, 1)
