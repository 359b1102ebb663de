from __future__ import annotations

import os
import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.approvals import Allowed, NeedsApproval
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.tools.patch import replace_text
from hermes_agent.tools.text_file import TextFile
from hermes_agent.tools.v4a import apply_hunks, parse_patch


async def test_a_new_file_is_created_with_its_folders(bench: Any) -> None:
    result = await bench.call("write_file", path="a/b/c.txt", content="one\ntwo\n")
    assert (bench.folder / "a/b/c.txt").read_text() == "one\ntwo\n"
    assert "2 lines, 8 bytes" in result.text and result.summary == "new, 2 lines"


async def test_an_unread_file_is_not_overwritten(bench: Any) -> None:
    path = bench.write("a.txt", "precious\n")
    with pytest.raises(ToolError, match=r"have not read it\. Nothing was written"):
        await bench.call("write_file", path="a.txt", content="x\n")
    assert path.read_text() == "precious\n"
    await bench.call("read_file", path="a.txt")
    result = await bench.call("write_file", path="a.txt", content="x\n")
    assert path.read_text() == "x\n" and result.summary == "+1 -1"
    await bench.call("write_file", path="a.txt", content="y\n")
    assert path.read_text() == "y\n"


async def test_a_file_that_changed_meanwhile_is_not_overwritten(bench: Any) -> None:
    path = bench.write("a.txt", "one\n")
    await bench.call("read_file", path="a.txt")
    path.write_text("one, and more\n")
    with pytest.raises(ToolError, match="changed by somebody else"):
        await bench.call("write_file", path="a.txt", content="x\n")
    assert path.read_text() == "one, and more\n"


async def test_a_file_only_touched_is_not_stale(bench: Any) -> None:
    path = bench.write("a.txt", "")
    await bench.call("write_file", path="a.txt", content="one\n")
    os.utime(path, ns=(1, 1))
    await bench.call("write_file", path="a.txt", content="two\n")
    assert path.read_text() == "two\n"


async def test_mode_line_endings_and_encoding_stay(bench: Any) -> None:
    path = bench.write("run.sh", "\ufeffone\r\ntwo\r\n".encode("utf-16-le"))
    path.chmod(0o755)
    await bench.call("read_file", path="run.sh")
    await bench.call("write_file", path="run.sh", content="één\ntwo\nthree\n")
    assert path.read_bytes() == "\ufeffeen\r\ntwo\r\nthree\r\n".replace("een", "één").encode("utf-16-le")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


async def test_a_link_stays_a_link(bench: Any) -> None:
    path = bench.write("real.txt", "one\n")
    (bench.folder / "link.txt").symlink_to(path)
    await bench.call("read_file", path="link.txt")
    await bench.call("write_file", path="link.txt", content="two\n")
    assert (bench.folder / "link.txt").is_symlink() and path.read_text() == "two\n"


async def test_half_a_surrogate_pair_is_refused(bench: Any) -> None:
    with pytest.raises(ToolArgumentsError, match="surrogate"):
        await bench.call("write_file", path="a.txt", content="x\ud83d")
    assert not (bench.folder / "a.txt").exists()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.py", "def f(:\n", "Syntax: line 1"),
        ("a.py", "x = '\\d'\n", ""),
        ("a.json", '{"a": 1,}', "Syntax: line 1 column 9"),
        ("a.yaml", "a: [1\nb: 2\n", "Syntax: line 2"),
        ("a.yaml", "a: !custom x\n---\nb: 1\n", ""),
        ("a.toml", "a = \n", "Syntax:"),
        ("a.txt", "def f(:", ""),
    ],
)
async def test_syntax_errors_are_told_at_once(bench: Any, name: str, content: str, problem: str) -> None:
    result = await bench.call("write_file", path=name, content=content)
    assert (bench.folder / name).read_text() == content
    assert not result.is_error
    assert (problem in result.text) if problem else ("Syntax" not in result.text)


async def test_a_directory_or_a_file_in_the_way_is_a_clear_error(bench: Any) -> None:
    bench.write("file", "x")
    for path in (".", "file/inside.txt", "/proc/nope/x"):
        with pytest.raises(ToolError):
            await bench.call("write_file", path=path, content="x")


async def test_sensitive_places_need_approval(bench: Any) -> None:
    review = bench.tool("write_file").review
    home = bench.setup.home.root
    bench.write("x", "")
    (bench.folder / "innocent").symlink_to(home / "config.yaml")
    for path in (
        *("/etc/passwd", "/etc/../etc/hosts", "/usr/bin/env", "/root/.ssh/authorized_keys", "/root/.bashrc"),
        *("/home/x/.config/fish/config.fish", "/home/x/.profile", ".git/hooks/pre-commit", "/boot/x"),
        *(str(home / ".env"), str(home / "config.yaml"), str(home / "auth.json"), str(home / "SOUL.md")),
        *(str(home / "hooks/x/handler.py"), "innocent", "/dev/sda"),
    ):
        verdict = review({"path": path, "content": ""}, bench.context)
        assert isinstance(verdict, NeedsApproval), path
        assert verdict.rules
    for path in (
        "a.txt",
        "/tmp/x",
        "/usr/local/bin/x",
        str(home / "skills/x/SKILL.md"),
        "src/.env",
        "etc/passwd",
    ):
        assert review({"path": path, "content": ""}, bench.context) == Allowed(), path
    text = "*** Begin Patch\n*** Add File: a.txt\n+x\n*** Move File: b.txt -> /etc/cron.d/b\n*** End Patch"
    verdict = bench.tool("patch").review({"mode": "patch", "patch": text}, bench.context)
    assert isinstance(verdict, NeedsApproval) and verdict.rules == ("write-system-file",)


