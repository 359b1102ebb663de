"""Does a script need a person's consent?

A script that only calls tools (which ask for themselves) and computes runs freely. Whatever reaches past
the tools (processes, files to write, sockets, code made at run time, or anything that cannot be seen
through) is asked, as the same script given to `python3` in the terminal would be.
"""

from __future__ import annotations

import ast
from typing import Final

from hermes_agent.core.approvals import Allowed, NeedsApproval, Verdict
from hermes_agent.tools.command_policy import review_command

PLAIN_MODULES: Final = frozenset(
    [
        "hermes_tools",
        "__future__",
        "abc",
        "array",
        "base64",
        "bisect",
        "calendar",
        "cmath",
        "collections",
        "colorsys",
        "concurrent",
        "copy",
        "csv",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "html",
        "itertools",
        "json",
        "math",
        "numbers",
        "operator",
        "pprint",
        "queue",
        "random",
        "re",
        "secrets",
        "statistics",
        "string",
        "struct",
        "textwrap",
        "threading",
        "time",
        "typing",
        "unicodedata",
        "urllib.parse",
        "uuid",
        "zlib",
        "zoneinfo",
    ]
)
"""Modules with which nothing outside the script can be changed."""

_RISKY_NAMES: Final = frozenset(
    [
        "__import__",
        "eval",
        "exec",
        "compile",
        "open",
        "globals",
        "locals",
        "vars",
        "getattr",
        "setattr",
        "delattr",
        "breakpoint",
        "input",
        "__builtins__",
        "__loader__",
        "__spec__",
        "memoryview",
    ]
)
# Ways to an attribute or to code by a text; ways out of a function's own variables; modules inside modules.
_RISKY_ATTRIBUTES: Final = frozenset(
    [
        "attrgetter",
        "methodcaller",
        "get_type_hints",
        "singledispatch",
        "singledispatchmethod",
        "eval",
        "exec",
        "modules",
        "gi_frame",
        "gi_code",
        "f_globals",
        "f_builtins",
        "f_locals",
        "cr_frame",
        "ag_frame",
        "tb_frame",
        "os",
        "sys",
        "codecs",
        "subprocess",
        "shutil",
        "builtins",
        "io",
        "socket",
        "importlib",
        "ctypes",
        "inspect",
        "types",
        "mp",
        "selectors",
    ]
)


def review_code(code: str, *, is_isolated: bool = False) -> Verdict:
    """Classify a Python script.

    Returns:
        `Allowed` if it is plain, else what `review_command` says of giving it to an interpreter.
    """
    reasons = objections(code)
    if not reasons:
        return Allowed()
    end = "HERMES_END_OF_SCRIPT"
    verdict = review_command(f"python3 - <<'{end}'\n{code}\n{end}\n", is_isolated=is_isolated)
    if isinstance(verdict, NeedsApproval):
        return NeedsApproval(code, reasons, ("code-" + "-".join(_rule(reasons)),))
    return verdict


def objections(code: str) -> tuple[str, ...]:
    """What a script does beyond computing and calling tools, for people; empty if it is plain."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()  # it cannot run, so it cannot harm
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        found.update(dict.fromkeys(f"uses {name}" for name in _risky(node)))
    return tuple(found)


def _risky(node: ast.AST) -> list[str]:
    """Names in this piece of a program with which a script gets out of its limits."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if not _is_plain(alias.name)]
    if isinstance(node, ast.ImportFrom):
        return _risky_import(node)
    if isinstance(node, ast.Name):
        is_dunder = node.id.startswith("__") and node.id not in ("__name__", "__doc__", "__file__")
        return [node.id] if is_dunder or node.id in _RISKY_NAMES else []
    if isinstance(node, ast.Attribute):
        return [node.attr] if _is_risky_name(node.attr) else []
    if isinstance(node, ast.MatchClass):
        return [name for name in node.kwd_attrs if _is_risky_name(name)]
    return []


def _risky_import(node: ast.ImportFrom) -> list[str]:
    inner = [f"{node.module}.{alias.name}" for alias in node.names]
    if node.module is None or node.level:
        return inner
    if node.module == "urllib":
        return [name for name in inner if not _is_plain(name)]
    if not _is_plain(node.module):
        return [node.module]
    return [alias.name for alias in node.names if _is_risky_name(alias.name)]


def _is_risky_name(name: str) -> bool:
    """Private names, and modules that are within reach inside others (`json.codecs`)."""
    return name in _RISKY_ATTRIBUTES or (name.startswith("_") and name != "__init__")


def _is_plain(name: str) -> bool:
    if any(part.startswith("_") for part in name.split(".")) and name != "__future__":
        return False
    return name in PLAIN_MODULES or name.partition(".")[0] in PLAIN_MODULES


def _rule(reasons: tuple[str, ...]) -> list[str]:
    return sorted(reason.removeprefix("uses ") for reason in reasons)
