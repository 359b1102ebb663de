"""`search_files`: search in contents or for names, with ripgrep, or grep and find where it is missing."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from hermes_agent.core.environment import Command, Environment
from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.tool import Tool, ToolContext, ToolResult
from hermes_agent.tools.file_policy import FilePolicy
from hermes_agent.tools.function import Arguments, tool
from hermes_agent.tools.read_file import missing_file
from hermes_agent.tools.setup import ToolSetup

TIMEOUT_SECONDS = 60.0
MAX_LINE_CHARS = 400
MAX_CONTEXT = 20
SKIPPED_FOLDERS = (".git", "node_modules", ".venv", "__pycache__", ".mypy_cache", ".tox", ".direnv")
"""Without ripgrep nobody reads .gitignore; these would drown everything else."""

Program = Literal["rg", "pgrep", "grep"]
OutputMode = Literal["content", "files_only", "count"]

MAX_OUTPUT_BYTES = 4_000_000


@dataclass(slots=True)
class SearchProgram:
    """Session state: what the environment can search with; found at first use."""

    name: Program | None = None

    async def find(self, environment: Environment) -> Program:
        """`rg`, grep with Perl expressions, or plain grep."""
        if self.name is None:
            probe = (
                "if command -v rg >/dev/null; then echo rg; "
                "elif echo a | grep -qP a 2>/dev/null; then echo pgrep; else echo grep; fi"
            )
            found = await environment.execute(Command(probe, cwd="/", timeout_seconds=10, persistent=False))
            word = found.output.strip()
            self.name = "rg" if word == "rg" else "pgrep" if word == "pgrep" else "grep"
        return self.name


@dataclass(frozen=True, slots=True)
class Query:
    """One search; `root` is absolute."""

    pattern: str
    root: str
    is_folder: bool
    glob: str
    mode: OutputMode
    context: int
    limit: int
    offset: int


def build(setup: ToolSetup) -> Tool:
    """The tool; hits in the secrets of `setup.home` are left out."""
    policy = FilePolicy(setup.home)

    @tool(
        emoji="🔎",
        toolset="file",
        parallel_safe=True,
        preview=_preview,
        review=lambda arguments, context: policy.review_read(arguments["path"], context),
    )
    async def search_files(  # noqa: PLR0913 - these are the model's parameters
        pattern: Annotated[str, "Regex for content; glob or part of the name for files"],
        target: Literal["content", "files"] = "content",
        path: str = ".",
        file_glob: Annotated[str | None, "Only these files, such as *.py"] = None,
        limit: int = 50,
        offset: Annotated[int, "Skip this many hits"] = 0,
        output_mode: OutputMode = "content",
        context: Annotated[int, "Lines around each hit"] = 0,
        *,
        tool_context: ToolContext,
    ) -> ToolResult:
        """Search file contents or file names, .gitignore respected."""
        if not pattern:
            raise ToolArgumentsError("pattern: must not be empty; '.' matches any text, '*' any name")
        environment = tool_context.environment
        root = environment.resolve(path)
        info = await environment.stat(root)
        if info is None:
            raise await missing_file(environment, root)
        query = Query(
            pattern,
            root,
            info.kind == "directory",
            file_glob or "",
            output_mode,
            min(max(context, 0), MAX_CONTEXT) if output_mode == "content" else 0,
            max(1, min(limit, 1000)),
            max(offset, 0),
        )
        program = await tool_context.session.state(SearchProgram).find(environment)
        search = Search(query, program, policy, environment.cwd)
        if target == "files":
            return await search.names(environment)
        return await search.contents(environment)

    return search_files


def _preview(arguments: Arguments) -> str:
    where = "" if arguments["path"] == "." else f" in {arguments['path']}"
    return f"{arguments['pattern']}{where}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search program said; `status` is None if it was stopped."""

    lines: tuple[str, ...]
    status: int | None
    timed_out: bool