async def test_replace_swaps_one_piece_of_text(bench: Any) -> None:
    path = bench.write("a.py", "def f():\n    return 1\n")
    result = await bench.call(
        "patch", mode="replace", path="a.py", old_string="return 1", new_string="return 2"
    )
    assert path.read_text() == "def f():\n    return 2\n"
    assert result.summary == "+1 -1"


async def test_ambiguous_text_is_reported_with_its_lines(bench: Any) -> None:
    path = bench.write("a.py", "x = 1\ny = 2\nx = 1\n")
    with pytest.raises(ToolError, match=r"stands 2 times in .*lines 1, 3"):
        await bench.call("patch", path="a.py", old_string="x = 1", new_string="x = 3")
    assert path.read_text() == "x = 1\ny = 2\nx = 1\n"
    result = await bench.call("patch", path="a.py", old_string="x = 1", new_string="x = 3", replace_all=True)
    assert path.read_text() == "x = 3\ny = 2\nx = 3\n" and "2 replacements" in result.text


async def test_missing_text_shows_the_nearest(bench: Any) -> None:
    bench.write("a.py", "import os\n\ndef compute_total(items):\n    return sum(items)\n")
    with pytest.raises(ToolError, match="Nothing was changed") as caught:
        await bench.call("patch", path="a.py", old_string="def compute_totals(item):", new_string="x")
    assert "3|def compute_total(items):" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        ("a  \nb\n", "a\nb", "c\nd", "c\nd\n"),
        (
            "    if x:\n        y()\n",
            "if x:\n    y()",
            "if z:\n    y()\n    w()",
            "    if z:\n        y()\n        w()\n",
        ),
        ("\tif x:\n\t\ty()\n", "if x:\n    y()", "if z:\n    y()", "\tif z:\n\t\ty()\n"),
        ("say “hi” — now\n", 'say "hi" - now', "bye", "bye\n"),
        ("a\r\nb\r\n", "a\nb", "c\nd\ne", "c\nd\ne\n"),
        ("x\n  keep\n", "    keep\n", "    kept\n", "x\n  kept\n"),
        ("one\ntwo\n", "one\n", "", "two\n"),
        ("one\ntwo", "two", "three\nfour", "one\nthree\nfour"),
    ],
)
def test_white_space_and_typography_are_forgiven(text: str, old: str, new: str, expected: str) -> None:
    file = TextFile.parse(text.encode())
    replace_text(file, old, new, "a", replace_all=False)
    assert file.text == expected


def test_forgiving_never_means_guessing() -> None:
    file = TextFile("  a\n    a\n")
    with pytest.raises(ToolError, match="2 times"):
        replace_text(file, "\ta\n", "b", "x", replace_all=False)
    with pytest.raises(ToolError):
        replace_text(file, "  \n", "b", "x", replace_all=False)


async def test_patch_needs_what_its_mode_needs(bench: Any) -> None:
    bench.write("a", "x")
    for arguments in (
        {"mode": "replace", "path": "a"},
        {"mode": "patch"},
        {"mode": "replace", "path": "a", "old_string": "", "new_string": "y"},
        {"mode": "replace", "path": "a", "old_string": "x", "new_string": "x"},
        {"mode": "patch", "patch": "rubbish"},
        {"mode": "patch", "patch": "*** Begin Patch\n*** End Patch"},
    ):
        with pytest.raises(ToolError):
            await bench.call("patch", **arguments)


PATCH = """*** Begin Patch
*** Update File: a.py
@@ class B:
     def go(self):
-        return 1
+        return 2
*** Add File: new/b.txt
+hello
+
+world
*** Delete File: old.txt
*** Update File: c.sh
*** Move to: moved/c.sh
@@
-echo one
+echo two
*** Move File: d.txt -> e.txt
*** End Patch
"""


