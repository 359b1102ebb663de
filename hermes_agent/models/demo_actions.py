"""What the demo model can do: each function makes an `Action` of a sentence that fitted its pattern.

A function returns None if the sentence only looked as if it fitted; then the next pattern is tried.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from hermes_agent.models.demo_patterns import QUOTED, WORD

Kind: TypeAlias = Literal[
    "help", "hello", "thanks", "history", "count", "think", "markdown", "outage", "stop", "unknown",
    "list", "read", "run", "remember", "search", "write", "replace", "todo", "clarify", "lines", "processes",
]  # fmt: skip
Call: TypeAlias = tuple[str, Mapping[str, Any]]
"""A tool's name and its arguments."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do.

    Attributes:
        kind: What was asked for; decides how the outcome is told.
        subject: What it is about, as people read it: a path, a command, a pattern.
        doing: A sentence said while the tool runs.
        calls: Tools that can do it, best first; empty if no tool is needed.
    """

    kind: Kind
    subject: str = ""
    doing: str = ""
    calls: tuple[Call, ...] = field(default=(), hash=False)

    @property
    def command(self) -> str:
        """The shell command, if there is one, else the subject."""
        commands = (str(arguments["command"]) for name, arguments in self.calls if name == "terminal")
        return next(commands, self.subject)


_HERE = re.compile(
    r"(?:here|there|\.|this|it|(?:the )?current (?:directory|folder)"
    r"|(?:this|the|my)(?: current| working)? (?:directory|folder|project|repository|repo|place))\Z",
    re.IGNORECASE,
)
_ONE_PATH = re.compile(
    rf"(?:the |my )?(?:file |folder |directory )?(?P<path>{WORD})(?: (?:file|folder|directory))?",
    re.IGNORECASE,
)


def unquote(text: str) -> str:
    """Take away one pair of quotes."""
    text = text.strip()
    return text[1:-1] if re.fullmatch(QUOTED, text) else text


def _group(found: re.Match[str], name: str) -> str:
    return (found.groupdict().get(name) or "").strip()


def _path(text: str) -> str | None:
    """A path as it was meant: nothing and `here` are the current directory, several words are no path."""
    if not text or _HERE.match(text):
        return "."
    named = _ONE_PATH.fullmatch(text)
    return (unquote(named["path"]) or None) if named else None


def _place(path: str) -> str:
    return "here" if path == "." else f"in `{path}`"


def _terminal(command: str, **more: object) -> Call:
    return "terminal", {"command": command, **more}


def _operand(path: str) -> str:
    """A path as a shell word; a leading `~/` stays for the shell to expand."""
    if path.startswith("~/"):
        return "~/" + shlex.quote(path[2:])
    return path if path == "~" else shlex.quote(path)


def _one_line(text: str, limit: int = 100) -> str:
    first, _, rest = text.strip().partition("\n")
    return f"{first[:limit]} …" if rest or len(first) > limit else first


def say(kind: Kind, group: str = "") -> Callable[[re.Match[str]], Action]:
    """An action without a tool; its subject is a part of the sentence."""
    return lambda found: Action(kind, _group(found, group) if group else "")


def command(text: str) -> Callable[[re.Match[str]], Action]:
    """An action that runs a fixed command."""
    return lambda _found: run_command(text)


def run_command(text: str) -> Action:
    """Run a command as it stands."""
    return Action("run", text, f"I run `{_one_line(text)}`.", (_terminal(text),))


def run(found: re.Match[str]) -> Action | None:
    """`run X`, `start X in the background`."""
    text = unquote(found["command"])
    background = _group(found, "background").lower()
    if not text or (background and background != "background"):
        return None
    if re.match(r"(?:the|a|an|my|all|your) ", text) and text == found["command"].strip():
        return None  # `run the tests` describes a command, it is none
    if background:
        call = _terminal(text, background=True, notify_on_complete=True)
        return Action("run", text, f"I start `{_one_line(text)}` in the background.", (call,))
    return run_command(text)


def delete(found: re.Match[str]) -> Action | None:
    """`delete the folder X`: worth an approval."""
    path, what = _path(_group(found, "path")), _group(found, "what").lower()
    if path in (None, ".") or what not in ("", "file", "folder", "directory"):
        return None
    assert path is not None
    is_folder = what in ("folder", "directory") or path.endswith("/")
    text = f"rm {'-r ' if is_folder else ''}-- {_operand(path)}"
    return Action("run", text, f"I run `{text}`; you may have to approve it.", (_terminal(text),))


def list_files(found: re.Match[str]) -> Action | None:
    """`list the files in X`."""
    path = _path(_group(found, "path"))
    if path is None:
        return None
    search = ("search_files", {"pattern": "*", "target": "files", "path": path})
    return Action(
        "list", path, f"I list what is {_place(path)}.", (_terminal(f"ls -Ap -- {_operand(path)}"), search)
    )


def read(found: re.Match[str]) -> Action | None:
    """`read X`, `show lines 3 to 9 of X`."""
    path = _path(found["path"].strip())
    if path is None or path == ".":
        return None
    arguments: dict[str, Any] = {"path": path}
    first, last, head = (_group(found, name) for name in ("first", "last", "head"))
    if head:
        arguments["limit"] = max(1, int(head))
    elif first:
        start, *end = (max(1, int(number)) for number in re.findall(r"\d+", f"{first} {last}"))
        arguments |= {"offset": start, "limit": max(1, (end or [start])[0] - start + 1)}
    return Action(
        "read", path, f"I read `{path}`.", (("read_file", arguments), _terminal(f"cat -- {_operand(path)}"))
    )


def count_lines(found: re.Match[str]) -> Action | None:
    """`count the lines of X`."""
    path = _path(found["path"].strip())
    if path is None or path == ".":
        return None
    return Action("lines", path, f"I count the lines of `{path}`.", (_terminal(f"wc -l < {_operand(path)}"),))


def _literal(text: str) -> str:
    """A regular expression for the text itself; `/…/` is one already."""
    text = unquote(text)
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        return text[1:-1]
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


def search(found: re.Match[str]) -> Action | None:
    """`search for X in Y`."""
    verb = _group(found, "verb").lower()
    if verb not in ("", "search", "grep", "find", "look", "locate"):
        return None
    text, where = unquote(found["text"]), _group(found, "path")
    is_anywhere = re.fullmatch(r"(?:(?:all|the|my|these|all the) )?files(?: here)?", where, re.IGNORECASE)
    path = "." if is_anywhere else _path(where)
    if not text or path is None:
        return None
    is_name = "*" in text or re.fullmatch(r"[\w-]*\.\w{1,5}", text)
    if is_name and verb in ("find", "locate") and not re.fullmatch(QUOTED, found["text"]):
        return _find(text, path)
    pattern = _literal(found["text"])
    arguments = {"pattern": pattern, "target": "content", "path": path}
    grep = _terminal(f"grep -rnIE -e {shlex.quote(pattern)} -- {_operand(path)}")
    return Action(
        "search", text, f"I search for `{text}` {_place(path)}.", (("search_files", arguments), grep)
    )


def find_files(found: re.Match[str]) -> Action | None:
    """`find files named X`."""
    path, text = _path(_group(found, "path")), unquote(found["text"])
    return _find(text, path) if path and text else None


def _find(glob: str, path: str) -> Action:
    arguments = {"pattern": glob, "target": "files", "path": path}
    find = _terminal(f"find {_operand(path)} -name {shlex.quote(glob)}")
    doing = f"I look for files named `{glob}` {_place(path)}."
    return Action("search", glob, doing, (("search_files", arguments), find))


def _unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


def write(found: re.Match[str]) -> Action | None:
    """`write "text" to X`."""
    path = _path(found["path"].strip())
    if path is None or path == ".":
        return None
    content = _unescape(unquote(_group(found, "text")))
    content = content if not content or content.endswith("\n") else content + "\n"
    return Action("write", path, f"I write `{path}`.", (("write_file", {"path": path, "content": content}),))


def replace_text(found: re.Match[str]) -> Action | None:
    """`replace "a" with "b" in X`."""
    path = _path(found["path"].strip())
    if path is None or path == ".":
        return None
    arguments = {
        "mode": "replace",
        "path": path,
        "old_string": _unescape(unquote(found["old"])),
        "new_string": _unescape(unquote(found["new"])),
    }
    return Action("replace", path, f"I change `{path}`.", (("patch", arguments),))


def remember(found: re.Match[str]) -> Action:
    """`remember that …`: what is about the person goes to the user's notes."""
    fact = unquote(found["fact"])
    is_personal = re.search(r"\b(?:i|my|me|mine|i['’]m|we|our)\b", fact, re.IGNORECASE) is not None
    arguments = {"action": "add", "target": "user" if is_personal else "memory", "content": fact}
    return Action("remember", fact, "I put that into memory.", (("memory", arguments),))