@dataclass(slots=True)
class Search:
    """Builds the command, runs it, renders its output."""

    query: Query
    program: Program
    policy: FilePolicy
    cwd: str
    notes: list[str] = field(default_factory=list)

    async def contents(self, environment: Environment) -> ToolResult:
        """Search in files."""
        query = self.query
        hits = query.offset + query.limit + 1
        outcome = await self._run(environment, self._content_command(), hits * (2 * query.context + 2))
        self._check(outcome)
        if query.mode == "files_only":
            return self._page(self._names(outcome.lines), "file", "files with hits")
        if query.mode == "count":
            counts = sorted(line.rpartition("\0")[::2] for line in outcome.lines if "\0" in line)
            found = [(name, count) for name, count in counts if count != "0" and not self._is_hidden(name)]
            rows = [f"{self._shown(name)}: {count}" for name, count in found]
            return self._page(rows, "file", "files with hits")
        return self._hits(outcome)

    async def names(self, environment: Environment) -> ToolResult:
        """Search for names."""
        pattern = self.query.pattern
        if not any(character in pattern for character in "*?["):
            pattern = f"*{pattern}*"
        outcome = await self._run(environment, self._names_command(pattern), 100_000)
        self._check(outcome)
        return self._page(self._names(outcome.lines), "file", "files")

    def _content_command(self) -> list[str]:
        query, pattern = self.query, self.query.pattern
        if self.program == "rg":
            command = ["rg", *_RG, "--sort=path", "--with-filename", *self._rg_globs(query.glob)]
            command += ["--multiline"] if r"\n" in pattern else []
            content = ["--null", "--no-heading", "--line-number", f"--max-columns={MAX_LINE_CHARS}"]
            content += ["--max-columns-preview"]
        else:
            if r"\n" in pattern:
                raise ToolError("Patterns over several lines need ripgrep, which is not installed here")
            command = ["grep", "-rIsH", "-P" if self.program == "pgrep" else "-E", "--color=never"]
            command += [
                f"--include={glob}" for glob in _braces_expanded(posixpath.basename(query.glob)) if glob
            ]
            command += [f"--exclude-dir={folder}" for folder in SKIPPED_FOLDERS]
            content = ["-Zn"]
            pattern = pattern if self.program == "pgrep" else _extended(pattern)
        if query.mode == "content":
            command += [*content, f"-C{query.context}"]
        else:
            command += ["-l"] if query.mode == "files_only" else ["-c", "--null"]
        return [*command, "-e", pattern, "--", query.root]

    def _rg_globs(self, glob: str) -> list[str]:
        globs = []
        if glob:
            negated, name = ("!", glob[1:]) if glob.startswith("!") else ("", glob)
            anchored = name if name.startswith("**/") or "/" not in name else f"**/{name.lstrip('/')}"
            globs.append(f"--glob={negated}{anchored}")
        return globs if "/.git" in self.query.root else [*globs, "--glob=!**/.git/**"]

    def _names_command(self, pattern: str) -> list[str]:
        if self.program == "rg":
            return ["rg", "--files", *_RG, *self._rg_globs(pattern), "--", self.query.root]
        prune: list[str] = []
        for folder in SKIPPED_FOLDERS:
            prune += ["-o", "-name", folder]
        tests: list[str] = []
        for name in _braces_expanded(pattern):
            tests += ["-o", *(["-path", f"*/{name.lstrip('/')}"] if "/" in name else ["-name", name])]
        kinds = ["(", "-type", "f", "-o", "-type", "l", ")"]
        return [
            "find",
            self.query.root,
            "(",
            *prune[1:],
            ")",
            "-prune",
            "-o",
            *kinds,
            "(",
            *tests[1:],
            ")",
            "-print",
        ]

    async def _run(self, environment: Environment, words: Sequence[str], max_lines: int) -> Outcome:
        if self.program != "rg":
            folders = ", ".join(SKIPPED_FOLDERS)
            self.notes.append(f"ripgrep is not installed: .gitignore is not read; skipped: {folders}")
        cut = "" if self.program == "rg" else f" | cut -b 1-{MAX_LINE_CHARS * 4}"
        # the status takes a way of its own (fd 3) around head, and comes last
        script = (
            f"{{ s=$( {{ {{ {shlex.join(words)} 2>&1; echo $? >&3; }}{cut} | head -n {max_lines} "
            f"| head -c {MAX_OUTPUT_BYTES} >&4; }} 3>&1 ); printf '\\n{_STATUS}%s\\n' \"$s\"; }} 4>&1"
        )
        command = Command(
            script,
            cwd="/",
            timeout_seconds=TIMEOUT_SECONDS,
            persistent=False,
            max_output_bytes=2 * MAX_OUTPUT_BYTES,
        )
        result = await environment.execute(command)
        text, found, status = result.output.rpartition(f"\n{_STATUS}")
        lines = (text if found else result.output).split("\n")
        code = int(status.strip()) if found and status.strip().isdigit() else None
        return Outcome(tuple(line for line in lines if line), code, result.timed_out)

    def _check(self, outcome: Outcome) -> None:
        if outcome.timed_out:
            self.notes.append(f"stopped after {TIMEOUT_SECONDS:g} s; search a smaller folder for the rest")
            return
        messages = [line for line in outcome.lines if line.startswith(("rg: ", "grep: ", "regex ", "find: "))]
        if outcome.status == 2 and messages:
            start = outcome.lines.index(messages[0])
            raise ToolError(
                f"The search failed: {' '.join(' '.join(outcome.lines[start : start + 6]).split())[:400]}",
                remedy=f"If the text is meant literally, the pattern is {re.escape(self.query.pattern)}",
            )

    def _names(self, lines: Sequence[str]) -> list[str]:
        return [self._shown(name) for name in sorted(lines) if not self._is_hidden(name)]

    def _is_hidden(self, name: str) -> bool:
        return self.policy.is_own_secret(name)

    def _shown(self, name: str) -> str:
        """Relative to the current directory where that is shorter."""
        return name.removeprefix(self.cwd.rstrip("/") + "/")

    def _hits(self, outcome: Outcome) -> ToolResult:
        shown: list[str] = []
        count = 0
        current = ""
        last = self.query.offset + self.query.limit
        for line in outcome.lines:
            name, separator, rest = line.partition("\0")
            match = _HIT.match(rest)
            if not separator or match is None:
                if line == "--" and self.query.offset < count < last and shown:
                    shown.append("  --")
                continue
            if self._is_hidden(name):
                continue
            is_hit = match[2] == ":"
            count += is_hit
            if count > last:
                break
            if self.query.offset and count <= self.query.offset:
                continue
            if name != current:
                current = name
                shown.append(self._shown(name))
            text = match[3] if len(match[3]) <= MAX_LINE_CHARS else match[3][:MAX_LINE_CHARS] + " [...]"
            shown.append(f"  {match[1]}{match[2]} {text}".rstrip())
        has_more = count > last
        given = min(count, last) - min(self.query.offset, count)
        return self._result(shown, given, has_more, "hit", "hits")

    def _page(self, rows: Sequence[str], one: str, many: str) -> ToolResult:
        part = rows[self.query.offset : self.query.offset + self.query.limit]
        return self._result(part, len(part), len(rows) > self.query.offset + len(part), one, many)

    def _result(self, rows: Sequence[str], given: int, has_more: bool, one: str, many: str) -> ToolResult:
        query = self.query
        notes = list(self.notes)
        if has_more:
            notes.insert(0, f"{given} {many} shown, there are more: offset={query.offset + given}")
        if not rows:
            ignored = "; files that .gitignore names were not searched" if self.program == "rg" else ""
            notes.insert(0, f"No {many} for {query.pattern!r} in {query.root}{ignored}")
        summary = f"{given}{'+' if has_more else ''} {one if given == 1 and not has_more else many}"
        return ToolResult("\n".join([*rows, *(f"[{note}]" for note in notes)]), summary=summary)


_RG = ("--color=never", "--no-messages", "--hidden", "--no-config")
_STATUS = "hermes-search-status="
_HIT = re.compile(r"(\d+)([:-])(.*)", re.DOTALL)


def _braces_expanded(glob: str) -> list[str]:
    """`*.{a,b}` as `*.a`, `*.b`: grep and find know no braces."""
    match = re.search(r"\{([^{}]*)\}", glob)
    if match is None:
        return [glob]
    head, tail = glob[: match.start()], glob[match.end() :]
    return [name for part in match[1].split(",") for name in _braces_expanded(head + part + tail)][:50]


def _extended(pattern: str) -> str:
    """Perl's character classes in the words of POSIX."""
    for perl, posix in ((r"\d", "[0-9]"), (r"\s", "[[:space:]]"), (r"\S", "[^[:space:]]"), (r"\D", "[^0-9]")):
        pattern = pattern.replace(perl, posix)
    return pattern