async def test_a_patch_changes_many_files(bench: Any) -> None:
    body = "    def go(self):\n        return 1\n"
    a = bench.write("a.py", f"class A:\n{body}\nclass B:\n{body}")
    bench.write("old.txt", "x")
    bench.write("c.sh", "#!/bin/sh\necho one\n").chmod(0o755)
    bench.write("d.txt", "d")
    result = await bench.call("patch", mode="patch", patch=PATCH)
    assert a.read_text() == f"class A:\n{body}\nclass B:\n" + body.replace("1", "2")
    assert (bench.folder / "new/b.txt").read_text() == "hello\n\nworld\n"
    assert not (bench.folder / "old.txt").exists() and not (bench.folder / "c.sh").exists()
    assert (bench.folder / "moved/c.sh").read_text() == "#!/bin/sh\necho two\n"
    assert stat.S_IMODE((bench.folder / "moved/c.sh").stat().st_mode) == 0o755
    assert (bench.folder / "e.txt").read_text() == "d" and not (bench.folder / "d.txt").exists()
    assert result.summary.startswith("+5 -2 in")
    touched = bench.tool("patch").touched_paths({"mode": "patch", "patch": PATCH}, bench.context)
    assert f"{bench.folder}/moved/c.sh" in touched and len(touched) == 7


@pytest.mark.parametrize(
    "bad",
    [
        "*** Update File: a.py\n@@\n-not there\n+x\n",
        "*** Update File: missing.py\n@@\n-a\n+x\n",
        "*** Delete File: missing.py\n",
        "*** Add File: a.py\n+x\n",
        "*** Move File: a.py -> b.txt\n",
        "*** Add File: b.txt/inside\n+x\n",
    ],
)
async def test_if_one_part_fails_nothing_changes(bench: Any, bad: str) -> None:
    a, b = bench.write("a.py", "a = 1\n"), bench.write("b.txt", "b\n")
    good = "*** Update File: b.txt\n@@\n-b\n+changed\n*** Add File: c.txt\n+c\n"
    if "a.py" in bad or "missing" in bad:
        bad = good + bad if "b.txt\n" not in bad else bad
    else:
        bad = "*** Add File: c.txt\n+c\n*** Update File: a.py\n@@\n-a = 1\n+a = 2\n" + bad
    with pytest.raises(ToolError, match=r"Nothing was changed|does not exist"):
        await bench.call("patch", mode="patch", patch=f"*** Begin Patch\n{bad}*** End Patch")
    assert (a.read_text(), b.read_text()) == ("a = 1\n", "b\n")
    assert not (bench.folder / "c.txt").exists()


@pytest.mark.parametrize(
    ("text", "patch", "expected"),
    [
        ("a\nb\nc\n", "@@\n a\n-b\n+x\n c", "a\nx\nc\n"),
        ("a\nb\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c", "a\nx\nc\n"),
        ("a\nb\n", "@@ a\n+x", "a\nx\nb\n"),
        ("a\nb\n", "+x", "a\nb\nx\n"),
        ("a\nb", "@@\n b\n+x\n*** End of File", "a\nb\nx"),
        ("", "@@\n+x", "x\n"),
        ("a\n  b\nc\n", "@@\n a\n-b\n+x\n c", "a\n  x\nc\n"),
        ("x\nq\nx\n", "@@ q\n-x\n+y", "x\nq\ny\n"),
        ("a\n\nb\n", "@@\n a\n\n-b\n+c\n\n", "a\n\nc\n"),
        ("1\n2\n3\n4\n5\n", "@@\n-5\n+five\n@@\n-1\n+one", "one\n2\n3\n4\nfive\n"),
        ("z\nz\n", "@@\n-z\n+y\n*** End of File", "z\ny\n"),
    ],
)
def test_hunks_fit_where_they_belong(text: str, patch: str, expected: str) -> None:
    (operation,) = parse_patch(f"*** Begin Patch\n*** Update File: f\n{patch}\n*** End Patch")
    file = TextFile.parse(text.encode())
    apply_hunks(file, operation.hunks, "f")  # type: ignore[union-attr]
    assert file.text == expected


def test_a_hunk_that_fits_twice_is_refused() -> None:
    (operation,) = parse_patch("*** Update File: f\n@@\n-x\n+y")
    with pytest.raises(ToolError, match="2 places"):
        apply_hunks(TextFile("x\nq\nx\n"), operation.hunks, "f")  # type: ignore[union-attr]


@given(
    st.lists(st.sampled_from(["a", "b", "  c", "", "d e"]), min_size=1, max_size=8),
    st.data(),
)
def test_a_hunk_made_from_a_unique_place_applies_exactly(lines: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(lines) - 1))
    last = data.draw(st.integers(first + 1, len(lines)))
    new = data.draw(st.lists(st.sampled_from(["new", "", "  x"]), max_size=3))
    context = [f" {line}" for line in lines[:first]]
    body = context + [f"-{line}" for line in lines[first:last]] + [f"+{line}" for line in new]
    body += [f" {line}" for line in lines[last:]]
    (operation,) = parse_patch("*** Update File: f\n@@\n" + "\n".join(body) + "\n*** End of File")
    file = TextFile("\n".join(lines) + "\n")
    apply_hunks(file, operation.hunks, "f")  # type: ignore[union-attr]
    assert file.text.rstrip("\n") == "\n".join([*lines[:first], *new, *lines[last:]]).rstrip("\n")


@given(st.text(alphabet="*+- @abFile:UpdtAE\n", max_size=120))
def test_any_text_is_a_patch_or_a_clear_error(text: str) -> None:
    try:
        parse_patch(text)
    except ToolArgumentsError as error:
        assert error.message.startswith("patch:")