def forget(found: re.Match[str]) -> Action:
    """`forget that …`."""
    fact = unquote(found["fact"])
    is_personal = re.search(r"\b(?:i|my|me|mine|i['’]m|we|our)\b", fact, re.IGNORECASE) is not None
    arguments = {"action": "remove", "target": "user" if is_personal else "memory", "old_text": fact}
    return Action("remember", fact, "I remove that from memory.", (("memory", arguments),))


def make_todos(found: re.Match[str]) -> Action:
    """`create a todo list: a, b, c`."""
    listed = re.sub(r"\A\s*(?:[-*]|\d+[.)])\s+", "", _group(found, "items"))
    parts = re.split(r"\s*(?:[,;\n]|\band\b)\s*(?:(?:[-*]|\d+[.)])\s+)?", listed)
    items = [item for item in map(unquote, parts) if item]
    todos = [
        {"id": str(number), "content": item, "status": "in_progress" if number == 1 else "pending"}
        for number, item in enumerate(
            (items or ["Look around", "Try a tool", "Connect a real model"])[:50], 1
        )
    ]
    return Action("todo", f"{len(todos)} tasks", "I make a task list.", (("todo", {"todos": todos}),))


def show_todos(_found: re.Match[str]) -> Action:
    """`show the todo list`."""
    return Action("todo", "the list", "I look at the task list.", (("todo", {}),))


def tick_todo(found: re.Match[str]) -> Action | None:
    """`mark 1 done`."""
    name = found["id"].lstrip("#")
    if not re.fullmatch(r"\w{1,20}", name):
        return None
    arguments = {"todos": [{"id": name, "status": "completed"}], "merge": True}
    return Action("todo", f"task {name}", "I tick it off.", (("todo", arguments),))


def ask(found: re.Match[str]) -> Action:
    """`ask me a question`."""
    question = _group(found, "question")
    arguments: dict[str, Any] = {"question": question}
    if not question:
        arguments = {
            "question": "What would you like to try next?",
            "choices": ["List the files here", "Run a command", "Write a file", "Nothing, thanks"],
        }
    return Action("clarify", str(arguments["question"]), "I have a question.", (("clarify", arguments),))


def processes(_found: re.Match[str]) -> Action:
    """`list processes`."""
    return Action("processes", "", "I list the background processes.", (("process", {"action": "list"}),))


def count(found: re.Match[str]) -> Action | None:
    """`count to 100 slowly`."""
    pace = _group(found, "slow").lower()
    if pace not in ("", "slowly"):
        return None
    return Action("count", f"{min(int(found['n']), 10_000)} {pace}".strip())
