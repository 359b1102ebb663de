from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.tools.search_files import SearchProgram

RIPGREP = shutil.which("rg")


@pytest.fixture(params=["rg", "pgrep", "grep"])
async def tree(bench: Any, request: pytest.FixtureRequest) -> Any:
    if request.param == "rg" and not RIPGREP:
        pytest.skip("ripgrep is not installed")
    bench.scope.state(SearchProgram).name = request.param
    bench.write("src/app.py", "import os\n\ndef main():\n    return os.name\n")
    bench.write("src/über café.py", "# main: naïve\n")
    bench.write("README.md", "main thing: 100%\n")
    bench.write("data.bin", b"main\0\1\2")
    bench.write(".github/ci.yml", "main: yes\n")
    bench.write(".git/config", "main\n")
    (bench.folder / "src/loop").symlink_to(bench.folder)
    return bench


async def test_hits_are_grouped_by_file(tree: Any) -> None:
    result = await tree.call("search_files", pattern=r"main\b")
    lines = result.text.splitlines()
    for expected in (
        ["src/app.py", "  3: def main():"],
        ["README.md", "  1: main thing: 100%"],
        ["src/über café.py", "  1: # main: naïve"],
    ):
        at = lines.index(expected[0])
        assert lines[at : at + 2] == expected
    assert ".github/ci.yml" in lines
    assert ".git/config" not in result.text and "data.bin" not in result.text and "loop" not in result.text
    assert result.summary == "4 hits"


async def test_context_lines_are_marked(tree: Any) -> None:
    result = await tree.call("search_files", pattern="def main", path="src/app.py", context=1)
    assert result.text.splitlines()[:4] == [
        "src/app.py",
        "  2-",
        "  3: def main():",
        "  4-     return os.name",
    ]


async def test_one_file_and_globs_narrow_the_search(tree: Any) -> None:
    for arguments in (
        {"path": "src/app.py"},
        {"file_glob": "app.*"},
        {"file_glob": "*.{py,txt}", "path": "src"},
    ):
        result = await tree.call("search_files", pattern="def m", **arguments)
        assert result.summary == "1 hit", arguments


async def test_files_and_counts(tree: Any) -> None:
    result = await tree.call("search_files", pattern="main", output_mode="files_only")
    assert set(result.text.splitlines()) >= {"README.md", "src/app.py", "src/über café.py", ".github/ci.yml"}
    result = await tree.call("search_files", pattern="o", output_mode="count", path="src/app.py")
    assert "src/app.py: 2" in result.text.splitlines()


async def test_names_are_found_by_glob_or_part(tree: Any) -> None:
    for pattern in ("*.py", "**/*.py", "src/*.py"):
        result = await tree.call("search_files", pattern=pattern, target="files")
        assert result.text.splitlines()[:2] == ["src/app.py", "src/über café.py"], pattern
    result = await tree.call("search_files", pattern="EADM", target="files")
    assert result.text.splitlines()[0] == "README.md"


async def test_pages_do_not_overlap(tree: Any) -> None:
    tree.write("many.txt", "".join(f"needle {n}\n" for n in range(7)))
    seen: list[str] = []
    for offset in (0, 3, 6):
        result = await tree.call("search_files", pattern="needle", limit=3, offset=offset)
        seen += [line for line in result.text.splitlines() if line.startswith("  ")]
        assert ("there are more: offset=" in result.text) == (offset < 6)
    assert seen == [f"  {n + 1}: needle {n}" for n in range(7)]


async def test_no_hit_says_where_it_looked(tree: Any) -> None:
    result = await tree.call("search_files", pattern="nowhere_at_all")
    assert f"No hits for 'nowhere_at_all' in {tree.folder}" in result.text and not result.is_error


async def test_a_bad_expression_is_a_clear_error(tree: Any) -> None:
    with pytest.raises(ToolError, match="The search failed") as caught:
        await tree.call("search_files", pattern="main(")
    assert r"main\(" in (caught.value.remedy or "")
    with pytest.raises(ToolArgumentsError):
        await tree.call("search_files", pattern="")


async def test_a_missing_folder_names_its_neighbours(tree: Any) -> None:
    with pytest.raises(ToolError, match="does not exist") as caught:
        await tree.call("search_files", pattern="x", path="scr")
    assert "src" in (caught.value.remedy or "")


async def test_nothing_in_a_pattern_or_path_is_run(tree: Any) -> None:
    odd = tree.write("it's $(touch pwned)/a.txt", "x' ; touch pwned\n")
    for pattern in ("x' ; touch pwned", "$(touch pwned)", "`touch pwned`", "-rf", "--help"):
        with contextlib.suppress(ToolError):  # as an expression it may be a bad one
            await tree.call("search_files", pattern=pattern, path=str(odd.parent))
        await tree.call("search_files", pattern=pattern, target="files")
    assert not (tree.folder / "pwned").exists()


async def test_long_lines_are_cut(tree: Any) -> None:
    tree.write("min.js", "var needle;" + "x" * 2_000_000 + "\n")
    result = await tree.call("search_files", pattern="var needle")
    assert len(result.text) < 1500 and "var needle;xxx" in result.text


async def test_secrets_of_this_program_are_left_out(tree: Any) -> None:
    home: Path = tree.setup.home.root
    (home / ".env").write_text("KEY=needle\n")
    (home / "notes").write_text("needle\n")
    for mode in ("content", "files_only", "count"):
        result = await tree.call("search_files", pattern="needle", path=str(home), output_mode=mode)
        assert ".env" not in result.text.replace(str(tree.folder), "") and "notes" in result.text


async def test_gitignore_is_respected_with_ripgrep(bench: Any) -> None:
    if not RIPGREP:
        pytest.skip("ripgrep is not installed")
    bench.write(".gitignore", "build/\n")
    bench.write("build/x.txt", "needle\n")
    (bench.folder / ".git").mkdir()
    assert "needle" not in (await bench.call("search_files", pattern="needle$")).text.replace("'needle", "")


async def test_the_program_is_found_by_asking(bench: Any) -> None:
    bench.write("a.txt", "x\n")
    await bench.call("search_files", pattern="x")
    assert bench.scope.state(SearchProgram).name in {"rg", "pgrep", "grep"}
    assert [path.name for path in bench.folder.iterdir()] == ["a.txt"]
